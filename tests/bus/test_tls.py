"""A broker behind TLS: who is believed, and that nothing is said in plain text where that was not meant."""

import asyncio
import json
import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from bus import client, server
from bus.client import Bus
from bus.tls import Served, Trust, name_for, read_certificate, try_handshake
from schemas.errors import BusUnavailable
from tests.broker import Broker
from tests.certificates import Authority

NOT_LONG_S = 0.5


@pytest.fixture(autouse=True)
def _no_long_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a refused certificate the end of the connection is waited for, in vain."""
    monkeypatch.setattr(client, "TRY_S", 1.0)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class SecretBroker(Broker):
    """It speaks TLS. Its clients' URLs say so."""

    def __init__(self, home: Path, served: Served) -> None:
        super().__init__(home)
        self.served = served

    def url_of(self, user: str) -> str:
        return super().url_of(user).replace("nats://", "tls://")

    def write_config(self, port: int) -> Path:
        return server.write_config(self.home, port, self.credentials, self.users, served=self.served)


@pytest.fixture
def secret(tmp_path: Path, authority: Authority) -> Iterator[SecretBroker]:
    broker = SecretBroker(tmp_path / "home", authority.issue("127.0.0.1"))
    try:
        yield broker.start()
    finally:
        broker.kill()


async def connects(url: str, trust: Trust) -> None:
    bus = await Bus(url, "test", trust=trust).connect(patience_s=10)
    try:
        await bus.settle()
        assert bus.healthy
    finally:
        await bus.close(grace_s=0)


async def test_a_broker_whose_authority_is_known_to_the_system_is_spoken_to(
    secret: SecretBroker, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given the authority where OpenSSL looks for it
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
    # Then somebody connects who was told nothing more
    await connects(secret.url, Trust())


async def test_a_broker_of_a_private_authority_is_spoken_to_by_whoever_was_told_of_it(
    secret: SecretBroker, authority: Authority
) -> None:
    await connects(secret.url, Trust(authority.ca))


async def test_a_certificate_is_believed_by_whoever_was_given_it(secret: SecretBroker) -> None:
    await connects(secret.url, Trust(secret.served.cert))


async def test_a_broker_that_nobody_vouches_for_is_not_spoken_to(secret: SecretBroker, tmp_path: Path) -> None:
    for trust in (Trust(), Trust(Authority(tmp_path, "another authority").ca)):
        with pytest.raises(BusUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await Bus(secret.url, "test", trust=trust).connect(NOT_LONG_S)


async def test_a_certificate_for_another_host_is_not_believed(tmp_path: Path, authority: Authority) -> None:
    broker = SecretBroker(tmp_path / "other", authority.issue("nats.example.com")).start()
    try:
        with pytest.raises(BusUnavailable, match=r"not valid for '127\.0\.0\.1'"):
            await Bus(broker.url, "test", trust=Trust(authority.ca)).connect(NOT_LONG_S)
        # But by whoever takes the server for that host
        await connects(broker.url, Trust(authority.ca, "nats.example.com"))
    finally:
        broker.kill()


async def test_a_renewed_certificate_is_known_to_whoever_has_to_connect_again(
    secret: SecretBroker, authority: Authority
) -> None:
    # Given somebody who believes the certificate alone
    bus = await Bus(secret.url, "test", trust=Trust(secret.served.cert)).connect(patience_s=10)
    try:
        # When it is renewed, and the server started anew
        authority.issue("127.0.0.1", into=secret.served)
        again = asyncio.Event()

        async def back() -> None:
            again.set()

        bus.when_reconnected(back)
        secret.restart()
        # Then it is there again
        await asyncio.wait_for(again.wait(), 30)
    finally:
        await bus.close(grace_s=0)


@pytest.mark.parametrize(("scheme", "pinned"), [("tls", False), ("nats", True)])
async def test_a_password_is_not_said_to_whoever_claims_to_have_no_tls(
    authority: Authority, scheme: str, pinned: bool
) -> None:
    # Given somebody in the broker's place who says that it speaks plain text
    heard: list[bytes] = []

    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        info = {"server_id": "x", "version": "2.15.1", "max_payload": 1048576, "auth_required": True}
        writer.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
        heard.append(await reader.read(1000))
        writer.close()

    listener = await asyncio.start_server(pretend, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    # When somebody connects who was told to speak TLS
    trust = Trust(authority.ca) if pinned else Trust()
    async with listener:
        with pytest.raises(BusUnavailable, match="offers no TLS"):
            await Bus(f"{scheme}://me:secret@127.0.0.1:{port}", "test", trust=trust).connect(NOT_LONG_S)
    # Then nothing is said
    assert set(heard) == {b""}


# -- before anything is started ------------------------------------------------------------------------------------


def test_a_server_and_its_clients_meet_in_memory(authority: Authority) -> None:
    served = authority.issue("nats.example.com", "10.0.0.1")
    try_handshake(served, Trust(authority.ca), "10.0.0.1")
    try_handshake(served, Trust(served.cert, "nats.example.com"), "127.0.0.1")
    with pytest.raises(ssl.SSLCertVerificationError, match=r"127\.0\.0\.1"):
        try_handshake(served, Trust(authority.ca), "127.0.0.1")
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        try_handshake(served, Trust(), "10.0.0.1")


def test_one_that_has_expired_is_believed_by_nobody(authority: Authority) -> None:
    served = authority.issue("127.0.0.1", ends_in=timedelta(seconds=-1))
    for ca in (authority.ca, served.cert):
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            try_handshake(served, Trust(ca), "127.0.0.1")


def test_a_key_of_another_certificate_or_with_a_password_is_refused_and_nobody_is_asked(authority: Authority) -> None:
    one, other = authority.issue("127.0.0.1"), authority.issue("127.0.0.1")
    locked = authority.issue("127.0.0.1", password=b"secret")
    for served in (Served(one.cert, other.key), locked, Served(one.cert, one.cert)):
        with pytest.raises(ssl.SSLError):
            try_handshake(served, Trust(authority.ca), "127.0.0.1")


@pytest.mark.parametrize(
    ("names", "host", "name"),
    [
        (("127.0.0.1", "nats.example.com"), "127.0.0.1", None),
        (("nats.example.com",), "127.0.0.1", "nats.example.com"),
        (("localhost", "nats.example.com"), "127.0.0.1", "localhost"),
        (("*.example.com", "nats.example.com"), "10.0.0.1", "nats.example.com"),
    ],
)
def test_a_client_takes_a_server_for_what_its_certificate_is_for(
    authority: Authority, names: tuple[str, ...], host: str, name: str | None
) -> None:
    assert name_for(read_certificate(authority.issue(*names).cert).names, host) == name


@pytest.mark.parametrize("names", [(), ("*.example.com",)])
def test_a_certificate_that_is_for_no_one_host_has_to_be_told_which(
    authority: Authority, names: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match="names no host"):
        name_for(read_certificate(authority.issue(*names).cert).names, "127.0.0.1")
