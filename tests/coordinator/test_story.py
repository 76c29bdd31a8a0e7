"""A team's story: what is told is written once, in order, together where it comes at once; and read back the same."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.coordinator.bounds import Bounds
from actors.coordinator.story import Dispatch, Fact, Story
from schemas.errors import Fenced
from schemas.event import Answered, Decided, Dispatched, TaskEvent
from schemas.message import now
from schemas.team import Contribution, Decision, Step


class Owned:
    """A task whose events are kept in memory; each write takes a turn of the loop."""

    def __init__(self, events: list[TaskEvent] | None = None) -> None:
        self.events = events or []
        self.fenced_from: int | None = None
        self.writing = asyncio.Event()
        self.held: asyncio.Event | None = None
        """What a write waits for."""

    @property
    def next_fields(self) -> dict[str, Any]:
        return {"event_id": "e", "task_id": "t", "tenant": "x", "seq": len(self.events) + 3, "at": now()}

    async def append(self, event: TaskEvent) -> None:
        self.writing.set()
        await (asyncio.sleep(0) if self.held is None else self.held.wait())
        if self.fenced_from is not None and len(self.events) >= self.fenced_from:
            raise Fenced("t", event.event)
        self.events.append(event)


def contribution(number: int) -> Contribution:
    return Contribution(step=f"s{number}", agent=f"a{number}", kind="draft", text=f"text {number}")


FACTS = st.one_of(
    st.integers(0, 1000).map(lambda n: Dispatch(f"p{n}", (Step(step=f"s{n}", agent="a", kind="draft"),))),
    st.integers(0, 1000).map(contribution),
    st.integers(0, 1000).map(lambda n: Decision(name=f"d{n}", reasons=("because",), value={"n": n})),
)


def told(events: list[TaskEvent]) -> list[Fact]:
    facts: list[Fact] = []
    for event in events:
        match event:
            case Dispatched():
                facts.append(Dispatch(event.phase, event.steps))
            case Answered():
                facts.extend(event.contributions)
            case Decided():
                facts.extend(event.decisions)
            case _:
                raise AssertionError(event)
    return facts


@given(facts=st.lists(FACTS, max_size=30))
def test_whatever_is_told_at_once_is_written_in_order_and_read_back(facts: list[Fact]) -> None:
    async def tell_all() -> Owned:
        owned = Owned()
        story = Story(owned, 1)
        await asyncio.gather(*(story.tell(fact) for fact in facts))
        # A later owner that reads the same events knows the same
        later = Story(Owned(owned.events), 2)
        assert later.contributions == story.contributions
        assert later.decisions == story.decisions
        assert later.dispatched == story.dispatched
        return owned

    assert told(asyncio.run(tell_all()).events) == facts


async def test_what_comes_while_an_event_is_written_shares_the_next() -> None:
    owned = Owned()
    story = Story(owned, 1)
    await asyncio.gather(*(story.tell(contribution(number)) for number in range(100)))
    assert len(owned.events) == 1
    first = asyncio.create_task(story.tell(contribution(100)))
    await asyncio.sleep(0)  # its write begins
    await asyncio.sleep(0)
    await asyncio.gather(first, *(story.tell(contribution(number)) for number in range(101, 200)))
    assert len(owned.events) <= 3


async def test_a_fenced_owner_hears_of_it_in_every_place() -> None:
    owned = Owned()
    owned.fenced_from = 0
    story = Story(owned, 1)
    results = await asyncio.gather(*(story.tell(contribution(n)) for n in range(3)), return_exceptions=True)
    assert [type(each) for each in results] == [Fenced] * 3
    assert story.contributions == {}


async def test_a_closed_story_finishes_its_write_and_takes_no_more() -> None:
    # Given a story whose event is on its way to disk, and another fact behind it, while its run is stopped
    owned = Owned()
    owned.held = asyncio.Event()
    story = Story(owned, 1)
    telling = [asyncio.create_task(story.tell(fact)) for fact in (contribution(1), Decision(name="d", reasons=("r",)))]
    await asyncio.wait_for(owned.writing.wait(), 5)
    for each in telling:
        each.cancel()
    # When it is closed
    closing = asyncio.create_task(story.close())
    await asyncio.sleep(0)
    assert not closing.done()
    owned.held.set()
    await asyncio.wait_for(closing, 5)
    # Then what was begun is whole, what was not is not begun, and nothing can be told any more
    assert [event.event for event in owned.events] == ["answered"]
    with pytest.raises(asyncio.CancelledError):
        await story.tell(contribution(2))


# -- bounds --------------------------------------------------------------------------------------------------------


@given(actions=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=40))
def test_a_repeated_action_is_known_by_the_step_that_did_it_first(actions: list[tuple[str, int]]) -> None:
    bounds, first = Bounds(calls=10), dict[tuple[str, int], str]()
    for number, action in enumerate(actions):
        step = f"s{number}"
        earlier = bounds.take(step, *action)
        assert earlier == first.get(action)
        first.setdefault(action, step)
    assert bounds.used_up is (len(actions) > 10)
