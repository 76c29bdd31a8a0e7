"""Clients from outside on a real platform, with nothing of ours but NATS: each sees its tenant, and they come and go
while tasks run. The same over TLS, and on a nats-server of one's own."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgpack
import nats
import pytest
from nats.aio.client import Client

from bus import server
from bus.accounts import PLATFORM
from bus.tls import Trust
from tests.broker import settle, until
from tests.certificates import Authority
from tests.live import LivePlatform, free_port, overlay, running
from tests.simulators.openai import Behaviour, OpenAISimulator

pytestmark = pytest.mark.platform

LONG_S = 60.0
ENDS = ("completed", "failed", "cancelled")


class Outside:
    """A client of one tenant, which hears all that happens there."""

    def __init__(self, client: Client, told: dict[str, Any], refused: list[str]) -> None:
        self.client, self.told, self.refused = client, told, refused
        self.events: list[dict[str, Any]] = []

    async def submit(self, prompt: str) -> str:
        reply = await self.client.request(self.told["submit"], msgpack.packb({"prompt": prompt}), timeout=LONG_S)
        return str(msgpack.unpackb(reply.data)["task_id"])

    async def heard(self, event: str, task_id: str) -> dict[str, Any]:
        def found() -> list[dict[str, Any]]:
            return [each for each in self.events if (each["event"], each["task_id"]) == (event, task_id)]

        await until(lambda: bool(found()), LONG_S)
        return found()[0]


@asynccontextmanager
async def outside(told: dict[str, Any], trust: Trust | None = None, *, stays: bool = True) -> AsyncIterator[Outside]:
    """With what `devskyy nats-users create --json` or `devskyy nats-url --json` tells."""
    refused: list[str] = []

    async def on_error(error: Exception) -> None:
        refused.append(str(error))

    options = {} if trust is None else {"tls": trust.context()}
    client = await nats.connect(told["url"], error_cb=on_error, allow_reconnect=stays, **options)
    me = Outside(client, told, refused)

    async def hear(msg: Any) -> None:
        me.events.append(msgpack.unpackb(msg.data))

    await client.subscribe(told["events"], cb=hear)
    await settle(client)
    yield me
    await client.close()


async def test_clients_of_a_tenant_come_and_go_while_its_tasks_run(
    simulated: tuple[LivePlatform, OpenAISimulator], sim: OpenAISimulator
) -> None:
    # Given a platform, and two clients of one tenant, of whom one may only read
    live, _ = simulated
    sim.behaviour = Behaviour(answer="A tote bag.", latency_s=2)

    async def cli(*words: str) -> Any:
        return await asyncio.to_thread(live.json, *words)

    writes = await cli("nats-users", "create", "app", "--tenant", "acme")
    reads = await cli("nats-users", "create", "eye", "--tenant", "acme", "--scope", "read")
    ours = await cli("nats-url")
    async with outside(writes, stays=False) as app, outside(reads, stays=False) as eye, outside(ours) as first:
        # When the one submits, and is revoked while its task runs
        task_id = await app.submit("Name a bag")
        assert (await cli("nats-users", "revoke", "app"))["in_force"]
        await until(lambda: app.client.is_closed, LONG_S)
        # Then the task goes on, and the other hears its end, as nobody else does
        assert (await eye.heard("completed", task_id))["task"]["answer"] == "A tote bag."
        mine = await first.submit("Name another")
        await first.heard("completed", mine)
        assert task_id not in {event["task_id"] for event in first.events}
        assert mine not in {event["task_id"] for event in eye.events}
        assert (await asyncio.to_thread(httpx.get, f"{live.url}/api/v1/tasks/{task_id}")).status_code == 404
        # And who may only read does not submit
        await eye.client.publish(writes["submit"], msgpack.packb({"prompt": "?"}))
        await eye.client.flush()
        await until(lambda: any("permissions violation for publish" in text.lower() for text in eye.refused), LONG_S)
        # When the tenant is erased
        erased = await cli("erase", "--tenant", "acme", "--yes")
        # Then its clients are shut out, and others are not
        assert erased["removed"]["nats_users"] == 2
        await until(lambda: eye.client.is_closed, LONG_S)
        await first.heard("completed", await first.submit("Name a third"))
    assert (await cli("nats-users", "list"))["users"] == []


# -- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def provider() -> Iterator[OpenAISimulator]:
    with OpenAISimulator() as sim:
        sim.behaviour = Behaviour(answer="A tote bag.")
        yield sim


@pytest.mark.soak
async def test_a_platform_works_over_tls_with_a_certificate_that_only_it_knows(
    home: Path, authority: Authority, provider: OpenAISimulator
) -> None:
    served = authority.issue("localhost")
    variables = {"DEVSKYY_NATS_TLS_CERT": str(served.cert), "DEVSKYY_NATS_TLS_KEY": str(served.key)}
    with running(home, overlay(provider), **variables) as live:
        told = await asyncio.to_thread(live.json, "nats-url")
        assert told["url"].startswith("tls://outside:")
        async with outside(told, Trust(authority.ca)) as me:
            await me.heard("completed", await me.submit("Name a bag"))
            # When the certificate is renewed, and the server is killed and started anew
            authority.issue("localhost", into=served)
            await asyncio.to_thread(live.process("nats-server").kill)
            # Then all are there again
            await until(lambda: me.client.is_connected and me.client.stats["reconnects"] > 0, LONG_S)
            await asyncio.to_thread(_ready, live)
            await me.heard("completed", await me.submit("Name another"))
        assert live.refused() == []


@pytest.mark.soak
async def test_a_platform_works_with_a_nats_server_of_ones_own_and_a_user_for_each_part(
    tmp_path: Path, home: Path, authority: Authority, provider: OpenAISimulator
) -> None:
    # Given a nats-server behind TLS that was told what is printed
    served, logins, log = authority.issue("127.0.0.1"), tmp_path / "logins.json", tmp_path / "nats.log"
    live = LivePlatform(home, config=overlay(provider))
    printed = await asyncio.to_thread(
        live.cli,
        *("nats-config", str(logins), "--server", f"tls://127.0.0.1:{free_port()}"),
        *("--store-dir", str(tmp_path / "store"), "--tls-cert", str(served.cert), "--tls-key", str(served.key)),
    )
    config = tmp_path / "nats.conf"
    config.write_text(f'{printed.stdout}\nlog_file: "{log}"\n')
    nats_server = await asyncio.create_subprocess_exec(server.binary(), "-c", str(config))
    try:
        # When a platform is started that has the logins
        variables = {"DEVSKYY_NATS_LOGINS": str(logins), "DEVSKYY_NATS_CA": str(authority.ca)}
        with running(home, overlay(provider), **variables) as live:
            told = await asyncio.to_thread(live.json, "nats-url")
            # Then tasks go through, and no part is refused anything
            async with outside(told, Trust(authority.ca)) as me:
                done = await me.heard("completed", await me.submit("Name a bag"))
            assert done["task"]["answer"] == "A tote bag."
        assert not [line for line in log.read_text().splitlines() if " Violation" in line and f'"{PLATFORM}/' in line]
    finally:
        nats_server.terminate()
        await nats_server.wait()


def _ready(live: LivePlatform) -> None:
    from tests.live import until

    until(live.ready, LONG_S, "the platform ready")
