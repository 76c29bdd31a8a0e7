import json
import os
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from devskyy.supervisor import processes
from tests.supervisor.conftest import SLEEP, Start

WITH_A_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
sys.stdin.readline()
"""
"""A process with a child; a line on its standard input ends it, and leaves the child."""

WITH_A_SILENT_CHILD = WITH_A_CHILD.replace("stdout=", "env={'devskyy': 'a title'}, stdout=")
"""The same, and the child's environment looks as if a title had been written over it."""

LOOKS_FOR_ITS_OWN = """
import pathlib, sys
from devskyy.supervisor import processes
print(*(found.pid for found in processes.of_home(pathlib.Path(sys.argv[1]))), flush=True)
sys.stdin.readline()
"""

PASSES_IT_ON = """
import subprocess, sys
sys.exit(subprocess.run([sys.executable, "-c", *sys.argv[1:]]).returncode)
"""

IGNORES_BEING_ASKED = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""

HAPROXY = """
import os, time
with open("/proc/self/comm", "w") as name:
    name.write("haproxy")
print(os.getpid(), flush=True)
time.sleep(600)
"""


def pids(found: list[psutil.Process]) -> set[int]:
    return {process.pid for process in found}


def said(child: "subprocess.Popen[str]") -> str:
    assert child.stdout is not None
    return child.stdout.readline()


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def record(home: Path, leader: int, *, started: float = 0.0, system: float = 0.0) -> None:
    """A record of a session as it would be if its leader, or the machine, had started that much later."""
    processes.record_session(home, "one", leader)
    path = home / "run" / "sessions.jsonl"
    entry = json.loads(path.read_text())
    entry["started"] += started
    entry["system"] += system
    path.write_text(json.dumps(entry) + "\n")


@pytest.fixture
def orphan(start: Start, home: Path) -> int:
    """A process whose environment was written over, in a recorded session whose leader has ended."""
    return left_behind(start, home, WITH_A_SILENT_CHILD)


def left_behind(start: Start, home: Path, code: str) -> int:
    """The child of a recorded leader that has ended."""
    leader = start(f"print('ready', flush=True){code}", None, session=True)
    processes.record_session(home, "one", leader.pid)
    child = int(said(leader))
    assert leader.stdin is not None
    leader.stdin.write("end\n")
    leader.stdin.flush()
    leader.wait(30)
    return child


def test_a_process_is_found_by_the_mark_in_its_environment(start: Start, home: Path, tmp_path: Path) -> None:
    # Given a process of this home, one of another, and one of nobody's
    ours = start(SLEEP, processes.marks("one", home))
    start(SLEEP, processes.marks("one", tmp_path / "another"))
    start(SLEEP)
    # When this home's processes are looked for
    # Then it is the one
    assert pids(processes.of_home(home)) == {ours.pid}


def test_the_mark_is_inherited_whatever_becomes_of_the_parent(start: Start, home: Path) -> None:
    # Given a marked process whose child is left behind
    parent = start(f"print('ready', flush=True){WITH_A_CHILD}", processes.marks("one", home))
    child = int(said(parent))
    parent.kill()
    parent.wait()
    # When this home's processes are looked for
    found = processes.of_home(home)
    processes.kill(found)
    # Then the child is found, and its dead parent is not
    assert pids(found) == {child}


def test_processes_of_one_instance_can_be_left_out(start: Start, home: Path) -> None:
    # Given processes of two starts of this home
    old = start(SLEEP, processes.marks("old", home))
    new = start(SLEEP, processes.marks("new", home))
    # When all but the new one's are looked for
    # Then the old one is left
    assert pids(processes.of_home(home, besides="new")) == {old.pid}
    assert pids(processes.of_home(home)) == {old.pid, new.pid}


def test_a_process_without_a_mark_is_found_by_its_recorded_session(orphan: int, home: Path) -> None:
    # Given a process whose environment says nothing, in a recorded session whose leader is gone
    # When this home's processes are looked for
    found = processes.of_home(home)
    # Then it is found, belongs to its instance, and can be ended
    assert pids(found) == {orphan}
    assert processes.of_home(home, besides="one") == []
    assert processes.end_home(home, grace_s=2) == 1
    assert not runs(orphan)


