"""The OpenAI-compatible door for chat: `/v1/chat/completions`. Every call is a task, durably recorded."""

from typing import Annotated, Any

from fastapi import Header, Request
from fastapi.responses import JSONResponse, Response

from actors.catalogue import Catalogue
from actors.coordinator.staffing import staff
from bus.tasklog import TaskLog
from schemas.task import Task
from serve import problems, sse
from serve.caller import caller
from serve.headers import IdempotencyKey, check_key
from serve.openai.chat_task import task_of
from serve.openai.chat_wire import ChatRequest
from serve.openai.chunks import chunks, finish_of, usage_of
from serve.openai.live import GRACE_S, End, Live
from serve.openai.reply import headers_of, problem_of, receipt_of, worth_repeating
from serve.openai.router import router
from serve.problems import documented_as_openai

PATIENCE_S = 2.0
"""How long a stream waits for a first word before it begins: what fails before has a status of its own, as clients know
it, and not an error in the middle of a stream."""

CancelOnDisconnect = Annotated[
    bool | None, Header(description="Cancel the task when its stream is left before it ends")
]

REFUSED = {
    400: "The body is no JSON",
    402: "A budget does not allow it",
    404: "No such model",
    409: "The task was cancelled",
    413: "Too large",
    422: "A field breaks a rule, or asks for what this door cannot keep: `param` names it. Or the idempotency "
    "key belongs to another body",
    429: "Every service is at its limit; see Retry-After",
    500: "The task has not ended although its time is over",
    502: "A model provider failed",
    503: "Not now; see Retry-After",
    504: "The task was not finished in time",
}


@router.post("/chat/completions", response_model=None, responses=documented_as_openai(REFUSED))
async def chat_completions(
    chat: ChatRequest,
    request: Request,
    idempotency_key: IdempotencyKey = None,
    devskyy_cancel_on_disconnect: CancelOnDisconnect = None,
) -> Response:
    """Run a task and answer as OpenAI does. The receipt stands under `devskyy` and in headers; of a stream, in its last
    chunk.

    A failure that says `x-should-retry: false` may have cost something already, or would only come again. OpenAI's
    clients obey that; without it they repeat whatever they take for an accident.
    """
    check_key(idempotency_key)
    tasks: TaskLog = request.app.state.tasks
    catalogue: Catalogue = request.app.state.catalogue
    wanted = task_of(chat, catalogue)
    staff(wanted, (), catalogue)
    who = caller(request)
    if chat.stream:
        cancels = bool(devskyy_cancel_on_disconnect)
        live = Live(request.app.state.bus, tasks, wanted, who, idempotency_key, cancels=cancels)
        accepted = await live.begin()
        if (failed := await failed_at_once(live)) is not None:
            return refusal(failed, request, keyed=idempotency_key is not None)
        return sse.respond(chunks(live, chat, accepted), {"Devskyy-Task": accepted.task_id}, live.close)
    task = await tasks.perform(wanted, who.tenant, idempotency_key, wanted.timeout_s + GRACE_S, who.key, who.budget)
    if task.status != "completed":
        return refusal(task, request, keyed=idempotency_key is not None)
    return JSONResponse(completion(task, chat.model), 200, headers_of(task))


async def failed_at_once(live: Live) -> Task | None:
    """The task, if it fails before a word of it is there; `live` is then closed.

    Raises:
        DevSkyyError: it cannot be followed.
    """
    try:
        first = await live.peek(PATIENCE_S)
    except BaseException:
        await live.close()
        raise
    if isinstance(first, End) and first.task.status != "completed":
        await live.close()
        return first.task
    return None


def refusal(task: Task, request: Request, *, keyed: bool) -> Response:
    """What a client is told of a task that has no answer."""
    problem = problem_of(task)
    assert problem is not None
    return problems.reply(problem, headers_of(task), request.url.path, worth_repeating(task, problem, keyed=keyed))


def completion(task: Task, model: str) -> dict[str, Any]:
    """A completed task as OpenAI's chat completion."""
    message: dict[str, Any] = {"role": "assistant", "content": task.answer, "refusal": None}
    if task.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in task.tool_calls
        ]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_of(task)}
    return {
        "id": f"chatcmpl-{task.task_id}",
        "object": "chat.completion",
        "created": int(task.created_at.timestamp()),
        "model": model,
        "choices": [choice],
        "usage": usage_of(task),
        "devskyy": receipt_of(task),
    }
