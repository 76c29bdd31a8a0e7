"""Processes of a platform, found by the mark that every one inherits, and ended by their ids.

A recorded pid says nothing about the children that a dead process left behind: Ray's workers, its HAProxy. Each
process of a platform carries the platform's instance and home in its environment instead, so that exactly those are
found, whoever started them and whatever became of their parents. The supervisor itself is recorded by pid and start
time; a process's id is used together with its start time, so that a reused id is never ended.

Some of Ray's own processes write their title over their environment. They stay in the session that their supervisor
started them in, so those sessions are recorded too: the kernel does not reuse a session's id while anybody is in it.
Once it is empty its id may go to a stranger, so a record counts only while its leader, if there is one, is the same
process, never after a restart of the machine or container, and never for a process whose environment can be read.
"""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import psutil

from bus.files import write_private

MARK = "DEVSKYY_PLATFORM_INSTANCE"
HOME_MARK = "DEVSKYY_PLATFORM_HOME"
SLACK_S = 1.0
"""Start times of one and the same process are read with this much difference at most."""


def marks(instance: str, home: Path) -> dict[str, str]:
    """What the children of a supervisor get into their environment."""
    return {MARK: instance, HOME_MARK: str(home)}


def _sessions_file(home: Path) -> Path:
    return home / "run" / "sessions.jsonl"


def record_session(home: Path, instance: str, leader: int) -> None:
    """Write down a session that a supervisor started, and forget those that nobody is in any more."""
    with contextlib.suppress(psutil.Error, OSError):
        entry = _entry(instance, leader, psutil.Process(leader).create_time())
        populated = {_session_of(pid) for pid in psutil.pids()}
        kept = [_entry(of, id, began) for id, (of, began) in _sessions(home).items() if id in populated - {leader}]
        write_private(_sessions_file(home), "".join(json.dumps(each) + "\n" for each in [*kept, entry]))


def _entry(instance: str, session: int, started: float) -> dict[str, object]:
    return {"instance": instance, "session": session, "started": started, "system": _system_started()}


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _system_started() -> float:
    """When the first process of this machine, or of this container, began."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(1).create_time()
    return psutil.boot_time()


def _sessions(home: Path) -> dict[int, tuple[str, float]]:
    """The recorded sessions whose ids cannot be anybody else's by now."""
    found: dict[int, tuple[str, float]] = {}
    system = _system_started()
    with contextlib.suppress(OSError):
        for line in _sessions_file(home).read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                session, started = int(entry["session"]), float(entry["started"])
                if abs(entry["system"] - system) <= SLACK_S and not _used_again(session, started):
                    found[session] = (entry["instance"], started)
    return found


def _used_again(session: int, started: float) -> bool:
    """Whether a session's id now belongs to another process than the one that was recorded."""
    try:
        return abs(psutil.Process(session).create_time() - started) > SLACK_S
    except psutil.NoSuchProcess:
        return False  # its leader is gone; the id stays taken while others are in the session
    except psutil.Error:
        return True


def _instance_of(process: psutil.Process, home: Path, sessions: dict[int, tuple[str, float]]) -> str | None:
    """The instance of this home's platforms that a process belongs to, if any."""
    try:
        environment = process.environ()
    except psutil.AccessDenied:
        environment = {}
    if environment.get(HOME_MARK) == str(home):
        return environment.get(MARK)
    if "PATH" in environment or "HOME" in environment:
        return None  # it can be read and has no mark, so it is somebody else's; one that was written over has neither
    instance, started = sessions.get(os.getsid(process.pid), (None, 0.0))
    return instance if process.create_time() >= started - SLACK_S else None


def of_home(home: Path, besides: str | None = None) -> list[psutil.Process]:
    """Living processes of platforms of this home; those of the instance `besides` are left out."""
    found = []
    me = psutil.Process()
    spared = {me.pid, *(parent.pid for parent in me.parents())}
    sessions = _sessions(home)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            instance = _instance_of(process, home, sessions)
            living = process.pid not in spared and process.status() != psutil.STATUS_ZOMBIE
            if instance is not None and instance != besides and living:
                found.append(process)
    return found


def stray_haproxies(home: Path) -> list[psutil.Process]:
    """HAProxies of this home whose manager is dead: they hold the port and send callers to replicas long gone."""
    strays = []
    for process in psutil.process_iter(["name", "ppid"]):
        with contextlib.suppress(psutil.Error):
            ours = process.info["name"] == "haproxy" and _marked(process, home)
            if ours and not _marked(psutil.Process(process.info["ppid"]), home):
                strays.append(process)
    return strays


def _marked(process: psutil.Process, home: Path) -> bool:
    """Whether a process carries the mark of this home; one that we may not look into does not."""
    try:
        return process.environ().get(HOME_MARK) == str(home)
    except (psutil.Error, OSError):
        return False


def end(processes: list[psutil.Process], grace_s: float = 5.0) -> None:
    """Ask each to end, wait, and kill what is left. psutil checks the start time before it signals."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    kill(_left(processes, grace_s))


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    _left(processes, timeout_s=5)


def _left(processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Those that still run when the time is over. A zombie has ended: some first processes of containers bury theirs
    late or never, and those of our own children are for whoever started them to bury."""
    deadline = time.monotonic() + timeout_s
    while (processes := [each for each in processes if _runs(each)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return processes


def _runs(process: psutil.Process) -> bool:
    try:
        # A zombie whose other threads still end has its ports and files.
        return process.is_running() and (process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True


def end_home(home: Path, besides: str | None = None, grace_s: float = 5.0) -> int:
    """End every process of this home's platforms; how many there were.

    Killing one may let its parent start another: it looks again until there are none, for at most ten rounds.
    """
    ended = 0
    for _ in range(10):
        left = of_home(home, besides)
        if not left:
            _sessions_file(home).unlink(missing_ok=True)
            break
        ended += len(left)
        end(left, grace_s)
        grace_s = min(grace_s, 1.0)
    return ended


def wait_gone(pid: int, timeout_s: float) -> bool:
    """Whether a process ends within the time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def interrupt(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
