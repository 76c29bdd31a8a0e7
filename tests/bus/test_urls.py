"""The URL of a broker: one server or several, with credentials that no log may show."""

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import urls
from bus.client import Bus
from bus.server import Credentials
from tests.broker import Broker

HOSTS = st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z]{2,5})?", fullmatch=True)
SECRETS = st.text(min_size=1, max_size=30).filter(lambda text: text.isprintable())


@pytest.mark.parametrize(
    ("url", "servers", "hosts", "shown"),
    [
        ("nats://h:4222", ["nats://h:4222"], ["h"], "nats://h:4222"),
        ("nats://u:p@h:4222", ["nats://u:p@h:4222"], ["h"], "nats://h:4222"),
        ("tls://u:p@a:1,tls://u:p@b:2", ["tls://u:p@a:1", "tls://u:p@b:2"], ["a", "b"], "tls://a:1,tls://b:2"),
        ("nats://u:p@a:1, u:p@b:2,", ["nats://u:p@a:1", "u:p@b:2"], ["a", "b"], "nats://a:1,nats://b:2"),
        ("h", ["h"], ["h"], "nats://h"),
        ("nats://[::1]:4222", ["nats://[::1]:4222"], ["::1"], "nats://[::1]:4222"),
    ],
)
def test_a_url_names_servers(url: str, servers: list[str], hosts: list[str], shown: str) -> None:
    assert (urls.servers(url), urls.hosts(url), urls.shown(url)) == (servers, hosts, shown)


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("nats://h:4222", {}),
        ("nats://u:p@h:4222", {"user": "u", "password": "p"}),
        ("nats://u:p@a,nats://u:p@b", {"user": "u", "password": "p"}),
        ("nats://u:p@a,nats://v:q@b", {}),
        ("nats://u:p@a,nats://b", {}),
        ("nats://secret@a", {"token": "secret"}),
    ],
)
def test_the_login_is_what_every_server_takes(url: str, login: dict[str, str]) -> None:
    assert urls.login(url) == login


@given(st.lists(HOSTS, min_size=1, max_size=5), SECRETS, SECRETS)
def test_whatever_credentials_hold_they_come_through_whole_and_are_not_shown(
    hosts: list[str], user: str, password: str
) -> None:
    url = ",".join(f"nats://{quote(user, safe='')}:{quote(password, safe='')}@{host}:4222" for host in hosts)
    assert urls.hosts(url) == hosts
    assert urls.login(url) == {"user": user, "password": password}
    assert urls.shown(url) == ",".join(f"nats://{host}:4222" for host in hosts)


@given(st.lists(HOSTS, min_size=1, max_size=5), st.sampled_from(["nats", "tls"]), SECRETS, SECRETS)
def test_the_same_servers_for_somebody_else_have_their_credentials_alone(
    hosts: list[str], scheme: str, user: str, password: str
) -> None:
    before = ",".join(f"{scheme}://first:one@{host}:4222" for host in hosts)
    url = urls.logged_in(before, user, password)
    assert urls.login(url) == {"user": user, "password": password}
    assert (urls.shown(url), set(urls.schemes(url)), set(urls.ports(url))) == (urls.shown(before), {scheme}, {4222})


async def test_a_password_with_anything_in_it_connects(tmp_path: Path) -> None:
    # Given a server whose password has what a URL or a list of them would end at
    broker = Broker(tmp_path)
    broker.credentials = Credentials({**broker.credentials.passwords, "supervisor": "a,b@c:d/e%41 f"})
    broker.start()
    # When it stands in the URL, spelled as URLs spell it
    bus = Bus(f"nats://supervisor:{quote('a,b@c:d/e%41 f', safe='')}@127.0.0.1:{broker.port}", "test")
    try:
        await bus.connect(patience_s=10)
        # Then it is let in
        assert bus.healthy
    finally:
        await bus.close(grace_s=0)
        broker.kill()
