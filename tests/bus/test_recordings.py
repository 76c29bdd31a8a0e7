"""Recordings on a real server: what is put together of a task, and what answers from it."""

import asyncio
import hashlib
from typing import Any

import pytest

from bus.client import Bus
from bus.journal import Entry, Journal, key_of, question_of
from bus.recordings import NotRecordable, NotRecorded, Recordings, record
from bus.tasklog import OwnedTask, TaskLog
from schemas.completion import Complete, Completion, Embed, Embeddings
from schemas.errors import BusUnavailable, Cancelled, InvalidRequest, NotFound
from schemas.event import Claimed, Completed, Failed
from schemas.message import now
from schemas.problem import Problem
from schemas.projection import project
from schemas.receipt import Call, Receipt
from schemas.recording import Recording
from schemas.settings import DEFAULT_TENANT
from schemas.task import TaskRequest
from tests.broker import Broker
from tests.gateway.doubles import ask

REQUEST = TaskRequest(prompt="Say hello.", temperature=0.5)


def call(step: str = "direct", **fields: Any) -> Call:
    return Call(step=step, agent="writing", service="cheap", model="m", cost_usd=0.25, prompt_tokens=10, **fields)


class Run:
    """A task that runs as a coordinator and a gateway would run it."""

    def __init__(self, bus: Bus, tasks: TaskLog) -> None:
        self._journal, self._tasks = Journal(bus), tasks
        self.task_id = ""
        self.calls: tuple[Call, ...] = ()

    async def begin(self) -> "Run":
        task, _ = await self._tasks.accept(REQUEST, DEFAULT_TENANT)
        self.task_id = task.task_id
        self._owned = OwnedTask(self._tasks, await self._tasks.read(DEFAULT_TENANT, task.task_id))
        fields = {"epoch": 1, "owner": "test", "tier": "simple", "shape": "direct", "agents": ("writing",)}
        await self._owned.append(Claimed(**self._owned.next_fields, **fields))
        return self

    async def ask(self, text: str | None, problem: Problem | None = None, old: bool = False, **fields: Any) -> Complete:
        """One question that the gateway answers."""
        asked = ask(task_id=self.task_id, **fields)
        made = (call(asked.step, outcome="answered" if problem is None else "failed"),)
        self.calls += made
        completion = Completion(text=text, calls=made, problem=problem)
        question = None if old else question_of(asked)
        entry = Entry(state="ended", gateway="g", began_at=now(), question=question, calls=made, completion=completion)
        await self._journal.write(key_of(asked), entry, 0)
        return asked

    async def end(self, kind: type[Completed | Failed] = Completed) -> None:
        fields = self._owned.next_fields
        ended = {"status": kind.model_fields["event"].default, "finished_at": fields["at"]}
        ended["receipt"] = Receipt.of(self.calls, 1.0)
        task = project(self._owned.events).model_copy(update=ended)
        await self._owned.append(kind(**fields, epoch=1, task=task))

    async def record(self, patience_s: float = 3.0) -> Recording:
        return await record(self._tasks, self._journal, DEFAULT_TENANT, self.task_id, patience_s)


@pytest.fixture
async def run(bus: Bus, tasks: TaskLog) -> Run:
    return await Run(bus, tasks).begin()


def replaying(name: str, **fields: Any) -> Complete:
    return ask(task_id="another", replay=name, **fields)


# -- recording ---------------------------------------------------------------------------------------------------------


async def test_a_recording_holds_the_events_and_every_answer(run: Run) -> None:
    # Given a task of two questions that has ended
    first, second = await run.ask("One.", step="draft"), await run.ask("Two.", step="review")
    await run.end()
    # When it is recorded
    recording = await run.record()
    # Then it is all there, as it may be read back
    assert recording.request == REQUEST
    assert [event["event"] for event in recording.events] == ["accepted", "claimed", "completed"]
    told = [(c.step, c.question, c.completion.text) for c in recording.calls]
    assert told == [("draft", question_of(first), "One."), ("review", question_of(second), "Two.")]
    assert Recording.parse(recording.dump().encode()) == recording


