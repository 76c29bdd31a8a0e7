"""Platforms side by side: each start and end touches its own processes only."""

import httpx
import pytest

from tests.integration.providers import Providers
from tests.live import LivePlatform

pytestmark = [pytest.mark.platform, pytest.mark.timeout(240)]

Identity = tuple[int, float]


def identities(live: LivePlatform) -> set[Identity]:
    """Pid and start time of what a platform keeps running (idle workers and hosts of specialists come and go)."""
    lasting = ("nats-server", "raylet", "gcs_server", "haproxy", "Actor", "ServeReplica", "devskyy.supervisor")
    found = set()
    for process in live.processes():
        title = " ".join(process.cmdline()) or process.name()
        if any(name in title for name in lasting) and "Specialists" not in title:
            found.add((process.pid, process.create_time()))
    return found


@pytest.fixture(scope="session")
def before(platform: LivePlatform) -> set[Identity]:
    """What the first platform runs before there is another."""
    return identities(platform)


def test_platforms_come_and_go_without_touching_each_other(
    platform: LivePlatform, before: set[Identity], gateways: Providers
) -> None:
    """The last test of the first platform, with which the next one starts: see `tests.conftest.PLATFORMS`."""
    # Given a platform that runs; when another has come
    first, second = platform, gateways.live
    # Then the first is as it was, and each is by itself
    assert len(before) > 10
    assert identities(first) == before
    assert first.ready()
    theirs = identities(second)
    assert not theirs & before
    reply = httpx.post(f"{second.url}/api/v1/tasks", json={"prompt": "hello"}, timeout=10)
    assert reply.status_code == 202
    assert httpx.get(f"{first.url}/api/v1/tasks/{reply.json()['task_id']}", timeout=10).status_code == 404
    # When the first goes
    processes = first.processes()
    first.down()
    # Then nothing of it is left, and the second is as it was
    assert not [process for process in processes if process.is_running() and process.status() != "zombie"]
    assert identities(second) == theirs
    assert second.ready()
