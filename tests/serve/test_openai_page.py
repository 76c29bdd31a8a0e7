"""Every command of docs/openai.md, run as it stands there."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.broker import Broker
from tests.serve.stack import Stack, stack
from tests.simulators.openai import OpenAISimulator

LONG_S = 60.0
PAGE = (Path(__file__).parents[2] / "docs" / "openai.md").read_text()
ADDRESS = "http://127.0.0.1:8000"
COMMANDS = re.findall(r"```(python|bash)\n(.*?)```", PAGE, re.DOTALL)
MODELS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
async def live(broker: Broker, tmp_path: Path) -> AsyncIterator[Stack]:
    with OpenAISimulator() as sim:
        async with stack(broker.url, tmp_path / "home", sim) as made:
            yield made


async def run(live: Stack, *command: str, text: str = "", **variables: str) -> str:
    pipe = asyncio.subprocess.PIPE
    running = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **variables}, stdin=pipe, stdout=pipe, stderr=pipe
    )
    said, complaint = await asyncio.wait_for(running.communicate(text.encode()), LONG_S)
    assert running.returncode == 0, complaint.decode()
    return said.decode()


def test_the_page_has_a_command_for_each_door() -> None:
    assert [kind for kind, _ in COMMANDS] == ["python", "bash", "python", "bash", "python", "python", "bash"]
    assert ADDRESS in MODELS[0]


@pytest.mark.parametrize("place", range(len(COMMANDS)))
async def test_a_command_of_the_page_runs(live: Stack, place: int) -> None:
    # Given a command as the page has it, with the address of this platform
    kind, text = COMMANDS[place]
    text = text.replace(ADDRESS, live.url)
    # When it is run
    command = [sys.executable, "-W", "error", "-c", text] if kind == "python" else ["bash", "-ec", text]
    said = await run(live, *command)
    # Then it says something, and that is no error
    assert said.strip()
    assert '"error":{' not in said.replace(" ", "")
    assert live.sim.calls or "background" in text


async def test_the_models_of_the_page_serve_the_llm_command(live: Stack, tmp_path: Path) -> None:
    (tmp_path / "extra-openai-models.yaml").write_text(MODELS[0].replace(ADDRESS, live.url))
    folder = {"LLM_USER_PATH": str(tmp_path), "LLM_LOAD_PLUGINS": ""}
    command = [sys.executable, "-m", "llm", "-m", "devskyy", "Name a use of a tote bag"]
    assert "tote bag" in await run(live, *command, **folder)
