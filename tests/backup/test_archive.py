"""The file of a backup: whole or refused, whatever became of it."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devskyy.backup.archive import Reader, Writer
from schemas.backup import FORMAT, Manifest
from schemas.errors import BackupError

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
PARTS = {"sql/tasks.jsonl.gz": b"rows" * 300, "streams/TASKS": bytes(range(256)) * 40, "streams/CALLS": b""}


def write(path: Path, parts: dict[str, bytes] = PARTS, replace: bool = False, format: int = FORMAT) -> None:
    with Writer(path, replace=replace) as writer:
        for name, data in parts.items():
            with writer.part(name) as part:
                for start in range(0, len(data), 1000):
                    part.write(data[start : start + 1000])
        fields = {"format": format, "version": "1", "made_at": NOON, "revision": "0001", "positions": {}}
        writer.finish(Manifest(**fields, parts=tuple(writer.parts)))


def read(path: Path) -> dict[str, bytes]:
    with Reader(path) as reader:
        return {part.name: reader.read(part.name) for part in reader.manifest.parts}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.backup"


@given(st.dictionaries(st.from_regex(r"[a-z]{1,20}/[A-Z]{1,20}", fullmatch=True), st.binary(max_size=3000), max_size=5))
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, parts: dict[str, bytes]) -> None:
    path = tmp_path_factory.mktemp("backup") / "file"
    write(path, parts)
    assert read(path) == parts


def test_it_is_for_its_owner_alone_and_nothing_lies_beside_it(path: Path) -> None:
    write(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "file"
    write(path)
    return path


@given(st.integers(0, 2**20), st.integers(1, 255))
def test_a_byte_that_was_changed_is_found_unless_it_says_nothing(
    tmp_path_factory: pytest.TempPathFactory, whole: Path, place: int, change: int
) -> None:
    # Given a backup in which one byte is another
    changed = bytearray(whole.read_bytes())
    place %= len(changed)
    before, changed[place] = changed[place], changed[place] ^ change
    path = tmp_path_factory.mktemp("changed") / "file"
    path.write_bytes(changed)
    # When it is read; then it is refused, or that byte only filled a block
    try:
        assert read(path) == PARTS
        assert before == 0
    except BackupError as error:
        assert str(path) in str(error)


@given(st.integers(0, 2**20))
def test_one_that_was_cut_is_refused(tmp_path_factory: pytest.TempPathFactory, whole: Path, length: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "file"
    # What follows the last part only fills up.
    data = whole.read_bytes()
    path.write_bytes(data[: length % (len(data) - 3 * 512)])
    with pytest.raises(BackupError):
        read(path)


@pytest.mark.parametrize("data", [b"", b"hello", b"\x1f\x8b" * 700, bytes(10_240)])
def test_another_file_is_called_no_backup(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(BackupError, match="is no backup"):
        read(path)


def test_another_tar_is_called_no_backup(path: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "other"), "tar", tmp_path, base_dir=".")
    with pytest.raises(BackupError, match="is no backup"):
        read(tmp_path / "other.tar")


def test_a_later_format_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devskyy.backup.archive.FORMAT", FORMAT + 1)
    write(path, format=FORMAT + 1)
    monkeypatch.undo()
    with pytest.raises(BackupError, match=f"(?s)has format {FORMAT + 1}.*newer one"):
        read(path)


def test_what_is_there_is_replaced_only_where_that_was_asked_for(path: Path) -> None:
    # Given a file
    path.write_bytes(b"mine")
    # When a backup is written to it; then it stays
    with pytest.raises(BackupError, match="--force"):
        write(path)
    assert path.read_bytes() == b"mine"
    # Unless it is to go
    write(path, replace=True)
    assert read(path) == PARTS


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="there is something"):
        write(tmp_path, replace=True)


def test_a_file_that_comes_while_it_is_written_stays(path: Path) -> None:
    with pytest.raises(BackupError), Writer(path, replace=False) as writer:
        path.write_bytes(b"mine")
        fields = {"format": FORMAT, "version": "1", "made_at": NOON, "revision": "0001", "positions": {}}
        writer.finish(Manifest(**fields, parts=()))
    assert path.read_bytes() == b"mine"
    assert list(path.parent.iterdir()) == [path]


def test_it_is_written_where_there_are_no_links_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a file system without links, as on many sticks
    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    # When a backup is written; then it is there, and not in place of another
    write(path)
    assert read(path) == PARTS
    with pytest.raises(BackupError, match="there is something"):
        write(path)


def test_nothing_is_left_of_one_that_broke_off(path: Path) -> None:
    with pytest.raises(RuntimeError), Writer(path, replace=False) as writer, writer.part("streams/TASKS") as part:
        part.write(b"half")
        raise RuntimeError
    assert not list(path.parent.iterdir())


def test_a_part_that_broke_off_can_be_written_anew(path: Path) -> None:
    with Writer(path, replace=False) as writer:
        with pytest.raises(RuntimeError), writer.part("streams/TASKS") as part:
            part.write(b"half of it and more than the whole" * 100)
            raise RuntimeError
        with writer.part("streams/TASKS") as part:
            part.write(b"whole")
        fields = {"format": FORMAT, "version": "1", "made_at": NOON, "revision": "0001", "positions": {}}
        writer.finish(Manifest(**fields, parts=tuple(writer.parts)))
    assert read(path) == {"streams/TASKS": b"whole"}


@pytest.mark.parametrize("name", ["no/such/folder/file", "file/file"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BackupError, match="cannot be written"):
        write(tmp_path / name)


def test_a_file_that_is_not_there_is_named(path: Path) -> None:
    with pytest.raises(BackupError, match="No such file"):
        read(path)


@pytest.fixture
def little(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    folder = tmp_path / "little"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("whoever runs this may mount nothing")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_named_and_left_as_it_was(little: Path) -> None:
    with pytest.raises(BackupError, match=r"the disk of .* is full\n  remedy: make room there"):
        write(little / "file", {"streams/TASKS": bytes(100_000)})
    assert not list(little.iterdir())
