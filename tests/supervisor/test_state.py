import os
import stat
from pathlib import Path
from typing import Any

import psutil
import pytest

from devskyy.supervisor.state import PlatformState, clear_state, read_state, state_path, write_state
from schemas.message import now
from tests.supervisor.conftest import Start


def state_of(pid: int, **fields: Any) -> PlatformState:
    """The record of a platform whose supervisor is that process."""
    known: dict[str, Any] = {
        "instance": "one",
        "pid": pid,
        "pid_started": psutil.Process(pid).create_time(),
        "phase": "ready",
        "http": "http://127.0.0.1:8000",
        "nats_url": "nats://platform:secret@127.0.0.1:4222",
        "outside_nats_url": None,
        "ray_dashboard": None,
        "started_at": now(),
    }
    return PlatformState(**known | fields)


def test_what_is_written_is_read_back_until_it_is_cleared(tmp_path: Path) -> None:
    # Given a home that nobody has made yet
    home = tmp_path / "home"
    nothing = read_state(home)
    state = state_of(os.getpid())
    # When a state is written, and cleared twice
    write_state(home, state)
    read = read_state(home)
    clear_state(home)
    clear_state(home)
    # Then it was there in between
    assert (nothing, read, read_state(home)) == (None, state, None)


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    # Given a process that would let everybody read its files
    before = os.umask(0)
    try:
        # When it writes a state with credentials, twice
        write_state(tmp_path / "home", state_of(os.getpid()))
        write_state(tmp_path / "home", state_of(os.getpid(), phase="stopping"))
    finally:
        os.umask(before)
    # Then others are kept out, and nothing else lies beside it
    path = state_path(tmp_path / "home")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_a_platform_is_alive_for_as_long_as_its_supervisor_runs(start: Start) -> None:
    # Given a supervisor that runs
    child = start()
    state = state_of(child.pid)
    running = state.alive
    # When it is killed, and then buried
    child.kill()
    psutil.Process(child.pid).wait(10)
    # Then it is not alive any more
    assert (running, state.alive) == (True, False)


def test_a_zombie_is_not_alive(start: Start) -> None:
    # Given a supervisor that has ended and that its parent has not asked after
    child = start()
    state = state_of(child.pid)
    child.kill()
    assert child.stdout is not None
    assert child.stdout.read() == ""
    # When it is asked for
    # Then it is not alive, as soon as the kernel says so
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert not state.alive


def test_a_process_id_that_was_given_to_somebody_else_is_not_alive() -> None:
    # Given the record of a supervisor whose id belongs to a process with another start time
    mine = psutil.Process()
    earlier, same = mine.create_time() - 3600, mine.create_time() + 0.01
    # When it is asked for
    # Then only the very process counts; the kernel's clock ticks are forgiven
    assert not state_of(mine.pid, pid_started=earlier).alive
    assert state_of(mine.pid, pid_started=same).alive


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b'{"instance": "one"}', b"\x00\x00\x00", b"\xff\xfe{}", b'{"pid": "many"}'],
    ids=["empty", "cut", "null", "list", "half", "zeros", "not text", "wrong type"],
)
def test_a_state_that_cannot_be_read_is_none(tmp_path: Path, content: bytes) -> None:
    # Given a state file that a power cut or another version left
    path = state_path(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    # When it is read
    # Then there is none, and a new one takes its place
    assert read_state(tmp_path) is None
    write_state(tmp_path, state_of(os.getpid()))
    assert read_state(tmp_path) is not None


def test_fields_of_a_newer_version_are_ignored(tmp_path: Path) -> None:
    # Given a state that a newer version wrote
    state = state_of(os.getpid())
    write_state(tmp_path, state)
    path = state_path(tmp_path)
    path.write_text(path.read_text().replace("{", '{"weather": "fine", ', 1))
    # When it is read
    # Then what is known of it counts
    assert read_state(tmp_path) == state


def test_a_home_that_is_a_file_has_no_state(tmp_path: Path) -> None:
    # Given a file where the home should be
    (tmp_path / "home").touch()
    # When its state is read
    # Then there is none
    assert read_state(tmp_path / "home") is None
