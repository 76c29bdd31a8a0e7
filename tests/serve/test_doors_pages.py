"""The commands of the pages on doors, run as they stand there. The page on OpenAI's has a test of its own."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.broker import Broker
from tests.serve.stack import Stack, stack
from tests.simulators.openai import OpenAISimulator

LONG_S = 60.0
DOCS = Path(__file__).parents[2] / "docs"
ADDRESS = "http://127.0.0.1:8000"
COMMANDS = [
    (page, kind, text)
    for page in ("doors.md", "anthropic.md", "a2a.md")
    for kind, text in re.findall(r"```(python|bash)\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
]


@pytest.fixture
async def live(broker: Broker, tmp_path: Path) -> AsyncIterator[Stack]:
    with OpenAISimulator() as sim:
        async with stack(broker.url, tmp_path / "home", sim) as made:
            yield made


@pytest.mark.parametrize("place", range(len(COMMANDS)), ids=lambda place: "-".join(COMMANDS[place][:2]))
async def test_a_command_of_a_page_runs(live: Stack, place: int) -> None:
    # Given a command as the page has it, with the address of this platform
    _, kind, text = COMMANDS[place]
    assert ADDRESS in text
    text = text.replace(ADDRESS, live.url)
    # When it is run
    command = [sys.executable, "-W", "error", "-c", text] if kind == "python" else ["bash", "-ec", text]
    pipe = asyncio.subprocess.PIPE
    running = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    said, complaint = await asyncio.wait_for(running.communicate(), LONG_S)
    # Then it ends well, and says what the model said
    assert running.returncode == 0, complaint.decode()
    assert "tote bag" in said.decode()
    assert live.sim.calls


def test_every_page_of_a_door_has_its_place_in_the_index() -> None:
    index = (DOCS / "doors.md").read_text()
    for page in re.findall(r"\]\(([\w./]+\.md)", index):
        assert (DOCS / page).resolve().exists(), page
    named = set(re.findall(r"\]\((\w+\.md)\)", index))
    assert {
        "sdk.md",
        "openai.md",
        "embeddings.md",
        "anthropic.md",
        "mcp.md",
        "a2a.md",
        "nats.md",
        "security.md",
    } <= named
