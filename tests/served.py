"""The platform's own doors, engine and projection over a real broker, on a real socket, in a thread: workflows as the
SDK and the command line meet them. Without Ray, and without agents: functions do the work.

    with Served(home, made_streams) as platform:
        client = Client(platform.url)
        workflow = client.run_workflow(GREETS)
        platform.refuse(Refusal(503), times=1)          # the next request
        platform.cut_streams(after=2, times=1)          # the next stream breaks off in the middle of its third event
        platform.release("a")                           # the task `hold` that has `name: a` among its inputs ends
"""

import asyncio
import contextlib
import json
import logging
import os
import shutil
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest import mock

import pytest
import structlog
import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from actors.projector.actor import ProjectorActor
from actors.workflow.engine import Engine
from bus.client import Bus
from schemas.errors import Unavailable
from schemas.problem import MEDIA_TYPE, Problem
from schemas.settings import Settings
from serve.app import make_app
from tests.broker import Broker
from tests.simulators.platform import Refusal, Seen

LONG_S = 20.0
START_S = 60.0


class Served:
    """Serves while it is entered; may be steered from any thread."""

    def __init__(self, home: Path, made_streams: Path) -> None:
        """
        Args:
            made_streams: see `tests.broker`.
        """
        self.calls: list[str] = []
        """What functions did."""
        self.broken = True
        """Whether `breaks` does."""
        self.seen: list[Seen] = []
        self._home = home
        self._broker = Broker(home / "broker")
        shutil.copytree(made_streams, self._broker.store)
        self._held: dict[str, threading.Event] = {}
        self._refusals: deque[Refusal] = deque()
        self._cuts: deque[int] = deque()
        self._changed = threading.Condition()
        self._ready = threading.Event()
        self._stop: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._failure: BaseException | None = None
        self.url = ""

    def __enter__(self) -> Self:
        self._broker.start()
        self._thread.start()
        assert self._ready.wait(START_S)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for held in self._held.values():
            held.set()
        self._stop()
        self._thread.join()
        self._broker.kill()
        for handler in (logger := logging.getLogger("devskyy")).handlers[:]:
            logger.removeHandler(handler)
            handler.close()
        structlog.reset_defaults()

    # What a test does

    def forget(self) -> None:
        """What earlier tests did."""
        with self._changed:
            self.calls.clear()
            self.seen.clear()
            self._refusals.clear()
            self._cuts.clear()
            self.broken = True

    def refuse(self, refusal: Refusal, times: int) -> None:
        """The next requests, whatever they are."""
        self._refusals.extend([refusal] * times)

    def lose_answers(self, times: int) -> None:
        """The next requests are carried out, and their callers do not learn of it."""
        self.refuse(Refusal(0), times)

    def cut_streams(self, after: int, times: int) -> None:
        """The next streams of events break off in the middle of the event after so many."""
        self._cuts.extend([after] * times)

    def release(self, name: str) -> None:
        self._hold(name).set()

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Blocks until that holds, looking again whenever something is asked or done.

        Raises:
            TimeoutError: it does not hold.
        """
        with self._changed:
            if not self._changed.wait_for(holds, LONG_S):
                raise TimeoutError(f"done: {self.calls}; seen: {[(s.method, s.path) for s in self.seen]}")

    def made(self, method: str, path: str | None = None) -> list[Seen]:
        """The requests of a method, in order."""
        with self._changed:
            return [each for each in self.seen if each.method == method and path in (None, each.path)]

    # What functions do

    @property
    def functions(self) -> Mapping[str, Callable[[dict[str, Any]], Any]]:
        return {"say": self._say, "hold": self._wait, "breaks": self._break, "undo": self._undo, "big": self._big}

    def _say(self, inputs: dict[str, Any]) -> str:
        self._did(f"say {inputs['text']}")
        return str(inputs["text"])

    def _wait(self, inputs: dict[str, Any]) -> str:
        name = str(inputs["name"])
        self._did(f"hold {name}")
        self._hold(name).wait(LONG_S)
        return f"{name} is done"

    def _break(self, inputs: dict[str, Any]) -> str:
        self._did("break")
        if self.broken:
            raise Unavailable("the till is locked")
        return "open"

    def _undo(self, inputs: dict[str, Any]) -> None:
        self._did(f"undo {inputs['what']}")

    def _big(self, inputs: dict[str, Any]) -> str:
        return "x" * 100_000

    def _did(self, what: str) -> None:
        with self._changed:
            self.calls.append(what)
            self._changed.notify_all()

    def _hold(self, name: str) -> threading.Event:
        with self._changed:
            return self._held.setdefault(name, threading.Event())

    # What is served

    async def _serve(self) -> None:
        try:
            async with contextlib.AsyncExitStack() as stack:
                server, listener = await self._start(stack)
                self._stop = lambda: setattr(server, "should_exit", True)
                self._ready.set()
                await server.serve(sockets=[listener])
        except BaseException as error:
            self._failure = error
            raise
        finally:
            self._ready.set()

    async def _start(self, stack: contextlib.AsyncExitStack) -> tuple[uvicorn.Server, socket.socket]:
        overlay = self._home / "devskyy.yaml"
        overlay.write_text(json.dumps({"functions": {name: f"tests.served:{name}" for name in self.functions}}))
        settings = Settings(home=self._home, nats_url=self._broker.url, database_url=None, config=overlay)
        app = make_app(settings)
        await stack.enter_async_context(app.router.lifespan_context(app))
        bus = await self._broker.connect("engine")
        stack.push_async_callback(bus.close, grace_s=0)
        engine = Engine(bus, "engine", self.functions)
        await bus.serve("engine", engine.endpoints, description="", metadata={})
        running = asyncio.create_task(engine.run())
        stack.push_async_callback(_end, running)
        stack.push_async_callback(engine.stop, 0.5)
        projector = _Projector(bus, settings)
        with mock.patch.object(os, "nice"):  # the test itself keeps its place
            await projector.begin()
        stack.push_async_callback(projector.end, 0.5)
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(self._faulty(app), lifespan="off", ws="none", log_config=None, access_log=False)
        return _Server(config), listener

    def _faulty(self, app: ASGIApp) -> ASGIApp:
        """The application, which fails as a test wants it to."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            with self._changed:
                self.seen.append(Seen(scope["method"], scope["path"], headers, None))
                self._changed.notify_all()
            refusal = self._refusals.popleft() if self._refusals else None
            if refusal is not None and refusal.status:
                said = Problem(type="urn:devskyy:problem:unavailable", title="Not now", status=503, detail="later")
                answer = JSONResponse(said.model_dump(mode="json"), refusal.status, media_type=MEDIA_TYPE)
                await answer(scope, receive, send)
                return
            if refusal is not None:
                send = _into_nothing(send)
            elif scope["path"].endswith("/events") and self._cuts:
                send = _cut(send, self._cuts.popleft())
            await app(scope, receive, send)

        return serve


def _into_nothing(send: Send) -> Send:
    """Begins the answer and says no more, so that the connection is broken off when the application is done."""

    async def say(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)

    return say


def _cut(send: Send, after: int) -> Send:
    sent = 0

    async def say(message: Message) -> None:
        nonlocal sent
        if message.get("body"):
            sent += 1
            if sent > after:
                await send({**message, "body": message["body"][: len(message["body"]) // 2]})
                raise ConnectionAbortedError("the stream is cut")
        await send(message)

    return say


class _Projector(ProjectorActor):
    """The actor on a connection that is there already."""

    def __init__(self, bus: Bus, settings: Settings) -> None:
        self.bus, self.settings = bus, settings
        self.background: set[asyncio.Task[Any]] = set()


class _Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()  # uvicorn would wait for a held stream for ever
        await asyncio.sleep(0)
        await super().shutdown(sockets)


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, made_streams: Path) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("served"), made_streams) as platform:
        yield platform


@pytest.fixture
def served(serving: Served) -> Served:
    """A platform of the module's tests, which remembers nothing of the last one."""
    serving.forget()
    return serving
