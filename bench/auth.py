"""What a key costs a request: the gate before the doors, with and without keys, limits and others' keys beside.

python -m bench.auth [--requests 20000] [--keys 1000]
"""

import argparse
import asyncio
import secrets
import statistics
import tempfile
import time
from collections.abc import Awaitable
from datetime import timedelta
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.key import NewKey
from schemas.message import now
from schemas.settings import Settings
from schemas.token import NewToken
from serve.auth import Gate
from serve.jwts import Tokens
from serve.keyring import Keyring
from storage import Database, KeyRepository


async def door(_scope: Scope, _receive: Receive, send: Send) -> None:
    """The least that a door does."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def receive() -> Message:
    return {"type": "http.request", "body": b""}


async def send(message: Message) -> None:
    pass


class _State:
    """What the gate looks for in an application."""

    def __init__(self, ring: Keyring) -> None:
        self.state, self.keyring = self, ring
        self.tokens = Tokens(Settings(home=Path("/nowhere"), jwt_secret=secrets.token_hex(32)))


async def microseconds(app: ASGIApp, scope: dict[str, Any], requests: int) -> float:
    """Of one request, the median of ten runs."""
    runs = []
    for _ in range(10):
        began = time.perf_counter()
        for _ in range(requests // 10):
            await app(dict(scope), receive, send)
        runs.append((time.perf_counter() - began) / (requests // 10) * 1e6)
    return statistics.median(runs)


async def _ms(work: Awaitable[None]) -> float:
    began = time.perf_counter()
    await work
    return (time.perf_counter() - began) * 1e3


async def measure(requests: int, others: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite+aiosqlite:///{Path(folder) / 'devskyy.db'}")
        await database.migrate()
        keys = KeyRepository(database)
        made = {
            "a key": await keys.add(NewKey(name="plain"), "default"),
            "a key with a limit": await keys.add(NewKey(name="limited", rpm=1_000_000), "default"),
        }
        for number in range(others):
            await keys.add(NewKey(name=f"other {number}"), "default")
        ring = Keyring(keys, None, open_without_keys=True)
        looks = [await _ms(ring.look()) for _ in range(20)]
        usual = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"user-agent", b"bench")]
        scope = {"type": "http", "method": "GET", "path": "/v1/models", "headers": usual, "app": _State(ring)}
        bare = await microseconds(door, scope, requests)
        print(f"{'a door alone':<24}{bare:>8.1f} us")
        token = scope["app"].tokens.make(NewToken(sub="bench", expires_at=now() + timedelta(hours=1)))
        shown_by = {name: each.secret for name, each in made.items()} | {"a token (HS256)": token.token}
        for name, secret in shown_by.items():
            shown = {**scope, "headers": [*usual, (b"authorization", f"Bearer {secret}".encode())]}
            took = await microseconds(Gate(door), shown, requests)
            print(f"{name:<24}{took:>8.1f} us, {took - bare:.1f} more")
        again = statistics.median(looks[1:])
        print(f"{f'a look at {others + 2:,} keys':<24}{looks[0]:>8.1f} ms; {again:.1f} if none changed")
        await ring.close()
        await database.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--keys", type=int, default=1000, help="others beside")
    given = parser.parse_args()
    asyncio.run(measure(given.requests, given.keys))