async def test_vectors_of_a_task_are_not_in_its_recording(bus: Bus, run: Run) -> None:
    # Given a task that asked for vectors, and then for an answer
    asked = Embed(task_id=run.task_id, step="embed", texts=("red",))
    made = call("embed")
    entry = Entry(state="ended", gateway="g", began_at=now(), calls=(made,), embeddings=Embeddings(calls=(made,)))
    await Journal(bus).write(key_of(asked), entry, 0)
    run.calls += (made,)
    await run.ask("One.")
    await run.end()
    # When it is recorded, Then the answer is there
    assert [c.step for c in (await run.record(patience_s=0.1)).calls] == ["direct"]


async def test_a_task_that_failed_is_recorded_too(run: Run) -> None:
    await run.ask(None, Problem(type="urn:devskyy:problem:no-service", title="t", status=503, detail="d"))
    await run.end(Failed)
    recording = await run.record()
    assert (recording.events[-1]["event"], len(recording.calls)) == ("failed", 1)


async def test_a_task_that_has_not_ended_is_not_recordable(run: Run) -> None:
    with pytest.raises(NotRecordable, match="has not ended yet"):
        await run.record()


async def test_a_task_that_is_not_there_is_not_found(bus: Bus, tasks: TaskLog) -> None:
    with pytest.raises(NotFound):
        await record(tasks, Journal(bus), DEFAULT_TENANT, "nowhere")


async def test_a_task_whose_answers_are_gone_is_not_recordable(run: Run) -> None:
    # Given a receipt that tells of an answer which the journal does not hold
    run.calls += (call("lost"),)
    await run.end()
    # When it is to be recorded, Then what is missing is named
    with pytest.raises(NotRecordable, match="the answer of lost is not kept"):
        await run.record(patience_s=0.1)


async def test_an_answer_that_is_still_on_its_way_into_the_journal_is_waited_for(run: Run) -> None:
    # Given a task that has ended, and an answer that reaches the journal only now
    run.calls += (call("late"),)
    await run.end()
    recording = asyncio.create_task(run.record(patience_s=30))
    await asyncio.sleep(0.2)
    assert not recording.done()
    await run.ask("Late.", step="late")
    # When it has, Then it is recorded
    assert [c.completion.text for c in (await recording).calls] == ["Late."]


async def test_a_task_of_a_version_that_kept_no_questions_is_not_recordable(run: Run) -> None:
    await run.ask("One.", old=True)
    await run.end()
    with pytest.raises(NotRecordable, match="kept no questions"):
        await run.record()


# -- replaying ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def recordings(bus: Bus) -> Recordings:
    return Recordings(bus)


async def kept(recordings: Recordings, run: Run) -> str:
    await run.end()
    name, _ = await recordings.put((await run.record()).dump().encode(), DEFAULT_TENANT)
    return name


async def test_a_recorded_question_gets_its_answer_at_the_same_tokens_and_cost(
    run: Run, recordings: Recordings
) -> None:
    # Given a recorded run
    await run.ask("One.")
    name = await kept(recordings, run)
    # When another task asks the same, of other services, with other limits
    found = await recordings.answer(replaying(name, services=("dear",), max_cost_usd=0.0, timeout_s=1))
    # Then it is answered as then, and the call says that it was replayed
    assert (found.text, found.calls) == ("One.", (call(replayed=True),))


async def test_the_same_question_in_two_steps_gets_each_steps_answer(run: Run, recordings: Recordings) -> None:
    # Given a question that was asked in two steps
    await run.ask("One.", step="first")
    await run.ask("Two.", step="second")
    name = await kept(recordings, run)
    # When the steps, and one that was not recorded, ask it
    texts = [(await recordings.answer(replaying(name, step=step))).text for step in ("second", "first", "third")]
    # Then each gets its own, and the unknown step the first of them
    assert texts == ["Two.", "One.", "One."]


async def test_a_failure_is_replayed_as_it_was(run: Run, recordings: Recordings) -> None:
    problem = Problem(type="urn:devskyy:problem:no-service", title="t", status=503, detail="d")
    await run.ask(None, problem)
    found = await recordings.answer(replaying(await kept(recordings, run)))
    assert (found.text, found.problem) == (None, problem)


