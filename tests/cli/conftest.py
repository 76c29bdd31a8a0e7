"""A platform for each test, a home of its own, and commands run in this process."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devskyy.cli.app import main
from tests.simulators.platform import PlatformSimulator


@dataclass(frozen=True)
class Ran:
    """A command that has been run."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout; anything beside it fails."""
        return json.loads(self.out)


Command = Callable[..., Ran]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a platform, in an environment that says nothing else."""
    for name in [name for name in os.environ if name.startswith("DEVSKYY_") or "_KEY" in name]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("DEVSKYY_HOME", str(home))
    return home


@pytest.fixture
def platform(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlatformSimulator]:
    with PlatformSimulator() as platform:
        monkeypatch.setenv("DEVSKYY_URL", platform.url)
        yield platform


@pytest.fixture
def devskyy(home: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command as the shell would: `devskyy("run", "hello", "--json")`."""

    def run(*words: str) -> Ran:
        capsys.readouterr()
        code = main(words)
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture
def program() -> list[str]:
    """The command line as a process of its own."""
    return [sys.executable, "-m", "devskyy.cli.app"]
