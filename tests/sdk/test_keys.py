"""API keys in the SDK: making them, and the operator's, which is sent to this home's platform and to nobody else."""

import os
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import pytest

from devskyy import AsyncClient, Client, InvalidTask, NoSuchTask, PlatformNotRunning
from devskyy.supervisor.operator import key_path, operators_key
from devskyy.supervisor.state import PlatformState, write_state
from schemas.budget import Budget
from schemas.message import now
from tests.simulators.platform import PlatformSimulator


def recorded(http: str, pid: int | None = None) -> PlatformState:
    """What the supervisor of a platform writes down; this process stands in for it."""
    return PlatformState(
        instance="i",
        pid=pid or os.getpid(),
        pid_started=psutil.Process().create_time(),
        phase="ready",
        http=http,
        nats_url="nats://x",
        outside_nats_url=None,
        ray_dashboard=None,
        started_at=now(),
    )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DEVSKYY_URL", "DEVSKYY_HTTP_HOST", "DEVSKYY_HTTP_PORT", "DEVSKYY_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DEVSKYY_HOME", str(tmp_path))
    return tmp_path


def sent(platform: PlatformSimulator) -> str | None:
    """What the last request showed to be let in."""
    return platform.seen[-1].headers.get("authorization")


def test_the_operators_key_goes_to_the_platform_of_this_home(platform: PlatformSimulator, home: Path) -> None:
    # Given a platform that runs in this home
    secret = operators_key(home)
    write_state(home, recorded(platform.url))
    # When it is asked, found by itself or by its address, Then it is shown the operator's key
    for url in (None, platform.url, f"{platform.url}/"):
        with Client(url) as client:
            client.health()
        assert sent(platform) == f"Bearer {secret}"


def test_a_key_that_is_given_goes_before_the_operators(
    platform: PlatformSimulator, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operators_key(home)
    write_state(home, recorded(platform.url))
    with Client(api_key="mine") as client:
        client.health()
    assert sent(platform) == "Bearer mine"
    monkeypatch.setenv("DEVSKYY_API_KEY", "the environment's")
    with Client() as client:
        client.health()
    assert sent(platform) == "Bearer the environment's"


def test_nobody_else_is_shown_the_operators_key(platform: PlatformSimulator, home: Path) -> None:
    # Given a home whose platform runs elsewhere, has ended, or never was, and a file that is no key
    operators_key(home)
    for state in (recorded("http://127.0.0.1:1"), recorded(platform.url, pid=2**22 - 1), None):
        (home / "run" / "platform.json").unlink(missing_ok=True)
        if state is not None:
            write_state(home, state)
        # When another platform is asked, Then it sees no key
        with Client(platform.url) as client:
            client.health()
        assert sent(platform) is None
    write_state(home, recorded(platform.url))
    key_path(home).write_text("no key")
    with Client() as client:
        client.health()
    assert sent(platform) is None


def test_an_environment_that_cannot_be_used_matters_only_where_it_is_needed(
    platform: PlatformSimulator, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVSKYY_HTTP_PORT", "none")
    with Client(platform.url) as client:
        assert client.health().status == "ready"


def test_keys_are_made_listed_and_revoked(client: Client, platform: PlatformSimulator) -> None:
    # Given a platform, When a key is made
    until = datetime(2031, 1, 1, tzinfo=UTC)
    made = client.create_key("ci", scopes=["read"], expires_at=until, budget={"usd": 2}, rpm=5)
    # Then it is as was asked for, and is there until it is revoked
    assert (made.key.scopes, made.key.expires_at, made.key.budget, made.key.rpm) == (("read",), until, Budget(usd=2), 5)
    assert client.keys() == (made.key,)
    assert client.revoke_key(made.key.id).revoked_at is not None
    with pytest.raises(NoSuchTask):
        client.revoke_key("nobody")
    with pytest.raises(InvalidTask, match="rpm"):
        client.create_key("ci", rpm=0)


async def test_the_async_client_has_the_same_verbs(async_client: AsyncClient) -> None:
    made = await async_client.create_key("ci")
    assert await async_client.keys() == (made.key,)
    assert (await async_client.revoke_key(made.key.id)).id == made.key.id


def test_a_key_is_not_asked_for_twice_when_the_answer_got_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a connection that breaks off after each request
    asked: list[str] = []

    def breaks(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        raise httpx.RemoteProtocolError("gone")

    client = Client("http://127.0.0.1:9", retries=2)
    client._http = httpx.Client(base_url=client.base_url, transport=httpx.MockTransport(breaks))
    # When a key is to be made, Then that is said, and it was asked for once; what may be repeated is
    with client:
        for ask, times in ((lambda: client.create_key("ci"), 1), (client.keys, 3)):
            asked.clear()
            with pytest.raises(PlatformNotRunning):
                ask()
            assert len(asked) == times


def test_of_a_key_what_is_named_is_changed(platform: PlatformSimulator) -> None:
    # Given a key
    with Client(platform.url) as client:
        made = client.create_key("ci", rpm=60)
        # When what it may spend is changed, and nothing else
        changed = client.update_key(made.key.id, budget={"usd": 5.0})
        # Then that alone was sent
        assert platform.made("PATCH", f"/api/v1/keys/{made.key.id}")[0].body == {"budget": {"usd": 5.0}}
        assert (changed.budget, changed.rpm) == (Budget(usd=5), 60)
        with pytest.raises(InvalidTask):
            client.update_key(made.key.id)


async def test_tokens_and_the_audit_log_are_there_for_both_clients(platform: PlatformSimulator) -> None:
    end = datetime(2100, 1, 1, tzinfo=UTC)
    with Client(platform.url) as client:
        assert client.create_token("ada", end, role="viewer").key == "jwt_ada"
        assert client.audit().entries == ()
    async with AsyncClient(platform.url) as client:
        assert (await client.create_token("ada", end)).scopes == ("write",)
        assert (await client.audit(since=end, outcome="refused")).next is None
        made = await client.create_key("ci")
        assert (await client.update_key(made.key.id, rpm=5)).rpm == 5
