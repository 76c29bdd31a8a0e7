"""The embedded broker as the supervisor sees it: what it is told, where it is reached, and who is let in."""

import asyncio
import ssl
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import structlog

from actors.catalogue import load
from bus import permissions, server
from bus.accounts import OUTSIDE
from bus.files import write_private
from bus.logins import Logins
from bus.nats_users import NatsUsers
from bus.tls import Certificate, Served, Trust, name_for, read_certificate, try_handshake
from devskyy.supervisor import ports
from schemas.errors import BusUnavailable, ConfigError, DevSkyyError, StartError
from schemas.settings import Settings, is_loopback

LOOK_S = 0.2
"""How often it is looked whether other clients are to be let in, or the certificate was renewed."""
EVERYWHERE = ("0.0.0.0", "::")
OF_THE_EMBEDDED = ("nats_tls_cert", "nats_tls_key", "nats_host", "nats_port", "nats_plaintext")

log = structlog.get_logger()


def check(settings: Settings) -> None:
    """Refuse what the broker cannot work with, or what opens it wider than was said.

    Raises:
        ConfigError, StartError: with the remedy.
    """
    if settings.nats_url is not None and settings.nats_logins is not None:
        raise _refusal("nats_logins", "names the broker's users, and DEVSKYY_NATS_URL one for all; unset one of them")
    if not settings.embeds_nats:
        for field in OF_THE_EMBEDDED:
            if getattr(settings, field) != Settings.model_fields[field].default:
                raise _refusal(
                    field, "is of the embedded broker, and you have one of your own; set it up there instead"
                )
        _check_logins(settings)
        _check_ca(settings)
        return
    if (settings.nats_tls_cert is None) != (settings.nats_tls_key is None):
        given, missing = ("CERT", "KEY") if settings.nats_tls_key is None else ("KEY", "CERT")
        raise _refusal(f"nats_tls_{missing.lower()}", f"is needed with DEVSKYY_NATS_TLS_{given}")
    if (served := _served(settings)) is not None:
        check_certificate(served, settings)
    elif settings.nats_ca is not None or settings.nats_tls_name is not None:
        unused = "nats_ca" if settings.nats_ca is not None else "nats_tls_name"
        raise _refusal(unused, "is for TLS; set DEVSKYY_NATS_TLS_CERT and DEVSKYY_NATS_TLS_KEY too")
    elif not is_loopback(settings.nats_host) and not settings.nats_plaintext:
        raise StartError(
            f"DEVSKYY_NATS_HOST={settings.nats_host} opens NATS to other machines, and in plain text",
            "set DEVSKYY_NATS_TLS_CERT and DEVSKYY_NATS_TLS_KEY; "
            "or DEVSKYY_NATS_PLAINTEXT=true where something else keeps the network secret",
        )


def check_port(settings: Settings) -> None:
    """Refuse a port that somebody else holds, and an address that is not this machine's.

    Raises:
        StartError: with the remedy.
    """
    if not settings.embeds_nats:
        return
    if ports.busy(settings.nats_port or 0, settings.nats_host):
        asked = (
            f"DEVSKYY_NATS_HOST={settings.nats_host}" if settings.nats_port is None else f"port {settings.nats_port}"
        )
        raise StartError(
            f"NATS cannot listen at {asked}: it is taken, or no address of this machine",
            "end the program that holds it, or set DEVSKYY_NATS_HOST or DEVSKYY_NATS_PORT to another, or unset it",
        )


def check_certificate(served: Served, settings: Settings, name: str | None = None) -> Certificate:
    """Have the platform's own parts try it, as they will.

    Args:
        name: what they take it to be for, if that is known already.

    Raises:
        ConfigError: they would not believe it, or nats-server could not use it.
    """
    try:
        certificate = read_certificate(served.cert)
    except (OSError, ValueError) as error:
        raise _refusal("nats_tls_cert", f"{served.cert} {_why(error, 'holds no certificate in PEM')}") from None
    try:
        served.key.read_bytes()
    except OSError as error:
        raise _refusal("nats_tls_key", f"{served.key} {_why(error, '')}") from None
    _check_ca(settings)
    if certificate.ends_at <= datetime.now(UTC):
        raise _refusal("nats_tls_cert", f"{served.cert} expired at {certificate.ends_at}; renew it")
    try:
        name = name or settings.nats_tls_name or name_for(certificate.names, _reached_at(settings))
        try_handshake(served, Trust(settings.nats_ca or served.cert, name), _reached_at(settings))
    except ssl.SSLCertVerificationError as error:
        rule = f"{served.cert} is not believed by the platform's own parts: {error.verify_message}"
        raise _refusal("nats_tls_cert", f"{rule}; see to DEVSKYY_NATS_CA and DEVSKYY_NATS_TLS_NAME") from None
    except ssl.SSLError as error:
        rule = f"{served.key} is no key in PEM without a password, or not that of {served.cert}"
        raise _refusal("nats_tls_key", f"{rule} ({error.reason or error})") from None
    except ValueError as error:
        raise _refusal("nats_tls_cert", f"{served.cert} {error}; or set DEVSKYY_NATS_TLS_NAME") from None
    return certificate


