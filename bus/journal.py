"""The call journal: what was begun, what came of it, so that nothing paid is paid twice.

One entry per `(task, step, hash of the request)`. It is written before a provider is called and after it answered,
each time only if nobody else wrote in between. Whoever asks again gets the recorded answer. An entry that was begun by
a gateway that no longer lives is in doubt: nobody can know whether the provider was paid, so it is charged at its
reservation, marked, and only then tried again.
"""

import contextlib
import hashlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import nats.errors
from nats.js.errors import APIError, NotFoundError
from pydantic import BeforeValidator

from bus import history
from bus.client import Bus
from bus.codec import decode, encode
from bus.eventlog import NO_ROOM, WRONG_LAST_SEQUENCE
from bus.streams import CALLS
from bus.subjects import CallJournal
from schemas.completion import Complete, Completion, Embed, Embeddings
from schemas.errors import BusUnavailable, DevSkyyError, StorageFull
from schemas.message import Message, Moment
from schemas.receipt import Call


class Spent(Message):
    """What an attempt came to; what is None nobody knows."""

    cost_usd: float | None = None
    tokens: int | None = None

    @classmethod
    def of(cls, call: Call | None) -> "Spent":
        """Of an attempt that cost nothing there is no call."""
        if call is None:
            return cls(cost_usd=0.0, tokens=0)
        known = call.prompt_tokens is not None and call.completion_tokens is not None
        tokens = (call.prompt_tokens or 0) + (call.completion_tokens or 0) if known else None
        return cls(cost_usd=call.cost_usd, tokens=tokens)


def _several(value: Any) -> Any:
    """An earlier version kept one call where there are several now."""
    return (value,) if isinstance(value, dict | Call) else value


class Entry(Message):
    """What the journal knows of one call."""

    state: Literal["begun", "ended"]
    gateway: str
    """The gateway that wrote this."""
    began_at: Moment
    question: str | None = None
    """What was asked, as `question_of` names it; absent from entries of versions that did not keep it."""
    open: Annotated[tuple[Call, ...], BeforeValidator(_several)] = ()
    """The attempts under way, each at its reservation; none once ended."""
    held: dict[str, Spent | None] = {}
    """What attempts came to that hold something in a budget, by reservation; None while they are under way."""
    calls: tuple[Call, ...] = ()
    """Attempts that are over and were or may have been charged."""
    completion: Completion | None = None
    """The recorded answer, once ended."""
    embeddings: Embeddings | None = None
    """The same, where vectors were asked for; they themselves lie elsewhere, if anywhere."""
    key: str | None = None
    """The API key that asked, where there was one."""


class Overtaken(DevSkyyError):
    """Another gateway wrote to this entry since it was read."""

    code = "journal_overtaken"
    retryable = True


@dataclass(frozen=True)
class Kept:
    """An entry and its place in the stream; 0 when there is none yet."""

    seq: int
    entry: Entry | None


@dataclass(frozen=True)
class Spending:
    """What the journal knows of a task's calls."""

    calls: tuple[Call, ...] = ()
    known: bool = True
    """Whether it has any entry of the task."""
    under_way: int = 0
    """Attempts whose end is not recorded yet."""


_QUESTION = {
    *("agent", "messages", "temperature", "max_tokens", "json_schema", "sampling"),
    *("tools", "tool_choice", "parallel_tool_calls"),
}
"""What determines an answer; whose question it is, who may answer it, how soon and how dearly, does not."""
_QUESTION_OF_VECTORS = {"service", "texts"}
"""The same of vectors. Those of another service mean other things, so the service is part of it."""


def question_of(ask: Complete | Embed) -> str:
    """A question's name: SHA-256 of what determines its answer, the same in every task, tenant and platform.

    Defaults are left out, so that a field which a later version adds leaves recorded questions as they are.
    """
    # 9 µs a question; `model_dump` and `json.dumps` with sorted keys took 43.
    if isinstance(ask, Complete):
        said = Complete.__pydantic_serializer__.to_json(ask, include=_QUESTION, exclude_defaults=True)
    else:
        said = Embed.__pydantic_serializer__.to_json(ask, include=_QUESTION_OF_VECTORS)
    return hashlib.sha256(said).hexdigest()


