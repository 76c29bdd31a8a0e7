"""Whatever tasks there are, however they end, and whoever takes over when: what a workflow promises holds."""

from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from actors.workflow.snapshot import dump, load
from actors.workflow.state import State, label
from actors.workflow.work import Assignment, Outcome, key_of, under_way
from bus.codec import decode_as, encode
from schemas.workflow import ENDED, SETTLED
from schemas.workflow_event import WORKFLOW_EVENT
from tests.workflow.drive import Drive, created, failure, well

UNDO = {"function": "undo", "retry": {"attempts": 2, "delay_s": 1}}


@st.composite
def definitions(draw: st.DrawFn) -> dict[str, Any]:
    tasks: dict[str, Any] = {}
    for n in range(draw(st.integers(1, 7))):
        task: dict[str, Any] = {"function": "f", "retry": {"attempts": draw(st.integers(1, 3)), "delay_s": 1}}
        if tasks:
            task["depends_on"] = draw(st.lists(st.sampled_from(sorted(tasks)), unique=True, max_size=3))
        match draw(st.integers(0, 5)):
            case 0:
                task["map"] = {"over": "inputs.names", "limit": draw(st.integers(1, 3))}
            case 1:
                task = {"wait_s": draw(st.integers(0, 100)), "depends_on": task.get("depends_on", [])}
            case 2 if tasks:
                task["when"] = f"tasks.{draw(st.sampled_from(sorted(tasks)))}.output.attempt == `1`"
        if "function" in task and draw(st.booleans()):
            task["compensation"] = UNDO
        task["allow_failure"] = draw(st.integers(0, 3)) == 0
        tasks[f"t{n}"] = task
    return {"tasks": tasks, "max_parallel_tasks": draw(st.integers(1, 4)), "compensate": draw(st.integers(0, 4)) > 0}


ENDS = st.sampled_from(["well"] * 4 + ["again", "bad", "unsure", "late"])
COMMANDS = st.sampled_from(["pause", "resume", "cancel", "retry", "wake", "nothing", "nothing"])


class Script:
    """The same unit comes to the same, at the same attempt; and what it did is counted by its key."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data
        self._ends: dict[Any, str] = {}
        self.effects: dict[str, int] = {}
        self.asked: set[Assignment] = set()

    def __call__(self, state: State, work: Assignment) -> Outcome | None:
        end = self._ends.setdefault(work, self._data.draw(ENDS) if work not in self._ends else "")
        if end == "late" and work not in self.asked:
            self.asked.add(work)
            return None
        key = key_of("w1", work)
        if end in ("again", "bad"):
            return Outcome(work, problem=failure(retryable=end == "again"))
        self.effects[key] = 1
        if end == "unsure":
            return Outcome(work, problem=failure(), unsure=True)
        return well(state, work)


def carry(drive: Drive, data: st.DataObject) -> State:
    """Run it to its end, with commands in between; what only a command could end is cancelled."""
    drive.send("start")
    for _ in range(data.draw(st.integers(0, 6))):
        kind = data.draw(COMMANDS)
        if kind == "nothing":
            drive.finish_one()
        elif kind != "retry":
            drive.send(kind)
    for _ in range(5):
        state = drive.run()
        if state.ended is not None:
            break
        drive.send("resume")
    if drive.state.ended in ("failed", "cancelled") and data.draw(st.booleans()):
        drive.send("retry")
        drive.run()
    return drive.state


@settings(max_examples=300, deadline=None)
@given(definitions(), st.integers(0, 10**6), st.data())
def test_every_workflow_ends_and_its_events_tell_how(
    definition: dict[str, Any], seed: int, data: st.DataObject
) -> None:
    drive = Drive(created(definition, {"names": ["x", "y", "z"]}), Script(data), seed=seed)
    state = carry(drive, data)
    # It ends,
    assert state.ended in ENDED
    # with nothing under way,
    assert not (state.running or state.waiting or state.retrying or state.undoing)
    # and where it is completed, every task is settled, and none failed that may not.
    if state.ended == "completed":
        assert all(whole.status in SETTLED for whole in state.units.values())
        assert not state.broken
    # Events count from 1 without gaps, and travel as they are.
    assert [event.seq for event in drive.events] == list(range(1, len(drive.events) + 1))
    assert [decode_as(encode(event), WORKFLOW_EVENT, "event") for event in drive.events] == drive.events


@settings(max_examples=200, deadline=None)
@given(definitions(), st.integers(0, 10**6), st.data())
def test_whoever_reads_the_events_knows_what_their_writer_knew(
    definition: dict[str, Any], seed: int, data: st.DataObject
) -> None:
    drive = Drive(created(definition, {"names": ["x", "y", "z"]}), Script(data), seed=seed)
    live = dump(carry(drive, data))
    for at in range(1, len(drive.events) + 1):
        read = State.of(drive.events[:at])
        # After each event, the fold says what the event said,
        assert (read.status, read.percentage) == (drive.events[at - 1].status, drive.events[at - 1].percentage)
        # and a snapshot with what came after it is as good as the whole history.
        again = load(drive.events[0], dump(read))  # type: ignore[arg-type]
        for event in drive.events[at:]:
            again.take(event)
        assert dump(again) == live
        assert again.settled == drive.state.settled
        if again.problem is None:
            assert (again.ready, again.left) == (drive.state.ready, drive.state.left)


@settings(max_examples=200, deadline=None)
@given(definitions(), st.integers(0, 10**6), st.data())
def test_what_was_done_is_undone_in_reverse_and_once(
    definition: dict[str, Any], seed: int, data: st.DataObject
) -> None:
    drive = Drive(created(definition, {"names": ["x", "y", "z"]}), Script(data), seed=seed)
    drive.run()
    state = drive.state
    if state.ended != "failed" or not state.compensates:
        assert not drive.undone_in_order
        return
    order = {label(place): unit.order for place, unit in state.all_units()}
    undone = drive.undone_in_order
    assert sorted(undone, key=lambda name: -order[name]) == undone
    assert len(set(undone)) == len(undone)
    # Whatever had its effect, and can be undone, was; or it is named.
    for (name, item), unit in state.all_units():
        if state.task(name).compensation is not None and (item is not None or state.task(name).map is None):
            assert unit.status not in ("completed", "compensating")
            assert not (unit.status == "failed" and unit.unsure)


@settings(max_examples=200, deadline=None)
@given(definitions(), st.integers(0, 10**6), st.data())
def test_an_engine_that_dies_at_any_moment_is_replaced_without_a_trace(
    definition: dict[str, Any], seed: int, data: st.DataObject
) -> None:
    """Each unit is begun under one key as long as nobody knows what became of it, whoever begins it."""
    script = Script(data)
    drive = Drive(created(definition, {"names": ["x", "y", "z"]}), script, seed=seed)
    drive.send("start")
    begun: dict[Any, set[str]] = {}
    for _ in range(200):
        drive.settle()
        if drive.state.ended is not None:
            break
        for work in drive.open:
            begun.setdefault((work.place, work.undoes, work.serial), set()).add(key_of("w1", work))
        if data.draw(st.integers(0, 3)) == 0:
            # The engine dies; another reads what is written, and goes on with what is under way.
            drive.state = State.of(drive.events)
            assert set(drive.open) == set(under_way(drive.state))
            drive.open = under_way(drive.state)
        if not drive.finish_one():
            drive.run()
            break
    assert drive.state.ended is not None
    assert all(len(keys) == 1 for keys in begun.values())
