"""The intake actor: reads the SUBMIT stream, accepts each task, answers whoever waits."""

import hashlib

import structlog
from nats.aio.msg import Msg

from actors.base import Actor
from actors.intake.replies import Replies, fingerprint
from bus.codec import decode, encode
from bus.consumer import Puller
from bus.desk import Endpoint
from bus.streams import INTAKE
from bus.subjects import Submit
from bus.tasklog import TaskLog
from schemas.errors import BadInput, DevSkyyError
from schemas.problem import Problem
from schemas.task import Links, TaskAccepted, TaskRequest

MSG_ID = "Nats-Msg-Id"

log = structlog.get_logger()


class Submission(TaskRequest):
    """A task request as a NATS client sends it."""

    task_id: str | None = None


class IntakeActor(Actor):
    """Accepts tasks that NATS clients publish. One per platform: only one hears both halves of each submission."""

    kind = "intake"

    async def begin(self) -> list[Endpoint]:
        self._tasks = TaskLog(self.bus, patience_s=20.0)
        self._replies = Replies()
        await self.bus.client.subscribe(Submit.pattern(), cb=self._heard)
        self._puller = Puller(self.bus, INTAKE, self._submitted, concurrency=256)
        self.spawn(self._puller.run())
        return []

    async def end(self, grace_s: float) -> None:
        await self._puller.stop(grace_s)

    async def _heard(self, msg: Msg) -> None:
        if msg.reply:
            self.spawn(self._answer_sender(msg))

    async def _answer_sender(self, msg: Msg) -> None:
        """Answer whoever waits, if it can be done; nothing that a client sends may end this actor."""
        try:
            answer = await self._direct_answer(msg)
            if answer is not None:
                await self.bus.client.publish(msg.reply, answer)
        except Exception:
            log.exception("a submission was not answered", subject=msg.subject)

    async def _direct_answer(self, msg: Msg) -> bytes | None:
        """The answer to a submission that names itself; any other waits for the stream, which alone may accept it.

        The stream drops a message id that it has seen, so a repeat is only ever heard here.
        """
        try:
            submission = decode(msg.data, Submission)
            if _nameless(msg, submission):
                return self._replies.heard(fingerprint(msg.subject, msg.data), msg.reply)
            return encode(await self._accept(msg, submission, submission.task_id))
        except DevSkyyError as error:
            return encode(Problem.of(error))

    async def _submitted(self, msg: Msg) -> None:
        nameless = False
        try:
            submission = decode(msg.data, Submission)
            nameless = _nameless(msg, submission)
            answer = encode(await self._accept(msg, submission, _place(msg) if nameless else submission.task_id))
        except BadInput as error:
            await self.bus.dead_letter("submit", msg, str(error))
            answer = encode(Problem.of(error))
        if nameless:
            reply = self._replies.answered(fingerprint(msg.subject, msg.data), answer)
            if reply is not None:
                await self.bus.client.publish(reply, answer)

    async def _accept(self, msg: Msg, submission: Submission, task_id: str | None) -> TaskAccepted:
        request = TaskRequest.model_validate(submission.model_dump(exclude={"task_id"}))
        tenant = Submit.parse(msg.subject).tenant
        task, _ = await self._tasks.accept(request, tenant, key=_key(msg), task_id=task_id)
        path = f"/api/v1/tasks/{task.task_id}"
        links = Links(self=path, events=f"{path}/events")
        return TaskAccepted(task_id=task.task_id, status=task.status, links=links)


def _key(msg: Msg) -> str | None:
    return (msg.headers or {}).get(MSG_ID) or None


def _nameless(msg: Msg, submission: Submission) -> bool:
    return submission.task_id is None and _key(msg) is None


def _place(msg: Msg) -> str:
    """The task id of a submission without one of its own: the same when the stream delivers it again."""
    meta = msg.metadata
    place = f"{msg.subject}\0{meta.sequence.stream}\0{meta.timestamp.isoformat()}"
    return hashlib.sha256(place.encode()).hexdigest()[:32]
