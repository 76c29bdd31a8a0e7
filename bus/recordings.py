"""Recordings of whole runs: put together from what the streams hold, kept in the object store, answered from."""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from bus.client import Bus
from bus.journal import Journal, question_of
from bus.tasklog import TaskLog
from schemas.completion import Complete, Completion
from schemas.errors import Cancelled, DecodeError, DevSkyyError, InvalidRequest, NotFound
from schemas.event import Claimed, Ended
from schemas.message import now
from schemas.recording import RecordedCall, Recording

PATIENCE_S = 3.0
"""How long the answers of a task that has just ended may take to reach the journal: nobody waits for that."""
ROOM_BYTES = 64 * 1024 * 1024
"""Text of the recordings that one process keeps read."""


class NotRecordable(DevSkyyError):
    """A task of which there is no recording, or none yet."""

    code = "not_recordable"
    title = "There is no recording of this task"
    http_status = 409

    def __init__(self, task_id: str, reason: str) -> None:
        super().__init__(task_id, reason)
        self.task_id, self.reason = task_id, reason

    def __str__(self) -> str:
        return f"task {self.task_id} {self.reason}"


class NotRecorded(DevSkyyError):
    """A question that the recording does not answer: what runs now is not what ran then."""

    code = "not_recorded"
    title = "The recording does not go on like this"
    http_status = 422

    def __init__(self, recording: str, step: str, agent: str) -> None:
        super().__init__(recording, step, agent)
        self.recording, self.step, self.agent = recording, step, agent

    def __str__(self) -> str:
        return (
            f"the recording {self.recording[:12]} holds no answer for step {self.step!r} of {self.agent!r}: another "
            "prompt, agent or option is asked for than was recorded; record the task anew"
        )


async def record(
    tasks: TaskLog, journal: Journal, tenant: str, task_id: str, patience_s: float = PATIENCE_S
) -> Recording:
    """The recording of a task that has ended.

    Raises:
        NotFound: there is no such task, or it has grown too old for the streams.
        NotRecordable: it has not ended, or not all of its answers are there.
        BusUnavailable: the streams did not answer.
    """
    events = [entry.event for entry in await tasks.read(tenant, task_id)]
    last = events[-1]
    if not isinstance(last, Ended):
        raise NotRecordable(task_id, "has not ended yet; ask again when it has")
    if events[0].event != "accepted":
        raise NotRecordable(task_id, "is too old: what it was asked is not kept any more")
    receipt = last.task.receipt
    answered = {call.step for call in receipt.calls if call.outcome == "answered"} if receipt else set()
    give_up = time.monotonic() + patience_s
    while True:
        calls, vectors = await _calls(journal, tenant, task_id)
        lost = answered - {call.step for call in calls} - vectors
        if not lost:
            break
        if time.monotonic() > give_up:
            raise NotRecordable(task_id, f"cannot be recorded: the answer of {', '.join(sorted(lost))} is not kept")
        await asyncio.sleep(0.05)
    return Recording.of(events, calls, now(), _version())


async def _calls(journal: Journal, tenant: str, task_id: str) -> tuple[list[RecordedCall], set[str]]:
    """Every answer, and the steps that asked for vectors, which a replay makes anew."""
    calls, vectors = [], set()
    async with contextlib.aclosing(journal.entries_of(tenant, task_id)) as entries:
        async for key, entry in entries:
            if entry.embeddings is not None:
                vectors.add(key.step)
            if entry.completion is None:
                continue
            if entry.question is None:
                raise NotRecordable(task_id, "ran on a version that kept no questions; run it again to record it")
            calls.append(RecordedCall(step=key.step, question=entry.question, completion=entry.completion))
    return calls, vectors


def _version() -> str:
    try:
        return version("devskyy")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "0+source"


