"""The intake actor: reads the SUBMIT stream, accepts each task, answers whoever waits."""

from nats.aio.msg import Msg

from actors.base import Actor
from actors.intake.replies import Replies, fingerprint
from bus.client import Endpoint
from bus.codec import decode, encode
from bus.consumer import Puller
from bus.streams import INTAKE
from bus.subjects import Submit
from bus.tasklog import TaskLog
from schemas.errors import BadInput
from schemas.problem import Problem
from schemas.task import Links, TaskAccepted, TaskRequest

MSG_ID = "Nats-Msg-Id"


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
        if not msg.reply:
            return
        answer = self._replies.heard(fingerprint(msg.subject, msg.data, _key(msg)), msg.reply)
        if answer is not None:
            await self.bus.client.publish(msg.reply, answer)

    async def _submitted(self, msg: Msg) -> None:
        tenant = Submit.parse(msg.subject).tenant
        print_ = fingerprint(msg.subject, msg.data, _key(msg))
        try:
            submission = decode(msg.data, Submission)
            request = TaskRequest.model_validate(submission.model_dump(exclude={"task_id"}))
            task, _ = await self._tasks.accept(request, tenant, key=_key(msg), task_id=submission.task_id)
        except BadInput as error:
            await self._answer(print_, encode(Problem.of(error)))
            await self.bus.dead_letter("submit", msg, str(error))
            return
        path = f"/api/v1/tasks/{task.task_id}"
        links = Links(self=path, events=f"{path}/events")
        await self._answer(print_, encode(TaskAccepted(task_id=task.task_id, status=task.status, links=links)))

    async def _answer(self, print_: bytes, answer: bytes) -> None:
        reply = self._replies.answered(print_, answer)
        if reply is not None:
            await self.bus.client.publish(reply, answer)


def _key(msg: Msg) -> str | None:
    return (msg.headers or {}).get(MSG_ID)
