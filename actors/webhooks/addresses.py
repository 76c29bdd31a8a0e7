"""Which addresses a webhook may be told at.

What a tenant names must not lead to what only this machine or its network reaches: the broker, Ray, a cloud's metadata.
An address is looked at when it is connected to, so a name that means another one by then changes nothing.
"""

import ipaddress
import time
from enum import Enum
from urllib.parse import urlsplit

import psutil

from schemas.errors import InvalidRequest

IP = ipaddress.IPv4Address | ipaddress.IPv6Address

_OURS_FOR_S = 60.0
_NO_UNICAST = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24")))
_OF_A_CLOUD = ipaddress.ip_address("168.63.129.16")
"""Azure's machines alone reach it, and learn there what they are."""
_PUBLIC_6 = ipaddress.ip_network("2000::/3")
"""All that is routed between networks. Source: IANA, IPv6 Global Unicast Address Assignments."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""Stands for the IPv4 address in its last 32 bits. Source: RFC 6052."""


class Reach(Enum):
    """What one webhook may be told at."""

    PUBLIC = "public"
    ANY = "any"
    PRIVATE = "private"
    """For `http`, which anybody on the way can read."""


def reach_of(url: str, private: bool) -> Reach | None:
    """What this address may lead to; None: nothing, as it is.

    Args:
        private: whether private addresses may be told.
    """
    if urlsplit(url).scheme == "http":
        return Reach.PRIVATE if private else None
    return Reach.ANY if private else Reach.PUBLIC


def check(url: str, private: bool) -> None:
    """Refuse an address that could never be told, as far as it can be seen without asking for its name.

    Raises:
        InvalidRequest: it is `http` or private, and may not be; or `http` and public.
    """
    reach = reach_of(url, private)
    if reach is None:
        raise InvalidRequest("url", f"must be https://…; {HOW}")
    host = urlsplit(url).hostname or ""
    try:
        why = refusal("127.0.0.1" if f".{host}".endswith(LOCALHOST) else host, reach)
    except ValueError:  # a name
        return
    if why is not None:
        raise InvalidRequest("url", why)


LOCALHOST = ".localhost"
"""This machine, whatever stands before it. Source: RFC 6761, section 6.3."""
HOW = "http and private addresses are for whoever runs the platform, or for all with DEVSKYY_WEBHOOK_PRIVATE=true"


def refusal(address: str, reach: Reach, called: str | None = None) -> str | None:
    """Why nothing may be sent to an IP address; None: it may.

    Args:
        called: what the answer calls it; left out, as it is. Whoever named a name is not to learn what that means here.

    Raises:
        ValueError: it is a name.
    """
    public = is_public(ipaddress.ip_address(address.partition("%")[0]))
    if reach is Reach.PUBLIC and not public:
        return f"{called or address} is a private address; {HOW}"
    if reach is Reach.PRIVATE and public:
        return f"{called or address} is a public address, and http can be read on the way there; use https"
    return None


def is_public(ip: IP) -> bool:
    """Whether it is one of the internet's, and not of this machine."""
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(inner)
        if ip not in _PUBLIC_6:
            return False
    elif any(ip in network for network in _NO_UNICAST) or ip == _OF_A_CLOUD:
        return False
    return ip.is_global and not ip.is_multicast and ip not in _ours()


_known: tuple[float, frozenset[IP]] = (float("-inf"), frozenset())


def _ours() -> frozenset[IP]:
    """The addresses of this machine's own interfaces, looked at once a minute."""
    global _known  # noqa: PLW0603 - a cache
    if time.monotonic() - _known[0] > _OURS_FOR_S:
        found = set()
        for interface in psutil.net_if_addrs().values():
            for each in interface:
                try:
                    found.add(ipaddress.ip_address(each.address.partition("%")[0]))
                except ValueError:  # an address of its hardware
                    continue
        _known = (time.monotonic(), frozenset(found))
    return _known[1]
