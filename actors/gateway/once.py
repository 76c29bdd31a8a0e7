"""Asking once: repeated questions join the call under way or get the recorded answer, and how it ended is recorded."""

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from actors.gateway.account import Account, Q, in_time
from actors.gateway.surroundings import Surroundings
from bus.journal import Entry, Overtaken, key_of, question_of
from bus.subjects import CallJournal
from schemas.budget import IN_DOUBT, NEVER_BEGAN, Outcome, Reservation
from schemas.completion import Completion, Embeddings
from schemas.errors import BusUnavailable, Cancelled, DevSkyyError
from schemas.problem import Problem
from schemas.receipt import Call

R = TypeVar("R", Completion, Embeddings)
"""What is answered."""

log = structlog.get_logger()


@dataclass
class _Work(Generic[R]):
    """One call under way, and how many wait for it."""

    task: asyncio.Task[R]
    waiting: int = 0
    recording: asyncio.Task[None] | None = None
    """The answer on its way into the journal."""


class Once(ABC, Generic[Q, R]):
    """Answers questions of one kind, each one once. Who serves them, and how, a subclass knows."""

    def __init__(self, instance: str, surroundings: Surroundings) -> None:
        self._instance, self._with = instance, surroundings
        self._under_way: dict[str, _Work[R]] = {}

    @abstractmethod
    async def _make(self, account: Account[Q]) -> R:
        """The answer, made now.

        Raises:
            DevSkyyError: there is none; the account has what was spent.
        """

    @abstractmethod
    async def _find(self, entry: Entry) -> R | None:
        """The answer that an entry holds, as it ended; None where it is to be made, or made again."""

    @abstractmethod
    def _none(self, calls: tuple[Call, ...], problem: Problem) -> R:
        """What is told where there is no answer."""

    def works_on(self, key: str) -> bool:
        """Whether the call of that journal key is under way here."""
        return key in self._under_way

    async def answer(self, ask: Q) -> R:
        """The answer, with every attempt that was or may have been charged. Cancelled when nobody waits any more."""
        question = question_of(ask)
        key = key_of(ask, question)
        name = str(key)
        while True:
            work = self._under_way.get(name) or self._begin(
                name, Account(ask, key, question, self._instance, self._with.journal)
            )
            work.waiting += 1
            try:
                reply = await asyncio.shield(work.task)
            except asyncio.CancelledError:
                if not _cancelled():  # the call was, by somebody who has left; this one asks for it anew
                    if work.recording is not None:
                        await asyncio.wait([work.recording])
                    await asyncio.sleep(0)
                    continue
                if work.waiting > 1 or work.task.cancelling():
                    raise
                work.task.cancel()
                return await asyncio.shield(work.task)
            finally:
                work.waiting -= 1
            if not work.task.cancelling() or is_answer(reply):
                return reply
            # Those who had asked before had left already, and this one came while their call was being ended.

    def _begin(self, name: str, account: Account[Q]) -> _Work[R]:
        work = self._under_way[name] = _Work(asyncio.create_task(self._work(account)))
        work.task.add_done_callback(lambda _: self._leave(name, work))
        return work

    def _leave(self, name: str, work: _Work[R]) -> None:
        """The call is under way until its answer is in the journal: until then, whoever asks again is told here."""
        if work.recording is None or work.recording.done():
            self._under_way.pop(name, None)
        else:
            work.recording.add_done_callback(lambda _: self._under_way.pop(name, None))

    async def _work(self, account: Account[Q]) -> R:
        """Begin as if nobody had asked before, as is nearly always so; who did has left a mark that stops the first
        write, which comes before any call."""
        while True:
            try:
                return await self._serve(account)
            except Overtaken:
                if _cancelled():
                    raise asyncio.CancelledError from None  # the other gateway's account holds; nobody waits for ours
                log.info("another gateway wrote to this entry; reading it again", key=str(account.key))
            if (recorded := await self._read(account)) is not None:
                return recorded

    async def _read(self, account: Account[Q]) -> R | None:
        """The recorded answer; None when the account is to be gone on with."""
        while True:
            kept = await self._with.journal.read(account.key)
            entry = kept.entry
            if entry is None:
                account.go_on_from(0, None)
                return None
            if entry.state == "ended":
                if (found := await self._find(entry)) is not None:
                    return found
                account.go_on_from(kept.seq, entry)
                return None
            if entry.gateway != self._instance and await self._with.works(entry.gateway, str(account.key)):
                in_time(account.ask.deadline_at)
                await asyncio.sleep(0.2)  # it is at work; its answer will be found here
                continue
            account.go_on_from(kept.seq, entry)
            return None

    async def _serve(self, account: Account[Q]) -> R:
        reply: R | None = None
        problem: Problem | None = None
        attempts = account.attempts
        try:
            reply = await self._make(account)
        except asyncio.CancelledError:
            problem = Problem.of(Cancelled(f"step {account.ask.step!r}", "aborted by its caller"))
        except Exception as error:
            if not isinstance(error, DevSkyyError) or isinstance(error, Overtaken | BusUnavailable):
                await account.forsake(self._with.purse)
                raise
            problem = Problem.of(error)
        if reply is None:
            assert problem is not None
            reply = self._none(account.calls, problem)
        paid_for = reply.problem is None and account.attempts > attempts
        recording = asyncio.create_task(self._recorded(account, reply, paid_for))
        self._under_way[str(account.key)].recording = recording
        self._with.keep(recording)
        # Who gets an answer that was paid for need not wait: should both fail now, the call is in doubt, as it was a
        # moment before. What was found in the cache may be recorded otherwise already. And what a budget holds is to
        # be given back before the asker's next call.
        if not paid_for or account.to_settle:
            await asyncio.shield(recording)
        return reply

    async def _recorded(self, account: Account[Q], reply: R, paid_for: bool) -> None:
        """Record what came of it; of an answer that was paid for, it is given even where that fails."""
        try:
            await account.close(reply)
        except Exception as error:
            await account.forsake(self._with.purse)
            if isinstance(error, Overtaken | BusUnavailable) and not paid_for:
                raise
            if account.seq or not isinstance(error, Overtaken):  # else nothing was at stake, and it was asked before
                log.warning("an outcome was not recorded", key=str(account.key), error=repr(error))
        await account.settle(self._with.purse)

    # -- what dead gateways left -------------------------------------------------------------------------------

    async def outcome_of(self, reservation: Reservation) -> Outcome:
        """What the journal says of the attempt that a reservation was made for.

        Raises:
            BusUnavailable: the journal did not answer.
        """
        if not reservation.journal_key:
            return IN_DOUBT
        entry = (await self._with.journal.read(CallJournal.parse(reservation.journal_key))).entry
        if entry is None or reservation.id not in entry.held:
            return NEVER_BEGAN
        spent = entry.held[reservation.id]
        return IN_DOUBT if spent is None else Outcome(began=True, cost_usd=spent.cost_usd, tokens=spent.tokens)


def is_answer(reply: Completion | Embeddings) -> bool:
    """Whether what was recorded answers a repeated question.

    What was aborted does not: of a task that was cancelled nobody asks again, so the one who asked had to end.
    """
    return reply.problem is None or reply.problem.code != Cancelled.code


def _cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
