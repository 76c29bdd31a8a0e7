"""`devskyy mcp` as a program of its own, driven by the official SDK's client over its stdin and stdout."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TextIO

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp_types import CallToolResult, TextContent

from tests.simulators.platform import PlatformSimulator, Script

LONG_S = 20.0
ERAS = pytest.mark.parametrize("era", ["legacy", "auto"])
PROGRAM = ["-m", "devskyy.cli.app", "mcp"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The directory of a coding assistant's project."""
    made = tmp_path / "project"
    (made / "src").mkdir(parents=True)
    (made / "src" / "bag.py").write_text("class Bag: ...\n")
    (made / ".env").write_text("SECRET=1\n")
    (tmp_path / "outside.txt").write_text("Not of the project.\n")
    (made / "link.txt").symlink_to(tmp_path / "outside.txt")
    (made / "notes.txt").symlink_to(made / ".env")
    return made


@asynccontextmanager
async def connected(place: Path, era: str = "auto", errlog: TextIO = sys.stderr) -> AsyncIterator[Client]:
    # The program is found wherever this test's own modules are.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    server = StdioServerParameters(command=sys.executable, args=PROGRAM, env=environment, cwd=place)
    async with Client(stdio_client(server, errlog=errlog), mode=era, read_timeout_seconds=60) as client:  # type: ignore[arg-type]
        yield client


def words(result: CallToolResult) -> str:
    assert isinstance(result.content[0], TextContent)
    return result.content[0].text


async def until(platform: PlatformSimulator, holds: Callable[[], bool]) -> None:
    await asyncio.to_thread(platform.wait_until, holds, LONG_S)


@ERAS
async def test_a_task_is_delegated_and_told_while_it_goes(platform: PlatformSimulator, place: Path, era: str) -> None:
    # Given a platform whose task goes on until the test ends it
    platform.scripts["Name a bag"] = Script(held=True, answer="Tote.")
    heard: list[str] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(message or "")

    async with connected(place, era) as client:
        # When it is delegated
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        asked = {"prompt": "Name a bag", "tier": "simple", "max_cost_usd": 0.5, "capabilities": ["code"]}
        calling = asyncio.create_task(client.call_tool("delegate", asked, progress_callback=hear))
        await until(platform, lambda: bool(platform.tasks))
        (task_id, running), *_ = platform.tasks.items()
        platform.finish(task_id)
        result = await calling
        story = (await client.read_resource(f"devskyy://tasks/{task_id}")).contents[0]
    # Then the platform was asked what was said
    assert (running.request.tier, running.request.max_cost_usd) == ("simple", 0.5)
    assert running.request.capabilities == ("code",)
    # And the answer is there, with what happened before it
    data = dict(result.structured_content)
    assert (data["status"], data["answer"], data["saved"]["premium_cost_usd"]) == ("completed", "Tote.", 0.00243)
    assert words(result).startswith("Tote.\n\n[devskyy: task")
    assert heard[0] == f"task {task_id} accepted"
    assert heard[-1] == "completed"
    assert "Name a bag" in story.text  # type: ignore[union-attr]
    # And the same tools are there as at the door, and files may be given
    assert list(tools) == ["delegate", "status", "result", "cancel", "list", "costs"]
    assert "files" in tools["delegate"].input_schema["properties"]


@ERAS
async def test_a_call_that_is_cancelled_cancels_its_task(platform: PlatformSimulator, place: Path, era: str) -> None:
    platform.scripts["Name a bag"] = Script(held=True)
    async with connected(place, era) as client:
        # Given a call that waits
        calling = asyncio.create_task(client.call_tool("delegate", {"prompt": "Name a bag"}))
        await until(platform, lambda: bool(platform.tasks))
        # When it is cancelled
        calling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await calling
        # Then so is the task
        await until(platform, lambda: all(each.task.status == "cancelled" for each in platform.tasks.values()))


