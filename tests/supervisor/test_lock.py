from pathlib import Path

import pytest

from devskyy.supervisor import processes
from devskyy.supervisor.checks import locked
from devskyy.supervisor.state import state_path
from devskyy.supervisor.supervisor import Supervisor
from schemas.errors import StartError
from schemas.settings import Settings
from tests.supervisor.conftest import SLEEP, Start

HOLDS = """
import pathlib, subprocess, sys, time
from devskyy.supervisor.checks import locked
with locked(pathlib.Path(sys.argv[1])):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdout=subprocess.DEVNULL)
    print("held", flush=True)
    time.sleep(600)
"""
"""A supervisor that holds a home, with a child as nats-server or Ray would be."""


def everything(home: Path) -> list[Path]:
    return sorted(home.rglob("*"))


def test_a_home_is_held_once_and_let_go_at_the_end(home: Path) -> None:
    # Given a home that is held
    with locked(home):
        # When another wants it
        # Then it is refused, with the ways out
        with pytest.raises(StartError, match="runs already") as refused, locked(home):
            pass
        assert str(home) in refused.value.cause
        assert all(word in refused.value.remedy for word in ("devskyy status", "devskyy down", "DEVSKYY_HOME"))
    # And once it is let go, it can be held again
    with locked(home):
        pass


def test_two_homes_do_not_disturb_each_other(home: Path, tmp_path: Path) -> None:
    # Given a home that is held
    # When another one is wanted
    # Then it is to be had
    with locked(home), locked(tmp_path / "another"):
        pass


async def test_a_second_supervisor_is_refused_and_harms_nothing(home: Path, start: Start) -> None:
    # Given a supervisor that holds the home, and a process of its platform
    start(HOLDS, None, str(home))
    process = start(SLEEP, processes.marks("one", home))
    before = everything(home)
    # When a second supervisor is started there
    with pytest.raises(StartError, match="runs already"):
        await Supervisor(Settings(home=home)).run()
    # Then the first one's platform still runs, and nothing was written
    assert process.poll() is None
    assert everything(home) == before
    assert not state_path(home).exists()


def test_a_killed_holder_lets_go_at_once_even_if_its_children_live(home: Path, start: Start) -> None:
    # Given a holder with a child
    holder = start(HOLDS, processes.marks("one", home), str(home))
    # When the holder alone is killed
    holder.kill()
    holder.wait()
    # Then the home is free, although the child still runs
    with locked(home):
        children = processes.of_home(home)
    processes.kill(children)
    assert len(children) == 1
