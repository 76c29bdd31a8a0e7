"""TLS between the platform's parts and the broker: whom they believe, and whether a certificate can be used at all."""

import contextlib
import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import nats.errors

from bus import urls
from bus.connection import Connection
from schemas.settings import Settings, is_loopback


class PlainText(nats.errors.Error):  # type: ignore[misc]
    """The server speaks no TLS, and is not to be told a password in plain text."""

    def __init__(self) -> None:
        super().__init__("the server offers no TLS, which its URL (tls://) or DEVSKYY_NATS_CA asks for")


@dataclass(frozen=True)
class Trust:
    """Whom a client takes for the broker."""

    ca: Path | None = None
    """Authorities, or the certificate itself; None: whom the system trusts."""
    name: str | None = None
    """What the certificate must be for; None: the host of the URL."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.nats_ca, settings.nats_tls_name)

    def client(self, url: str) -> Connection:
        """One that is not connected yet."""
        return SecretClient(self, demanded=self.ca is not None or "tls" in urls.schemes(url))

    def context(self) -> ssl.SSLContext:
        """Read anew each time, so that a certificate that was renewed is known at the next connection.

        Raises:
            OSError: the file cannot be read, or holds no certificate.
        """
        context = ssl.create_default_context(cafile=self.ca)
        if self.ca is not None:
            # What the file holds is believed as it is, be it an authority or not.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context


NOBODY_ELSE = Trust()
"""Whom the system trusts, for the host of the URL."""


class SecretClient(Connection):
    """nats-py, which would go on in plain text where a server says that it has no TLS, whatever its URL says."""

    def __init__(self, trust: Trust, *, demanded: bool) -> None:
        super().__init__()
        self._trust, self._demanded = trust, demanded

    @property
    def ssl_context(self) -> ssl.SSLContext:
        return self._trust.context()

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection and self._demanded and not info.get("tls_required"):
            raise PlainText
        await super()._process_info(info, initial_connection=initial_connection)


@dataclass(frozen=True)
class Served:
    """A certificate that a server shows, with its key."""

    cert: Path
    key: Path


@dataclass(frozen=True)
class Certificate:
    """What a certificate says."""

    names: tuple[str, ...]
    """Addresses and host names that it is for, addresses first; wildcards as they are."""
    ends_at: datetime


def read_certificate(path: Path) -> Certificate:
    """The first one of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: there is none in it.
    """
    from cryptography import x509  # what an actor need not load

    found = x509.load_pem_x509_certificates(path.read_bytes())[0]
    try:
        said = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names: tuple[str, ...] = ()
    else:
        addresses = [str(address) for address in said.get_values_for_type(x509.IPAddress)]
        names = (*addresses, *said.get_values_for_type(x509.DNSName))
    return Certificate(names, found.not_valid_after_utc)


def name_for(names: tuple[str, ...], host: str) -> str | None:
    """What a client that connects to this host has to take the server for; None: for that host.

    Raises:
        ValueError: the certificate is for no one host that could be told.
    """
    if host in names:
        return None
    if "localhost" in names and is_loopback(host):
        return "localhost"
    if plain := [name for name in names if "*" not in name]:
        return plain[0]
    raise ValueError("names no host (its subject alternative names have no address or host name)")


def try_handshake(served: Served, trust: Trust, host: str) -> None:
    """Have a server with this certificate and a client of ours meet, in memory.

    Raises:
        ssl.SSLError: the client does not believe it; the files do not belong together, or are none.
        OSError: a file cannot be read.
    """
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # Asked for a password it would ask whoever sits at the terminal; nats-server takes no key that has one.
    shown.load_cert_chain(served.cert, served.key, password=lambda: "")
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = shown.wrap_bio(to_server, to_client, server_side=True)
    client = trust.context().wrap_bio(to_client, to_server, server_hostname=trust.name or host)
    for side in (client, server, client):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
