"""Every error as RFC 9457 problem details."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from schemas.errors import BusUnavailable, DevSkyyError
from schemas.message import Message
from schemas.problem import MEDIA_TYPE, FieldError, Problem, urn

RETRY_AFTER_S = 1
OPENAI_DOORS, ANTHROPIC_DOORS = "/v1/", "/v1/messages"

log = structlog.get_logger()


def documented(texts: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """What a door may refuse, by status, for its description."""
    content = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
    return {status: {"model": Problem, "content": content, "description": text} for status, text in texts.items()}


class OpenAIError(Message):
    message: str
    type: str
    """The kind of error, in OpenAI's words."""
    param: str | None = None
    """Dotted path of the field that is wrong."""
    code: str | None = None
    """DevSkyy's own name of the error, as in the problems of the other doors."""


class OpenAIFailure(Message):
    """An error as OpenAI's clients know it."""

    error: OpenAIError


def documented_as_openai(texts: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """As `documented`, for OpenAI's doors."""
    return {status: {"model": OpenAIFailure, "description": text} for status, text in texts.items()}


class AnthropicError(Message):
    type: str
    """The kind of error, in Anthropic's words."""
    message: str


class AnthropicFailure(Message):
    """An error as Anthropic's clients know it."""

    type: Literal["error"] = "error"
    error: AnthropicError
    code: str
    """DevSkyy's own name of the error."""


def documented_as_anthropic(texts: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """As `documented`, for Anthropic's doors."""
    return {status: {"model": AnthropicFailure, "description": text} for status, text in texts.items()}


def documented_at(path: str, texts: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """As `documented`, in the shape that errors of this path have."""
    if path.startswith(ANTHROPIC_DOORS):
        return documented_as_anthropic(texts)
    return documented_as_openai(texts) if path.startswith(OPENAI_DOORS) else documented(texts)


def reply(
    problem: Problem, headers: dict[str, str] | None = None, path: str = "", again: bool | None = None
) -> JSONResponse:
    """The problem as a response, in OpenAI's shape for its doors; what may be tried again says when.

    Args:
        again: whether the same request may be sent again without paying twice; left out, whether the problem is one
            that passes. OpenAI's clients repeat requests on their own, most of which start a second task.
    """
    headers = dict(headers or {})
    if problem.status in (429, 503):
        headers.setdefault("Retry-After", str(math.ceil(problem.retry_after_s or RETRY_AFTER_S)))
    if path.startswith(OPENAI_DOORS):  # Anthropic's are among them, and its clients know this header too
        if not (problem.retryable if again is None else again):
            headers["x-should-retry"] = "false"
        if path.startswith(ANTHROPIC_DOORS):
            failure = as_anthropic(problem).model_dump(mode="json")
            return JSONResponse(failure, told_as(path, problem.status), headers)
        return JSONResponse(as_openai(problem).model_dump(mode="json"), problem.status, headers)
    content = problem.model_dump(mode="json", exclude_none=True)
    return JSONResponse(content, problem.status, headers, media_type=MEDIA_TYPE)


_KINDS = {402: "insufficient_quota", 429: "rate_limit_error", 503: "service_unavailable_error"}


def as_openai(problem: Problem) -> OpenAIFailure:
    """What OpenAI's clients know how to show."""
    other = "invalid_request_error" if problem.status < 500 else "server_error"
    param = problem.errors[0].field if problem.errors else "model" if problem.code == "model_not_found" else None
    error = OpenAIError(message=problem.detail, type=_KINDS.get(problem.status, other), param=param, code=problem.code)
    return OpenAIFailure(error=error)


_ANTHROPICS_STATUS = {422: 400, 503: 529}
"""Where Anthropic says the same by another status."""


def told_as(path: str, status: int) -> int:
    """The status by which a door tells of a problem of that status."""
    return _ANTHROPICS_STATUS.get(status, status) if path.startswith(ANTHROPIC_DOORS) else status


_ANTHROPICS_KINDS = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def as_anthropic(problem: Problem) -> AnthropicFailure:
    """What Anthropic's clients know how to show.

    Source: Anthropic, API reference, "Errors".
    """
    other = "invalid_request_error" if problem.status < 500 else "api_error"
    error = AnthropicError(type=_ANTHROPICS_KINDS.get(problem.status, other), message=problem.detail)
    return AnthropicFailure(error=error, code=problem.code)


def failed(request: Request, error: DevSkyyError) -> JSONResponse:
    """The answer to a request that failed with an error of ours."""
    again = error.retryable
    if isinstance(error, BusUnavailable):
        # It may have recorded the task all the same; a key makes the repeat find it.
        again = "idempotency-key" in request.headers
    return reply(Problem.of(error, request.url.path), path=request.url.path, again=again)


def install(app: FastAPI) -> None:
    """Answer every failure of `app` with a problem."""

    @app.exception_handler(DevSkyyError)
    async def on_error(request: Request, error: DevSkyyError) -> JSONResponse:
        return failed(request, error)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        findings = list(error.errors())
        fields = [_field(finding) for finding in findings]
        problem = Problem.of_validation(fields, request.url.path)
        if any(finding["type"] == "json_invalid" for finding in findings):
            problem = problem.model_copy(update={"status": 400, "title": "The body is no JSON"})
        return reply(problem, path=request.url.path)

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> JSONResponse:
        title = {404: "There is no such page", 405: "This method is not allowed here"}.get(
            error.status_code, str(error.detail)
        )
        problem = Problem(
            type=urn(f"http_{error.status_code}"),
            title=title,
            status=error.status_code,
            detail=f"{request.method} {request.url.path}: {error.detail}; /docs lists what there is",
            instance=request.url.path,
        )
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers |= _allowed(request)
        return reply(problem, headers, request.url.path)

    @app.exception_handler(Exception)
    async def on_failure(request: Request, error: Exception) -> JSONResponse:
        log.error("request failed", path=request.url.path, exc_info=error)
        unknown = DevSkyyError(f"{request.method} {request.url.path} failed; see the platform's log")
        return reply(Problem.of(unknown), path=request.url.path)


def _allowed(request: Request) -> dict[str, str]:
    """All methods of a path, as RFC 9110 wants them (section 15.5.6); the framework names those of one of its doors."""
    template = request.app.state.doors.template(request.url.path)
    if template is None:
        return {}
    methods = request.app.openapi()["paths"][template]
    return {"Allow": ", ".join(sorted(method.upper() for method in methods))}


def _field(finding: dict[str, Any]) -> FieldError:
    path = ".".join(str(part) for part in finding["loc"] if part != "body")
    if finding["type"] == "json_invalid":
        return FieldError(field="", message=f"not JSON: {finding.get('ctx', {}).get('error', finding['msg'])}")
    if finding["type"] == "extra_forbidden":
        return FieldError(field=path, message="unknown field")
    return FieldError(field=path, message=str(finding["msg"]).removeprefix("Value error, "))
