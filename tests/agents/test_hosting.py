"""How many hosts of specialists are started, kept and stopped; where they live is replaced."""

import asyncio
from collections.abc import Callable

import pytest

from actors.agents.hosting import Hosting
from schemas.errors import Unavailable
from schemas.fleet import Scale, Scaled

IDLE_S = 600.0


class Hosts:
    """Names of hosts, in place of Ray. Starts wait for `go_on`, and fail for a name that is in `broken`."""

    def __init__(self, *alive: str) -> None:
        self.names = set(alive)
        self.started: list[str] = []
        self.stopped: list[str] = []
        self.broken: set[str] = set()
        self.idle = IDLE_S
        self.go_on, self.asked = asyncio.Event(), asyncio.Event()
        self.go_on.set()

    async def alive(self) -> set[str]:
        return set(self.names)

    async def start(self, name: str) -> None:
        if name in self.names:
            return
        self.started.append(name)
        self.asked.set()
        await self.go_on.wait()
        if name in self.broken:
            raise Unavailable(f"{name} does not answer")
        self.names.add(name)

    async def idle_s(self, name: str) -> float:
        return self.idle

    async def stop(self, name: str) -> None:
        self.asked.set()
        await self.go_on.wait()
        self.names.discard(name)
        self.stopped.append(name)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def hosting(hosts: Hosts, per_host: int = 24, most: int = 64, clock: Callable[[], float] | None = None) -> Hosting:
    return Hosting(hosts, per_host, most, IDLE_S, clock or Clock())


def names(count: int) -> set[str]:
    return {f"specialists-{number}" for number in range(count)}


@pytest.mark.parametrize(
    ("seats", "per_host", "most", "expected"),
    [(0, 24, 64, 0), (1, 24, 64, 1), (24, 24, 64, 1), (25, 24, 64, 2), (45, 1, 64, 45), (1000, 250, 64, 4)],
)
async def test_there_are_as_many_hosts_as_the_seats_need(seats: int, per_host: int, most: int, expected: int) -> None:
    hosts = Hosts()
    scaled = await hosting(hosts, per_host, most).scale(Scale(seats=seats))
    assert scaled == Scaled(actors=expected, started=expected)
    assert hosts.names == names(expected)


async def test_beyond_the_most_each_host_carries_more() -> None:
    assert await hosting(Hosts(), per_host=1, most=3).scale(Scale(seats=1000)) == Scaled(actors=3, started=3)


async def test_asking_again_starts_nothing() -> None:
    # Given two hosts
    hosts = Hosts()
    scaling = hosting(hosts)
    await scaling.scale(Scale(seats=48))
    # When as many are asked for again, or fewer
    again = [await scaling.scale(Scale(seats=seats)) for seats in (48, 30, 1, 0)]
    # Then those are there
    assert again == [Scaled(actors=2, started=0)] * 4
    assert sorted(hosts.started) == sorted(names(2))


async def test_hosts_that_another_process_started_are_kept() -> None:
    # Given a process that is new, and hosts that are not
    hosts = Hosts("specialists-0", "specialists-1")
    # When more are asked for
    scaled = await hosting(hosts).scale(Scale(seats=72))
    # Then only the one that is missing is started
    assert (scaled, hosts.started) == (Scaled(actors=3, started=1), ["specialists-2"])


async def test_those_who_ask_at_once_wait_for_the_same_start() -> None:
    # Given a start that takes a while
    hosts = Hosts()
    hosts.go_on.clear()
    scaling = hosting(hosts)
    # When several ask for hosts meanwhile
    asking = [asyncio.create_task(scaling.scale(Scale(seats=seats))) for seats in (24, 48, 48)]
    await hosts.asked.wait()
    hosts.go_on.set()
    scaled = await asyncio.gather(*asking)
    # Then each is told once those that it needs are there, and none was started twice
    assert [each.actors >= 2 for each in scaled[1:]] == [True, True]
    assert sorted(hosts.started) == sorted(names(2))


