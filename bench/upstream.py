"""A model provider without latency, and with next to no work: what stands behind both sides of a comparison.

    python -m bench.upstream [--port 0]        prints {"url": "http://127.0.0.1:<port>"}

`POST /<name>/…` is answered at once with a fixed chat completion, `POST /<name>/slow/…` after a second; `GET /count`
says how many calls came in under each name since the start. The simulator of the tests can do far more and costs ten
times as much CPU a call, which on a small machine is taken from the side that is measured.
"""

import argparse
import asyncio
import json
import resource
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import httpx
import uvloop

TEXT = "A black leather handbag with a gold clasp, made to be carried every day and kept for years."
"""What it answers to everything."""
SLOW_S = 1.0
BACKLOG = 4096
FILES = 16384

_COMPLETION = {
    "id": "chatcmpl-instant",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "instant",
    "system_fingerprint": "fp_instant",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": TEXT, "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 12, "completion_tokens": 20, "total_tokens": 32},
}


def _reply(payload: object, status: str = "200 OK") -> bytes:
    body = json.dumps(payload, separators=(",", ":")).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


_ANSWER = _reply(_COMPLETION)


class _Connection(asyncio.Protocol):
    """Just as much HTTP/1.1 as clients of providers speak: requests one after another, each with its length."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by type

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (head_end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:head_end].lower()
            length, at = 0, head.find(b"\r\ncontent-length:")
            if at >= 0:
                length = int(head[at + 17 :].split(b"\r\n", 1)[0])
            end = head_end + 4 + length
            if len(self._received) < end:
                return
            self._received = self._received[end:]
            method, path, _ = head.split(b" ", 2)
            self._answer(method, path.decode("latin-1"))

    def _answer(self, method: bytes, path: str) -> None:
        name, _, rest = path.lstrip("/").partition("/")
        if method == b"post":
            self._counts[name] += 1
            if rest.startswith("slow/"):
                asyncio.get_running_loop().call_later(SLOW_S, self._transport.write, _ANSWER)
            else:
                self._transport.write(_ANSWER)
        elif name == "count":
            self._transport.write(_reply(self._counts))
        else:
            self._transport.write(_reply({"error": {"message": f"nothing at {path}"}}, "404 Not Found"))


async def serve(port: int) -> None:
    """Print the URL, then serve until told to end."""
    counts: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for ending in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(ending, ended.set)
    server = await loop.create_server(
        lambda: _Connection(counts), "127.0.0.1", port, family=socket.AF_INET, backlog=BACKLOG
    )
    print(json.dumps({"url": "http://127.0.0.1:{1}".format(*server.sockets[0].getsockname())}), flush=True)
    await ended.wait()
    server.close()


def more_files() -> None:
    """Often a process may open 1,024 files: too few for a thousand connections and what else it has open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard < 0 else min(FILES, hard)
    if 0 <= soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Upstream:
    """An upstream that runs as a process."""

    def __init__(self, url: str, pid: int) -> None:
        self.url, self.pid = url, pid

    def base(self, name: str, *, slow: bool = False) -> str:
        """What a client takes as its base URL, so that its calls are counted under that name."""
        return f"{self.url}/{name}{'/slow' if slow else ''}/v1"

    def count(self, name: str) -> int:
        """Calls that came in under that name so far."""
        counts: dict[str, int] = httpx.get(f"{self.url}/count").json()
        return counts.get(name, 0)


@contextmanager
def upstream() -> Iterator[Upstream]:
    """One for as long as the block runs."""
    command = [sys.executable, "-m", "bench.upstream"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Upstream(json.loads(process.stdout.readline())["url"], process.pid)
        finally:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.upstream", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--port", type=int, default=0, help="0, the default: any that is free")
    more_files()
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
