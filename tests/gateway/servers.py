"""Small servers for what no simulator does: each answers everything in the way that a test gives it."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]
Started = Callable[[Answering], Awaitable[str]]


@pytest.fixture
async def server() -> AsyncIterator[Started]:
    """Starts a server that answers everything in the given way; returns its base URL."""
    running: list[TestServer] = []

    async def start(answer: Answering) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        running.append(TestServer(app))
        await running[-1].start_server()
        return str(running[-1].make_url("/v1"))

    yield start
    for each in running:
        await each.close()
