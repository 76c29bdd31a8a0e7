"""The task that a message stands for, and what was said before it in its context.

The tasks of a context have ids that follow from the context's and their number, so the log of tasks itself tells what
is in a context, and two messages that come at once cannot both be the next.
"""

import json
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from actors.agents.agent import question
from bus.subjects import token
from bus.tasklog import TaskLog, task_id_of
from schemas.errors import InvalidRequest, NotFound
from schemas.event import Accepted
from schemas.problem import field_errors
from schemas.projection import project
from schemas.task import Input, Task, TaskRequest, Turn
from serve.a2a.rpc import CONTENT, NoSuchTask, Refused
from serve.a2a.wire import AgentMessage, Part, Send
from serve.openai import IMAGE_ONLY

MARK = "a2a"
"""Where a task's metadata keep which message it came with."""
TERMS = "devskyy"
MAX_TURNS = 500
"""Tasks in one context."""
_TERMS = frozenset(
    {"tier", "agent", "agents", "service", "capabilities", "max_cost_usd", "min_quality", "timeout_s", "cache_s"}
    | {"temperature", "max_tokens", "max_total_tokens", "json_schema"}
)


@dataclass(frozen=True)
class Asked:
    """A message as the next task of its context, or the task that it made before."""

    key: str
    """From which the task's id follows."""
    request: TaskRequest


def context_of(tenant: str, message: AgentMessage) -> str:
    """The context that a message belongs to; one without begins its own, the same whenever it is sent again."""
    return message.context_id or task_id_of(tenant, f"{MARK}:{message.message_id}")


def key_of(context: str, number: int) -> str:
    """The idempotency key of the task of that number in a context, counted from 1."""
    return f"{MARK}:{context}:{number}"


async def asked(tasks: TaskLog, tenant: str, send: Send) -> Asked:
    """
    Raises:
        InvalidRequest: a field breaks a rule.
        NoSuchTask: a task that it refers to is not there.
        Refused: it holds what this door cannot take.
        BusUnavailable: the log did not answer.
    """
    message = send.message
    prompt, inputs = _content(message.parts)
    context = context_of(tenant, message)
    before: tuple[Turn, ...] = ()
    seen: set[str] = set()
    for number in range(1, MAX_TURNS + 1):
        key = key_of(context, number)
        there = await _read(tasks, tenant, task_id_of(tenant, key))
        if there is None:
            break
        task, request = there
        seen.add(task.task_id)
        if _message_id(request) == message.message_id:
            break  # this very message; whether it says the same now, accepting it finds out
        if task.status == "completed":
            before = conversation(task, request)
    else:
        raise InvalidRequest("message.contextId", f"has {MAX_TURNS} tasks already; begin another")
    referred = [name for name in message.reference_task_ids or () if name not in seen]
    for name in reversed(referred):
        before = (*(await _referred(tasks, tenant, name)), *before)
    fields = {
        "prompt": prompt,
        "inputs": inputs,
        "history": before,
        "metadata": {MARK: {"contextId": context, "messageId": message.message_id}},
        **_terms(send),
    }
    # A team's text is written by several at once; of one who answers alone it is told as it comes.
    fields["stream"] = fields.get("tier") in (None, "simple") and fields.get("agents") in (None, 1)
    return Asked(key, _request(fields))


def _terms(send: Send) -> dict[str, Any]:
    terms = (send.metadata or {}).get(TERMS, {})
    if not isinstance(terms, dict):
        raise InvalidRequest(f"metadata.{TERMS}", "must be an object")
    if unknown := sorted(terms.keys() - _TERMS):
        raise InvalidRequest(f"metadata.{TERMS}.{unknown[0]}", f"unknown field; there are: {', '.join(sorted(_TERMS))}")
    return terms


def _request(fields: dict[str, Any]) -> TaskRequest:
    try:
        return TaskRequest(**fields)
    except ValidationError as error:
        first = field_errors(error)[0]
        head = first.field.partition(".")[0]
        place = "message.parts" if head in ("prompt", "inputs") else f"metadata.{TERMS}.{first.field}"
        raise InvalidRequest(place, first.message) from None


def _content(parts: tuple[Part, ...]) -> tuple[str, tuple[Input, ...]]:
    """The prompt, and what is to be worked on beside it."""
    texts: list[str] = []
    inputs: list[Input] = []
    for number, part in enumerate(parts):
        place = f"message.parts.{number}"
        match part:
            case Part(kind="text", text=str(text)):
                texts.append(text)
            case Part(kind="data", data=dict(data)):
                inputs.append(_input(place, "data", f"data-{number}", "application/json", text=json.dumps(data)))
            case Part(kind="file", file=file) if file is not None:
                if file.bytes is None:
                    raise Refused(CONTENT, f"{place}.file: is given by its bytes; this door fetches no URIs")
                media_type = file.mime_type or "application/octet-stream"
                kind = "image" if media_type.startswith("image/") else "data"
                inputs.append(_input(place, kind, file.name or f"file-{number}", media_type, base64=file.bytes))
            case _:
                raise InvalidRequest(place, f"a part of kind {part.kind} holds {part.kind}")
    prompt = "\n".join(texts)
    if not prompt.strip():
        if not inputs:
            raise InvalidRequest("message.parts", "are empty; say what is to be done")
        prompt = IMAGE_ONLY if all(each.kind == "image" for each in inputs) else "Here is the input."
    return prompt, tuple(inputs)


def _input(place: str, kind: Any, name: str, media_type: str, **content: str) -> Input:
    try:
        return Input(kind=kind, name=name, media_type=media_type, **content)
    except ValidationError as error:
        first = field_errors(error)[0]
        raise InvalidRequest(f"{place}.{first.field}" if first.field else place, first.message) from None


async def _read(tasks: TaskLog, tenant: str, task_id: str) -> tuple[Task, TaskRequest] | None:
    """A task that the log has from its beginning on, and what was asked."""
    try:
        events = [entry.event for entry in await tasks.read(tenant, task_id)]
    except NotFound:
        return None
    if not events or not isinstance(events[0], Accepted):
        return None
    return project(events), events[0].request


async def _referred(tasks: TaskLog, tenant: str, name: str) -> tuple[Turn, ...]:
    """What was asked and answered in a task that a message refers to."""
    there = await _read(tasks, tenant, known(name))
    if there is None:
        raise NoSuchTask("task", name)
    task, request = there
    return conversation(task, request)[len(request.history) :]


def known(name: str) -> str:
    """
    Raises:
        NoSuchTask: no task has such an id.
    """
    try:
        return token(name)
    except ValueError:
        raise NoSuchTask("task", name[:256]) from None


def conversation(task: Task, request: TaskRequest) -> tuple[Turn, ...]:
    """All that was said up to a task's answer, where it has one."""
    images = tuple(each for each in request.inputs if each.kind == "image")
    prompt = Turn(role="user", content=question(request.prompt, request.inputs).content, images=images)
    answer = () if task.answer is None else (Turn(role="assistant", content=task.answer),)
    return (*request.history, prompt, *answer)


def _message_id(request: TaskRequest) -> Any:
    mark = request.metadata.get(MARK)
    return mark.get("messageId") if isinstance(mark, dict) else None
