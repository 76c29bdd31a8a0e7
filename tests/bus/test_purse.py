"""The purse on a real server: counters that many change at once, whoever dies, and whatever the broker forgets."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nats.errors
import pytest

from actors.gateway.purse import Purse
from actors.gateway.scopes import nano
from bus.client import Bus
from bus.purse import Added, PurseStream
from bus.streams import PURSE, PURSE_HISTORY, PURSE_KEEP_S, PURSE_REPEAT_S, RESERVATIONS
from bus.subjects import PurseCounter
from schemas.budget import IN_DOUBT, NEVER_BEGAN, Budget, BudgetRefused, Budgets, Hold, Outcome, Reservation
from schemas.errors import BusUnavailable
from schemas.message import now
from tests.broker import Broker, until
from tests.bus.purse_process import BUDGETS, PRICE_USD
from tests.gateway.doubles import ask
from tests.gateway.purses import Change, peaks

COUNTER = str(PurseCounter("day", "2026-03-04", "all", "usd"))
OTHER = str(PurseCounter("tree", "default", "t1", "tokens"))
LIMIT = nano(100 * PRICE_USD)


@pytest.fixture
def store(bus: Bus) -> PurseStream:
    return PurseStream(bus)


def reservation(id_: str = "r1", instance: str = "gateway-a", opened_at: datetime | None = None) -> Reservation:
    hold = Hold(counter=COUNTER, unit="usd", amount=5)
    return Reservation(
        id=id_,
        instance=instance,
        journal_key="devskyy.v1.calls.default.t1.direct.0",
        attempt=2,
        opened_at=opened_at or now(),
        cost_nano=5,
        tokens=10,
        holds=(hold,),
    )


# -- counters ------------------------------------------------------------------------------------------------------


async def test_a_counter_adds_and_says_what_it_came_to(store: PurseStream) -> None:
    assert await store.add(COUNTER, 5, "a") == Added(5, 5)
    assert await store.add(COUNTER, 0, "b") == Added(5, 0)
    assert await store.add(COUNTER, -7, "c") == Added(-2, -7)
    assert await store.values([COUNTER]) == {COUNTER: -2}


async def test_a_repeated_change_has_no_effect_and_says_what_the_first_one_did(store: PurseStream) -> None:
    await store.add(COUNTER, 5, "a")
    await store.add(COUNTER, 3, "b")
    assert await store.add(COUNTER, 99, "a") == Added(5, 5, repeated=True)
    assert await store.values([COUNTER]) == {COUNTER: 8}


async def test_a_killed_broker_still_knows_what_must_not_be_repeated(broker: Broker, store: PurseStream) -> None:
    await store.add(COUNTER, 5, "a")
    await store.add(COUNTER, 3, "b")
    await asyncio.to_thread(broker.kill)
    await asyncio.to_thread(broker.start)
    assert await store.add(COUNTER, 5, "a") == Added(5, 5, repeated=True)
    assert await store.values([COUNTER, OTHER]) == {COUNTER: 8, OTHER: 0}


async def test_counters_hold_more_than_a_machine_word(store: PurseStream) -> None:
    await store.add(COUNTER, 2**64, "a")
    assert await store.values([COUNTER]) == {COUNTER: 2**64}


async def test_many_counters_are_read_at_once(store: PurseStream) -> None:
    counters = [str(PurseCounter("tree", "default", f"t{n}", "usd")) for n in range(1200)]
    await asyncio.gather(*(store.add(counter, n, f"add-{n}") for n, counter in enumerate(counters)))
    assert await store.values(counters) == {counter: n for n, counter in enumerate(counters)}


async def test_a_thousand_changes_at_once_add_up(broker: Broker, store: PurseStream) -> None:
    other = await broker.connect("other")
    both = [store, PurseStream(other)]
    added = await asyncio.gather(*(both[n % 2].add(COUNTER, 3, f"n{n}") for n in range(1000)))
    assert sorted(a.value for a in added) == list(range(3, 3001, 3))
    await other.close(grace_s=0.1)


async def test_the_past_of_a_counter_names_its_changes(store: PurseStream) -> None:
    began = now()
    for n in range(1100):
        await store.add(COUNTER, n, f"n{n}")
    await store.add(OTHER, 1, "another")
    past = await store.past(COUNTER, began)
    assert (past.amounts, past.whole) == ({f"n{n}": n for n in range(1100)}, True)
    assert (await store.past(COUNTER, began + timedelta(hours=1))).amounts == {}


async def test_a_past_that_has_been_dropped_in_part_is_not_whole(
    store: PurseStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bus.purse.PURSE_HISTORY", 3)
    began = now()
    for n in range(3):
        await store.add(COUNTER, n, f"n{n}")
    assert not (await store.past(COUNTER, began)).whole


async def test_a_change_that_was_dropped_is_still_not_repeated(bus: Bus, store: PurseStream) -> None:
    await store.add(COUNTER, 5, "a")
    await store.add(COUNTER, 3, "b")
    await bus.js.purge_stream(PURSE, subject=COUNTER, keep=1)
    assert await store.add(COUNTER, 5, "a") == Added(8, 5, repeated=True)


async def test_days_and_trees_are_forgotten_once_they_must_be_over(bus: Bus) -> None:
    config = (await bus.js.stream_info(PURSE)).config
    assert (config.max_age, config.duplicate_window) == (PURSE_KEEP_S, PURSE_REPEAT_S)
    assert (config.max_msgs_per_subject, config.allow_msg_counter) == (PURSE_HISTORY, True)
    assert PURSE_KEEP_S > 7 * 86_400
    assert not (await bus.js.stream_info(RESERVATIONS)).config.max_age


# -- open reservations ---------------------------------------------------------------------------------------------


async def test_a_reservation_comes_back_as_it_was_written(store: PurseStream) -> None:
    one, two = reservation("r1"), reservation("r2", "gateway-b")
    await store.open(one)
    await store.open(two)
    assert await store.opened() == (one, two)
    assert (await store.is_open(one), await store.is_open(reservation("r3"))) == (True, False)


async def test_a_closed_reservation_is_gone_and_may_be_closed_again(store: PurseStream) -> None:
    one, two = reservation("r1"), reservation("r2")
    await store.open(one)
    await store.open(two)
    await store.close(one)
    await store.close(one)
    assert await store.opened() == (two,)


async def test_no_open_reservation_is_missed_among_very_many(store: PurseStream) -> None:
    many = [reservation(f"r{n}") for n in range(1100)]
    await asyncio.gather(*map(store.open, many))
    assert {r.id for r in await store.opened()} == {r.id for r in many}


async def test_a_record_that_cannot_be_read_hides_no_other(bus: Bus, store: PurseStream) -> None:
    await bus.js.publish("devskyy.v1.reservations.gateway-a.broken", b"?")
    await store.open(reservation())
    assert await store.opened() == (reservation(opened_at=(await store.opened())[0].opened_at),)


# -- a broker that is away -----------------------------------------------------------------------------------------


async def test_a_change_waits_for_a_broker_that_is_restarted(broker: Broker, store: PurseStream) -> None:
    await asyncio.to_thread(broker.kill)
    adding = asyncio.create_task(store.add(COUNTER, 5, "a"))
    await asyncio.sleep(0.3)
    await asyncio.to_thread(broker.start)
    assert (await adding).value == 5
    assert await store.values([COUNTER]) == {COUNTER: 5}


async def test_without_a_broker_nothing_is_granted_and_after_it_nothing_leaked(broker: Broker, bus: Bus) -> None:
    # Given a call that is being reserved when the broker dies
    store = PurseStream(bus, patience_s=0.3)
    purse = Purse("gateway-a", Budgets(day=Budget(usd=1), keys={"ci": Budget(usd=1)}), store)
    opened = asyncio.Event()
    add = store.add

    async def after_the_first(*args: Any) -> Added:
        if opened.is_set():
            await asyncio.to_thread(broker.kill)
        opened.set()
        return await add(*args)

    store.add = after_the_first  # type: ignore[assignment, method-assign]
    with pytest.raises(BusUnavailable):
        await purse.reserve(ask(key="ci"), "cheap", 0.5, 100, "key", 1)
    await purse.drain()
    # When it is back
    store.add = add  # type: ignore[method-assign]
    await asyncio.to_thread(broker.start)
    await until(lambda: bus.healthy)
    patient = PurseStream(bus)
    assert len(await patient.opened()) == 1
    await purse.sweep(nobody, _outcomes({}))
    await purse.drain()
    # Then what was taken has been given back
    assert {left.used for left in await purse.left()} == {0}
    assert await patient.opened() == ()


async def test_a_settlement_survives_a_restart_of_the_broker(broker: Broker, bus: Bus, store: PurseStream) -> None:
    purse = Purse("gateway-a", Budgets(day=Budget(usd=1)), store)
    held = await purse.reserve(ask(), "cheap", 0.5, 100, "key", 1)
    await asyncio.to_thread(broker.kill)
    settling = asyncio.create_task(purse.settle(held, 0.2, 50))
    await asyncio.sleep(0.2)
    await asyncio.to_thread(broker.start)
    assert not await settling
    await purse.drain()
    assert [left.used for left in await purse.left()] == [nano(0.2)]
    assert await store.opened() == ()


async def test_a_closed_connection_is_told_at_once(bus: Bus, store: PurseStream) -> None:
    await bus.close(grace_s=0.1)
    with pytest.raises(BusUnavailable):
        await store.add(COUNTER, 5, "a")
    with pytest.raises(BusUnavailable):
        await store.open(reservation())


class _Lossy:
    """JetStream that loses some acknowledgements on their way back."""

    def __init__(self, js: Any, bus: "LossyBus") -> None:
        self._js, self._bus = js, bus

    async def publish(self, subject: str, *args: Any, **kwargs: Any) -> Any:
        ack = await self._js.publish(subject, *args, **kwargs)
        if self._bus.lose:
            self._bus.lose -= 1
            raise nats.errors.TimeoutError
        return ack

    def __getattr__(self, name: str) -> Any:
        return getattr(self._js, name)


class LossyBus(Bus):
    lose = 0

    @property
    def js(self) -> Any:
        return _Lossy(super().js, self)


@pytest.fixture
async def lossy(broker: Broker, bus: Bus) -> AsyncIterator[LossyBus]:
    lossy = LossyBus(broker.url, "lossy")
    await lossy.connect()
    yield lossy
    await lossy.close(grace_s=0.2)


async def test_what_was_done_but_not_acknowledged_is_done_once(lossy: LossyBus) -> None:
    store = PurseStream(lossy)
    for lost in (1, 2):
        lossy.lose = lost
        await store.open(reservation(f"r{lost}"))
        lossy.lose = lost
        assert await store.add(COUNTER, 5, f"n{lost}") == Added(5 * lost, 5, repeated=True)
    assert len(await store.opened()) == 2
    lossy.lose = 1
    purse = Purse("gateway-a", Budgets(day=Budget(usd=1)), store)
    assert await purse.reserve(ask(), "cheap", 0.5, 100, "key", 1)


# -- many at once --------------------------------------------------------------------------------------------------


async def nobody(_: str) -> bool:
    return False


def _outcomes(known: dict[str, Outcome]) -> Any:
    async def outcome_of(reservation: Reservation) -> Outcome:
        return known.get(reservation.id, NEVER_BEGAN)

    return outcome_of


async def test_a_budget_for_a_hundred_pays_for_exactly_a_hundred(broker: Broker, bus: Bus) -> None:
    # Given two gateways
    other = await broker.connect("other")
    purses = [Purse(f"gateway-{n}", BUDGETS, PurseStream(b)) for n, b in enumerate((bus, other))]

    async def granted(n: int) -> bool:
        try:
            await purses[n % 2].reserve(ask(task_id=f"t{n}"), "cheap", PRICE_USD, 10, "key", 1)
        except BudgetRefused:
            return False
        return True

    # When six hundred calls come at once
    results = await asyncio.gather(*map(granted, range(600)))
    # Then a hundred are made, and the refused ones hold nothing
    assert sum(results) == 100
    await asyncio.gather(*(purse.drain() for purse in purses))
    assert {left.used for left in await purses[0].left()} == {LIMIT}
    assert len(await PurseStream(bus).opened()) == 100
    await other.close(grace_s=0.1)


class Gateway:
    """A process that makes calls, and what it has told."""

    def __init__(self, broker: Broker, instance: str, folder: Path, calls: int) -> None:
        self._report = folder / instance
        self._report.touch()
        self._read = 0
        self._args = (broker.url, instance, str(self._report), str(calls))
        self.told = 0
        self.began: dict[str, int] = {}
        """What each call was granted."""
        self.ended: dict[str, int] = {}
        """What those that are over came to."""

    async def start(self) -> "Gateway":
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bus.purse_process", *self._args, stdin=asyncio.subprocess.PIPE
        )
        return self

    def begin(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")

    async def wait(self) -> int:
        return await self._process.wait()

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    def listen(self) -> "Gateway":
        """Read what it has told since."""
        with self._report.open() as report:
            report.seek(self._read)
            # The last line may be in the making.
            whole, end, _ = report.read().rpartition("\n")
        self._read += len(whole + end)
        for line in whole.splitlines():
            self.told += 1
            match line.split():
                case ["began", id_, amount]:
                    self.began[id_] = int(amount)
                case ["ended", id_, amount]:
                    self.ended[id_] = int(amount)
        return self

    @property
    def amount(self) -> int:
        """What its calls have reserved and spent."""
        return sum((self.began | self.ended).values())


async def changes(bus: Bus) -> list[Change]:
    """Every change of every counter, in the order in which the server made them."""
    request = {"next_by_subj": PurseCounter.pattern(), "seq": 1, "batch": 1000}
    found, pending = [], 1
    while pending:
        pending = 0
        async with contextlib.aclosing(
            bus.ask_many(f"$JS.API.DIRECT.GET.{PURSE}", json.dumps(request).encode())
        ) as all_:
            async for msg in all_:
                headers = msg.headers or {}
                if "Status" in headers:
                    pending = int(headers.get("Nats-Num-Pending", "0")) if headers["Status"] == "204" else 0
                    break
                found.append(Change(headers["Nats-Subject"], int(headers["Nats-Incr"]), headers["Nats-Msg-Id"]))
                request["seq"] = int(headers["Nats-Sequence"]) + 1
    return found


async def test_two_gateways_one_of_them_killed_never_spend_more_than_there_is_and_nothing_leaks(
    broker: Broker, bus: Bus, tmp_path: Path
) -> None:
    # Given two gateways in processes of their own, with a thousand calls each and a budget that pays for a hundred
    gateways = [Gateway(broker, name, tmp_path, 1000) for name in ("gateway-a", "gateway-b")]
    survivor, victim = gateways
    seen: list[int] = []

    async def observe() -> None:
        while True:
            seen.append(sum(gateway.listen().amount for gateway in gateways))
            await asyncio.sleep(0.005)

    observing = asyncio.create_task(observe())
    try:
        await asyncio.gather(*(gateway.start() for gateway in gateways))
        await until(lambda: all(gateway.told for gateway in gateways))
        for gateway in gateways:
            gateway.begin()
        # When one of them is killed half way, some of its calls over and some not
        await until(lambda: 0 < len(victim.ended) < len(victim.began))
        await victim.kill()
        assert await survivor.wait() == 0
    finally:
        observing.cancel()
        await asyncio.gather(*(gateway.kill() for gateway in gateways))
    # Then nobody ever saw more reserved and spent than there is, and after no single change there was more
    charged = sum(gateway.listen().amount for gateway in gateways)
    assert LIMIT // 4 < max(seen) <= LIMIT
    began, ended = ({**getattr(survivor, what), **getattr(victim, what)} for what in ("began", "ended"))
    highest = peaks(await changes(bus), set(began))
    assert len(highest) == 2
    assert max(highest.values()) <= LIMIT
    # And once another gateway has swept, each call counts at what it came to, or as reserved where nobody can know
    journal = dict.fromkeys(began, IN_DOUBT)
    journal |= {id_: Outcome(began=True, cost_usd=cost / 1e9, tokens=5) for id_, cost in ended.items()}
    heir = Purse("gateway-c", BUDGETS, PurseStream(bus))
    settled = await heir.sweep(nobody, _outcomes(journal))
    assert {r.instance for r in settled} == {"gateway-b"}
    assert {left.used for left in await heir.left()} == {charged}
    assert charged <= LIMIT
    assert await PurseStream(bus).opened() == ()
    # And sweeping again changes nothing
    before = await changes(bus)
    assert await heir.sweep(nobody, _outcomes(journal)) == ()
    assert await changes(bus) == before


async def test_a_night_later_what_a_dead_gateway_left_is_still_settled_once(bus: Bus, store: PurseStream) -> None:
    """The broker no longer knows the names of the changes, only the changes."""
    # Given a gateway that died with two reservations, one of them already settled
    dead = Purse("dead", Budgets(day=Budget(usd=1)), store)
    held = [await dead.reserve(ask(), "cheap", 0.25, 100, "key", 1) for _ in range(2)]
    await store.add(held[0].holds[0].counter, -nano(0.15), f"{held[0].id}.0.settle")
    config = (await bus.js.stream_info(PURSE)).config
    config.duplicate_window = 0.1
    await bus.js.update_stream(config)
    await asyncio.sleep(0.5)
    # When others sweep hours later
    journal = {r.id: Outcome(began=True, cost_usd=0.1, tokens=5) for r in held}
    heir = Purse("heir", Budgets(day=Budget(usd=1)), store, clock=lambda: datetime.now(UTC) + timedelta(hours=9))
    assert len(await heir.sweep(nobody, _outcomes(journal))) == 2
    # Then each counts once
    assert await store.values([held[0].holds[0].counter]) == {held[0].holds[0].counter: nano(0.2)}
    assert await store.opened() == ()