class EmbeddedBroker:
    """What it is told, and where it is reached. It runs elsewhere."""

    def __init__(self, settings: Settings) -> None:
        catalogue = load(settings.config)
        self._settings, self._home = settings, settings.home
        self._users = permissions.table(permissions.users(catalogue.carriers, catalogue.specialists))
        self._credentials = server.Credentials.of_home(self._home, self._users)
        self._nats_users = NatsUsers(self._home)
        self.port = settings.nats_port or ports.free(1)[0]
        self.host = _reached_at(settings)
        self.config = self._home / "nats" / "nats.conf"
        self.trouble: str | None = None
        """Why what was changed is not in force."""
        self.version: str | None = None
        """Of the file of NATS users, as the server knows it."""
        self._written = self._read = ""
        self._seen: tuple[object, ...] = ()
        self._shown = self._home / "nats" / "shown.pem"
        self._certificates: list[bytes] = []

    @cached_property
    def _certificate(self) -> Certificate | None:
        served = _served(self._settings)
        return None if served is None else read_certificate(served.cert)

    @property
    def trust(self) -> Trust:
        """Of the platform's own parts: the certificate itself is enough for those who started whoever shows it."""
        if self._certificate is None:
            return Trust()
        name = self._settings.nats_tls_name or name_for(self._certificate.names, self.host)
        return Trust(self._settings.nats_ca or self._shown, name)

    @property
    def logins(self) -> Logins:
        return Logins({user: self.url(user) for user in self._users})

    def url(self, user: str) -> str:
        """For a part of the platform, on this machine."""
        return self._credentials.url(self.port, user, self.host, self._scheme)

    @property
    def outside_url(self) -> str:
        """For the first client from outside: with a host that it reaches, and that the certificate is for."""
        settings, trust = self._settings, self.trust
        host = self.host
        if self._certificate is not None:
            hosts = [name for name in self._certificate.names if "*" not in name and not is_loopback(name)]
            wide = not is_loopback(settings.nats_host) and hosts
            host = settings.nats_tls_name or (hosts[-1] if wide else trust.name) or self.host
        return self._credentials.url(self.port, OUTSIDE, host, self._scheme)

    @property
    def _scheme(self) -> str:
        return "nats" if self._certificate is None else "tls"

    def write(self) -> None:
        """Write its configuration, for its next start or `reload`.

        Raises:
            ConfigError: the certificate cannot be used, or the file of NATS users be read; nothing is written.
        """
        served = _served(self._settings)
        seen, version = self._look(), self._nats_users.version()
        if served is not None:
            check_certificate(served, self._settings, self.trust.name or self.host)
            self._believe(served.cert.read_bytes())
        server.write_config(
            *(self._home, self.port, self._credentials, self._users, self._nats_users.valid()),
            host=self._settings.nats_host,
            served=served,
        )
        self._seen, self._written = seen, version

    def starting(self) -> None:
        """A server is about to read what is written. What is written meanwhile it may not have seen."""
        self._read = self._written

    def started(self) -> None:
        """The server knows what it has read."""
        self.version, self.trouble = self._read, None

    async def changed(self) -> None:
        """Until other clients are to be let in, or the certificate was renewed, and the server has taken that up."""
        while True:
            await asyncio.sleep(LOOK_S)
            if self._seen == (seen := self._look()):
                continue
            try:
                self.write()
                await server.reload(self.url(server.SYSTEM), self.trust)
            except BusUnavailable:
                self._seen = ()  # it is being started anew, or will be; then it is told again
                continue
            except (DevSkyyError, OSError) as error:
                if self.trouble is None:
                    log.warning("the broker goes on as it was", error=str(error))
                # A full disk may have room again; what is refused is so until it is changed.
                self._seen = () if isinstance(error, OSError) else seen
                self.trouble = f"NATS goes on as it was: {error}"
                return
            self._read = self._written
            self.started()
            log.info("the broker took up its configuration", nats_users=len(self._nats_users.valid()))
            return

    def _believe(self, certificate: bytes) -> None:
        """The one before it too: until the server has taken up the new one, it shows that."""
        if [certificate] != self._certificates[-1:]:
            self._certificates = [*self._certificates[-1:], certificate]
            self._shown.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(self._shown, b"\n".join(self._certificates).decode())

    def _look(self) -> tuple[object, ...]:
        served = _served(self._settings)
        files = [self._nats_users.path, *((served.cert, served.key) if served else ())]
        return tuple(map(_mark, files))


def _mark(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _served(settings: Settings) -> Served | None:
    if settings.nats_tls_cert is None or settings.nats_tls_key is None:
        return None
    return Served(settings.nats_tls_cert, settings.nats_tls_key)


def _reached_at(settings: Settings) -> str:
    """From this machine."""
    return "127.0.0.1" if settings.nats_host in (*EVERYWHERE, "localhost") else settings.nats_host


def _check_logins(settings: Settings) -> None:
    if settings.nats_logins is None:
        return
    catalogue = load(settings.config)
    names = [user.name for user in permissions.users(catalogue.carriers, catalogue.specialists)]
    logins = Logins.of_file(settings.nats_logins)
    if missing := [name for name in (permissions.SUPERVISOR, *names) if name not in logins.urls]:
        raise _refusal(
            "nats_logins",
            f"{settings.nats_logins} has no user {', '.join(missing)}; "
            f"run `devskyy nats-config {settings.nats_logins}` again, and give your broker what it prints",
        )


def _check_ca(settings: Settings) -> None:
    try:
        if settings.nats_ca is not None:
            Trust(settings.nats_ca).context()
    except OSError as error:
        raise _refusal("nats_ca", f"{settings.nats_ca} {_why(error, 'holds no certificate in PEM')}") from None


def _why(error: Exception, otherwise: str) -> str:
    is_there = isinstance(error, ssl.SSLError) or not isinstance(error, OSError)
    return otherwise if is_there else f"cannot be read ({getattr(error, 'strerror', error)})"


def _refusal(field: str, rule: str) -> ConfigError:
    return ConfigError("environment", f"DEVSKYY_{field.upper()}", rule)
