"""The operator's key: made once, for its user alone."""

import stat
from pathlib import Path

import pytest

from devskyy.supervisor.operator import key_path, operators_key, read_operators_key
from schemas.errors import ConfigError
from schemas.key import OPERATOR, id_of, new_secret


def test_it_is_made_once_for_its_user_alone(tmp_path: Path) -> None:
    # Given a home without one
    assert read_operators_key(tmp_path) is None
    # When a platform starts there, twice
    made, again = operators_key(tmp_path), operators_key(tmp_path)
    # Then it is one key, which nobody else may read
    assert (id_of(made), again, read_operators_key(tmp_path)) == (OPERATOR, made, made)
    assert stat.S_IMODE(key_path(tmp_path).stat().st_mode) == 0o600


KEY_OF_SOMEBODY = new_secret("ci-12345678").encode()


@pytest.mark.parametrize(
    "content", [b"", b"secret", b"\xff", KEY_OF_SOMEBODY], ids=["nothing", "no key", "no text", "somebody's key"]
)
def test_a_file_that_holds_no_key_of_an_operator_is_refused_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    key_path(tmp_path).write_bytes(content)
    assert read_operators_key(tmp_path) is None
    with pytest.raises(ConfigError, match="delete it"):
        operators_key(tmp_path)
    assert key_path(tmp_path).read_bytes() == content


def test_a_home_that_is_none_has_no_key(tmp_path: Path) -> None:
    assert read_operators_key(tmp_path / "nowhere") is None
