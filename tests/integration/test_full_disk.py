"""The disk under JetStream is really full: a small file system of its own holds the streams."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.live import LivePlatform, until
from tests.simulators.openai import OpenAISimulator

pytestmark = [pytest.mark.platform, pytest.mark.timeout(240)]


def submit(live: LivePlatform, prompt: str) -> httpx.Response:
    return httpx.post(f"{live.url}/api/v1/tasks", json={"prompt": prompt}, timeout=30)


@contextmanager
def full(store: Path) -> Iterator[None]:
    """No room at all where the streams lie."""
    filler = store / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 65536)
            except OSError:
                pass
        yield
    finally:
        filler.unlink()


def test_a_full_disk_refuses_new_tasks_loses_none_and_heals_when_there_is_room(
    simulated: tuple[LivePlatform, OpenAISimulator], sim: OpenAISimulator
) -> None:
    live, _ = simulated
    store = live.home / "nats"
    if not store.is_mount():
        pytest.skip("a file system can only be mounted by root")
    # Given an accepted task, and then no room at all
    kept = submit(live, "say hello").json()["task_id"]
    until(lambda: httpx.get(f"{live.url}/api/v1/tasks/{kept}", timeout=10).json()["finished_at"], 90, "its end")
    with full(store):
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
    until(lambda: submit(live, "say hello again").status_code == 202, 60, "an accepted task")
    until(lambda: live.state.phase == "ready", 60, "a ready state")
    assert httpx.get(f"{live.url}/api/v1/tasks/{kept}", timeout=10).json()["status"] == "completed"
