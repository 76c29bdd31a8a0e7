"""`devskyy token`."""

from datetime import datetime, timedelta

import pytest

from schemas.message import now
from tests.cli.conftest import Command
from tests.simulators.platform import PlatformSimulator


def test_a_token_is_made_and_it_alone_is_on_stdout(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a platform, When a token is made
    words = ("--sub", "ada", "--role", "viewer", "--tenant", "acme", "--expires", "12h")
    ran = devskyy("token", "create", *words)
    # Then it can be piped, and what it allows is told beside it
    assert (ran.code, ran.out) == (0, "eyJ.a.token\n")
    assert "token of jwt_ada: may read in tenant acme until " in " ".join(ran.err.split())
    # And the platform was told so
    sent = platform.made("POST", "/api/v1/tokens")[0].body
    expires = datetime.fromisoformat(sent.pop("expires_at"))
    assert abs(expires - now() - timedelta(hours=12)) < timedelta(minutes=5)
    assert sent == {"sub": "ada", "role": "viewer", "tenant": "acme"}


def test_where_nothing_is_said_it_may_start_tasks_for_an_hour(devskyy: Command, platform: PlatformSimulator) -> None:
    made = devskyy("token", "create", "--sub", "ada", "--json").document
    assert (made["token"], made["scopes"], made["tenant"]) == ("eyJ.a.token", ["write"], "default")
    expires = datetime.fromisoformat(platform.made("POST", "/api/v1/tokens")[0].body["expires_at"])
    assert abs(expires - now() - timedelta(hours=1)) < timedelta(minutes=5)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((), "--sub"),
        (("--sub", " "), "sub"),
        (("--sub", "ada", "--role", "king"), "--role"),
        (("--sub", "ada", "--tenant", "a b"), "tenant"),
        (("--sub", "ada", "--expires", "soon"), "--expires"),
    ],
)
def test_what_is_wrong_is_named_and_not_sent(
    devskyy: Command, platform: PlatformSimulator, words: tuple[str, ...], named: str
) -> None:
    ran = devskyy("token", "create", *words)
    assert (ran.code, named in ran.err) == (2, True)
    assert platform.seen == []
