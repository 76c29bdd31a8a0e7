"""Files that only their owner may read."""

import os
import stat
from pathlib import Path

from bus.files import write_private


def test_what_is_private_is_not_written_into_a_file_that_somebody_has_put_in_its_way(tmp_path: Path) -> None:
    # Given somebody who may write to the folder too, and keeps a file open where it is going to be written first
    path = tmp_path / "logins.json"
    put = tmp_path / f".{path.name}.{os.getpid()}"
    put.touch(0o666)
    with put.open() as kept:
        # When it is written
        write_private(path, "a secret")
        # Then it is in a file of its own
        assert kept.read() == ""
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("a secret", 0o600)
    assert list(tmp_path.iterdir()) == [path]
