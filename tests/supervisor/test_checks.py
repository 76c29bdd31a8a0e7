import os
import socket
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from devskyy.supervisor import ports
from devskyy.supervisor.checks import check, check_port
from schemas.errors import ConfigError, StartError
from schemas.key import NewKey
from schemas.message import now
from schemas.settings import Settings
from storage import Database, KeyRepository


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A home that is still to be made."""
    return tmp_path / "fresh" / "home"


def settings(home: Path, **fields: Any) -> Settings:
    return Settings(home=home, **fields)


def test_a_machine_of_ones_own_is_accepted_and_the_home_is_made(fresh: Path) -> None:
    # Given nothing but defaults
    # When they are checked
    check(settings(fresh))
    # Then the home is there, its owner's alone, and empty
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o700
    assert list(fresh.iterdir()) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_loopback_is_accepted_by_number_and_by_name(fresh: Path, host: str) -> None:
    # Given the host of this machine alone
    # When it is checked
    # Then it will do
    check(settings(fresh, http_host=host))


@pytest.mark.parametrize("host", ["127.0.0.2", "::1", "::", "192.168.1.7", "shop.example", ""])
def test_a_host_on_which_no_task_would_be_served_is_refused(fresh: Path, host: str) -> None:
    # Given another host, where replicas would listen and Ray's proxy would not look for them
    # When it is checked
    with pytest.raises(StartError, match="in vain") as refused:
        check(settings(fresh, http_host=host))
    # Then the remedy is named, instead of a start that is never ready, and nothing was made
    assert "127.0.0.1" in refused.value.remedy
    assert not fresh.exists()


def test_every_interface_is_refused_while_nobody_has_a_key(fresh: Path) -> None:
    # Given a home without a database
    # When all interfaces are asked for
    with pytest.raises(StartError, match="there is no API key") as refused:
        check(settings(fresh, http_host="0.0.0.0"))
    # Then the remedy is named, and nothing was made
    assert "devskyy keys create" in refused.value.remedy
    assert not fresh.exists()


@pytest.mark.parametrize("how", [{"jwt_secret": "x" * 32}, {"jwks_url": "https://login.example/jwks"}])
def test_every_interface_is_accepted_where_callers_bring_tokens(tmp_path: Path, how: dict[str, str]) -> None:
    check(settings(tmp_path, http_host="0.0.0.0", **how))


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_secret_of_tokens_that_can_be_guessed_is_refused(fresh: Path, host: str) -> None:
    # Given a secret of twelve bytes, When a platform is to start with it
    with pytest.raises(StartError, match="JWT_SECRET_KEY has 12 bytes") as refused:
        check(settings(fresh, http_host=host, jwt_secret="twelve bytes"))
    # Then the remedy is named, the secret is not, and nothing was made
    assert "openssl rand -hex 32" in refused.value.remedy
    assert "twelve bytes" not in str(refused.value)
    assert not fresh.exists()


async def test_every_interface_is_accepted_with_a_key_that_may_be_used(tmp_path: Path) -> None:
    # Given a database whose keys are revoked or have expired
    wide = settings(tmp_path, http_host="0.0.0.0")
    database = Database(wide.sql_url)
    await database.migrate()
    keys = KeyRepository(database)
    await keys.revoke((await keys.add(NewKey(name="gone"), "default")).key.id)
    await keys.add(NewKey(name="old", expires_at=now() - timedelta(days=1)), "default")
    # When all interfaces are asked for, Then that is refused
    with pytest.raises(StartError, match="there is no API key"):
        check(wide)
    # And with one that may be used it is accepted, also where an event loop runs
    await keys.add(NewKey(name="ci", expires_at=now() + timedelta(days=1)), "default")
    check(wide)
    await database.close()


def test_a_home_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    # Given a home that would lie inside a file
    (tmp_path / "file").touch()
    # When it is checked
    # Then the remedy is named
    with pytest.raises(StartError, match="cannot be written") as refused:
        check(settings(tmp_path / "file" / "home"))
    assert "DEVSKYY_HOME" in refused.value.remedy


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    # Given a file where the home should be
    (tmp_path / "home").touch()
    # When it is checked
    # Then it is refused
    with pytest.raises(StartError, match="cannot be written"):
        check(settings(tmp_path / "home"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_without_leave_to_write_is_refused(fresh: Path) -> None:
    # Given a home that may only be read
    fresh.mkdir(parents=True, mode=0o500)
    # When it is checked
    # Then it is refused
    with pytest.raises(StartError, match="cannot be written"):
        check(settings(fresh))


def test_a_bad_overlay_is_refused_before_anything_else(fresh: Path, tmp_path: Path) -> None:
    # Given an overlay with a mistake
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("services: {mine: {modle: openai/x}}")
    # When it is checked
    with pytest.raises(ConfigError) as refused:
        check(settings(fresh, config=overlay))
    # Then the error names it, and nothing was made
    assert "mine" in str(refused.value)
    assert not fresh.exists()


@pytest.mark.parametrize("cluster", ["10.0.0.5:6379", "ray://head.example:10001", "head.example:6379"])
@pytest.mark.parametrize(
    "broker",
    [
        *(None, "nats://127.0.0.1:4222", "nats://a:b@localhost:4222", "nats://[::1]:4222"),
        "nats://a:b@broker.example:4222,nats://a:b@127.0.0.1:4222",
    ],
)
def test_a_cluster_that_cannot_reach_the_broker_is_refused(fresh: Path, cluster: str, broker: str | None) -> None:
    # Given a Ray cluster of other machines, and a broker on this one's loopback
    # When they are checked
    with pytest.raises(StartError, match="cannot reach a NATS") as refused:
        check(settings(fresh, ray_address=cluster, nats_url=broker))
    # Then the remedy is named
    assert "DEVSKYY_NATS_URL" in refused.value.remedy


@pytest.mark.parametrize(
    ("cluster", "broker"),
    [
        ("10.0.0.5:6379", "nats://user:word@broker.example:4222"),
        ("ray://head.example:10001", "tls://10.0.0.9:4222"),
        ("127.0.0.1:6379", None),
        ("127.0.0.1:6379", "nats://127.0.0.1:4222"),
        (None, "nats://127.0.0.1:4222"),
    ],
)
def test_a_cluster_that_reaches_its_broker_is_accepted(fresh: Path, cluster: str | None, broker: str | None) -> None:
    # Given a cluster and a broker that can reach each other
    # When they are checked
    # Then they will do
    check(settings(fresh, ray_address=cluster, nats_url=broker))


def test_a_port_that_is_held_is_refused_and_its_holder_named(fresh: Path) -> None:
    # Given a program that holds the port
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = int(holder.getsockname()[1])
        # When it is checked
        with pytest.raises(StartError, match=f"port {port} is taken") as refused:
            check_port(settings(fresh, http_port=port))
    # Then the holder and the remedy are named, and once it is free it will do
    assert f"(process {os.getpid()})" in refused.value.cause
    assert "DEVSKYY_HTTP_PORT" in refused.value.remedy
    check_port(settings(fresh, http_port=port))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_a_free_port_is_accepted_on_every_loopback(fresh: Path, host: str) -> None:
    # Given a port that nobody holds
    (port,) = ports.free(1)
    # When it is checked
    # Then it will do
    check_port(settings(fresh, http_host=host, http_port=port))
