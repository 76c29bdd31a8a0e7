"""The embedded broker as it is configured: who is let in while it runs, TLS, and what is refused before it starts."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import nats
import nats.errors
import psutil
import pytest
import structlog
from nats.aio.client import Client as NatsClient

from bus import server, urls
from bus.client import Bus
from bus.logins import Logins
from bus.nats_users import NatsUsers
from bus.permissions import SUPERVISOR
from bus.tls import Served, Trust
from devskyy.cli.app import main
from devskyy.supervisor import broker as embedded
from devskyy.supervisor import nats_users
from devskyy.supervisor.broker import EmbeddedBroker, check, check_port
from devskyy.supervisor.nats_users import Forgetting, in_force
from devskyy.supervisor.state import PlatformState, read_state, write_state
from schemas.errors import ConfigError, StartError, Unavailable
from schemas.fleet import Forget
from schemas.message import now
from schemas.settings import Settings
from tests.broker import free_port, until
from tests.certificates import Authority


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    for name in [name for name in os.environ if name.startswith("DEVSKYY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DEVSKYY_HOME", str(home))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def settings(home: Path, **fields: Any) -> Settings:
    return Settings(home=home, config=None, nats_url=fields.pop("nats_url", None), **fields)


def with_tls(home: Path, served: Served, **fields: Any) -> Settings:
    return settings(home, nats_tls_cert=served.cert, nats_tls_key=served.key, **fields)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[EmbeddedBroker]:
    """A server that is told what its supervisor tells it, with the state that tells others."""
    broker = EmbeddedBroker(settings)
    broker.write()
    broker.starting()
    process = await asyncio.create_subprocess_exec(server.binary(), "-c", str(broker.config), stderr=-3)
    broker.started()

    def tell() -> None:
        write_state(
            settings.home,
            PlatformState(
                instance="test",
                pid=os.getpid(),
                pid_started=psutil.Process().create_time(),
                phase="ready",
                http="http://127.0.0.1:9",
                nats_url=broker.url(SUPERVISOR),
                outside_nats_url=broker.outside_url,
                nats_users=broker.version,
                ray_dashboard=None,
                started_at=now(),
            ),
        )

    async def follow() -> None:
        while True:
            await broker.changed()
            tell()

    tell()
    following: asyncio.Task[None] | None = None
    try:
        bus = await Bus(broker.url(SUPERVISOR), "test", trust=broker.trust).connect(patience_s=15)
        await bus.close(grace_s=0)
        following = asyncio.create_task(follow())
        yield broker
    finally:
        if following is not None:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following
        process.kill()
        await process.wait()


Cli = Callable[..., Any]


@pytest.fixture
def devskyy(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command beside the event loop."""

    async def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with structlog.testing.capture_logs():
            code = await asyncio.to_thread(main, words)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@asynccontextmanager
async def connected(url: str, trust: Trust = Trust()) -> AsyncIterator[NatsClient]:  # noqa: B008 - it is frozen
    async def quiet(error: Exception) -> None: ...

    client = trust.client(url)
    try:
        await client.connect(urls.servers(url), allow_reconnect=False, error_cb=quiet)
        yield client
    finally:
        # After a refused certificate nats-py waits for ever for the connection's end.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(client.close(), 1)


# -- coming and going ------------------------------------------------------------------------------------------------


async def test_who_is_made_at_the_command_line_is_let_in_at_once_and_shut_out_at_once(home: Path, devskyy: Cli) -> None:
    async with running(settings(home)) as broker:
        # When a user is made beside a platform that runs
        code, out, err = await devskyy("nats-users", "create", "app", "--tenant", "acme", "--scope", "read")
        # Then its URL is told, and lets it in
        assert (code, "It is let in from now on." in err) == (0, True)
        assert out.startswith("nats://outside-app:")
        async with connected(out.strip()) as client, connected(broker.outside_url) as first:
            await client.flush()
            # And it is listed, without its password
            code, listed, _ = await devskyy("nats-users", "list", "--json")
            assert code == 0
            assert '"tenant": "acme"' in listed and "bcrypt" not in listed
            # When it is revoked
            code, _, err = await devskyy("nats-users", "revoke", "app")
            assert (code, "shut out from now on" in err) == (0, True)
            # Then its connection is closed, that of others is not, and it does not come in again
            await until(lambda: client.is_closed)
            await first.flush()
            with pytest.raises(nats.errors.Error, match="Authorization Violation"):
                async with connected(out.strip()):
                    pass


