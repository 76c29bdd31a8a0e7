"""The Anthropic-compatible doors: `/v1/messages`. Every message is a task, durably recorded."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import JSONResponse, Response

from actors.catalogue import Catalogue
from actors.catalogue.tokens import LIKELY_IMAGE_TOKENS, likely_tokens
from actors.coordinator.staffing import staff
from bus.tasklog import TaskLog
from schemas.task import Task
from serve import problems, sse
from serve.anthropic.events import events
from serve.anthropic.reply import headers, message_of
from serve.anthropic.task import task_of, turns_of
from serve.anthropic.wire import CountRequest, MessagesRequest
from serve.caller import caller
from serve.headers import IdempotencyKey, check_key
from serve.openai.chat import CancelOnDisconnect, failed_at_once
from serve.openai.live import GRACE_S, Live
from serve.openai.reply import problem_of, worth_repeating
from serve.problems import documented_as_anthropic

REFUSED = {
    400: "A field breaks a rule, or asks for what this door cannot keep; the message names it. Or the idempotency key "
    "belongs to another body",
    402: "A budget does not allow it",
    404: "No such model",
    409: "The task was cancelled",
    413: "Too large",
    429: "Every service is at its limit; see Retry-After",
    500: "The task has not ended although its time is over",
    502: "A model provider failed",
    504: "The task was not finished in time",
    529: "Not now; see Retry-After",
}


def any_version(
    anthropic_version: Annotated[str | None, Header(description="Taken at any value", max_length=100)] = None,
) -> None:
    """Anthropic's clients name the version of its interface. This door has one."""


router = APIRouter(prefix="/v1/messages", tags=["anthropic"], dependencies=[Depends(any_version)])


@router.post("", response_model=None, responses=documented_as_anthropic(REFUSED))
async def messages(
    asked: MessagesRequest,
    request: Request,
    idempotency_key: IdempotencyKey = None,
    devskyy_cancel_on_disconnect: CancelOnDisconnect = None,
) -> Response:
    """Run a task and answer as Anthropic does. The receipt stands under `devskyy` and in headers; of a stream, in its
    `message_delta`.

    `model` is one of `/v1/models`; any other `claude-…` stands for `devskyy-auto`. The answer's `model` says what was
    asked for, its receipt who served. `usage` is the receipt's; where that does not know it, null.
    """
    check_key(idempotency_key)
    tasks: TaskLog = request.app.state.tasks
    catalogue: Catalogue = request.app.state.catalogue
    wanted = task_of(asked, catalogue)
    staff(wanted, (), catalogue)
    who = caller(request)
    if asked.stream:
        cancels = bool(devskyy_cancel_on_disconnect)
        live = Live(request.app.state.bus, tasks, wanted, who, idempotency_key, cancels=cancels)
        accepted = await live.begin()
        if (failed := await failed_at_once(live)) is not None:
            return _refusal(failed, request, keyed=idempotency_key is not None)
        return sse.respond(events(live, asked.model, accepted), headers(accepted), live.close)
    task = await tasks.perform(wanted, who.tenant, idempotency_key, wanted.timeout_s + GRACE_S, who.key, who.budget)
    if task.status != "completed":
        return _refusal(task, request, keyed=idempotency_key is not None)
    return JSONResponse(message_of(task, asked.model), 200, headers(task))


@router.post("/count_tokens", responses=documented_as_anthropic({status: REFUSED[status] for status in (400, 413)}))
async def count_tokens(asked: CountRequest) -> dict[str, Any]:
    """About how many tokens a message takes: a quarter of its bytes, and as much for an image as a large one takes.

    An estimate, whichever model answers: each counts otherwise, and what a team asks beside is not in it. A receipt has
    what was taken.
    """
    turns, _ = turns_of(asked)
    tools = json.dumps([tool.model_dump(mode="json", exclude_none=True) for tool in asked.tools or ()])
    size = sum(turn.size - sum(image.size for image in turn.images) for turn in turns)
    images = sum(len(turn.images) for turn in turns)
    tokens = likely_tokens(size + (len(tools.encode()) if asked.tools else 0)) + images * LIKELY_IMAGE_TOKENS
    return {"input_tokens": tokens, "devskyy": {"estimated": True}}


def _refusal(task: Task, request: Request, *, keyed: bool) -> Response:
    problem = problem_of(task)
    assert problem is not None
    return problems.reply(problem, headers(task), request.url.path, worth_repeating(task, problem, keyed=keyed))
