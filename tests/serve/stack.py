"""A whole platform in one process, without Ray: the application on a port of its own, coordinator, gateway and agents
behind it on the test's broker, and a simulated provider behind them."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import uvicorn
import yaml
from fastapi import FastAPI

from actors.agents.actor import endpoint_for
from actors.catalogue import load
from actors.coordinator.actor import CoordinatorActor
from bus.client import Bus
from schemas.settings import Settings
from serve.app import make_app
from tests.live import overlay
from tests.serve.gateway import Gateway, gateway
from tests.simulators.openai import OpenAISimulator

START_S = 20.0


class Coordinator(CoordinatorActor):
    """The actor on a connection that is there already."""

    def __init__(self, bus: Bus, settings: Settings) -> None:
        self.bus, self.settings, self.name = bus, settings, "coordinator-1"
        self.background: set[asyncio.Task[Any]] = set()


class _Server(uvicorn.Server):
    """It ends with its streams, and leaves signals to the test."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
        await super().shutdown(sockets)


@dataclass
class Stack:
    url: str
    app: FastAPI
    sim: OpenAISimulator
    gateway: Gateway


@asynccontextmanager
async def on_a_port(app: FastAPI, lifespan: Literal["on", "off"] = "on") -> AsyncIterator[str]:
    """The application as a real server; its address.

    Args:
        lifespan: `off` where it has been started already.
    """
    how: dict[str, Any] = {"lifespan": lifespan, "ws": "none", "log_config": None, "access_log": False}
    server = _Server(uvicorn.Config(app, host="127.0.0.1", port=0, **how))
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(START_S):
        while not server.started:
            assert not serving.done(), serving.exception()
            await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


def _written(home: Path, config: dict[str, Any]) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    path = home / "overlay.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@asynccontextmanager
async def stack(
    nats_url: str, home: Path, sim: OpenAISimulator, *, operator_sha256: str | None = None, **service: Any
) -> AsyncIterator[Stack]:
    """
    Args:
        operator_sha256: of the operator's key, where it has one.
        service: what the provider's entry in the overlay holds besides.
    """
    config = _written(home, overlay(sim, **service))
    settings = Settings(home=home, nats_url=nats_url, database_url=None, config=config, operator_sha256=operator_sha256)
    catalogue = load(config)
    async with contextlib.AsyncExitStack() as open_:
        bus = await Bus(nats_url, "stack").connect()
        open_.push_async_callback(bus.close, grace_s=0)
        served = await open_.enter_async_context(gateway(bus, settings))
        for name in catalogue.carriers:
            await bus.serve(f"agent-{name}", [endpoint_for(name, "ask", catalogue, bus)], "", {})
        coordinator = Coordinator(bus, settings)
        await bus.serve(coordinator.name, await coordinator.begin(), "", {})
        app = make_app(settings)
        url = await open_.enter_async_context(on_a_port(app))
        try:
            yield Stack(url, app, sim, served)
        finally:
            await coordinator.end(grace_s=1)
            for task in (running := list(coordinator.background)):
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
