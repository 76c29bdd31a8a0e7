"""The disk under JetStream is really full: a small file system of its own holds the streams."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.live import LivePlatform, running, until

pytestmark = [pytest.mark.platform, pytest.mark.timeout(240)]


@pytest.fixture
def small_disk(home: Path) -> Iterator[Path]:
    """A file system of 256 MB where the streams will lie."""
    store = home / "nats"
    store.mkdir(parents=True, mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=256m,mode=700", "tmpfs", str(store)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a file system can only be mounted by root")
    try:
        yield store
    finally:
        subprocess.run(["umount", "-l", str(store)], check=True)


def submit(live: LivePlatform, prompt: str) -> httpx.Response:
    return httpx.post(f"{live.url}/api/v1/tasks", json={"prompt": prompt}, timeout=30)


def fill(store: Path) -> Path:
    filler = store / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(b"\0" * 65536)
                file.flush()
        except OSError:
            pass
    return filler


def test_a_full_disk_refuses_new_tasks_loses_none_and_heals_when_there_is_room(small_disk: Path, home: Path) -> None:
    with running(home) as live:
        # Given an accepted task, and then no room at all
        kept = submit(live, "say hello").json()["task_id"]
        until(lambda: httpx.get(f"{live.url}/api/v1/tasks/{kept}", timeout=10).json()["finished_at"], 90, "its end")
        filler = fill(small_disk)
        # When tasks are sent until one cannot be written any more
        refused = until(lambda: next((r for r in [submit(live, "x" * 100_000)] if r.status_code != 202), None), 60)
        # Then it is refused with the cause and the remedy, to be tried again
        problem = refused.json()
        assert refused.status_code == 503
        assert refused.headers["content-type"] == "application/problem+json"
        assert "retry-after" in refused.headers
        assert "disk" in problem["detail"]
        until(lambda: live.state.phase == "degraded", 60, "a state that says so")
        assert "full" in (live.state.detail or "")
        # And once there is room, it works again and the old task is still there
        filler.unlink()
        until(lambda: submit(live, "say hello again").status_code == 202, 60, "an accepted task")
        until(lambda: live.state.phase == "ready", 60, "a ready state")
        assert httpx.get(f"{live.url}/api/v1/tasks/{kept}", timeout=10).json()["status"] == "completed"
