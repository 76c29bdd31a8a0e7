"""Specialists on a real platform: hosts start when they are asked for, answer, and come back when they are killed."""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from actors.catalogue import load
from bus.client import Bus
from bus.subjects import AgentAsk, FleetScale
from schemas.agent import Answer, Ask
from schemas.fleet import Scale, Scaled
from schemas.message import now
from schemas.settings import DEFAULT_TENANT
from tests.live import LivePlatform

HOSTS = {"specialists-0", "specialists-1"}
IN_TIME_S = 90


@pytest.fixture
async def bus(platform: LivePlatform) -> AsyncIterator[Bus]:
    """As a part of the platform."""
    bus = await Bus(platform.state.nats_url, "test").connect()
    yield bus
    await bus.close(grace_s=0.1)


async def scale(bus: Bus, seats: int) -> Scaled:
    return await bus.request(FleetScale(), Scale(seats=seats), Scaled, timeout_s=IN_TIME_S)


async def ask(bus: Bus, role: str) -> Answer:
    deadline = now() + timedelta(seconds=IN_TIME_S)
    task, prompt = f"t{uuid.uuid4().hex}", "Our headline: Best bag ever!!!"
    question = Ask(
        tenant=DEFAULT_TENANT,
        task_id=task,
        step="look",
        seat=f"{role}-2",
        prompt=prompt,
        max_tokens=12,
        deadline_at=deadline,
    )
    return await bus.ask(AgentAsk(role), question, Answer, deadline=deadline, work=task)


async def pids(bus: Bus) -> dict[str, int]:
    found: dict[str, dict[str, Any]] = await bus.discover(HOSTS)
    return {name: int(found[name]["metadata"]["pid"]) for name in HOSTS & found.keys()}


async def test_hosts_start_when_they_are_asked_for_and_answer_again_after_they_were_killed(
    platform: LivePlatform, bus: Bus
) -> None:
    # Given a platform that was asked for more seats than one host carries, by two at once
    scaled = await asyncio.gather(scale(bus, 48), scale(bus, 30))
    assert [each.actors for each in scaled] == [2, 2]
    assert (await scale(bus, 48)).started == 0
    # When specialists are asked
    answers = await asyncio.gather(ask(bus, "brand-voice-editor"), ask(bus, "privacy-reviewer"))
    # Then the embedded model served them, under the names of their seats
    assert [answer.agent for answer in answers] == ["brand-voice-editor-2", "privacy-reviewer-2"]
    assert all(answer.text and answer.problem is None for answer in answers)
    assert [call.service for answer in answers for call in answer.calls] == ["local", "local"]
    listed = platform.json("agents")["agents"]
    assert {a["state"] for a in listed if a["kind"] == "specialist"} == {"up"}
    # When every host is killed
    before = await pids(bus)
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    # Then a specialist answers again, from a new process, and nobody had to start it
    assert (await ask(bus, "copy-editor")).text
    assert (await scale(bus, 48)) == Scaled(actors=2, started=0)
    assert not set(before.values()) & set((await pids(bus)).values())
    # And the platform was ready all the while
    assert platform.ready()
    assert set(load().specialists) == {a["name"] for a in listed if a["kind"] == "specialist"}
