"""A fork begins with what was done, once, and does the rest."""

from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from actors.workflow.fork import inherited
from actors.workflow.state import Place, State
from schemas.workflow_event import Created
from tests.workflow.drive import Drive, created, failing, well
from tests.workflow.test_any_history import Script, carry, definitions

NAMES = {"names": ["x", "y", "z"]}


def forked(drive: Drive, after: int, answer: Any = well, **inputs: Any) -> Drive:
    first = drive.first.model_copy(
        update={
            "workflow_id": "w2",
            "inputs": {**drive.first.inputs, **inputs},
            "changes": inherited(State.of(drive.events[:after]), inputs),
        }
    )
    return Drive(first, answer)


def done(state: State) -> dict[Place, Any]:
    """What was done and stands, with its output."""
    stands = ((place, unit) for place, unit in state.all_units() if unit.status in ("completed", "undo_failed"))
    # A map is done by its items; one over nothing by itself.
    return {place: unit.output for place, unit in stands if place[1] is not None or not state.units[place[0]].size}


@settings(max_examples=300, deadline=None)
@given(definitions(), st.integers(0, 10**6), st.data())
def test_a_fork_does_what_was_not_done_and_nothing_else(
    definition: dict[str, Any], seed: int, data: st.DataObject
) -> None:
    # Given any history, and any moment of it
    drive = Drive(created(definition, NAMES), Script(data), seed=seed)
    carry(drive, data)
    after = data.draw(st.integers(1, len(drive.events)))
    before = done(State.of(drive.events[:after]))
    # When it is forked there
    fork = forked(drive, after)
    begins = State.of([fork.first])
    # Then it begins with what was done, and has nothing under way
    assert done(begins) == before
    assert not (begins.running or begins.waiting or begins.retrying or begins.undoing)
    assert begins.cost_usd == 0
    # And goes on to its end, doing nothing twice
    state = fork.run()
    assert state.ended == "completed"
    assert not {work.place for work in fork.begun} & before.keys()
    assert len({work.place for work in fork.begun}) == len(fork.begun)
    assert {place: output for place, output in done(state).items() if place in before} == before


@settings(max_examples=200, deadline=None)
@given(definitions(), st.integers(0, 10**6), st.data())
def test_a_fork_undoes_what_it_did_and_not_what_it_was_given(
    definition: dict[str, Any], seed: int, data: st.DataObject
) -> None:
    drive = Drive(created(definition, NAMES), Script(data), seed=seed)
    carry(drive, data)
    fork = forked(drive, data.draw(st.integers(1, len(drive.events))))
    given_ = done(State.of([fork.first]))
    # When it is cancelled in the midst of its work
    fork.send("start")
    for _ in range(data.draw(st.integers(0, 4))):
        fork.finish_one()
    fork.send("cancel")
    fork.run()
    # Then what it was given stands
    assert not {work.place for work in fork.begun if work.undoes} & given_.keys()


def test_items_of_a_map_that_were_done_stay_and_the_others_are_done() -> None:
    # Given a map over three, of which the second failed
    each = {"function": "f", "map": {"over": "inputs.names"}}
    drive = Drive(created({"tasks": {"each": each}}, NAMES), failing("each[1]", retryable=False))
    assert drive.run().ended == "failed"
    # When it is forked at its end
    fork = forked(drive, len(drive.events))
    fork.run()
    # Then the second alone is done, and the list is whole
    assert [work.place for work in fork.begun] == [("each", 1)]
    assert [item.output["of"] for _, item in sorted(fork.state.units["each"].items.items())] == [
        "each[0]",
        "each[1]",
        "each[2]",
    ]


def test_a_map_over_an_input_that_is_replaced_begins_anew_unless_it_has_ended() -> None:
    each = {"function": "f", "map": {"over": "inputs.names", "limit": 1}}
    drive = Drive(created({"tasks": {"each": each}}, NAMES))
    drive.send("start")
    drive.finish_one()
    half = len(drive.events)
    drive.run()
    # When half of it is done, and the fork has another list
    fork = forked(drive, half, names=["p"])
    fork.run()
    assert ([work.place for work in fork.begun], fork.state.units["each"].size) == ([("each", 0)], 1)
    # And when all of it is done
    fork = forked(drive, len(drive.events), names=["p"])
    assert fork.run().units["each"].size == 3
    assert not fork.begun


def test_a_task_that_was_skipped_because_of_an_input_is_asked_again_when_that_is_replaced() -> None:
    tasks = {"maybe": {"function": "f", "when": "inputs.wanted"}, "last": {"function": "f", "depends_on": ["maybe"]}}
    drive = Drive(created({"tasks": tasks}, {"wanted": False}))
    drive.run()
    assert [work.place[0] for work in drive.begun] == ["last"]
    fork = forked(drive, len(drive.events), wanted=True)
    fork.run()
    assert [work.place[0] for work in fork.begun] == ["maybe"]
    assert not forked(drive, len(drive.events)).run().broken


def test_its_first_event_tells_of_what_was_done_as_any_event_does() -> None:
    drive = Drive(created({"tasks": {"a": {"function": "f"}, "b": {"function": "f", "depends_on": ["a"]}}}))
    drive.send("start")
    drive.finish_one()
    fork = forked(drive, len(drive.events))
    again = Created.model_validate(fork.first.model_dump(mode="json"))
    assert [(change.task, change.to, change.output) for change in again.changes] == [
        ("a", "completed", {"of": "a", "attempt": 1})
    ]
    assert fork.state.percentage == 50.0
