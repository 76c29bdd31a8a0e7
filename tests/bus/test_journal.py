"""The call journal on a real server: kept once, written by one, summed whole."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bus.client import Bus
from bus.codec import decode, encode
from bus.journal import Entry, Journal, Kept, Overtaken, key_of, question_of
from bus.streams import CALLS
from bus.subjects import CallJournal
from schemas.completion import NO_TASK, ChatMessage, Complete, Completion, Embed
from schemas.errors import BusUnavailable
from schemas.message import now
from schemas.receipt import Call
from tests.broker import Broker
from tests.gateway.doubles import ask

KEY = CallJournal("default", "t1", "direct", "0" * 32)


def call(service: str = "cheap", cost_usd: float | None = 0.25, **fields: Any) -> Call:
    return Call(step="direct", agent="writing", service=service, model="m", cost_usd=cost_usd, **fields)


def begun(gateway: str = "gateway-a", *calls: Call) -> Entry:
    open_ = call(outcome="failed", cost_estimated=True)
    return Entry(state="begun", gateway=gateway, began_at=now(), open=open_, calls=calls)


def ended(text: str, *calls: Call) -> Entry:
    completion = Completion(text=text, calls=calls)
    return Entry(state="ended", gateway="gateway-a", began_at=now(), calls=calls, completion=completion)


@pytest.fixture
def journal(bus: Bus) -> Journal:
    return Journal(bus)


# -- one entry -----------------------------------------------------------------------------------------------------


async def test_what_was_never_written_is_not_there(journal: Journal) -> None:
    assert await journal.read(KEY) == Kept(0, None)


async def test_an_entry_comes_back_as_it_was_written(journal: Journal) -> None:
    entry = ended("Hello.", call(latency_ms=1.5, fallback_from=("dear: HTTP 401",)), call(cost_usd=None))
    place = await journal.write(KEY, entry, 0)
    assert await journal.read(KEY) == Kept(place, entry)


async def test_an_entry_is_replaced_by_whoever_saw_its_last_version(bus: Bus, journal: Journal) -> None:
    place = await journal.write(KEY, begun(), 0)
    later = await journal.write(KEY, ended("Hello."), place)
    assert later > place
    assert (await journal.read(KEY)).seq == later
    assert (await bus.js.stream_info(CALLS)).state.messages == 1


async def test_a_second_writer_is_refused(journal: Journal) -> None:
    # Given two who saw that there is no entry
    first = begun("gateway-a")
    place = await journal.write(KEY, first, 0)
    # When the second writes too
    with pytest.raises(Overtaken):
        await journal.write(KEY, begun("gateway-b"), 0)
    # Then the first one's entry stays
    assert await journal.read(KEY) == Kept(place, first)


async def test_a_writer_with_an_old_version_is_refused(journal: Journal) -> None:
    place = await journal.write(KEY, begun("gateway-a"), 0)
    await journal.write(KEY, begun("gateway-b"), place)
    with pytest.raises(Overtaken):
        await journal.write(KEY, ended("Too late."), place)


async def test_of_many_writers_at_once_one_wins(journal: Journal) -> None:
    entries = [begun(f"gateway-{i}") for i in range(20)]
    results = await asyncio.gather(*(journal.write(KEY, e, 0) for e in entries), return_exceptions=True)
    (winner,) = [e for e, result in zip(entries, results, strict=True) if isinstance(result, int)]
    assert [type(result) for result in results].count(Overtaken) == 19
    assert (await journal.read(KEY)).entry == winner


async def test_a_large_completion_travels_through_the_object_store(bus: Bus, journal: Journal) -> None:
    # Given an answer that is larger than a message may be
    entry = ended("é" * 1_000_000, call())
    # When it is recorded
    place = await journal.write(KEY, entry, 0)
    # Then it comes back whole, and the stream holds a reference
    assert await journal.read(KEY) == Kept(place, entry)
    assert (await bus.js.stream_info(CALLS)).state.bytes < 10_000
    assert (await bus.js.stream_info("OBJ_payloads")).state.bytes >= 2_000_000


# -- lost acknowledgements -----------------------------------------------------------------------------------------


class LossyBus(Bus):
    """Its next acknowledgement gets lost on the way back."""

    lose = False

    async def put(self, *args: Any, **kwargs: Any) -> int:
        place = await super().put(*args, **kwargs)
        if self.lose:
            self.lose = False
            raise TimeoutError
        return place


@pytest.fixture
async def lossy(broker: Broker, bus: Bus) -> AsyncIterator[LossyBus]:
    lossy = LossyBus(broker.url, "lossy")
    await lossy.connect()
    yield lossy
    await lossy.close(grace_s=0.2)


async def test_a_write_whose_acknowledgement_was_lost_is_recognised(lossy: LossyBus) -> None:
    journal, entry = Journal(lossy), begun()
    lossy.lose = True
    place = await journal.write(KEY, entry, 0)
    assert await journal.read(KEY) == Kept(place, entry)


async def test_without_a_connection_nothing_is_called_written(bus: Bus, journal: Journal) -> None:
    await bus.close(grace_s=0.1)
    with pytest.raises(BusUnavailable):
        await journal.write(KEY, begun(), 0)


async def test_an_entry_outlives_a_killed_server(broker: Broker, journal: Journal) -> None:
    entry = ended("Hello.", call())
    place = await journal.write(KEY, entry, 0)
    await asyncio.to_thread(broker.kill)
    await asyncio.to_thread(broker.start)
    assert await journal.read(KEY) == Kept(place, entry)


# -- the calls of a task -------------------------------------------------------------------------------------------


def step(name: str, task: str = "t1", tenant: str = "default") -> CallJournal:
    return CallJournal(tenant, task, name, "0" * 32)


async def test_a_tasks_calls_are_those_of_all_its_entries(journal: Journal) -> None:
    await journal.write(step("one"), ended("a", call("a"), call("b")), 0)
    await journal.write(step("two"), ended("b", call("c")), 0)
    assert [c.service for c in await journal.calls_of("default", "t1")] == ["a", "b", "c"]


async def test_a_tasks_entries_come_in_the_order_of_their_last_version(journal: Journal) -> None:
    place = await journal.write(step("one"), begun(), 0)
    await journal.write(step("two"), ended("b"), 0)
    await journal.write(step("one"), ended("a"), place)
    found = [(key.step, entry.completion) async for key, entry in journal.entries_of("default", "t1")]
    assert [(name, completion.text) for name, completion in found if completion] == [("two", "b"), ("one", "a")]


async def test_a_task_that_called_nothing_has_no_calls(journal: Journal) -> None:
    assert await journal.calls_of("default", "t1") == ()


async def test_other_tasks_and_other_tenants_do_not_count(journal: Journal) -> None:
    await journal.write(step("one"), ended("a", call("mine")), 0)
    await journal.write(step("one", task="t2"), ended("a", call("other")), 0)
    await journal.write(step("one", tenant="another"), ended("a", call("foreign")), 0)
    assert [c.service for c in await journal.calls_of("default", "t1")] == ["mine"]


async def test_an_open_entry_shows_as_in_doubt_at_its_reservation(journal: Journal) -> None:
    await journal.write(KEY, begun("gateway-a", call("earlier")), 0)
    earlier, open_ = await journal.calls_of("default", "t1")
    assert (earlier.service, earlier.in_doubt) == ("earlier", False)
    assert (open_.in_doubt, open_.outcome) == (True, "in_doubt")
    assert (open_.cost_usd, open_.cost_estimated) == (0.25, True)


async def test_a_large_entry_counts_too(journal: Journal) -> None:
    await journal.write(KEY, ended("x" * 1_000_000, call("large")), 0)
    assert [c.service for c in await journal.calls_of("default", "t1")] == ["large"]


async def test_a_task_of_very_many_calls_is_summed_whole(journal: Journal) -> None:
    # Given more entries than the server gives in one batch
    names = [f"step-{i}" for i in range(1030)]
    await asyncio.gather(*(journal.write(step(name), ended("a", call(name)), 0) for name in names))
    # When they are asked for
    calls = await journal.calls_of("default", "t1")
    # Then none is missing and none counted twice
    assert sorted(c.service for c in calls) == sorted(names)


# -- the key -------------------------------------------------------------------------------------------------------


def test_a_calls_name_says_whose_it_is() -> None:
    key = key_of(ask(task_id="t9", step="review"))
    assert (key.tenant, key.task, key.step) == ("default", "t9", "review")


def test_bounds_and_ways_of_answering_make_no_other_call() -> None:
    other = ask(
        services=("dear",),
        timeout_s=1,
        max_cost_usd=0.5,
        max_total_tokens=9,
        cache_s=5.0,
        key="k",
        root="t0",
        stream=True,
        replay="0" * 64,
    )
    assert key_of(other) == key_of(ask())
    assert key_of(ask(), question_of(ask())) == key_of(ask())


def test_whatever_changes_the_answer_makes_another_call() -> None:
    changes: list[dict[str, Any]] = [
        {"agent": "coding"},
        {"temperature": 0.0},
        {"max_tokens": 99},
        {"json_schema": {"type": "object"}},
        {"messages": ask().messages[:1]},
        {"messages": (*ask().messages, ChatMessage(role="user", content=""))},
        {"tools": ({"type": "function"},)},
        {"tool_choice": "none"},
    ]
    assert len({question_of(ask(**change)) for change in [{}, *changes]}) == len(changes) + 1
    assert len({key_of(ask(**change)) for change in [{}, *changes]}) == len(changes) + 1


def test_a_question_is_the_same_whoever_asks_it_and_whoever_may_answer() -> None:
    other = ask(tenant="another", task_id="t9", step="review", services=("dear",), max_cost_usd=0.5, timeout_s=1)
    assert question_of(other) == question_of(ask())


def test_a_question_travels_unchanged_and_keeps_its_name_in_later_versions() -> None:
    # Given a question with everything that a question may have
    schema = {"type": "object", "properties": {"b": {"minimum": 0.5}, "a": {"type": ["string", "null"]}}}
    asked = ask(json_schema=schema, tools=({"type": "function", "function": {"name": "f"}},), tool_choice="auto")
    # When it has travelled, Then it is the same
    assert question_of(decode(encode(asked), Complete)) == question_of(asked)
    # And recordings on disk hold these names: one that changes makes every one of them useless
    assert question_of(ask()) == "a32742ea3728b79db7820f52d747a0892f7edd65a3fc92f75faf166875f1c484"


def test_vectors_of_other_texts_or_of_another_service_are_another_question() -> None:
    asked = Embed(texts=("red", "blue"), step="s1", task_id="t1")
    same = {"tenant": "acme", "task_id": "t2", "step": "s2", "key": "k", "max_cost_usd": 1.0}
    others: list[dict[str, Any]] = [{"texts": ("redblue",)}, {"texts": ("blue", "red")}, {"service": "another"}]
    assert question_of(asked.model_copy(update=same)) == question_of(decode(encode(asked), Embed)) == question_of(asked)
    assert len({question_of(asked.model_copy(update=other)) for other in ({}, *others)}) == 4
    assert (key_of(asked).task, key_of(asked).step) == ("t1", "s1")


def test_vectors_that_are_asked_for_without_a_task_are_a_call_of_their_own() -> None:
    one, other = key_of(Embed(texts=("red",))), key_of(Embed(texts=("red",)))
    assert one.task == other.task == NO_TASK
    assert one != other