async def test_what_is_waited_for_when_the_client_leaves_is_cancelled(platform: PlatformSimulator, place: Path) -> None:
    platform.scripts["Name a bag"] = Script(held=True)
    async with connected(place) as client:
        calling = asyncio.create_task(client.call_tool("delegate", {"prompt": "Name a bag"}))
        await until(platform, lambda: bool(platform.tasks))
    await asyncio.gather(calling, return_exceptions=True)
    await until(platform, lambda: all(each.task.status == "cancelled" for each in platform.tasks.values()))


async def test_files_are_read_beside_the_assistant_and_only_those_of_its_project(
    platform: PlatformSimulator, place: Path
) -> None:
    async with connected(place) as client:
        # When a file of the project is given
        result = await client.call_tool("delegate", {"prompt": "Review it", "files": ["src/bag.py"]})
        refused = {
            path: await client.call_tool("delegate", {"prompt": "Tell me", "files": [path]})
            for path in (".env", "notes.txt", "link.txt", "../outside.txt", "/etc/passwd", "none.py", "src", "a\0b")
        }
    # Then its text went to the platform
    assert not result.is_error, words(result)
    (running,) = platform.tasks.values()
    (given,) = running.request.inputs
    assert (given.name, given.kind, given.text) == ("bag.py", "code", "class Bag: ...\n")
    # And what is hidden, elsewhere, or no file did not, with the reason
    assert all(each.is_error and "files: " in words(each) for each in refused.values())
    assert "is hidden" in words(refused[".env"])
    assert "is hidden" in words(refused["notes.txt"])
    assert "is not under" in words(refused["link.txt"])
    assert "is not under" in words(refused["/etc/passwd"])


async def test_without_a_platform_it_says_so_and_serves_one_that_starts_later(
    home: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a place where a platform will be
    later = PlatformSimulator()
    with later:
        monkeypatch.setenv("DEVSKYY_URL", later.url)
    log = tmp_path / "stderr"
    with log.open("w") as errlog:
        async with connected(place, errlog=errlog) as client:
            # When a tool is called, then the answer says what to do
            result = await client.call_tool("list", {})
            assert result.is_error
            assert "no platform answers" in words(result)
            assert "devskyy up" in words(result)
            # When it is there, then it answers
            with later:
                found = await client.call_tool("list", {"unavailable": True})
    assert {who["name"] for who in dict(found.structured_content)["agents"]} == {"writing", "code"}
    # And stderr has said it too
    assert "devskyy mcp: no platform answers at" in log.read_text()


async def test_costs_and_states_are_told(platform: PlatformSimulator, place: Path) -> None:
    platform.scripts["Name a bag"] = Script(held=True)
    async with connected(place) as client:

        async def told(tool: str, **given: Any) -> dict[str, Any]:
            result = await client.call_tool(tool, given)
            assert not result.is_error, words(result)
            return dict(result.structured_content)

        spent, there = await told("costs"), await told("list")
        begun = await told("delegate", prompt="Name a bag", wait_s=0.2)
        state = await told("status", task_id=begun["task_id"])
        ended = await told("cancel", task_id=begun["task_id"])
        fetched = await told("result", task_id=begun["task_id"])
        listed = (await client.list_resources()).resources
    assert (spent["spent_usd"], spent["saved_usd"], spent["unknown_calls"]) == (0.25, 1.25, 1)
    assert [who["name"] for who in there["services"]] == ["local"]
    assert there["services_left_out"] == 1
    assert begun["status"] == state["status"] != "completed"
    assert (ended["status"], fetched["status"]) == ("cancelled", "cancelled")
    assert [resource.uri for resource in listed] == [f"devskyy://tasks/{begun['task_id']}"]


async def test_what_is_no_message_is_passed_over(platform: PlatformSimulator, place: Path) -> None:
    # When a client writes nonsense before it begins
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    lines = ["nonsense", "{}", json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello})]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, *PROGRAM],
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        cwd=place,
        env=environment,
        timeout=60,
    )
    # Then it is answered all the same, and the program ends well when stdin does
    replies = [json.loads(line) for line in done.stdout.splitlines()]
    assert [reply["result"]["serverInfo"]["name"] for reply in replies if reply.get("id") == 1] == ["devskyy"]
    assert done.returncode == 0
