"""The programs of docs/sdk.md, run as they stand there against a platform in one process."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from schemas.key import digest
from tests.broker import Broker
from tests.serve.keys import OPERATORS
from tests.serve.stack import Stack, stack
from tests.simulators.openai import Behaviour, OpenAISimulator
from tests.workflow.engines import Engines

LONG_S = 60.0
PROGRAMS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs" / "sdk.md").read_text(), re.DOTALL)


@pytest.fixture
async def live(broker: Broker, engines: Engines, tmp_path: Path) -> AsyncIterator[Stack]:
    await engines.start()
    with OpenAISimulator() as sim:
        sim.behaviour = Behaviour(answer="Carry a tote bag.")
        async with stack(broker.url, tmp_path / "home", sim, operator_sha256=digest(OPERATORS)) as made:
            yield made


@pytest.mark.parametrize("place", range(len(PROGRAMS)))
async def test_a_program_of_the_page_runs(live: Stack, place: int) -> None:
    # Given a program as the page has it, and a platform that is found as the page says
    variables = {**os.environ, "DEVSKYY_URL": live.url, "DEVSKYY_API_KEY": OPERATORS}
    # When it is run
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", PROGRAMS[place]),
        env=variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complaint = await asyncio.wait_for(running.communicate(), LONG_S)
    # Then it ends well, and says what the model said
    assert running.returncode == 0, complaint.decode()
    assert "tote bag" in said.decode()
    assert ("the key belongs to another task" in said.decode()) == ("KeyReused" in PROGRAMS[place])
