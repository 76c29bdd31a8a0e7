"""The `llm` command line, which knows nothing of us, against the doors on a real port."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.broker import Broker
from tests.serve.stack import Stack, stack
from tests.simulators.openai import Behaviour, OpenAISimulator

LONG_S = 60.0
TEXT = "Carry books. Größe: egal."
MODELS = """
- model_id: devskyy
  model_name: devskyy-auto
  api_base: "{url}/v1"
- model_id: devskyy-team
  model_name: devskyy-moderate
  api_base: "{url}/v1"
"""


@pytest.fixture
async def live(broker: Broker, tmp_path: Path) -> AsyncIterator[Stack]:
    with OpenAISimulator(Behaviour(answer=TEXT, tokens_per_s=50)) as sim:
        async with stack(broker.url, tmp_path / "home", sim) as made:
            (tmp_path / "extra-openai-models.yaml").write_text(MODELS.format(url=made.url))
            yield made


async def llm(folder: Path, *words: str) -> str:
    """What it prints; its models and conversations lie in that folder, and it loads no plugins."""
    environment = {**os.environ, "LLM_USER_PATH": str(folder), "LLM_LOAD_PLUGINS": ""}
    command = [sys.executable, "-m", "llm", *words]
    pipe = asyncio.subprocess.PIPE
    running = await asyncio.create_subprocess_exec(*command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe)
    said, complaint = await asyncio.wait_for(running.communicate(b""), LONG_S)
    assert running.returncode == 0, complaint.decode()
    return said.decode()


@pytest.mark.parametrize("how", [[], ["--no-stream"]], ids=["streamed", "whole"])
@pytest.mark.parametrize("model", ["devskyy", "devskyy-team"])
async def test_it_prints_the_answer(live: Stack, tmp_path: Path, model: str, how: list[str]) -> None:
    # Given its file of models with ours in it
    # When it is asked, by one who answers or by a team
    said = await llm(tmp_path, "-m", model, *how, "Name a use of a tote bag")
    # Then the answer is printed
    assert said.strip().endswith(TEXT)


async def test_it_goes_on_with_a_conversation(live: Stack, tmp_path: Path) -> None:
    await llm(tmp_path, "-m", "devskyy", "-s", "Be brief.", "Name a use of a tote bag")
    assert TEXT in await llm(tmp_path, "-c", "And another?")
    said = [message["content"] for message in live.sim.calls[-1].body["messages"]]
    assert said[-3:] == ["Name a use of a tote bag", TEXT, "And another?"]
    assert "Be brief." in said


async def test_it_lists_our_models(live: Stack, tmp_path: Path) -> None:
    assert "devskyy-team" in await llm(tmp_path, "models")
