"""Two gateways over a real broker, one of them killed half way: no budget is passed, every call is accounted for."""

import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.gateway.scopes import nano
from bus.client import Bus
from bus.journal import Entry, Journal
from bus.purse import PurseStream
from bus.streams import PURSE
from bus.subjects import ModelsComplete
from schemas.completion import ChatMessage, Complete, Completion
from tests.broker import Broker
from tests.bus.test_purse import changes
from tests.gateway.doubles import SERVICES
from tests.gateway.gateway_process import CALL_USD, POOR
from tests.gateway.purses import peaks
from tests.gateway.questions import ask

CALLS = 2000
LIMIT = 100 * nano(CALL_USD)
DONE_S = 300.0
"""Ten seconds, where nobody else wants the cores."""


class Process:
    """A gateway of its own."""

    def __init__(self, broker: Broker, instance: str, catalogue: Path, victim: Path) -> None:
        self._args = (broker.url, instance, str(catalogue), str(victim))

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.gateway.gateway_process", *self._args, stdin=asyncio.subprocess.PIPE
        )

    async def stop(self) -> int:
        """Returns once nothing that was reserved is open any more."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        return await asyncio.wait_for(self._process.wait(), DONE_S)

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


class Askers:
    """Many who ask at once, and again whenever whoever worked on it is lost."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.answers: dict[tuple[str, str], Completion] = {}
        """By task and step."""

    async def ask_all(self) -> None:
        await asyncio.gather(*(self._ask(q) for n in range(CALLS) for q in _questions(n)))

    async def _ask(self, question: Complete) -> None:
        subject = ModelsComplete("test")
        answer = await self._bus.ask(subject, question, Completion, deadline=question.deadline_at)
        self.answers[question.task_id, question.step] = answer


def _questions(n: int) -> Iterator[Complete]:
    yield ask(task_id="poor", step=f"s{n}", key=POOR, max_cost_usd=100 * CALL_USD, timeout_s=DONE_S)
    if n % 20 == 0:
        other = (ChatMessage(role="user", content="Say goodbye."),)
        yield ask(task_id="rich", step=f"s{n}", messages=other, max_cost_usd=1.0, timeout_s=DONE_S)


@pytest.mark.timeout(3 * DONE_S)
async def test_two_thousand_calls_and_money_for_a_hundred_and_a_gateway_that_is_killed(
    broker: Broker, bus: Bus, tmp_path: Path
) -> None:
    # Given two gateways, and a key and a tree of tasks whose budgets pay for a hundred calls
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text(SERVICES)
    victim = tmp_path / "victim"
    gateways = {name: Process(broker, name, catalogue, victim) for name in ("gateway-a", "gateway-b")}
    askers, store = Askers(bus), PurseStream(bus)
    await _keep_every_change(bus)
    try:
        await asyncio.gather(*(gateway.start() for gateway in gateways.values()))
        async with asyncio.timeout(DONE_S):
            while not gateways.keys() <= (await bus.discover(set(gateways))).keys():  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.05)
        # When two thousand ask at once, and a hundred of another task that has plenty, and one gateway is killed with
        # some of its calls over and some not
        await asyncio.wait_for(askers.ask_all(), DONE_S)
        (survivor,) = gateways.keys() - {victim.read_text()}
        assert await gateways[survivor].stop() == 0
    finally:
        await asyncio.gather(*(gateway.kill() for gateway in gateways.values()))
    # Then everybody has an answer, but for those for whom there was no money left
    entries = {task: await _entries(bus, task) for task in ("poor", "rich")}
    codes = {task: Counter(_code(askers.answers[task, step]) for step in entries[task]) for task in entries}
    assert codes["rich"] == {"answered": CALLS // 20}
    assert codes["poor"]["answered"] + codes["poor"]["budget_exceeded"] == codes["poor"].total() == CALLS
    for (task, step), answer in askers.answers.items():
        # Killed before it could write down what it had told, a gateway leaves it open.
        assert entries[task][step].completion in (answer, None)
    # And after no single change of a counter had granted calls more reserved and spent than there is
    made = await changes(bus)
    highest = peaks(made, {id_ for kept in entries.values() for entry in kept.values() for id_ in entry.held})
    books = {task: {c for c in highest if f".{task}." in c} for task in entries}
    assert (len(books["poor"]), len(books["rich"])) == (2, 1)
    assert all(0 < highest[counter] <= LIMIT for counter in books["poor"])
    # And what the dead gateway left is in doubt or was given back, nothing is open, and the books agree
    assert await store.opened() == ()
    doubtful = 0
    for task, counters in books.items():
        calls = await Journal(bus).calls_of("default", task)
        doubtful += sum(call.in_doubt for call in calls)
        charged = sum(nano(CALL_USD if call.cost_usd is None else call.cost_usd) for call in calls)
        assert set((await store.values(list(counters))).values()) == {charged}
    assert doubtful


async def _keep_every_change(bus: Bus) -> None:
    config = (await bus.js.stream_info(PURSE)).config
    config.max_msgs_per_subject = 1_000_000
    await bus.js.update_stream(config)


def _code(answer: Completion) -> str:
    return "answered" if answer.problem is None else answer.problem.code


async def _entries(bus: Bus, task: str) -> dict[str, Entry]:
    async with contextlib.aclosing(Journal(bus).entries_of("default", task)) as entries:
        return {key.step: entry async for key, entry in entries}