async def test_a_question_that_was_not_recorded_is_named_by_its_step(run: Run, recordings: Recordings) -> None:
    # Given a recorded run, and a call of it that was aborted
    await run.ask("One.")
    await run.ask(None, Problem.of(Cancelled("the task", "by its caller")), step="late", max_tokens=7)
    name = await kept(recordings, run)
    # When something else is asked, or what was never answered, Then the step is named
    for fields in ({"temperature": 1.5, "step": "early"}, {"step": "late", "max_tokens": 7}):
        with pytest.raises(NotRecorded, match=f"no answer for step '{fields['step']}' of 'writing'"):
            await recordings.answer(replaying(name, **fields))


async def test_a_name_that_stands_for_nothing_or_for_no_recording_is_said(bus: Bus, recordings: Recordings) -> None:
    with pytest.raises(NotFound, match="no recording"):
        await recordings.answer(replaying("0" * 64))
    other = hashlib.sha256(b"something else").hexdigest()
    await bus.blobs.put(b"something else", owner=DEFAULT_TENANT)
    with pytest.raises(InvalidRequest, match="is no recording: line 1"):
        await recordings.answer(replaying(other))
    assert not await recordings.holds("0" * 64, DEFAULT_TENANT)


async def test_what_was_cut_off_is_not_kept(run: Run, recordings: Recordings) -> None:
    await run.ask("One.")
    await run.end()
    text = (await run.record()).dump().encode()
    with pytest.raises(InvalidRequest, match="line 6"):
        await recordings.put(text[:-20], DEFAULT_TENANT)


async def test_the_same_recording_has_one_name_however_its_lines_end(run: Run, recordings: Recordings) -> None:
    await run.ask("One.")
    await run.end()
    text = (await run.record()).dump().encode()
    different = (text, text.replace(b"\n", b"\r\n"), text.rstrip())
    names = {(await recordings.put(saved, DEFAULT_TENANT))[0] for saved in different}
    assert len(names) == 1
    assert await recordings.holds(names.pop(), DEFAULT_TENANT)


async def test_a_tenants_recordings_are_its_own(run: Run, bus: Bus, recordings: Recordings) -> None:
    # Given a recording that one tenant has handed in, and something else of the platform's in the same store
    await run.ask("One.")
    name, other = await kept(recordings, run), await bus.blobs.put(b"something else")
    # When another tenant names them, Then there is nothing, also where they are at hand
    assert not await recordings.holds(name, "acme")
    await recordings.answer(replaying(name))
    for unseen in (name, other):
        assert not await recordings.holds(unseen, "acme")
        with pytest.raises(NotFound):
            await recordings.answer(replaying(unseen, tenant="acme"))
    # And what it hands in itself answers it
    text = (await run.record()).dump().encode()
    again, _ = await recordings.put(text, "acme")
    assert (await recordings.answer(replaying(again, tenant="acme"))).text == "One."


async def test_a_recording_is_read_once_for_many_questions_and_answers_without_the_store(
    broker: Broker, run: Run, bus: Bus, recordings: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a recorded run, and a count of how often the store is asked
    await run.ask("One.")
    name = await kept(recordings, run)
    reads: list[str] = []
    parse = Recording.parse
    monkeypatch.setattr(Recording, "parse", lambda text: (reads.append("read"), parse(text))[1])
    # When many ask at once, and one when the broker is away
    await asyncio.gather(*(recordings.answer(replaying(name)) for _ in range(20)))
    await asyncio.to_thread(broker.kill)
    found = await recordings.answer(replaying(name))
    # Then it was read once
    assert (found.text, reads) == ("One.", ["read"])
    # And one that is not at hand is unavailable, which may be tried again
    with pytest.raises(BusUnavailable):
        await recordings.answer(replaying("0" * 64))


async def test_of_many_recordings_the_last_used_stay_at_hand(bus: Bus, tasks: TaskLog) -> None:
    # Given room for two recordings
    recordings, names, size = Recordings(bus), [], 0
    for text in ("One.", "Two.", "Three."):
        run = await Run(bus, tasks).begin()
        await run.ask(text)
        names.append(await kept(recordings, run))
        size = len((await run.record()).dump())
    recordings = Recordings(bus, room_bytes=int(size * 2.5))
    # When three are used, the first of them twice
    for name in (names[0], names[1], names[0], names[2]):
        await recordings.answer(replaying(name))
    # Then the one that was not used for longest has gone, and still answers
    assert [name for _, name in recordings._loaded] == [names[0], names[2]]
    assert (await recordings.answer(replaying(names[1]))).text == "Two."