class Answers:
    """What a recording answers, by step and question."""

    def __init__(self, calls: Iterable[RecordedCall]) -> None:
        self._by_step: dict[tuple[str, str], Completion] = {}
        self._by_question: dict[str, Completion] = {}
        for call in calls:
            problem = call.completion.problem
            if problem is not None and problem.code == Cancelled.code:
                continue  # it was aborted, which is no answer
            replayed = tuple(paid.model_copy(update={"replayed": True}) for paid in call.completion.calls)
            completion = call.completion.model_copy(update={"calls": replayed})
            self._by_step[call.step, call.question] = completion
            self._by_question.setdefault(call.question, completion)

    def find(self, step: str, question: str) -> Completion | None:
        """The completion recorded for this question in this step, or else in whichever step asked it first."""
        return self._by_step.get((step, question)) or self._by_question.get(question)


@dataclass(frozen=True)
class _Loaded:
    answers: Answers
    size: int
    claimed: Claimed | None


class Recordings:
    """The recordings that were handed in, by tenant and name. They are kept as long as other payloads: thirty days."""

    def __init__(self, bus: Bus, room_bytes: int = ROOM_BYTES) -> None:
        self._bus, self._room_bytes = bus, room_bytes
        self._loaded: OrderedDict[tuple[str, str], _Loaded] = OrderedDict()
        self._loading = asyncio.Lock()

    async def put(self, text: bytes, tenant: str) -> tuple[str, Recording]:
        """Check a recording, keep it for a tenant, and return its name with it.

        Raises:
            InvalidRequest: it is none, or was cut off or changed; names the line.
            BusUnavailable: it was not stored.
        """
        recording, canonical = await asyncio.to_thread(_checked, text)
        name = await self._bus.blobs.put(canonical, owner=tenant)
        return name.removeprefix(f"{tenant}."), recording

    async def holds(self, name: str, tenant: str) -> bool:
        """Whether that tenant has one of that name.

        Raises:
            BusUnavailable: the store did not answer.
        """
        return (tenant, name) in self._loaded or await self._bus.blobs.holds(f"{tenant}.{name}")

    async def answer(self, ask: Complete, question: str | None = None) -> Completion:
        """What `ask.replay` answers to this question, its calls marked as replayed, at the cost they had.

        Args:
            question: what `question_of` gives, where it is known already.

        Raises:
            NotRecorded: nothing; the run has gone another way than the recorded one.
            NotFound: the tenant has no such recording.
            InvalidRequest: what it has cannot be read any more.
            BusUnavailable: it was not read; ask again.
        """
        assert ask.replay is not None
        answers = (await self._load(ask.tenant, ask.replay)).answers
        if (found := answers.find(ask.step, question or question_of(ask))) is None:
            raise NotRecorded(ask.replay, ask.step, ask.agent)
        return found

    async def claimed(self, tenant: str, name: str) -> Claimed | None:
        """How the recorded run was planned: a replay goes the same way, whatever can serve now.

        Raises:
            See `answer`.
        """
        return (await self._load(tenant, name)).claimed

    async def _load(self, tenant: str, name: str) -> _Loaded:
        place = (tenant, name)
        # One at a time: a task's many first questions read its recording once.
        async with self._loading:
            if (loaded := self._loaded.get(place)) is None:
                try:
                    text = await self._bus.blobs.get(f"{tenant}.{name}")
                except DecodeError:
                    raise NotFound("recording", name) from None
                loaded = await asyncio.to_thread(_read, name, text)
            self._loaded[place] = loaded
            self._loaded.move_to_end(place)
            while len(self._loaded) > 1 and sum(each.size for each in self._loaded.values()) > self._room_bytes:
                self._loaded.popitem(last=False)
            return loaded


def _checked(text: bytes) -> tuple[Recording, bytes]:
    recording = Recording.parse(text)
    return recording, recording.dump().encode()


def _read(name: str, text: bytes) -> _Loaded:
    try:
        recording = Recording.parse(text)
        claims = [event for event in recording.events if event.get("event") == "claimed"]
        claimed = Claimed.model_validate(claims[-1]) if claims else None
        return _Loaded(Answers(recording.calls), len(text), claimed)
    except InvalidRequest as error:
        raise InvalidRequest("replay", f"{name} is no recording: {error}") from None
