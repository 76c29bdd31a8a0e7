"""Coding assistants on a real platform: both ways to it, with the official SDK's client."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from tests.live import LivePlatform, until
from tests.simulators.openai import Behaviour, OpenAISimulator

pytestmark = pytest.mark.platform

WAYS = pytest.mark.parametrize(("way", "era"), [("http", "legacy"), ("http", "auto"), ("stdio", "auto")])


@asynccontextmanager
async def assistant(live: LivePlatform, way: str, era: Any) -> AsyncIterator[Client]:
    if way == "http":
        async with (
            httpx2.AsyncClient(timeout=60) as http,
            Client(streamable_http_client(f"{live.url}/mcp", http_client=http), mode=era) as client,
        ):
            yield client
        return
    environment = {**live.environment, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = StdioServerParameters(command=sys.executable, args=["-m", "devskyy.cli.app", "mcp"], env=environment)
    async with Client(stdio_client(command), mode=era) as client:
        yield client


async def look(live: LivePlatform, what: str) -> dict[str, Any]:
    async with httpx.AsyncClient() as http:
        return dict((await http.get(f"{live.url}/api/v1/tasks{what}", timeout=10)).json())


@WAYS
async def test_a_team_is_delegated_to_and_heard_while_it_works(
    simulated: tuple[LivePlatform, OpenAISimulator], sim: OpenAISimulator, way: str, era: str
) -> None:
    live, _ = simulated
    sim.behaviour = Behaviour(answer="Carry books.", prompt_tokens=100, completion_tokens=50)
    heard: list[str] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(message or "")

    # When a team is delegated to
    async with assistant(live, way, era) as client:
        asked = {"prompt": "Name a use of a tote bag", "tier": "moderate"}
        result = await client.call_tool("delegate", asked, progress_callback=hear)
        data = dict(result.structured_content)
        story = (await client.read_resource(f"devskyy://tasks/{data['task_id']}")).contents[0].model_dump()["text"]
        spent = dict((await client.call_tool("costs", {})).structured_content)
    # Then its phases were told while it worked, and its answer says what it cost and saved
    assert (data["status"], data["answer"]) == ("completed", "Carry books.")
    assert any(line.startswith("drafts: ") for line in heard)
    assert heard[-1] == "completed"
    assert data["receipt"]["cost_usd"] > 0
    assert data["saved"]["premium_completion_tokens"] > 0
    # And the story and the sums are there
    assert "## Team" in story
    assert spent["by"] == "day"
    # And it is the same task for everybody else
    assert (await look(live, f"/{data['task_id']}"))["answer"] == "Carry books."


@WAYS
async def test_a_call_that_is_cancelled_ends_its_task_and_the_call_to_the_provider(
    simulated: tuple[LivePlatform, OpenAISimulator], sim: OpenAISimulator, way: str, era: str
) -> None:
    live, _ = simulated
    # Given a provider that thinks for long, and somebody who waits
    sim.behaviour = Behaviour(latency_s=120)
    before = len(sim.calls)
    async with assistant(live, way, era) as client:
        asked = {"prompt": "Name a bag", "tier": "simple"}
        calling = asyncio.create_task(client.call_tool("delegate", asked))
        await asyncio.to_thread(until, lambda: len(sim.calls) > before, 30, "the call to the provider")
        # When the wait is cancelled
        calling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await calling
        # Then the provider is left
        await asyncio.to_thread(until, lambda: sim.calls[before].ended_at is not None, 30, "the end of that call")
    (newest,) = (await look(live, "?limit=1"))["tasks"]
    async with asyncio.timeout(10), httpx.AsyncClient() as http:
        events = await http.get(f"{live.url}/api/v1/tasks/{newest['task_id']}/events", timeout=10)
    # And its last event is that
    assert events.text.rpartition("event: ")[2].startswith("cancelled")
