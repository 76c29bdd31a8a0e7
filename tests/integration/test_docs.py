"""The programs of the pages that need a whole platform, run as they stand there. `tests/serve` runs those of the doors
that need less."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live import LivePlatform
from tests.simulators.openai import Behaviour, OpenAISimulator

pytestmark = pytest.mark.platform

ROOT = Path(__file__).parents[2]
ADDRESS = "http://127.0.0.1:8000"
PROGRAMS = {
    f"{page}-{number}": text
    for page in ("README.md", "docs/embeddings.md", "docs/nats.md", "docs/webhooks.md", "docs/workflows.md")
    for number, text in enumerate(re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL))
    if "import" in text  # else it is a part of one
}
LONG_S = 120.0


def test_each_page_has_a_program() -> None:
    assert {name.rpartition("-")[0] for name in PROGRAMS} == {
        *("README.md", "docs/embeddings.md", "docs/nats.md", "docs/webhooks.md", "docs/workflows.md")
    }


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_of_a_page_runs(
    simulated: tuple[LivePlatform, OpenAISimulator], sim: OpenAISimulator, name: str
) -> None:
    # Given a program as the page has it, with the address of this platform
    live, _ = simulated
    sim.behaviour = Behaviour(answer="A tote bag.")
    text = PROGRAMS[name].replace(ADDRESS, live.url)
    # When it is run where `devskyy` is installed
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-c", text],
        env={**live.environment, "PATH": path},
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
    )
    # Then it ends well, and says what came of it
    assert done.returncode == 0, done.stderr
    assert ("256, 7" if "embeddings" in name else "A tote bag.") in done.stdout.replace("256 7", "256, 7")
