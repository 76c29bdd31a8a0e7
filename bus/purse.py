"""The purse in JetStream: a counter for each budget and unit, and a record of each reservation that is open.

A counter holds what is reserved and what is spent together. Every change has a name, and a change of the same name has
no effect: the stream knows the names of the last ten minutes (`Nats-Msg-Id`), and keeps the last changes of each
counter, so that it still knows them after a broker was killed. What is older is looked up in those by name.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.js import api
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from bus.client import Bus
from bus.codec import CONTENT_TYPE, decode, encode
from bus.eventlog import WRONG_LAST_SEQUENCE
from bus.streams import PURSE, PURSE_HISTORY, RESERVATIONS
from bus.subjects import OpenReservation
from schemas.budget import Reservation
from schemas.errors import BusUnavailable, DecodeError

log = structlog.get_logger()

TRY_S = 1.5
"""How long one try waits for its acknowledgement; a broker that was restarted has lost it."""
CLOCKS_APART_S = 60.0
"""How far the clocks of a gateway and of the broker may differ."""


@dataclass(frozen=True, slots=True)
class Added:
    """What a counter came to by one change."""

    value: int
    """Right after the change."""
    amount: int
    """What was added under this name: by a repeated change the first time."""
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Past:
    """The changes of a counter since some moment."""

    amounts: dict[str, int]
    """What was added, by the change's name."""
    whole: bool
    """Whether none of them has been dropped yet."""


class PurseStore(Protocol):
    """Every method raises BusUnavailable; whether a change has taken effect is then unknown."""

    async def open(self, reservation: Reservation) -> None: ...

    async def is_open(self, reservation: Reservation) -> bool: ...

    async def opened(self) -> tuple[Reservation, ...]: ...

    async def close(self, reservation: Reservation) -> None: ...

    async def add(self, counter: str, amount: int, name: str) -> Added: ...

    async def past(self, counter: str, since: datetime) -> Past: ...

    async def values(self, counters: Sequence[str]) -> dict[str, int]: ...