async def test_a_program_is_told_all_that_a_user_may(home: Path, devskyy: Cli) -> None:
    import json

    async with running(settings(home)):
        _, out, _ = await devskyy("nats-users", "create", "app", "--tenant", "acme", "--json")
        told = json.loads(out)
        assert (told["user"], told["tenant"], told["scope"], told["in_force"]) == ("outside-app", "acme", "write", True)
        assert (told["submit"], told["events"]) == ("devskyy.v1.submit.acme", "devskyy.v1.tasks.acme.>")
        async with connected(told["url"]) as client:
            await client.flush()
        # And of one that may only read, what it may alone
        _, out, _ = await devskyy("nats-users", "create", "eye", "--tenant", "acme", "--scope", "read", "--json")
        assert json.loads(out).keys() & {"submit", "commands", "wakes", "events", "tokens", "workflows"} == {
            *("events", "tokens", "workflows"),
        }


async def test_who_is_made_while_nothing_runs_is_let_in_by_the_next_start(home: Path, devskyy: Cli) -> None:
    code, out, err = await devskyy("nats-users", "create", "app")
    assert (code, "once the platform of this home runs" in err) == (0, True)
    password = out.split()[-1]
    async with (
        running(settings(home)) as broker,
        connected(urls.logged_in(broker.outside_url, "outside-app", password)) as client,
    ):
        await client.flush()


async def test_a_tenant_that_is_forgotten_is_shut_out_when_that_is_said(home: Path, devskyy: Cli) -> None:
    # Given a client of a tenant
    async with running(settings(home)) as broker:
        _, out, _ = await devskyy("nats-users", "create", "app", "--tenant", "acme")
        async with connected(out.strip()) as client:
            # When the host is asked to forget the tenant
            forgotten = await Forgetting(home, embedded=True).forget(Forget(tenant="acme"))
            # Then its users are gone, and the server knows it
            assert (forgotten.nats_users, NatsUsers(home).all()) == (1, ())
            assert broker.version == NatsUsers(home).version()
            await until(lambda: client.is_closed)
        assert (await Forgetting(home, embedded=True).forget(Forget(tenant="acme"))).nats_users == 0


async def test_it_is_not_said_that_somebody_is_shut_out_before_it_is_so(
    home: Path, devskyy: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_users, "IN_FORCE_S", 0.1)
    monkeypatch.setattr(in_force, "__defaults__", (0.1,))
    async with running(settings(home)):
        await devskyy("nats-users", "create", "app", "--tenant", "acme")

        async def deaf(url: str, trust: Trust) -> None:
            await asyncio.Event().wait()

        # When the server does not take up what it is told
        monkeypatch.setattr(server, "reload", deaf)
        # Then neither the command nor an erasure says that it has
        code, _, err = await devskyy("nats-users", "revoke", "app")
        assert (code, "NATS has not taken it up" in err) == (1, True)
        with pytest.raises(Unavailable, match="acme"):
            await Forgetting(home, embedded=True).forget(Forget(tenant="acme"))


def test_a_server_that_starts_is_not_said_to_know_who_was_made_meanwhile(home: Path) -> None:
    # Given a server that has read its configuration
    broker = EmbeddedBroker(settings(home))
    broker.write()
    broker.starting()
    # When somebody is made, and it cannot be told of that before it is up
    NatsUsers(home).create("shop", "acme", "write")
    broker.write()
    broker.started()
    # Then it does not pass for one that knows
    assert broker.version != NatsUsers(home).version()


