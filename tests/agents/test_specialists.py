"""Hosts of specialists over a real broker, each in a process of its own; the gateway is replaced."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest

from actors.catalogue import load
from bus.client import Bus
from bus.desk import Endpoint
from bus.subjects import AgentAsk, ModelsComplete
from schemas.agent import Answer, Ask
from schemas.completion import Complete, Completion
from schemas.errors import ResponderLost
from schemas.message import now
from tests.broker import Broker

START_S = 60.0
ASKED = 40

Process = asyncio.subprocess.Process
Starts = Callable[[str], Awaitable[Process]]


class Gateway:
    """Answers every question with who asked it and what it was told to be, once it may."""

    def __init__(self) -> None:
        self.go_on, self.busy = asyncio.Event(), asyncio.Event()
        self.go_on.set()
        self.waiting = 0

    async def __call__(self, ask: Complete) -> Completion:
        self.waiting += 1
        if self.waiting == ASKED:
            self.busy.set()
        await self.go_on.wait()
        return Completion(text=f"{ask.agent}: {ask.messages[0].content}")


@pytest.fixture
async def gateway(broker: Broker) -> AsyncIterator[Gateway]:
    bus, gateway = await broker.connect("gateway"), Gateway()
    endpoint = Endpoint("complete", ModelsComplete.pattern(), Complete, gateway, concurrency=4096)
    await bus.serve("gateway", [endpoint], "", {})
    yield gateway
    await bus.close(grace_s=0.1)


@pytest.fixture
async def start(broker: Broker) -> AsyncIterator[Starts]:
    """Starts a host; returns once it answers."""
    started: list[Process] = []

    async def host(name: str) -> Process:
        words = ("-m", "tests.agents.host_process", name, str(broker.home), broker.url)
        process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=asyncio.subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), START_S), f"{name} ended"
        return process

    yield host
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def question(seat: str | None = None) -> Ask:
    deadline = now() + timedelta(seconds=60)
    return Ask(tenant="default", task_id="t", step="s", seat=seat, prompt="Look at this.", deadline_at=deadline)


async def asked(bus: Bus, role: str, seat: str | None = None) -> Answer:
    ask = question(seat)
    return await bus.ask(AgentAsk(role), ask, Answer, deadline=ask.deadline_at, work=ask.task_id)


async def answered_by(bus: Bus) -> dict[str, int]:
    """What the host that is left has answered, as service discovery tells it."""
    found = await bus.discover({"specialists-0"})
    hosts = {name: stats for name, stats in found.items() if name.startswith("specialists-")}
    return {name: sum(e["data"]["answered"] for e in stats["endpoints"]) for name, stats in hosts.items()}


async def test_one_host_answers_for_every_specialist_with_its_own_prompt(
    bus: Bus, gateway: Gateway, start: Starts
) -> None:
    # Given one host
    await start("specialists-0")
    specialists = load().specialists
    # When each specialist is asked
    answers = await asyncio.gather(*(asked(bus, name) for name in specialists))
    # Then each has answered for itself
    assert {a.agent: a.text for a in answers} == {n: f"{n}: {spec.prompt}" for n, spec in specialists.items()}


async def test_seats_of_one_specialist_answer_under_their_own_names(bus: Bus, gateway: Gateway, start: Starts) -> None:
    await start("specialists-0")
    seats = [f"copy-editor-{number}" for number in range(2, 30)]
    answers = await asyncio.gather(*(asked(bus, "copy-editor", seat) for seat in seats))
    prompt = load().specialists["copy-editor"].prompt
    assert [(a.agent, a.text) for a in answers] == [(seat, f"{seat}: {prompt}") for seat in seats]


async def test_two_hosts_share_the_work_and_one_carries_on_when_the_other_dies(
    bus: Bus, gateway: Gateway, start: Starts
) -> None:
    # Given two hosts that both work on what was asked
    _, dies = await asyncio.gather(start("specialists-0"), start("specialists-1"))
    gateway.go_on.clear()
    asking = [asyncio.create_task(asked(bus, "fact-checker", f"fact-checker-{n}")) for n in range(ASKED)]
    await asyncio.wait_for(gateway.busy.wait(), START_S)
    # When one of them dies at it
    dies.kill()
    await dies.wait()
    gateway.go_on.set()
    answers = await asyncio.wait_for(asyncio.gather(*asking), START_S)
    # Then everybody is answered, and the one that is left has done all of it
    assert {answer.agent for answer in answers} == {f"fact-checker-{n}" for n in range(ASKED)}
    assert await answered_by(bus) == {"specialists-0": ASKED}
    assert gateway.waiting > ASKED  # what the dead one had begun was asked again


async def test_before_any_host_is_there_a_specialist_cannot_be_found(bus: Bus) -> None:
    with pytest.raises(ResponderLost, match="nobody listens"):
        await bus.request(AgentAsk("fact-checker"), question(), Answer, timeout_s=5)