class PurseStream:
    """The store that all gateways share."""

    def __init__(self, bus: Bus, patience_s: float = 5.0) -> None:
        """Repeats what is not acknowledged for `patience_s`."""
        self._bus, self._patience_s = bus, patience_s

    # -- open reservations -------------------------------------------------------------------------------------

    async def open(self, reservation: Reservation) -> None:
        """Write the record of a reservation, before anything is taken for it."""
        headers = {"Content-Type": CONTENT_TYPE, "Nats-Expected-Last-Subject-Sequence": "0"}
        try:
            await self._publish(str(_subject(reservation)), encode(reservation), headers)
        except APIError as error:
            # Nobody else has this id: the first try arrived, its acknowledgement did not.
            if error.err_code != WRONG_LAST_SEQUENCE:
                raise BusUnavailable(f"the reservation was not recorded: {error!r}") from error

    async def is_open(self, reservation: Reservation) -> bool:
        """Whether the record is still there."""
        with _unavailable("the reservation was not read"):
            try:
                await self._bus.js.get_last_msg(
                    RESERVATIONS, str(_subject(reservation)), direct=not self._bus.clustered
                )
            except NotFoundError:
                return False
        return True

    async def opened(self) -> tuple[Reservation, ...]:
        """Every reservation that is not settled, of all gateways."""
        found: list[Reservation] = []
        async with contextlib.aclosing(self._get(RESERVATIONS, next_by_subj=OpenReservation.pattern())) as messages:
            async for msg in messages:
                try:
                    found.append(decode(msg.data, Reservation))
                except DecodeError as error:
                    log.error("a reservation cannot be read; what it holds stays held", error=str(error))
        return tuple(found)

    async def close(self, reservation: Reservation) -> None:
        """Delete the record; one that is gone already is no error."""
        with _unavailable("the reservation's record was not deleted"):
            await self._bus.js.purge_stream(RESERVATIONS, subject=str(_subject(reservation)))

    # -- counters ----------------------------------------------------------------------------------------------

    async def add(self, counter: str, amount: int, name: str) -> Added:
        """Add to a counter, once for each `name`."""
        try:
            ack = await self._publish(counter, b"", {"Nats-Incr": f"{amount:+d}", "Nats-Msg-Id": name})
        except APIError as error:
            raise BusUnavailable(f"{counter} was not changed: {error!r}") from error
        if not ack.duplicate:
            return Added(int(ack.val or 0), amount)
        return await self._first(counter, ack.seq, amount)

    async def _first(self, counter: str, seq: int, amount: int) -> Added:
        """The change that a repeated one was the second of: the acknowledgement of a duplicate has no value."""
        with _unavailable(f"{counter} was not read"):
            try:
                msg = await self._bus.js.get_msg(PURSE, seq=seq, direct=not self._bus.clustered)
                return Added(_value(msg.data), int((msg.headers or {})["Nats-Incr"]), repeated=True)
            except NotFoundError:
                log.warning("a change of a budget is too long ago to be read", counter=counter)
        return Added((await self.values([counter]))[counter], amount, repeated=True)

    async def past(self, counter: str, since: datetime) -> Past:
        """The changes of a counter since `since`, by the gateways' clocks, as far as they are kept."""
        start = (since.astimezone(UTC) - timedelta(seconds=CLOCKS_APART_S)).isoformat().replace("+00:00", "Z")
        amounts: dict[str, int] = {}
        seen = 0
        async with contextlib.aclosing(self._get(PURSE, next_by_subj=counter, start_time=start)) as messages:
            async for msg in messages:
                headers = msg.headers or {}
                amounts[headers.get("Nats-Msg-Id", "")] = int(headers["Nats-Incr"])
                seen += 1
        # The stream drops a counter's oldest change only when it keeps as many as this.
        return Past(amounts, whole=seen < PURSE_HISTORY)

    async def values(self, counters: Sequence[str]) -> dict[str, int]:
        """What counters stand at; 0 where nothing was ever added."""
        found = dict.fromkeys(counters, 0)
        if len(counters) == 1:  # 0.15 ms; the batch below takes twice that
            with _unavailable(f"{counters[0]} was not read"), contextlib.suppress(NotFoundError):
                msg = await self._bus.js.get_last_msg(PURSE, counters[0], direct=not self._bus.clustered)
                found[counters[0]] = _value(msg.data)
            return found
        for first in range(0, len(counters), _BATCH):
            some = list(counters[first : first + _BATCH])
            async with contextlib.aclosing(self._get(PURSE, multi_last=some)) as messages:
                async for msg in messages:
                    found[(msg.headers or {})["Nats-Subject"]] = _value(msg.data)
        return found

    # -- the server --------------------------------------------------------------------------------------------

    async def _publish(self, subject: str, body: bytes, headers: dict[str, Any]) -> api.PubAck:
        """Publish until it is acknowledged; what is published must bear being repeated.

        Raises:
            BusUnavailable: it was not acknowledged in time.
            APIError: the stream refused it.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._patience_s
        while True:
            try:
                left_s = max(0.05, give_up - loop.time())
                return await self._bus.js.publish(subject, body, headers=headers, timeout=min(TRY_S, left_s))
            except (nats.errors.Error, TimeoutError) as error:
                if isinstance(error, APIError) and not isinstance(error, ServiceUnavailableError):
                    raise
                if self._bus.closed.is_set() or loop.time() + _PAUSE_S >= give_up:
                    raise BusUnavailable(f"{subject} was not acknowledged: {error!r}") from error
                await asyncio.sleep(_PAUSE_S)

    async def _get(self, stream: str, **query: Any) -> AsyncGenerator[Msg, None]:
        """Every message that a direct get in batches finds."""
        subject, pending = f"$JS.API.DIRECT.GET.{stream}", 1
        if query.keys() == {"next_by_subj"}:
            query["seq"] = 1
        while pending:  # the server gives so many in one batch, and then says how many are left
            request = json.dumps({**query, "batch": _BATCH}).encode()
            pending, last = 0, 0
            async with contextlib.aclosing(self._bus.ask_many(subject, request, self._patience_s)) as answers:
                async for msg in answers:
                    headers = msg.headers or {}
                    if "Status" in headers:
                        pending = int(headers.get("Nats-Num-Pending", "0")) if headers["Status"] == "204" else 0
                        break
                    last = int(headers["Nats-Sequence"])
                    yield msg
            query.pop("start_time", None)
            query["seq"] = last + 1


_BATCH = 1000
_PAUSE_S = 0.1


def _subject(reservation: Reservation) -> OpenReservation:
    return OpenReservation(reservation.instance, reservation.id)


def _value(data: bytes | None) -> int:
    return int(json.loads(data or b'{"val":"0"}')["val"])


@contextlib.contextmanager
def _unavailable(what: str) -> Any:
    try:
        yield
    except (nats.errors.Error, APIError, TimeoutError) as error:
        raise BusUnavailable(f"{what}: {error!r}") from error
