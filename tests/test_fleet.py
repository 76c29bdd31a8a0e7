"""Which actors share a process."""

from pathlib import Path
from typing import Any

import pytest

from actors import fleet
from actors.catalogue import load
from actors.fleet import Fleet, Post, roster
from schemas.settings import Settings


def settings(tmp_path: Path, **fields: Any) -> Settings:
    return Settings(home=tmp_path, nats_url=None, config=None, **fields)


def test_one_coordinator_and_one_gateway_share_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a platform as it is by default
    created: list[Post] = []
    monkeypatch.setattr(fleet, "create", lambda post, _: created.append(post))
    # When its fleet is started, twice
    started = Fleet(settings(tmp_path), load(None))
    started.start()
    started.start()
    # Then every actor is expected, and one process stands for these two
    expected = {post.name for post in roster(settings(tmp_path), load(None))}
    missing = expected - {post.name for post in created}
    assert {"coordinator-0", "gateway-0"} <= expected
    assert missing == {"coordinator-0"}
    assert {post.inside for post in created} == {None, "coordinator-0+gateway-0"}


@pytest.mark.parametrize(("coordinators", "gateways"), [(1, 2), (2, 1), (2, 2)])
def test_where_there_are_several_each_has_its_own(tmp_path: Path, coordinators: int, gateways: int) -> None:
    several = settings(tmp_path, coordinators=coordinators, gateways=gateways)
    assert all(post.inside is None for post in roster(several, load(None)))
