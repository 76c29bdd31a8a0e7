"""Platforms side by side: each start and end touches its own processes only."""

from pathlib import Path

import httpx
import pytest

from tests.live import LivePlatform, running

pytestmark = [pytest.mark.platform, pytest.mark.timeout(240)]


def identities(live: LivePlatform) -> set[tuple[int, float]]:
    """Pid and start time of what a platform keeps running (Ray comes and goes with idle workers of its own)."""
    lasting = ("nats-server", "raylet", "gcs_server", "haproxy", "Actor", "ServeReplica", "devskyy.supervisor")
    found = set()
    for process in live.processes():
        title = " ".join(process.cmdline()) or process.name()
        if any(name in title for name in lasting):
            found.add((process.pid, process.create_time()))
    return found


def test_a_second_platform_comes_and_goes_without_touching_the_first(platform: LivePlatform, home: Path) -> None:
    # Given a platform that runs
    before = identities(platform)
    assert len(before) > 10
    # When another comes, works and goes
    with running(home) as second:
        assert second.ready()
        assert not identities(second) & before
        reply = httpx.post(f"{second.url}/api/v1/tasks", json={"prompt": "hello"}, timeout=10)
        assert reply.status_code == 202
        assert httpx.get(f"{platform.url}/api/v1/tasks/{reply.json()['task_id']}", timeout=10).status_code == 404
        theirs = second.processes()
    # Then nothing of it is left, and the first is as it was
    assert not [process for process in theirs if process.is_running() and process.status() != "zombie"]
    assert identities(platform) == before
    assert platform.ready()