async def test_whoever_gives_up_waiting_ends_no_start_that_others_wait_for() -> None:
    hosts = Hosts()
    hosts.go_on.clear()
    scaling = hosting(hosts)
    gives_up, waits = (asyncio.create_task(scaling.scale(Scale(seats=1))) for _ in range(2))
    await hosts.asked.wait()
    gives_up.cancel()
    hosts.go_on.set()
    assert (await waits).actors == 1


async def test_a_host_that_cannot_be_started_is_not_counted() -> None:
    hosts = Hosts()
    hosts.broken = {"specialists-1"}
    assert await hosting(hosts).scale(Scale(seats=72)) == Scaled(actors=2, started=2)


async def test_none_that_can_be_started_is_an_error_that_says_why_and_the_next_try_may_succeed() -> None:
    # Given hosts that do not start
    hosts = Hosts()
    hosts.broken = names(2)
    scaling = hosting(hosts)
    # When some are asked for
    with pytest.raises(Unavailable, match="specialists-0 does not answer"):
        await scaling.scale(Scale(seats=48))
    # Then they may be asked for again
    hosts.broken = set()
    assert await scaling.scale(Scale(seats=48)) == Scaled(actors=2, started=2)


# -- idle hosts ----------------------------------------------------------------------------------------------------


async def idle_for(clock: Clock, seconds: float, hosts: Hosts) -> Hosting:
    """Two hosts, and so many seconds since they were asked for."""
    scaling = hosting(hosts, clock=clock)
    await scaling.scale(Scale(seats=48))
    clock.now += seconds
    return scaling


async def test_hosts_that_are_idle_for_long_are_stopped_and_started_again_when_they_are_needed() -> None:
    hosts = Hosts()
    scaling = await idle_for(Clock(), IDLE_S, hosts)
    await scaling.stop_idle()
    assert set(hosts.stopped) == names(2)
    assert await scaling.scale(Scale(seats=1)) == Scaled(actors=1, started=1)


async def test_hosts_that_somebody_just_asked_for_are_not_stopped() -> None:
    hosts = Hosts()
    scaling = await idle_for(Clock(), IDLE_S - 1, hosts)
    await scaling.stop_idle()
    assert hosts.names == names(2)


async def test_whoever_only_looks_how_many_there_are_keeps_none_from_being_idle() -> None:
    hosts = Hosts()
    scaling = await idle_for(Clock(), IDLE_S, hosts)
    assert (await scaling.scale(Scale(seats=0))).actors == 2
    await scaling.stop_idle()
    assert hosts.names == set()


async def test_hosts_that_have_work_are_not_stopped_however_long_ago_they_were_asked_for() -> None:
    hosts = Hosts()
    hosts.idle = 0.0
    scaling = await idle_for(Clock(), 100 * IDLE_S, hosts)
    await scaling.stop_idle()
    assert hosts.names == names(2)


async def test_hosts_are_never_stopped_where_the_setting_says_so() -> None:
    clock, hosts = Clock(), Hosts("specialists-0")
    scaling = Hosting(hosts, 24, 64, 0, clock)
    clock.now += 1e9
    await scaling.stop_idle()
    assert hosts.names == names(1)


async def test_whoever_asks_while_hosts_are_being_stopped_gets_new_ones() -> None:
    # Given hosts that are being stopped
    hosts = Hosts()
    scaling = await idle_for(Clock(), IDLE_S, hosts)
    hosts.asked.clear()
    hosts.go_on.clear()
    stopping = asyncio.create_task(scaling.stop_idle())
    await hosts.asked.wait()
    # When one is asked for
    asking = asyncio.create_task(scaling.scale(Scale(seats=1)))
    await asyncio.sleep(0)
    hosts.go_on.set()
    # Then it is none of those that go
    assert await asking == Scaled(actors=1, started=1)
    await stopping
    assert hosts.names == names(1)


async def test_a_platform_that_ends_starts_no_more_hosts() -> None:
    hosts = Hosts()
    hosts.go_on.clear()
    scaling = hosting(hosts)
    asking = asyncio.create_task(scaling.scale(Scale(seats=1)))
    await hosts.asked.wait()
    await scaling.close()
    with pytest.raises(Unavailable):
        await asking
    assert hosts.names == set()
