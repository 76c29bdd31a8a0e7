"""`devskyy nats-config`: a nats-server of one's own that is told what it prints lets everybody do what is theirs."""

import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from actors.catalogue import load
from bus import permissions, server, streams, urls
from bus.accounts import OUTSIDE
from bus.broker_config import set_aside
from bus.client import Bus
from bus.inboxes import inbox_of
from bus.logins import Logins
from bus.nats_users import NatsUsers
from bus.permissions import SUPERVISOR
from bus.tasklog import TaskLog
from bus.tls import Trust
from devskyy.supervisor.broker import check
from schemas.errors import BusUnavailable
from schemas.settings import Settings
from schemas.task import TaskRequest
from tests.broker import free_port
from tests.bus.test_nats_users import SUBJECTS, may_say
from tests.bus.test_permissions import Client, allowed
from tests.certificates import Authority
from tests.cli.conftest import Command, Ran

CATALOGUE = load(None)
TABLE = permissions.table(permissions.users(CATALOGUE.carriers, CATALOGUE.specialists))


class Own:
    """A nats-server of one's own behind TLS, and the files that it was made from."""

    def __init__(self, folder: Path, devskyy: Command) -> None:
        self.authority = Authority(folder)
        self.served = self.authority.issue("127.0.0.1")
        self.port, self.file = free_port(), folder / "logins.json"
        self._folder, self._devskyy = folder, devskyy

    def print(self) -> Ran:
        ran = self._devskyy(
            *("nats-config", str(self.file), "--server", f"tls://127.0.0.1:{self.port}"),
            *("--store-dir", str(self._folder / "store"), "--tls-cert", str(self.served.cert)),
            *("--tls-key", str(self.served.key)),
        )
        assert ran.code == 0, ran.err
        return ran

    @property
    def logins(self) -> Logins:
        return Logins.of_file(self.file)

    @contextmanager
    def running(self, config: str) -> Iterator[None]:
        path = self._folder / "nats.conf"
        path.write_text(config)
        process = subprocess.Popen([server.binary(), "-c", str(path)], stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.kill()
            process.wait()

    async def connect(self, user: str, url: str | None = None) -> Bus:
        return await Bus(url or self.logins.urls[user], user, trust=Trust(self.authority.ca)).connect(patience_s=15)

    @asynccontextmanager
    async def raw(self, user: str, url: str) -> AsyncIterator[Client]:
        refused: list[str] = []

        async def on_error(error: Exception) -> None:
            refused.append(str(error).lower())

        client = Trust(self.authority.ca).client(url)
        inbox = "_INBOX" if user.startswith(OUTSIDE) else inbox_of(user)
        await client.connect(url, error_cb=on_error, inbox_prefix=inbox)
        yield Client(client, refused)
        await client.close()


@pytest.fixture
def own(tmp_path: Path, devskyy: Command) -> Own:
    return Own(tmp_path, devskyy)


async def test_everybody_may_there_what_is_theirs_and_tasks_go_through(own: Own, home: Path) -> None:
    # Given a client from outside besides the first, and a server that is told what is printed
    user, password = NatsUsers(home).create("app", "acme", "read")
    with own.running(own.print().out):
        # When the platform's parts come, each as itself
        supervisor = await own.connect(SUPERVISOR)
        await streams.ensure(supervisor.client, all_stores=True)
        http, coordinator = await own.connect("http"), await own.connect("coordinator")
        task, _ = await TaskLog(http).accept(TaskRequest(prompt="Name a bag"), "acme")
        # Then what one writes another reads
        assert (await TaskLog(coordinator).read("acme", task.task_id))[0].event.event == "accepted"
        for bus in (supervisor, http, coordinator):
            await bus.close(grace_s=0)
        # And each may say what its table says, and nothing else
        for name in ("agent-groq-lightning", "gateway"):
            async with own.raw(name, own.logins.urls[name]) as part:
                for subject in SUBJECTS:
                    await part.client.publish(subject, b"{}", reply=f"{inbox_of(name)}.nobody")
                refused = {s.lower() for s in SUBJECTS if not allowed(TABLE[name].publish, s)}
                assert await part.refusals("publish") == refused
        outsiders = {OUTSIDE: own.logins.urls[OUTSIDE]}
        outsiders[user.user] = urls.logged_in(outsiders[OUTSIDE], user.user, password)
        for name, tenant, scope in ((OUTSIDE, "default", "write"), (user.user, "acme", "read")):
            async with own.raw(name, outsiders[name]) as client:
                for subject in SUBJECTS:
                    await client.client.publish(subject, b"{}", reply="_INBOX.nobody")
                refused = {s.lower() for s in SUBJECTS if not may_say(tenant, scope, s)}  # type: ignore[arg-type]
                assert await client.refusals("publish") == refused
        # And nobody with another's password
        url = own.logins.urls["http"].replace("http:", f"{SUPERVISOR}:")
        with pytest.raises(BusUnavailable):
            await Bus(url, "test", trust=Trust(own.authority.ca)).connect(patience_s=0.2)


def test_a_platform_that_is_given_the_logins_has_all_that_it_needs(own: Own, home: Path) -> None:
    own.print()
    assert own.logins.know(SUPERVISOR, OUTSIDE, *TABLE)
    check(Settings(home=home, config=None, nats_logins=own.file, nats_ca=own.authority.ca))


def test_passwords_stay_and_are_in_the_file_of_logins_alone(own: Own) -> None:
    # Given what was printed once
    first, before = own.print(), own.logins
    # When it is printed again, for an agent that is gone and one that was added
    gone = {user: url for user, url in before.urls.items() if user != "agent-groq-lightning"}
    own.file.write_text(Logins({**gone, "agent-of-old": before.urls["http"]}).dump())
    again = own.print()
    # Then who was there keeps its password, and who came has one
    assert {user: own.logins.urls[user] for user in gone} == gone
    assert own.logins.urls.keys() == before.urls.keys()
    assert own.file.stat().st_mode & 0o777 == 0o600
    passwords = [urls.login(url)["password"] for url in own.logins.urls.values()]
    assert len(set(passwords)) == len(passwords)
    assert not [password for password in passwords if password in first.out + again.out + again.err]


@pytest.mark.parametrize("url", ["http://x", "nats://a:b@x", "nats://", "nats://x:y", ",", "tls://[::1"])
def test_what_is_no_server_is_refused(devskyy: Command, tmp_path: Path, url: str) -> None:
    ran = devskyy("nats-config", str(tmp_path / "logins.json"), "--server", url)
    assert (ran.code, "--server" in ran.err) == (2, True)
    assert not (tmp_path / "logins.json").exists()


def test_a_cluster_has_one_login_for_all_of_its_servers(devskyy: Command, tmp_path: Path) -> None:
    path = tmp_path / "logins.json"
    ran = devskyy("nats-config", str(path), "--server", "tls://one:4222,tls://two:4222", "--server", "tls://three:4222")
    found = Logins.of_file(path).urls["gateway"]
    assert (ran.code, urls.hosts(found), urls.user(found)) == (0, ["one", "two", "three"], "gateway")
    assert urls.login(found)


def test_plain_text_between_machines_is_cautioned_against_and_loopback_is_not_left(
    devskyy: Command, tmp_path: Path
) -> None:
    elsewhere = devskyy("nats-config", str(tmp_path / "a.json"), "--server", "nats://nats.example.com:4222")
    here = devskyy("nats-config", str(tmp_path / "b.json"), "--server", "nats://127.0.0.1:4222")
    assert ("caution" in elsewhere.err, 'listen: "0.0.0.0:4222"' in elsewhere.out) == (True, True)
    assert ("caution" in here.err, 'listen: "127.0.0.1:4222"' in here.out) == (False, True)


def test_what_the_streams_set_aside_is_said() -> None:
    configs = streams.stream_configs(1024**3)
    assert set_aside(1024**3) > sum(config.max_bytes or 0 for config in configs)
