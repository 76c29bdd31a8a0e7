"""The load generator against the provider of the benchmarks, both real."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from bench.load import Ask, ask_all, parse
from bench.upstream import TEXT, Upstream, upstream

BODY = '{"model": "instant", "number": "{number}"}'


@pytest.fixture(scope="module")
def provider() -> Iterator[Upstream]:
    with upstream() as running:
        yield running


@asynccontextmanager
async def answering(answer: Callable[[bytes], bytes]) -> AsyncIterator[str]:
    """A server that makes one answer of each request and closes the connection where that is empty."""

    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError):  # the client has left
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                if not (data := answer(await reader.readexactly(length))):
                    break
                writer.write(data)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1") as server:
        yield "http://127.0.0.1:{1}/v1/chat/completions".format(*server.sockets[0].getsockname())
    await asyncio.gather(*(task for task in serving if task))


def reply(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def test_as_many_calls_arrive_as_are_answered(provider: Upstream) -> None:
    # Given a provider that counts
    before = provider.count("one")
    # When it is asked over more than one connection
    load = await ask_all(Ask(f"{provider.base('one')}/chat/completions", BODY), connections=4, requests=50)
    # Then each answer was a call, and none was wrong
    assert (load.answered, load.problems) == (50, {})
    assert provider.count("one") - before == 50
    assert load.median_ms is not None and load.requests_per_s > 0


async def test_it_asks_until_the_time_is_over(provider: Upstream) -> None:
    load = await ask_all(Ask(f"{provider.base('two')}/chat/completions", BODY), connections=2, seconds=0.2)
    assert 0.2 <= load.seconds < 2
    assert load.answered == provider.count("two") > 2


async def test_slow_calls_run_at_once(provider: Upstream) -> None:
    ask = Ask(f"{provider.base('three', slow=True)}/chat/completions", BODY)
    load = await ask_all(ask, connections=100, requests=100)
    assert (load.answered, load.problems) == (100, {})
    assert 1 <= load.seconds < 10


async def test_what_is_wrong_is_counted_and_not_answered(provider: Upstream) -> None:
    answers = iter(
        [reply(b"{}", "503 Service Unavailable"), reply(b"no json"), reply(_chat("other")), reply(_chat(TEXT))]
    )
    async with answering(lambda _: next(answers)) as url:
        load = await ask_all(Ask(url, BODY), connections=1, requests=4)
    assert load.answered == 1
    assert load.problems == {"HTTP 503": 1, "unreadable answer": 1, "other content": 1}


async def test_it_goes_on_after_a_lost_connection() -> None:
    answers = iter([b"", reply(_chat(TEXT))])
    async with answering(lambda _: next(answers)) as url:
        load = await ask_all(Ask(url, BODY), connections=1, requests=2)
    assert (load.answered, load.problems) == (1, {"connection lost": 1})


async def test_no_two_requests_are_the_same() -> None:
    asked: list[bytes] = []

    def remember(body: bytes) -> bytes:
        asked.append(body)
        return reply(_chat(TEXT))

    async with answering(remember) as url:
        await ask_all(Ask(url, BODY), connections=3, requests=20)
        await ask_all(Ask(url, BODY), connections=3, requests=20)
    assert len(set(asked)) == 40
    assert len({len(body) for body in asked}) == 1
    assert json.loads(asked[0])["number"].isdecimal()


def _chat(content: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content}}]}).encode()


@pytest.mark.parametrize(
    ("received", "answer"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-", None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbod", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nx: y\r\n\r\nbody", (200, b"body")),
        (b"HTTP/1.1 404 Not Found\r\nx: y\r\nContent-Length: 0\r\n\r\n", (404, b"")),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nbod\r\n", None),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nbod\r\n1;x=1\r\ny\r\n0\r\n\r\n", (200, b"body")),
        (b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n", (204, b"")),
    ],
)
def test_parse(received: bytes, answer: tuple[int, bytes] | None) -> None:
    assert parse(received) == answer
