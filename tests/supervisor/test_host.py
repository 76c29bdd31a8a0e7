from pathlib import Path

import pytest
from ray import serve

from devskyy.supervisor import host
from schemas.settings import Settings


class Fleet:
    def __init__(self, done: list[str]) -> None:
        self._done = done

    async def drain(self, grace_s: float) -> None:
        self._done.append("drained")


class Hosts:
    def __init__(self, done: list[str]) -> None:
        self._done = done

    async def drain(self, grace_s: float) -> None:
        self._done.append("drained hosts")


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done, in order; Serve only notes what it is to delete."""
    done: list[str] = []
    monkeypatch.setattr(serve, "delete", lambda name, _blocking: done.append(f"deleted {name}"))
    return done


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (None, ["drained", "drained hosts"]),
        ("10.0.0.1:6379", ["deleted devskyy", "drained", "drained hosts"]),
    ],
)
async def test_a_cluster_of_the_users_own_keeps_no_application(
    tmp_path: Path, done: list[str], address: str | None, expected: list[str]
) -> None:
    # Given a platform on a local Ray, which is ended whole, or on a cluster of the user's own
    settings = Settings(home=tmp_path, ray_address=address)
    # When it is drained
    await host._drain(Fleet(done), Hosts(done), settings)
    # Then the application is gone from the cluster
    assert done == expected


async def test_actors_are_drained_even_if_serve_does_not_answer(
    tmp_path: Path, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a cluster whose Serve is gone
    def refused(name: str, _blocking: bool) -> None:
        raise RuntimeError("no controller")

    monkeypatch.setattr(serve, "delete", refused)
    # When the platform is drained
    await host._drain(Fleet(done), Hosts(done), Settings(home=tmp_path, ray_address="10.0.0.1:6379"))
    # Then its actors had their time
    assert done == ["drained", "drained hosts"]
