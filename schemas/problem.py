"""Errors as people and programs outside see them: RFC 9457 problem details."""

from typing import Any

from pydantic import ValidationError

from schemas.errors import DevSkyyError, InvalidRequest, InvalidWorkflow, RemoteError
from schemas.message import Message

MEDIA_TYPE = "application/problem+json"


class FieldError(Message):
    field: str
    """Dotted path of the field; empty for the body as a whole."""
    message: str


class Problem(Message):
    """RFC 9457. `type` is a stable URN per kind of error; `errors` names each field that is wrong."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[FieldError, ...] = ()
    instance: str | None = None
    retryable: bool = False
    retry_after_s: float | None = None
    """When to try again, where that is known."""

    @classmethod
    def of(cls, error: DevSkyyError, instance: str | None = None) -> "Problem":
        match error:
            case InvalidRequest():
                fields = [FieldError(field=error.field, message=error.rule)]
            case InvalidWorkflow():
                fields = [FieldError(field=field, message=rule) for field, rule in error.findings]
            case _:
                fields = []
        return cls(
            type=urn(error.code),
            title=error.title,
            status=error.http_status,
            detail=str(error),
            errors=tuple(fields),
            instance=instance,
            retryable=error.retryable,
            retry_after_s=getattr(error, "retry_after_s", None),
        )

    def error(self) -> RemoteError:
        """This problem as an error to raise where the answer was awaited."""
        return RemoteError(self.code, self.title, self.status, self.detail, self.retryable, self.retry_after_s)

    @property
    def code(self) -> str:
        return self.type.removeprefix("urn:devskyy:problem:").replace("-", "_")

    @classmethod
    def of_validation(cls, errors: list[FieldError], instance: str | None = None) -> "Problem":
        """A body whose fields break rules; all of them are named at once."""
        detail = "; ".join(f"{e.field}: {e.message}" if e.field else e.message for e in errors)
        return cls(
            type=urn(InvalidRequest.code),
            title=InvalidRequest.title,
            status=InvalidRequest.http_status,
            detail=detail,
            errors=tuple(errors),
            instance=instance,
        )


def urn(code: str) -> str:
    return f"urn:devskyy:problem:{code.replace('_', '-')}"


def field_errors(error: ValidationError, skip: int = 0) -> list[FieldError]:
    """Pydantic's findings as fields and sentences; `skip` leaves out that many leading path parts."""
    return [_field_error(dict(e), skip) for e in error.errors(include_url=False, include_context=True)]


def _field_error(finding: dict[str, Any], skip: int) -> FieldError:
    path = ".".join(str(part) for part in finding["loc"][skip:])
    message = str(finding["msg"]).removeprefix("Value error, ")
    if finding["type"] == "extra_forbidden":
        message = "unknown field"
    return FieldError(field=path, message=message)
