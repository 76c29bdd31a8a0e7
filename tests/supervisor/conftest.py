"""Small real child processes, every one of them ended when its test is over."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

Start = Callable[..., "subprocess.Popen[str]"]

SLEEP = "import time; print('ready', flush=True); time.sleep(600)"


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a Python child and return once it has said its first line: `start(code, {"NAME": "x"}, session=True)`."""
    with ExitStack() as stack:

        def start(
            code: str = SLEEP, environment: dict[str, str] | None = None, *words: str, session: bool = False
        ) -> "subprocess.Popen[str]":
            child = subprocess.Popen(
                [sys.executable, "-c", code, *words],
                env={**os.environ, **(environment or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=session,
            )
            stack.callback(_end, child)
            assert child.stdout is not None
            assert child.stdout.readline(), "the child ended before it was ready"
            return child

        yield start


def _end(child: "subprocess.Popen[str]") -> None:
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home as a supervisor has made it."""
    home = tmp_path / "home"
    (home / "run").mkdir(mode=0o700, parents=True)
    return home
