"""Which actors share a process, and what each is given."""

from pathlib import Path
from typing import Any

import pytest

from actors import fleet
from actors.catalogue import load
from actors.fleet import Fleet, Post, roster
from bus import permissions
from bus.logins import Logins
from schemas.settings import Settings


def settings(tmp_path: Path, **fields: Any) -> Settings:
    return Settings(home=tmp_path, nats_url=None, config=None, **fields)


def test_one_coordinator_and_one_gateway_share_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a platform as it is by default
    created: list[Post] = []
    monkeypatch.setattr(fleet, "create", lambda post, *_: created.append(post))
    # When its fleet is started, twice
    started = Fleet(settings(tmp_path), load(None), Logins())
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


class RecordingRay:
    """Stands for `ray.remote` and what it returns; keeps what actors would be made with."""

    def __init__(self) -> None:
        self.made: dict[str, tuple[str, ...]] = {}

    def remote(self, *args: Any) -> Any:
        if args and isinstance(args[0], str):
            self.made[args[0]] = args[1:]
        return self

    def options(self, **_: Any) -> Any:
        return self


def test_every_actor_is_given_its_own_credentials_and_nobody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given the users of a platform's broker
    catalogue = load(None)
    users = permissions.table(permissions.users(catalogue.carriers, catalogue.specialists))
    logins = Logins({user: f"nats://{user}:secret-of-{user}-@127.0.0.1:1" for user in users})
    ray = RecordingRay()
    monkeypatch.setattr("ray.remote", ray.remote)
    # When the fleet is started, with a host of specialists
    whole = Settings(home=tmp_path, nats_url="nats://supervisor:secret-of-all@127.0.0.1:1", config=None)
    Fleet(whole, catalogue, logins).start()
    fleet.create(Post("specialists-0", "specialists"), whole, logins)
    # Then each process knows the passwords of its parts
    known = {
        name: {user for user in users for each in given if f"secret-of-{user}-" in each}
        for name, given in ray.made.items()
    }
    assert known.pop("coordinator-0+gateway-0") == {"coordinator", "gateway"}
    assert known == {name: {name if name.startswith("agent-") else name.split("-")[0]} for name in known}
    assert set().union(*known.values()) | {"coordinator", "gateway", "http"} == users.keys()
    # And none the supervisor's
    assert not [each for given in ray.made.values() for each in given if "secret-of-all" in each]


def test_with_a_broker_of_ones_own_everybody_uses_its_url(tmp_path: Path) -> None:
    own = Settings(home=tmp_path, nats_url="nats://me:secret@broker:4222", config=None)
    assert Logins().settings_of("gateway", own).nats_url == own.nats_url


def test_an_agent_that_the_broker_does_not_know_yet_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a broker that was started before there was an agent
    catalogue = load(None)
    late, *others = catalogue.carriers
    users = permissions.table(permissions.users(others, catalogue.specialists))
    ray = RecordingRay()
    monkeypatch.setattr("ray.remote", ray.remote)
    # When the host is started anew
    Fleet(settings(tmp_path), catalogue, Logins({user: f"nats://{user}" for user in users})).start()
    # Then everybody else is there
    assert f"agent-{late}" not in ray.made
    assert {f"agent-{name}" for name in others} <= ray.made.keys()
