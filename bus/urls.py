"""The URL of a broker: one server, or several of a cluster with commas between, each with its credentials."""

from urllib.parse import SplitResult, quote, unquote, urlsplit

from bus.subjects import token

ANYBODY = "platform"
"""Stands for a user that has no name, or one that no subject can hold."""


def servers(url: str) -> list[str]:
    """Each server by itself."""
    return [server.strip() for server in url.split(",") if server.strip()]


def schemes(url: str) -> list[str]:
    """Their schemes: `nats`, or `tls` where nothing is to be said in plain text."""
    return [split.scheme for split in _split(url)]


def hosts(url: str) -> list[str]:
    """Their host names or addresses."""
    return [split.hostname or "" for split in _split(url)]


def ports(url: str) -> list[int | None]:
    return [split.port for split in _split(url)]


def login(url: str) -> dict[str, str]:
    """How to log in at every server, as options of nats-py; empty where each has credentials of its own, or none.

    A cluster tells its clients of its other servers, without credentials.
    """
    found = {(split.username, split.password) for split in _split(url)}
    if len(found) != 1:
        return {}
    ((user, password),) = found
    if user is None:
        return {}
    return {"token": unquote(user)} if password is None else {"user": unquote(user), "password": unquote(password)}


def user(url: str) -> str:
    """Whose inboxes answers come to: the user's, where there is one of a plain name."""
    try:
        return token(login(url).get("user", ANYBODY))
    except ValueError:
        return ANYBODY


def logged_in(url: str, user: str, password: str) -> str:
    """The same servers for somebody else."""
    who = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return ",".join(f"{split.scheme}://{who}@{split.netloc.rpartition('@')[2]}" for split in _split(url))


def shown(url: str) -> str:
    """Without credentials."""
    return ",".join(f"{split.scheme}://{split.netloc.rpartition('@')[2]}" for split in _split(url))


def _split(url: str) -> list[SplitResult]:
    return [urlsplit(server if "://" in server else f"nats://{server}") for server in servers(url)]
