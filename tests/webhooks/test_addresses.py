"""Where a webhook may lead: the internet's addresses, and private ones where that is allowed."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.webhooks import addresses
from actors.webhooks.addresses import Reach, check, is_public, reach_of, refusal
from schemas.errors import InvalidRequest

PRIVATE = [
    *("127.0.0.1", "127.8.8.8", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254"),
    *("0.0.0.0", "100.64.0.1", "100.100.100.200", "192.0.0.192", "198.18.0.1", "224.0.0.1", "240.0.0.1"),
    *("255.255.255.255", "168.63.129.16", "192.0.2.1", "203.0.113.9"),
    *("::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "2001:db8::1", "100::1"),
    # IPv4 addresses in other clothes
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "2002:7f00:1::", "2002:a00:1::1", "64:ff9b::7f00:1"),
    *("64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2001:0:4136:e378::1"),
]
NAT64 = ipaddress.ip_network("64:ff9b::/96")
PUBLIC = ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_is_no_public_one(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    assert "private" in (refusal(address, Reach.PUBLIC) or "")
    assert refusal(address, Reach.ANY) is refusal(address, Reach.PRIVATE) is None


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_told_but_not_over_http(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))
    assert refusal(address, Reach.PUBLIC) is refusal(address, Reach.ANY) is None
    assert "use https" in (refusal(address, Reach.PRIVATE) or "")


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_means_the_same_however_it_is_written(ip: ipaddress.IPv4Address) -> None:
    for written in (f"::ffff:{ip}", f"64:ff9b::{ip}"):
        assert is_public(ipaddress.ip_address(written)) is is_public(ip)


@given(st.ip_addresses())
def test_whatever_the_library_holds_to_be_private_is(ip: addresses.IP) -> None:
    never = (ip.is_private, ip.is_link_local, ip.is_multicast, ip.is_reserved)  # loopback and `::` are private ones
    in_other_clothes = ip in NAT64 or getattr(ip, "ipv4_mapped", None) is not None
    if any(never) and not in_other_clothes:
        assert not is_public(ip)


def test_the_machines_own_address_is_private_wherever_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = ipaddress.ip_address("93.184.216.34")
    assert is_public(ours)
    monkeypatch.setattr(addresses, "_ours", lambda: frozenset({ours}))
    assert not is_public(ours)


def test_a_zone_changes_nothing() -> None:
    assert refusal("fe80::1%eth0", Reach.PUBLIC) is not None


@pytest.mark.parametrize(
    ("url", "private", "reach"),
    [
        ("https://a.example", False, Reach.PUBLIC),
        ("https://a.example", True, Reach.ANY),
        ("http://a.example", True, Reach.PRIVATE),
        ("HTTP://a.example", False, None),
    ],
)
def test_what_an_address_may_lead_to(url: str, private: bool, reach: Reach | None) -> None:
    assert reach_of(url, private) is reach


@pytest.mark.parametrize(
    ("url", "private", "why"),
    [
        ("http://a.example/", False, "must be https"),
        ("https://127.0.0.1/", False, "is a private address"),
        ("https://[::1]:8443/x", False, "is a private address"),
        ("https://localhost/", False, "is a private address"),
        ("https://a.LOCALHOST/", False, "is a private address"),
        ("http://1.1.1.1/", True, "use https"),
    ],
)
def test_what_could_never_be_told_is_refused_at_once(url: str, private: bool, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why) as refused:
        check(url, private)
    assert refused.value.field == "url"


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("https://a.example/", False),
        ("https://1.1.1.1/", False),
        ("http://127.0.0.1:3000/", True),
        ("http://box/", True),
    ],
)
def test_what_may_be_told_is_taken(url: str, private: bool) -> None:
    check(url, private)
