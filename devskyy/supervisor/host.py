"""The host: the process that is connected to Ray, starts Serve and the fleet on it, and more actors when asked.

Run by the supervisor as `python -m devskyy.supervisor.host ADDRESS`, with the settings on standard input. It says on
standard output, one JSON line each, what it waits for; it ends when Ray ends, and the supervisor starts both anew.
"""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Coroutine
from typing import Any

import structlog

from actors.agents.hosting import Hosting
from actors.hosts import RayHosts
from bus import logs, permissions, streams
from bus.client import Bus
from bus.desk import Endpoint
from bus.logins import Logins
from bus.subjects import FleetForget, FleetScale
from bus.tls import Trust
from devskyy.supervisor.nats_users import Forgetting
from schemas.fleet import Forget, Scale
from schemas.settings import Settings

DRAIN_S = 5.0
NAME = "fleet"
"""Of the micro service that starts actors."""

log = structlog.get_logger()


def main() -> None:
    settings, logins = Settings.load(sys.stdin.readline()), Logins.load(sys.stdin.readline())
    logs.configure(settings.home / "logs", "host", settings.log_level)
    asyncio.run(_run(sys.argv[1], settings, logins))


def _hear_stop(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Wait for the supervisor's word. When the supervisor is killed, the platform goes on until the next start."""
    if sys.stdin.readline().strip() == "stop":
        loop.call_soon_threadsafe(stop.set)


def _say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def _run(address: str, settings: Settings, logins: Logins) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    threading.Thread(target=_hear_stop, args=(loop, stop), name="stop", daemon=True).start()
    _say(waiting="ray")
    bus, _ = await asyncio.gather(_connected(settings, logins), asyncio.to_thread(_join, address, settings))
    fleet = await asyncio.to_thread(_begin, settings, logins)
    _say(waiting="actors")
    while late := await fleet.ready(timeout_s=5):
        _say(waiting="actors: " + ", ".join(late))
    hosts = RayHosts(settings, logins)
    hosting = Hosting(hosts, settings.roles_per_actor, settings.specialist_actors, settings.specialist_idle_s)
    forgetting = Forgetting(settings.home, embedded=bool(logins.urls) and settings.nats_logins is None)
    await _answer(hosting, forgetting, bus)
    _say(ready=True)
    log.info("ready")
    ends: list[Coroutine[Any, Any, Any]] = [stop.wait(), bus.closed.wait(), hosting.watch()]
    await asyncio.wait(map(asyncio.create_task, ends), return_when=asyncio.FIRST_COMPLETED)
    if not stop.is_set():
        raise SystemExit("the connection to NATS is gone for good")  # the supervisor starts this process anew
    log.info("draining")
    await bus.close(grace_s=0)
    await hosting.close()
    await _drain(fleet, hosts, settings)


async def _connected(settings: Settings, logins: Logins) -> Bus:
    """A connection, once the streams are there, which nobody else makes. A broker that comes back without has them made
    again."""
    assert settings.nats_url is not None
    bus = Bus(settings.nats_url, NAME, trust=Trust.of(settings))

    async def ensure() -> None:
        await streams.ensure(
            bus.client,
            patience_s=3600,
            budget=settings.stream_bytes,
            replicas=settings.stream_replicas,
            keep_s=settings.keep_s,
            # Users of the embedded broker may not make the stores that they need; with one's own, everybody may.
            all_stores=bool(logins.urls),
        )

    await bus.connect(patience_s=3600)
    await ensure()
    bus.when_reconnected(ensure)
    return bus


async def _answer(hosting: Hosting, forgetting: Forgetting, bus: Bus) -> None:
    """Start hosts of specialists for whoever asks over the bus, and forget tenants that are erased."""
    endpoints = [
        Endpoint("scale", str(FleetScale()), Scale, hosting.scale, concurrency=1024),
        Endpoint("forget", str(FleetForget()), Forget, forgetting.forget, concurrency=4),
    ]
    await bus.serve(NAME, endpoints, "Starts actors.", {"kind": NAME, "pid": str(os.getpid())})


async def _drain(fleet: Any, hosts: Any, settings: Settings) -> None:
    if settings.ray_address is not None:
        # A local Ray is ended whole. On a cluster of the user's own the doors would stay open and lead nowhere.
        try:
            await asyncio.to_thread(_close_doors)
        except Exception:
            log.exception("the Serve application is left on the cluster")
    await asyncio.gather(fleet.drain(DRAIN_S), hosts.drain(DRAIN_S))


def _close_doors() -> None:
    from ray import serve

    from serve.deployment import APPLICATION

    serve.delete(APPLICATION, _blocking=False)


def _join(address: str, settings: Settings) -> None:
    import ray

    from actors.fleet import NAMESPACE

    _connect(ray, address, NAMESPACE, local=settings.ray_address is None)


def _begin(settings: Settings, logins: Logins) -> Any:
    from actors.catalogue import load
    from actors.fleet import Fleet
    from serve.deployment import run

    fleet = Fleet(settings, load(settings.config), logins)
    # The models load for seconds while Serve waits for seconds; the others would only slow both down (measured: 2 s).
    fleet.start("models")
    _say(waiting="serve")
    run(logins.settings_of(permissions.HTTP, settings))
    fleet.start()
    return fleet


def _connect(ray: Any, address: str, namespace: str, local: bool) -> None:
    """Connect to the cluster; a local head may still be starting, so its supervisor waited for its port."""
    options: dict[str, Any] = {"namespace": namespace, "log_to_driver": False, "logging_level": "ERROR"}
    if local:
        options["_node_ip_address"] = "127.0.0.1"
    ray.init(address=address, **options)


if __name__ == "__main__":
    main()
