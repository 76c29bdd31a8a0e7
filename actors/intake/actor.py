"""The intake actor: reads the SUBMIT stream, accepts each task or workflow, answers whoever waits."""

import hashlib

import structlog
from nats.aio.msg import Msg

from actors.base import Actor
from actors.catalogue import load
from actors.intake.replies import Replies, fingerprint
from actors.intake.submission import Submission, submission_of
from actors.workflow.creation import Asker, Creation, accepted
from bus.codec import encode
from bus.consumer import Puller
from bus.desk import Endpoint
from bus.streams import INTAKE
from bus.subjects import Submit
from bus.tasklog import TaskLog
from schemas.errors import BadInput, DevSkyyError
from schemas.problem import Problem
from schemas.task import Links, TaskAccepted
from schemas.workflow import WorkflowAccepted, WorkflowRequest

MSG_ID = "Nats-Msg-Id"
PATIENCE_S = 20.0
"""For JetStream to record what was submitted."""

log = structlog.get_logger()


class IntakeActor(Actor):
    """Accepts tasks and workflows that NATS clients publish. One per platform: only one hears both halves of each
    submission."""

    kind = "intake"

    async def begin(self) -> list[Endpoint]:
        self._tasks = TaskLog(self.bus, PATIENCE_S)
        self._creation = Creation(self.bus, load(self.settings.config), patience_s=PATIENCE_S)
        self._replies = Replies()
        await self.bus.client.subscribe(Submit.pattern(), cb=self._heard)
        self._puller = Puller(self.bus, INTAKE, self._submitted, concurrency=256)
        self.spawn(self._puller.run())
        return []

    async def end(self, grace_s: float) -> None:
        await self._puller.stop(grace_s)

    async def _heard(self, msg: Msg) -> None:
        if msg.reply or _key(msg):
            self.spawn(self._answer_sender(msg))

    async def _answer_sender(self, msg: Msg) -> None:
        """Answer whoever waits, if it can be done; nothing that a client sends may end this actor."""
        try:
            answer = await self._direct_answer(msg)
            if answer is not None and msg.reply:
                await self.bus.client.publish(msg.reply, answer)
        except Exception:
            log.exception("a submission was not answered", subject=msg.subject)

    async def _direct_answer(self, msg: Msg) -> bytes | None:
        """The answer to a submission that names itself; any other waits for the stream, which alone may accept it.

        The stream drops a message id that it has just seen, of whatever tenant, so it may only ever be heard here.
        """
        try:
            submission = submission_of(msg.data)
            if _nameless(msg, submission):
                return self._replies.heard(fingerprint(msg.subject, msg.data), msg.reply)
            return encode(await self._accept(msg, submission, submission.name))
        except DevSkyyError as error:
            return encode(Problem.of(error))

    async def _submitted(self, msg: Msg) -> None:
        nameless = False
        try:
            submission = submission_of(msg.data)
            nameless = _nameless(msg, submission)
            answer = encode(await self._accept(msg, submission, _place(msg) if nameless else submission.name))
        except BadInput as error:
            await self.bus.dead_letter("submit", msg, str(error))
            answer = encode(Problem.of(error))
        if nameless:
            reply = self._replies.answered(fingerprint(msg.subject, msg.data), answer)
            if reply is not None:
                await self.bus.client.publish(reply, answer)

    async def _accept(self, msg: Msg, submission: Submission, name: str | None) -> TaskAccepted | WorkflowAccepted:
        request, tenant = submission.request, Submit.parse(msg.subject).tenant
        if isinstance(request, WorkflowRequest):
            return accepted(await self._creation.create(request, Asker(tenant), _key(msg), name))
        task, _ = await self._tasks.accept(request, tenant, key=_key(msg), task_id=name)
        path = f"/api/v1/tasks/{task.task_id}"
        links = Links(self=path, events=f"{path}/events")
        return TaskAccepted(task_id=task.task_id, status=task.status, links=links)


def _key(msg: Msg) -> str | None:
    return (msg.headers or {}).get(MSG_ID) or None


def _nameless(msg: Msg, submission: Submission) -> bool:
    return submission.name is None and _key(msg) is None


def _place(msg: Msg) -> str:
    """The id of what comes of a submission that names none: the same when the stream delivers it again."""
    meta = msg.metadata
    place = f"{msg.subject}\0{meta.sequence.stream}\0{meta.timestamp.isoformat()}"
    return hashlib.sha256(place.encode()).hexdigest()[:32]