async def test_a_home_may_be_spelled_in_any_letters(tmp_path: Path) -> None:
    home = tmp_path / "Zoë"
    home.mkdir()
    async with running(settings(home)) as broker:
        client = await nats.connect(broker.url(SUPERVISOR))
        await client.close()


async def test_a_tenant_is_not_said_to_be_shut_out_where_the_supervisor_was_killed(home: Path, devskyy: Cli) -> None:
    # Given a platform that goes on without its supervisor
    async with running(settings(home)):
        await devskyy("nats-users", "create", "app", "--tenant", "acme")
        state = read_state(home)
        assert state is not None
        write_state(home, state.model_copy(update={"pid_started": 0.0}))
        # Then the host does not say that the tenant's clients are shut out
        with pytest.raises(Unavailable, match="acme"):
            await Forgetting(home, embedded=True).forget(Forget(tenant="acme"))


async def test_a_disk_that_is_full_for_a_moment_does_not_keep_anybody_in(
    home: Path, devskyy: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(settings(home)) as broker:
        await devskyy("nats-users", "create", "app", "--tenant", "acme")
        real, failing = server.write_config, True

        def write_config(*args: Any, **options: Any) -> Path:
            if failing:
                raise OSError(28, "No space left on device")
            return real(*args, **options)

        # When a user is revoked and nothing can be written
        monkeypatch.setattr(server, "write_config", write_config)
        NatsUsers(home).revoke("app")
        await until(lambda: broker.trouble is not None)
        assert "No space left" in str(broker.trouble)
        # Then it is shut out once there is room
        failing = False
        await until(lambda: broker.version == NatsUsers(home).version())
        assert broker.trouble is None


# -- TLS -------------------------------------------------------------------------------------------------------------


async def test_with_a_certificate_every_connection_is_secret(home: Path, authority: Authority) -> None:
    # Given a certificate for a host that is not loopback, and nobody who vouches for it
    asked = with_tls(home, authority.issue("nats.example.com"))
    check(asked)
    async with running(asked) as broker:
        # Then the platform's own parts believe it, and the URL for others says what it is for
        assert broker.url(SUPERVISOR).startswith("tls://")
        assert urls.hosts(broker.outside_url) == ["nats.example.com"]
        parts = settings(home, nats_ca=broker.trust.ca, nats_tls_name=broker.trust.name)
        bus = await Bus(broker.url("intake"), "intake", trust=Trust.of(parts)).connect(patience_s=10)
        await bus.close(grace_s=0)
        # And who knows the authority comes in, while who speaks plain text does not
        outside = broker.outside_url.replace("nats.example.com", "127.0.0.1")
        client = NatsClient()
        context = Trust(authority.ca).context()
        await client.connect(outside, tls=context, tls_hostname="nats.example.com", allow_reconnect=False)
        await client.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
        writer.write(b'CONNECT {"verbose":false}\r\nPING\r\n')
        assert b"PONG" not in await reader.read()
        writer.close()


async def test_a_certificate_that_is_renewed_is_shown_without_a_restart(home: Path, authority: Authority) -> None:
    served = authority.issue("localhost")
    async with running(with_tls(home, served)) as broker:
        assert urls.hosts(broker.outside_url) == ["localhost"]
        old = shutil.copy(served.cert, served.cert.with_suffix(".old"))
        async with connected(broker.outside_url, Trust(old)) as stays:
            # When it is renewed
            authority.issue("localhost", into=served)
            # Then those who come are shown the new one, and those who are there stay
            await _until_shown(broker, served.cert)
            await stays.flush()
            with pytest.raises((nats.errors.Error, OSError)):
                async with connected(broker.outside_url, Trust(old)):
                    pass
            # When it is replaced by one that cannot be used
            served.cert.write_text("nothing")
            await until(lambda: broker.trouble is not None)
            # Then that is told, and everybody goes on
            assert "DEVSKYY_NATS_TLS_CERT" in str(broker.trouble)
            await stays.flush()
            authority.issue("localhost", into=served)
            await until(lambda: broker.trouble is None)


async def _until_shown(broker: EmbeddedBroker, cert: Path) -> None:
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(nats.errors.Error, OSError):
                async with connected(broker.outside_url, Trust(cert)):
                    return
            await asyncio.sleep(0.05)


# -- refused before anything is started ------------------------------------------------------------------------------


def test_what_needs_nothing_is_well(home: Path) -> None:
    check(settings(home))


@pytest.mark.parametrize(
    ("fields", "key", "why"),
    [
        ({"nats_tls_cert": "one"}, "DEVSKYY_NATS_TLS_KEY", "is needed with DEVSKYY_NATS_TLS_CERT"),
        ({"nats_tls_key": "one"}, "DEVSKYY_NATS_TLS_CERT", "is needed with DEVSKYY_NATS_TLS_KEY"),
        ({"nats_tls_cert": "none", "nats_tls_key": "one"}, "DEVSKYY_NATS_TLS_CERT", "cannot be read"),
        ({"nats_tls_cert": "one", "nats_tls_key": "none"}, "DEVSKYY_NATS_TLS_KEY", "cannot be read"),
        ({"nats_tls_cert": "garbage", "nats_tls_key": "one"}, "DEVSKYY_NATS_TLS_CERT", "holds no certificate"),
        ({"nats_tls_cert": "one", "nats_tls_key": "other"}, "DEVSKYY_NATS_TLS_KEY", "not that of"),
        ({"nats_tls_cert": "one", "nats_tls_key": "garbage"}, "DEVSKYY_NATS_TLS_KEY", "is no key in PEM"),
        ({"nats_tls_cert": "locked", "nats_tls_key": "locked"}, "DEVSKYY_NATS_TLS_KEY", "without a password"),
        ({"nats_tls_cert": "old", "nats_tls_key": "old"}, "DEVSKYY_NATS_TLS_CERT", "expired at"),
        ({"nats_tls_cert": "wild", "nats_tls_key": "wild"}, "DEVSKYY_NATS_TLS_CERT", "set DEVSKYY_NATS_TLS_NAME"),
        (
            {"nats_tls_cert": "one", "nats_tls_key": "one", "nats_ca": "stranger"},
            *("DEVSKYY_NATS_TLS_CERT", "is not believed by the platform's own parts"),
        ),
        ({"nats_tls_cert": "one", "nats_tls_key": "one", "nats_ca": "garbage"}, "DEVSKYY_NATS_CA", "no certificate"),
        ({"nats_tls_cert": "one", "nats_tls_key": "one", "nats_ca": "none"}, "DEVSKYY_NATS_CA", "cannot be read"),
        (
            {"nats_tls_cert": "one", "nats_tls_key": "one", "nats_tls_name": "b.example.com"},
            *("DEVSKYY_NATS_TLS_CERT", "DEVSKYY_NATS_TLS_NAME"),
        ),
        ({"nats_ca": "one"}, "DEVSKYY_NATS_CA", "is for TLS"),
        ({"nats_url": "nats://b", "nats_tls_cert": "one"}, "DEVSKYY_NATS_TLS_CERT", "is of the embedded broker"),
        ({"nats_url": "nats://b", "nats_host": "0.0.0.0"}, "DEVSKYY_NATS_HOST", "is of the embedded broker"),
        ({"nats_url": "nats://b", "nats_port": 4222}, "DEVSKYY_NATS_PORT", "is of the embedded broker"),
        ({"nats_url": "nats://b", "nats_logins": "one"}, "DEVSKYY_NATS_LOGINS", "unset one of them"),
        ({"nats_url": "tls://b", "nats_ca": "none"}, "DEVSKYY_NATS_CA", "cannot be read"),
    ],
)
def test_what_cannot_work_is_refused_by_name(
    home: Path, tmp_path: Path, authority: Authority, fields: dict[str, Any], key: str, why: str
) -> None:
    # Given certificates of all kinds
    files = {
        "one": authority.issue("127.0.0.1"),
        "other": authority.issue("127.0.0.1"),
        "old": authority.issue("127.0.0.1", ends_in=timedelta(seconds=-1)),
        "locked": authority.issue("127.0.0.1", password=b"secret"),
        "wild": authority.issue("*.example.com"),
        "none": Served(tmp_path / "none.pem", tmp_path / "none.pem"),
        "garbage": Served(tmp_path / "garbage.pem", tmp_path / "garbage.pem"),
    }
    files["garbage"].cert.write_text("no PEM")
    paths = {"nats_tls_cert": "cert", "nats_ca": "cert", "nats_logins": "cert", "nats_tls_key": "key"}
    for field, name in fields.items():
        if name == "stranger":
            fields = {**fields, field: Authority(tmp_path, "a stranger").ca}
        elif field in paths:
            fields = {**fields, field: getattr(files[name], paths[field])}
    # Then what is wrong is said before anything is started
    with pytest.raises(ConfigError) as refused:
        check(settings(home, **fields))
    assert (refused.value.key, why in refused.value.rule) == (key, True), refused.value


def test_a_wildcard_does_where_it_is_told_for_which_host(home: Path, authority: Authority) -> None:
    check(with_tls(home, authority.issue("*.example.com"), nats_tls_name="nats.example.com"))


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "nats.example.com"])
def test_who_is_reached_from_elsewhere_speaks_tls_or_says_that_it_need_not(
    home: Path, authority: Authority, host: str
) -> None:
    with pytest.raises(StartError, match="in plain text") as refused:
        check(settings(home, nats_host=host))
    assert "DEVSKYY_NATS_TLS_CERT" in refused.value.remedy
    check(settings(home, nats_host=host, nats_plaintext=True))
    check(with_tls(home, authority.issue("127.0.0.1", host), nats_host=host))