def test_a_process_whose_environment_may_not_be_read_is_found_by_its_recorded_session(
    orphan: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a process in a recorded session, whose environment is closed to us
    environ = psutil.Process.environ

    def refused(process: psutil.Process) -> dict[str, str]:
        if process.pid == orphan:
            raise psutil.AccessDenied(process.pid)
        return environ(process)

    monkeypatch.setattr(psutil.Process, "environ", refused)
    # When this home's processes are looked for
    found = processes.of_home(home)
    processes.kill(found)
    # Then it is found
    assert pids(found) == {orphan}


def test_a_process_that_can_be_seen_to_have_no_mark_is_a_strangers(start: Start, home: Path) -> None:
    # Given a process with an ordinary environment without a mark, in a recorded session
    child = left_behind(start, home, WITH_A_CHILD)
    # When this home's processes are ended
    ended = processes.end_home(home, grace_s=0.1)
    # Then it is left alone
    alive = runs(child)
    processes.kill([psutil.Process(child)])
    assert (ended, alive) == (0, True)


def test_the_record_of_an_empty_session_is_dropped_with_the_next_one(start: Start, home: Path, orphan: int) -> None:
    # Given a recorded session that has ended, and one with somebody in it
    gone = start(SLEEP, None, session=True)
    processes.record_session(home, "one", gone.pid)
    gone.kill()
    gone.wait()
    # When another is recorded
    new = start(SLEEP, None, session=True)
    processes.record_session(home, "two", new.pid)
    # Then it is no longer there, and the others are
    lines = (home / "run" / "sessions.jsonl").read_text().splitlines()
    processes.kill([psutil.Process(orphan)])
    found = {json.loads(line)["session"]: json.loads(line)["instance"] for line in lines}
    assert set(found.values()) == {"one", "two"}
    assert gone.pid not in found and new.pid in found and len(found) == 2


def test_a_process_that_began_before_its_session_was_recorded_is_a_strangers(orphan: int, home: Path) -> None:
    # Given a record of the session that is younger than the process in it
    strangers = psutil.Process(orphan)
    path = home / "run" / "sessions.jsonl"
    entry = json.loads(path.read_text())
    path.write_text(json.dumps(entry | {"started": entry["started"] + 60}) + "\n")
    # When this home's processes are looked for
    found = processes.of_home(home)
    alive = runs(orphan)
    processes.kill([strangers])
    # Then it is left alone
    assert (found, alive) == ([], True)


@pytest.mark.parametrize(
    ("started", "system"),
    [
        pytest.param(60.0, 0.0, id="the session was recorded later than its present leader began"),
        pytest.param(-60.0, 0.0, id="the session ended, and its id was given to a younger process"),
        pytest.param(0.0, -3600.0, id="the machine was started anew since, and its ids count from the beginning"),
    ],
)
def test_a_session_whose_id_is_somebody_elses_by_now_is_left_alone(
    start: Start, home: Path, started: float, system: float
) -> None:
    # Given a stranger with a child, and a record of its session's id from another time
    stranger = start(f"print('ready', flush=True){WITH_A_SILENT_CHILD}", None, session=True)
    child = psutil.Process(int(said(stranger)))
    record(home, stranger.pid, started=started, system=system)
    # When this home's processes are ended
    ended = processes.end_home(home, grace_s=0.1)
    # Then nobody was
    alive = runs(stranger.pid), runs(child.pid)
    processes.kill([child])
    assert (ended, alive) == (0, (True, True))


@pytest.mark.parametrize("line", ['{"instance": "one", "sess', "\x00\x00", "7", '{"session": null}', "\udcff"])
def test_a_damaged_record_hides_no_other(orphan: int, home: Path, line: str) -> None:
    # Given a record that a power cut left half written, and a good one
    path = home / "run" / "sessions.jsonl"
    good = path.read_bytes()
    path.write_bytes(line.encode(errors="surrogateescape") + b"\n" + good)
    # When this home's processes are looked for
    found = processes.of_home(home)
    processes.kill(found)
    # Then the good one counts
    assert pids(found) == {orphan}


def test_whoever_looks_is_spared_with_all_its_parents(start: Start, home: Path) -> None:
    # Given a marked process, started by a marked one, and one more beside them
    beside = start(SLEEP, processes.marks("one", home))
    # When the inner one looks for this home's processes
    looking = start(
        f"print('ready', flush=True){PASSES_IT_ON}", processes.marks("one", home), LOOKS_FOR_ITS_OWN, str(home)
    )
    found = {int(pid) for pid in said(looking).split()}
    inner = pids(psutil.Process(looking.pid).children())
    # Then it finds only the one beside them
    assert len(inner) == 1
    assert found == {beside.pid}
    assert looking.stdin is not None
    looking.stdin.write("end\n")
    looking.stdin.flush()
    assert looking.wait(30) == 0


def test_ending_a_home_ends_exactly_its_own(start: Start, home: Path, tmp_path: Path) -> None:
    # Given two processes of this home, one of them deaf, one of another home, and a bystander
    meek, deaf = start(SLEEP, processes.marks("one", home)), start(IGNORES_BEING_ASKED, processes.marks("two", home))
    other, bystander = start(SLEEP, processes.marks("one", tmp_path / "another")), start(SLEEP)
    # When this home is ended
    ended = processes.end_home(home, grace_s=0.5)
    # Then both of its own are gone, nobody else is, and a second time there is nothing to end
    assert ended == 2
    assert [runs(child.pid) for child in (meek, deaf, other, bystander)] == [False, False, True, True]
    assert processes.end_home(home) == 0


def test_killing_takes_only_the_given_ones(start: Start) -> None:
    # Given two processes
    one, bystander = start(IGNORES_BEING_ASKED), start(SLEEP)
    # When one is killed
    processes.kill([psutil.Process(one.pid)])
    # Then the other lives
    assert (runs(one.pid), runs(bystander.pid)) == (False, True)


def test_a_process_that_is_gone_already_is_no_error(start: Start) -> None:
    # Given a process that ended by itself
    child = start()
    process = psutil.Process(child.pid)
    child.kill()
    child.wait()
    # When it is ended and killed once more
    # Then nothing happens
    processes.end([process], grace_s=0.1)
    processes.kill([process])
    processes.interrupt(child.pid)


def test_waiting_for_the_end_of_a_process(start: Start) -> None:
    # Given a process that runs, and one that has ended
    child, gone = start(), start()
    gone.kill()
    # When their end is waited for
    began = time.monotonic()
    # Then the wait says which ended: as a zombie, and when it is gone for good
    assert processes.wait_gone(gone.pid, 10)
    gone.wait()
    assert processes.wait_gone(gone.pid, 10)
    assert not processes.wait_gone(child.pid, 0.1)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("readable", [True, False], ids=["may be looked into", "may not be looked into"])
def test_a_proxy_is_stray_once_its_manager_is_dead(
    start: Start, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readable: bool
) -> None:
    # Given a proxy of this home under its manager, one of another home, and one of nobody's
    manager = start(f"print('ready', flush=True){PASSES_IT_ON}", processes.marks("one", home), HAPROXY)
    proxy = int(said(manager))
    start(HAPROXY, processes.marks("one", tmp_path / "another"))
    start(HAPROXY)
    before = processes.stray_haproxies(home)
    # When the manager is killed, so that the proxy gets a parent which this user may look into, or may not
    manager.kill()
    manager.wait()
    adopted_by = psutil.Process(proxy).ppid()
    if not readable:
        environ = psutil.Process.environ

        def refused(process: psutil.Process) -> dict[str, str]:
            if process.pid == adopted_by:
                raise psutil.AccessDenied(process.pid)
            return environ(process)

        monkeypatch.setattr(psutil.Process, "environ", refused)
    strays = processes.stray_haproxies(home)
    processes.kill(strays)
    # Then it is stray, and was not before
    assert before == []
    assert pids(strays) == {proxy}
    assert os.getpid() != proxy
