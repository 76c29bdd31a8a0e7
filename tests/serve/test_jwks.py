"""The public keys of whoever makes tokens: from a server or a file, kept, and looked at again."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import NotAuthenticated, Unavailable
from schemas.settings import Settings
from serve.jwks import FRESH_S, MISS_S, MOST_BYTES, STALE_S, KeySet, usable
from serve.jwts import Tokens
from tests.serve.tokens import Maker, published


class Publisher:
    """Serves a JWK set, and counts who asks."""

    def __init__(self) -> None:
        self.body, self.status, self.asked = b"", 200, 0
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                publisher.asked += 1
                self.send_response(publisher.status)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(publisher.body)))
                self.end_headers()
                self.wfile.write(publisher.body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks"


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    made = Publisher()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


class Clock:
    at = 0.0

    def __call__(self) -> float:
        return self.at


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_a_token_is_taken_by_the_key_that_its_maker_publishes(publisher: Publisher, algorithm: str) -> None:
    # Given a maker who publishes a key
    maker = Maker(algorithm)
    publisher.body = published(maker)
    tokens = Tokens(Settings(home=Path("/nowhere"), jwks_url=publisher.url))
    # When it makes tokens, Then they are taken, and the key was looked at once
    for _ in range(5):
        assert (await tokens.caller(maker.token(role="viewer", tenant="acme"))).tenant == "acme"
    assert publisher.asked == 1
    # And one of another maker that says it is this key is not
    with pytest.raises(NotAuthenticated, match="another signature"):
        await tokens.caller(Maker(algorithm).token())
    await tokens.close()


async def test_a_new_key_is_found_and_made_up_ones_are_not_asked_for_again_and_again(publisher: Publisher) -> None:
    # Given a maker whose key is known
    clock, old, new = Clock(), Maker(kid="old"), Maker(kid="new")
    publisher.body = published(old)
    keys = KeySet(publisher.url, clock)
    assert await keys.key("ES256", "old") is not None
    # When another key is used at once, Then it is not looked for: that was a moment ago
    publisher.body = published(new)
    assert await keys.key("ES256", "new") is None
    # When half a minute is over, Then it is found, and the other is gone
    clock.at += MISS_S
    assert await keys.key("ES256", "new") is not None
    assert (await keys.key("ES256", "old"), publisher.asked) == (None, 2)
    # When somebody makes up a thousand names, Then nobody is asked more than once in half a minute
    clock.at += MISS_S
    for number in range(1000):
        assert await keys.key("ES256", f"made-up-{number}") is None
    assert publisher.asked == 3
    await keys.close()


async def test_a_key_that_its_maker_takes_back_is_refused_within_minutes(publisher: Publisher) -> None:
    # Given a key that was published
    clock, maker, other = Clock(), Maker(kid="old"), Maker(kid="other")
    publisher.body = published(maker)
    keys = KeySet(publisher.url, clock)
    assert await keys.key("ES256", "old") is not None
    # When it is published no more
    publisher.body = published(other)
    clock.at += FRESH_S
    await keys.key("ES256", "old")  # is answered at once, and looks beside
    assert keys._reading is not None
    await keys._reading
    # Then it is refused
    assert await keys.key("ES256", "old") is None
    await keys.close()


async def test_while_a_publisher_does_not_answer_the_keys_that_are_known_go_on_for_a_day(publisher: Publisher) -> None:
    clock, maker = Clock(), Maker()
    publisher.body = published(maker)
    keys = KeySet(publisher.url, clock)
    assert await keys.key("ES256", "first") is not None
    publisher.status = 500
    clock.at += STALE_S - 1
    assert await keys.key("ES256", "first") is not None
    clock.at += FRESH_S
    with pytest.raises(Unavailable):
        await keys.key("ES256", "first")
    await keys.close()


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, b""), (302, b""), (200, b"{"), (200, b"[]"), (200, b'{"keys": 5}'), (200, b" " * (MOST_BYTES + 1))],
)
async def test_without_any_keys_nobody_is_let_in_and_the_cause_is_told(
    publisher: Publisher, status: int, body: bytes
) -> None:
    publisher.status, publisher.body = status, body
    keys = KeySet(publisher.url, Clock())
    with pytest.raises(Unavailable, match="DEVSKYY_JWKS_URL"):
        await keys.key("ES256", "first")
    assert publisher.asked == 1
    await keys.close()


async def test_a_file_will_do(tmp_path: Path) -> None:
    file, maker = tmp_path / "jwks.json", Maker()
    file.write_bytes(published(maker))
    keys = KeySet(str(file), Clock())
    assert await keys.key("ES256", None) is not None
    await keys.close()


async def test_without_a_name_there_must_be_one_key_alone(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(published(Maker(kid="a"), Maker(kid="b"), Maker("RS256", kid="c")))
    keys = KeySet(str(file), Clock())
    assert await keys.key("ES256", None) is None
    assert await keys.key("RS256", None) is not None
    await keys.close()


def test_of_a_set_only_keys_that_may_sign_are_kept() -> None:
    good = Maker().public
    listed: list[Any] = [
        {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"},
        {**Maker("RS256").public, "use": "enc"},
        {**Maker("RS256").public, "alg": "RS512"},
        {"kty": "EC", "crv": "P-256", "x": "nonsense"},
        {"kty": "new"},
        "nonsense",
        None,
        good,
    ]
    assert [key.key_id for key in usable(json.dumps({"keys": listed}).encode())] == ["first"]
    with pytest.raises(ValueError, match="no key"):
        usable(json.dumps({"keys": listed[:-1]}).encode())