async def test_one_that_is_reached_from_everywhere_is_named_by_its_certificate(
    home: Path, authority: Authority
) -> None:
    served = authority.issue("127.0.0.1", "localhost", "nats.example.com")
    async with running(with_tls(home, served, nats_host="0.0.0.0", nats_port=free_port())) as broker:
        assert urls.hosts(broker.outside_url) == ["nats.example.com"]
        assert urls.hosts(broker.url(SUPERVISOR)) == ["127.0.0.1"]
        with pytest.raises(StartError, match=f"port {broker.port}: it is taken"):
            check_port(with_tls(home, served, nats_host="0.0.0.0", nats_port=broker.port))


def test_an_address_of_another_machine_is_refused(home: Path) -> None:
    with pytest.raises(StartError, match="no address of this machine"):
        check_port(settings(home, nats_host="192.0.2.1", nats_plaintext=True))
    check_port(settings(home, nats_url="nats://192.0.2.1"))


def test_a_file_of_logins_has_everybody(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "logins.json"
    path.write_text(Logins({SUPERVISOR: "nats://a:b@c"}).dump())
    with pytest.raises(ConfigError, match=r"no user coordinator, .*devskyy nats-config"):
        check(settings(home, nats_logins=path))
    for text in ("[]", "{", '{"http": 3}', '{"http": ""}'):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"logins\.json"):
            check(settings(home, nats_logins=path))


def test_only_what_is_of_the_embedded_broker_is_refused_beside_ones_own() -> None:
    assert {field for field in Settings.model_fields if field.startswith("nats_")} == {
        *embedded.OF_THE_EMBEDDED,
        *("nats_url", "nats_logins", "nats_ca", "nats_tls_name"),
    }