def key_of(ask: Complete | Embed, question: str | None = None) -> CallJournal:
    """The call's name: what is asked; not of whom, how long or how dearly it may be answered. A new owner of a task may
    choose other services than the one before it, and still gets the answer that was paid for.

    Args:
        question: what `question_of` gives, where it is known already.
    """
    return CallJournal(ask.tenant, ask.task_id, ask.step, (question or question_of(ask))[:32])


class JournalStore(Protocol):
    async def read(self, key: CallJournal) -> Kept: ...

    async def write(self, key: CallJournal, entry: Entry, expected: int) -> int: ...


class Journal:
    """The journal in its JetStream stream, one message per entry."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def read(self, key: CallJournal) -> Kept:
        """The entry as it is now.

        Raises:
            BusUnavailable: the stream did not answer.
        """
        try:
            msg = await self._bus.js.get_last_msg(CALLS, str(key), direct=not self._bus.clustered)
        except NotFoundError:
            return Kept(0, None)
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise BusUnavailable(f"the call journal was not read: {error!r}") from error
        return Kept(msg.seq or 0, decode(await self._bus.blobs.unwrap(msg.data or b"", msg.headers), Entry))

    async def write(self, key: CallJournal, entry: Entry, expected: int) -> int:
        """Write the entry if its last version lies at `expected` (0: if there is none); return its new place.

        Raises:
            Overtaken: somebody else wrote.
            StorageFull: it was not written, and trying again will not help soon.
            BusUnavailable: whether it was written is unknown; read before calling a provider.
        """
        headers = {"Nats-Expected-Last-Subject-Sequence": str(expected)}
        body = await self._bus.blobs.offload(encode(entry), headers)
        try:
            return await self._bus.put(key, body, headers)
        except APIError as error:
            if error.err_code == WRONG_LAST_SEQUENCE:
                kept = await self.read(key)
                if kept.entry == entry:
                    return kept.seq  # our own write, its acknowledgement lost
                raise Overtaken(str(key)) from None
            if error.err_code in NO_ROOM:
                raise StorageFull(f"JetStream has no room for the journal of calls ({error.description})") from error
            raise BusUnavailable(f"the call journal was not written: {error!r}") from error
        except (nats.errors.Error, TimeoutError) as error:
            kept = await self.read(key)
            if kept.entry == entry:
                return kept.seq
            raise BusUnavailable(f"the call journal was not written: {error!r}") from error

    async def spending_of(self, tenant: str, task_id: str) -> Spending:
        """Every attempt of a task that was or may have been charged; one still under way stands at its reservation.

        Raises:
            BusUnavailable: the stream did not answer.
        """
        found: list[Call] = []
        known, under_way = False, 0
        async with contextlib.aclosing(self.entries_of(tenant, task_id)) as entries:
            async for _, entry in entries:
                known = True
                under_way += len(entry.open)
                found.extend(entry.calls)
                found.extend(in_doubt(call) for call in entry.open)
        return Spending(tuple(found), known, under_way)

    async def calls_of(self, tenant: str, task_id: str) -> tuple[Call, ...]:
        """The calls of `spending_of`."""
        return (await self.spending_of(tenant, task_id)).calls

    async def entries_of(
        self, tenant: str, task_id: str, step: str | None = None
    ) -> AsyncGenerator[tuple[CallJournal, Entry], None]:
        """Every entry of a task, or of one of its steps, in the order in which they were last written.

        Raises:
            BusUnavailable: the stream did not answer.
        """
        of_step = {} if step is None else {"step": step}
        pattern = CallJournal.pattern(tenant=tenant, task=task_id, **of_step)
        async with contextlib.aclosing(history.messages(self._bus, CALLS, pattern)) as messages:
            async for msg in messages:
                entry = decode(await self._bus.blobs.load(msg), Entry)
                yield CallJournal.parse((msg.headers or {})["Nats-Subject"]), entry


def in_doubt(call: Call) -> Call:
    """An attempt whose outcome nobody can know, charged at its reservation."""
    return call.model_copy(update={"in_doubt": True, "outcome": "in_doubt", "cost_estimated": bool(call.cost_usd)})
