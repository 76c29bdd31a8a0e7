"""`devskyy backup` and `devskyy restore`, of a broker and a database that are there."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from devskyy.backup.archive import Writer
from schemas.backup import FORMAT, Manifest
from schemas.message import now
from tests.cli.conftest import Command


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A backup of nothing but a key."""
    with Writer(path := tmp_path / "state.backup", replace=False) as writer:
        with writer.part("home/operator.key") as part:
            part.write(b"secret\n")
        fields = {"format": FORMAT, "version": "0.1.0", "made_at": now(), "revision": "0001", "positions": {}}
        writer.finish(Manifest(**fields, parts=tuple(writer.parts)))
    return path


def test_a_backup_is_restored_to_an_empty_home_and_to_no_other(devskyy: Command, made: Path, home: Path) -> None:
    # When a backup is restored to a home of which nothing is there
    ran = devskyy("restore", str(made))
    # Then it says where it is, and how to go on
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "start it with `devskyy up`")
    assert (home / "operator.key").read_text() == "secret\n"
    # And a second time it is refused, with what was found and what to do
    again = devskyy("restore", str(made), "--json")
    assert (again.code, again.document["type"]) == (1, "urn:devskyy:problem:backup-failed")
    assert "has operator.key, nats/jetstream, devskyy.db already" in again.document["detail"]
    assert "remedy: restore to an empty home and database" in again.document["detail"]


def test_what_was_restored_can_be_backed_up_and_checked(devskyy: Command, made: Path, tmp_path: Path) -> None:
    # Given a platform that is stopped
    assert devskyy("restore", str(made)).code == 0
    # When it is backed up
    file = str(tmp_path / "again.backup")
    ran = devskyy("backup", file, "--json")
    # Then what is in it is told, and how it goes on stderr
    parts = {part["name"]: part for part in ran.document["manifest"]["parts"]}
    assert (ran.code, parts["sql/tasks.jsonl.gz"]["rows"], parts["streams/TASKS"]["state"]["messages"]) == (0, 0, 0)
    assert "reading stream TASKS" in ran.err
    # And it can be checked
    assert devskyy("backup", "--verify", file).out.splitlines()[-1].startswith(f"{file} is whole: ")
    assert devskyy("backup", "--verify", file, "--json").document == ran.document
    # And is not replaced by accident
    assert "replace it with --force" in devskyy("backup", file).err
    assert devskyy("backup", file, "--force").code == 0


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_a_restore_that_is_told_to_stop_leaves_nothing(
    program: list[str], devskyy: Command, made: Path, tmp_path: Path, told: signal.Signals
) -> None:
    # Given a restore that has begun
    file, other = str(tmp_path / "again.backup"), tmp_path / "other"
    assert (devskyy("restore", str(made)).code, devskyy("backup", file).code) == (0, 0)
    words = ["env", f"DEVSKYY_HOME={other}", *program, "restore", file]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if line.startswith("writing"))
        # When it is told to stop
        process.send_signal(told)
        said = process.communicate(timeout=60)[1]
    # Then it is cancelled, and of what it made there is nothing
    if process.returncode:  # else it was quicker
        assert (process.returncode, "was cancelled" in said) == (3, True)
        assert {each.name for each in other.rglob("*") if each.is_file()} <= {"lock", "nats.log"}


def test_a_damaged_file_is_refused_before_anything_is_written(devskyy: Command, made: Path, home: Path) -> None:
    whole = made.read_bytes()
    made.write_bytes(whole[: len(whole) // 2])
    for ran in (devskyy("restore", str(made)), devskyy("backup", "--verify", str(made))):
        assert (ran.code, "is damaged" in ran.err, "nothing was restored" in ran.err) == (1, True, True)
    assert not list(home.iterdir())


def test_a_home_of_nobody_is_no_platform(devskyy: Command, tmp_path: Path) -> None:
    ran = devskyy("backup", str(tmp_path / "file"))
    assert (ran.code, "remedy: set DEVSKYY_HOME to the home of a platform" in ran.err) == (1, True)
