"""One attempt over HTTP: nothing is followed, nothing of the answer's body is read, nobody forbidden is reached."""

import asyncio
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from actors.webhooks.addresses import HOW, Reach, reach_of, refusal
from actors.webhooks.schedule import Outcome, retry_after_s

TIMEOUT_S = 15.0
"""Of one attempt, from asking for the address on to the answer's headers."""
LOOKUPS = 512
"""Names that are asked for at once: as many as there are attempts. The system goes on asking for a name whose servers
are silent when the attempt is over, and nobody else's may wait behind those. A thread is begun when it is needed."""


class Refused(OSError):
    """Nothing may be sent to that address."""


class Names(AbstractResolver):
    """Asks the system, in threads of its own: a name whose servers are silent must not hold up other such work."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="webhook-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        ask = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        return [
            ResolveResult(hostname=host, host=str(address[0]), port=port, family=family, proto=proto, flags=_NUMERIC)
            for family, _, proto, _, address in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class Sender:
    """`close` last."""

    def __init__(
        self,
        names: AbstractResolver | None = None,
        timeout_s: float = TIMEOUT_S,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        """
        Args:
            trust: whose certificates are accepted; left out, those that this machine accepts.
        """
        self._names, self._timeout_s, self._trust = names or Names(), timeout_s, trust

    async def close(self) -> None:
        await self._names.close()

    async def send(self, url: str, private: bool, headers: dict[str, str], body: bytes) -> Outcome:
        """Post a body, on a connection of its own.

        Args:
            private: whether private addresses may be told.
        """
        reach = reach_of(url, private)
        if reach is None:
            return Outcome(error=f"the address is no https; {HOW}")
        connector = aiohttp.TCPConnector(
            resolver=self._names,
            use_dns_cache=False,
            force_close=True,
            ssl=self._trust or True,
            socket_factory=partial(_socket, reach),
        )
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                aiohttp.ClientSession(
                    connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
                ) as session,
                session.post(url, data=body, headers=_HEADERS | headers, allow_redirects=False) as reply,
            ):
                asked_s = retry_after_s(reply.headers.get("Retry-After"))
                return Outcome(status=reply.status, retry_after_s=asked_s)
        except TimeoutError:
            return Outcome(error=f"there was no answer within {self._timeout_s:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Outcome(error=_said(error))


def _socket(reach: Reach, address: Any) -> socket.socket:
    """A socket for one of the addresses that a name has, or that was given: every connection begins here."""
    family, kind, proto, _, (host, *_) = address
    if (why := refusal(host, reach, "where it leads")) is not None:
        raise Refused(why)
    return socket.socket(family, kind, proto)


def _said(error: Exception) -> str:
    """In words that tell nothing of this machine."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "the name of its host is not known, or could not be asked for"
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate is not accepted: {error.certificate_error}"
        case aiohttp.ClientConnectorSSLError():
            return "it speaks no TLS that can be used"
        case aiohttp.ClientConnectorError(os_error=Refused() as refused):
            return str(refused)
        case aiohttp.ClientConnectorError():
            return f"no connection: {error.os_error.strerror or error.os_error}"
        case aiohttp.InvalidURL():
            return "the address cannot be used"
        case aiohttp.ServerDisconnectedError() | ConnectionError():
            return "the connection was closed before there was an answer"
    return f"the answer is no HTTP that can be read ({type(error).__name__})"


_HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": f"DevSkyy-Webhooks/{version('devskyy')}",
    "Accept-Encoding": "identity",
}
