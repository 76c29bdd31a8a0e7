"""The operator's key: made for the user whose platform this is, kept in its home for that user alone.

    curl -H "Authorization: Bearer $(cat "$DEVSKYY_HOME/operator.key")" …

It opens every door, also when other keys shut them. The command line and the SDK send it by themselves, to this home's
own platform and to nobody else.
"""

from pathlib import Path

from bus.files import write_private
from schemas.errors import ConfigError
from schemas.key import OPERATOR, id_of, new_secret


def key_path(home: Path) -> Path:
    return home / "operator.key"


def operators_key(home: Path) -> str:
    """Read the operator's key, or make it with mode 0600 the first time.

    Raises:
        ConfigError: the file is there and holds no key.
    """
    path = key_path(home)
    if not path.exists():
        write_private(path, f"{new_secret(OPERATOR)}\n")
    if (found := read_operators_key(home)) is None:
        raise ConfigError(str(path), "", "holds no key, or cannot be read; delete it to have a new one made")
    return found


def read_operators_key(home: Path) -> str | None:
    """The operator's key, if there is one that can be read."""
    try:
        secret = key_path(home).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return secret if id_of(secret) == OPERATOR else None
