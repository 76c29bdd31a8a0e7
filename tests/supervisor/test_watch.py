"""What the supervisor makes of what it sees; no part of a platform runs."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from devskyy.supervisor import launch, processes, supervisor
from devskyy.supervisor.state import PlatformState, read_state, write_state
from devskyy.supervisor.supervisor import Supervisor
from schemas.errors import StartError
from schemas.message import now
from schemas.settings import Settings
from tests.supervisor.conftest import Start


class Watched(Supervisor):
    """A platform that seems to run; a test sets what its checks find."""

    def __init__(self, home: Path) -> None:
        self.told: list[tuple[str, str | None]] = []
        super().__init__(Settings(home=home), lambda state: self.told.append((state.phase, state.detail)))
        self.room = self.works = self.open = True
        self.ray_starts: list[float] = []
        self.ray_refusals = 0
        self.nats_refusals = 0
        self._state = a_state()
        self._nats = a_process()

    async def watch(self, ready: bool, until: Callable[[], bool]) -> None:
        """Watch until the condition is seen."""
        self._ready = self._was_ready = ready
        self._ray_began = asyncio.get_running_loop().time()
        watching = asyncio.create_task(self._watch())
        try:
            async with asyncio.timeout(20):
                while not until() and not watching.done():  # noqa: ASYNC110 - there is no event to wait for
                    await asyncio.sleep(0.01)
        finally:
            self.stop()
            await watching

    async def _start_ray(self) -> None:
        self.ray_starts.append(asyncio.get_running_loop().time())
        self._tell("starting", "actors: writing")
        if len(self.ray_starts) <= self.ray_refusals:
            raise StartError("ray took over 60 s", "read its log")
        self._ray = a_process()

    async def _start_nats(self) -> None:
        self._nats_began = asyncio.get_running_loop().time()
        self._nats = a_process()
        if self.nats_refusals:
            self.nats_refusals -= 1
            raise StartError("nats-server took over 10 s", "read its log")

    async def _all_but_nats(self) -> list[psutil.Process]:
        return []

    async def _end_strays(self) -> None:
        pass

    async def _http_answers(self) -> bool:
        return self.open

    async def _jetstream_works(self) -> bool:
        return self.works

    def _disk_has_room(self) -> bool:
        return self.room


def a_process(code: int | None = None) -> Any:
    return SimpleNamespace(returncode=code, pid=0, terminate=lambda: None, kill=lambda: None, wait=at_once)


async def at_once() -> int:
    return 0


def a_state(**fields: Any) -> PlatformState:
    about = {
        "instance": "one",
        "pid": os.getpid(),
        "pid_started": psutil.Process().create_time(),
        "phase": "ready",
        "http": "http://127.0.0.1:9",
        "nats_url": "nats://127.0.0.1:9",
        "outside_nats_url": None,
        "ray_dashboard": None,
        "started_at": now(),
    }
    return PlatformState.model_validate({**about, **fields})


@pytest.fixture
def watched(home: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(supervisor, "WATCH_S", 0.02)
    monkeypatch.setattr(supervisor, "RESTART_PAUSE_S", 0.02)
    monkeypatch.setattr(supervisor, "DEGRADED_AFTER_S", 0.1)
    return Watched(home)


async def test_a_start_that_never_ends_is_given_up_and_says_what_it_waited_for(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a first start in which one actor never comes
    monkeypatch.setattr(supervisor, "START_PATIENCE_S", 0.1)
    watched._tell("starting", "actors: writing")
    # When it is watched for as long as a start may take
    # Then it ends, and names the actor
    with pytest.raises(StartError, match="waited for actors: writing"):
        await watched.watch(ready=False, until=lambda: False)


async def test_a_restart_that_never_ends_is_begun_anew(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a platform that was ready, whose Ray ended, and whose actors do not come back
    monkeypatch.setattr(supervisor, "START_PATIENCE_S", 0.1)
    watched._ray = a_process(code=1)
    # When it is watched for longer than a start may take
    # Then Ray is started once more
    await watched.watch(ready=True, until=lambda: len(watched.ray_starts) == 2)
    assert len(watched.ray_starts) == 2


async def test_a_ray_that_cannot_be_restarted_is_tried_again_with_growing_pauses(watched: Watched) -> None:
    # Given a platform that was ready, whose Ray ended and refuses to start thrice
    watched._ray, watched.ray_refusals = a_process(code=1), 3
    # When it is watched
    await watched.watch(ready=True, until=lambda: len(watched.ray_starts) == 4)
    # Then the platform goes on, says so meanwhile, and waits longer each time
    assert any(phase == "degraded" and "tried again" in (detail or "") for phase, detail in watched.told)
    pauses = [b - a for a, b in zip(watched.ray_starts, watched.ray_starts[1:], strict=False)]
    assert len(pauses) == 3
    assert pauses[0] < pauses[2]


async def test_a_broker_that_comes_up_after_all_ends_the_degraded_phase(watched: Watched) -> None:
    # Given a nats-server that ended, whose first new start takes too long
    watched._nats, watched.nats_refusals, watched.works = a_process(code=1), 1, False
    # When that is told, and it answers at last
    watching = asyncio.create_task(watched.watch(ready=True, until=lambda: ("ready", None) in watched.told))
    await seen(watched, "degraded")
    watched.works = True
    await watching
    # Then the platform is ready again
    assert watched.told[-1] == ("ready", None)


async def test_a_broker_that_fails_to_restart_is_not_told_as_ready(watched: Watched) -> None:
    # Given a JetStream that does not answer, on a server that cannot be restarted
    watched.works, watched.nats_refusals = False, 1000
    # When it is watched through several attempts
    await watched.watch(ready=True, until=lambda: watched.nats_refusals < 997)
    # Then nobody was told that all is well
    assert {phase for phase, _ in watched.told} == {"degraded"}


async def test_a_full_disk_is_told_once_and_over_when_there_is_room(watched: Watched) -> None:
    # Given a full disk
    watched.room = False
    # When there is room again
    watching = asyncio.create_task(watched.watch(ready=True, until=lambda: ("ready", None) in watched.told))
    await seen(watched, "degraded")
    await asyncio.sleep(0.1)
    watched.room = True
    await watching
    # Then each was told once
    assert [phase for phase, _ in watched.told] == ["degraded", "ready"]


async def test_a_door_that_is_shut_is_told(watched: Watched) -> None:
    # Given a platform whose door is shut
    watched.open = False
    # When it is watched
    await watched.watch(ready=True, until=lambda: bool(watched.told))
    # Then it is degraded, and says why
    assert watched.told == [("degraded", "nothing answers over HTTP")]


async def seen(watched: Watched, phase: str) -> None:
    async with asyncio.timeout(10):
        while phase not in [told for told, _ in watched.told]:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)


STARTS_ANEW = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True:
    subprocess.run([sys.executable, "-c", "import time; time.sleep(600)"])
"""
"""A supervisor that hears nothing and starts its child anew whenever it ends."""


def test_a_deaf_supervisor_is_ended_before_its_children(
    start: Start, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a supervisor that does not end when it is told to; itself it has no mark, its children have
    monkeypatch.setattr(launch, "DOWN_S", 0.2)
    code = STARTS_ANEW.replace('"])', f'"], env={processes.marks("one", home)!r})')
    deaf = start(code)
    write_state(home, a_state(pid=deaf.pid, pid_started=psutil.Process(deaf.pid).create_time()))
    # When the platform is stopped
    code_of_down = launch.down(Settings(home=home))
    # Then it is gone, and nothing came after it
    assert code_of_down == 0
    assert deaf.wait(10) == -signal.SIGKILL
    assert processes.of_home(home) == []
    assert read_state(home) is None
