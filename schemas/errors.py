"""Every error that the product raises on purpose.

    DevSkyyError
    ├── BadInput                 the caller's mistake; trying again changes nothing
    │   ├── InvalidRequest       a field, named
    │   ├── InvalidWorkflow      every field of a workflow that breaks a rule
    │   ├── ExpressionError      an expression of a workflow that gives nothing, or nothing that can be used
    │   ├── DecodeError          bytes that are no message; carries them
    │   ├── ConfigError          a file, a key in it, the rule that it breaks
    │   ├── TooLarge             over a limit, both named
    │   ├── KeyReused            one idempotency key, two different bodies
    │   └── NotFound
    ├── Conflict                 not as things stand; says how they stand
    ├── NotAuthenticated         no key was sent, or none that may be used
    ├── NotAllowed               the key may not do this
    ├── TooManyRequests          the key has used up its requests; says when to come again
    ├── Unavailable              not now; trying again may help
    │   ├── BusUnavailable       NATS or JetStream does not answer
    │   ├── StorageFull          the disk or the stream under the bus is full
    │   ├── ResponderLost        whoever worked on a request has gone silent
    │   │   └── NobodyListens    nobody has begun to work on it
    │   └── NoService            no service of an agent's order can serve
    │       └── TooBusy          only because they are at their limits: says when to come again
    ├── BudgetExceeded           a budget does not allow it; says which, and what is left
    ├── DeadlineExceeded
    ├── Cancelled
    ├── UpstreamError            a model provider answered badly; says whether it is worth another try
    ├── Fenced                   somebody newer owns the task: stop for good
    ├── RemoteError              another part answered with a problem
    ├── StartError               the platform cannot start here, with the remedy
    └── BackupError              a backup cannot be made, read or restored, with the remedy

Each keeps its constructor's arguments in `args`, so that it crosses processes as itself.
"""

from typing import ClassVar


class DevSkyyError(Exception):
    """Root of the tree. `code` is stable for programs; `str()` is for people and names cause and remedy."""

    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Something went wrong inside"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False


class BadInput(DevSkyyError):
    code = "bad_input"
    title = "The request cannot be used"
    http_status = 422


class InvalidRequest(BadInput):
    """A field breaks a rule. `field` is a dotted path."""

    code = "invalid_request"

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(field, rule)
        self.field, self.rule = field, rule

    def __str__(self) -> str:
        return f"{self.field}: {self.rule}"


class InvalidWorkflow(BadInput):
    """A workflow breaks rules. `findings` has a dotted path and a sentence for each."""

    code = "invalid_workflow"
    title = "The workflow cannot be used"

    def __init__(self, findings: tuple[tuple[str, str], ...]) -> None:
        super().__init__(findings)
        self.findings = findings

    def __str__(self) -> str:
        return "; ".join(f"{field}: {rule}" if field else rule for field, rule in self.findings)


class ExpressionError(BadInput):
    """`${expression}` of a workflow has no value that can be used where it stands."""

    code = "expression_error"
    title = "An expression of the workflow has no usable value"

    def __init__(self, expression: str, reason: str) -> None:
        super().__init__(expression, reason)
        self.expression, self.reason = expression, reason

    def __str__(self) -> str:
        return f"${{{self.expression}}}: {self.reason}"


class DecodeError(BadInput):
    """Bytes that are no message of the expected kind. `data` holds them, so that nothing is lost."""

    code = "undecodable"
    title = "The message cannot be decoded"
    http_status = 400

    def __init__(self, expected: str, reason: str, data: bytes) -> None:
        super().__init__(expected, reason, data)
        self.expected, self.reason, self.data = expected, reason, data

    def __str__(self) -> str:
        return f"{len(self.data)} bytes are no {self.expected}: {self.reason}"


class ConfigError(BadInput):
    code = "bad_configuration"
    title = "The configuration cannot be used"

    def __init__(self, file: str, key: str, rule: str) -> None:
        super().__init__(file, key, rule)
        self.file, self.key, self.rule = file, key, rule

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.rule}" if self.key else f"{self.file}: {self.rule}"


class TooLarge(BadInput):
    code = "too_large"
    title = "The request is too large"
    http_status = 413

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(what, size, limit)
        self.what, self.size, self.limit = what, size, limit

    def __str__(self) -> str:
        return f"{self.what} has {self.size:,} bytes; the limit is {self.limit:,}"


class KeyReused(BadInput):
    code = "idempotency_key_reused"
    title = "This idempotency key belongs to another request"

    def __init__(self, key: str, task_id: str, kind: str = "task") -> None:
        super().__init__(key, task_id, kind)
        self.key, self.task_id, self.kind = key, task_id, kind

    def __str__(self) -> str:
        was = f"key {self.key!r} was used for {self.kind} {self.task_id} with another body"
        return f"{was}; send a new key for a new {self.kind}"


class NotFound(BadInput):
    code = "not_found"
    title = "There is no such thing"
    http_status = 404

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(kind, name)
        self.kind, self.name = kind, name

    def __str__(self) -> str:
        return f"there is no {self.kind} {self.name!r}"


class Conflict(DevSkyyError):
    """What is asked for cannot be done as things stand."""

    code = "conflict"
    title = "That cannot be done as things stand"
    http_status = 409

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class NotAuthenticated(DevSkyyError):
    code = "unauthorized"
    title = "A key is needed"
    http_status = 401

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class NotAllowed(DevSkyyError):
    code = "forbidden"
    title = "This key may not do that"
    http_status = 403

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class TooManyRequests(DevSkyyError):
    code = "too_many_requests"
    title = "This key has used up its requests"
    http_status = 429
    retryable = True

    def __init__(self, key: str, rpm: int, retry_after_s: float) -> None:
        super().__init__(key, rpm, retry_after_s)
        self.key, self.rpm, self.retry_after_s = key, rpm, retry_after_s

    def __str__(self) -> str:
        times = f"{self.rpm:,} request{'' if self.rpm == 1 else 's'}"
        return f"the key {self.key} may make {times} a minute; come again in {self.retry_after_s:.0f} s"


class Unavailable(DevSkyyError):
    code = "unavailable"
    title = "Not available at the moment"
    http_status = 503
    retryable = True

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class BusUnavailable(Unavailable):
    code = "bus_unavailable"
    title = "The message bus does not answer"


class StorageFull(Unavailable):
    code = "storage_full"
    title = "There is no room left to record the task"


class ResponderLost(Unavailable):
    """Nobody listens on a subject, or whoever worked on the request has gone silent."""

    code = "responder_lost"


class NobodyListens(ResponderLost):
    """Nobody listens on a subject: the request was not even begun."""

    code = "nobody_listens"


class NoService(Unavailable):
    """No service of the order could serve. `passed` says why, one `service: reason` each; `retry_after_s` says when one
    may be asked again, as far as is known."""

    code = "no_service"
    title = "No service can take this task"

    def __init__(self, reason: str, passed: tuple[str, ...] = (), retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.args = (reason, passed, retry_after_s)
        self.passed, self.retry_after_s = passed, retry_after_s

    def __str__(self) -> str:
        return f"{self.reason} ({'; '.join(self.passed)})" if self.passed else self.reason


class TooBusy(NoService):
    """Whoever could serve is at its limit."""

    code = "too_busy"
    title = "Every service is at its limit"
    http_status = 429


class BudgetExceeded(DevSkyyError):
    """A budget does not allow a call, or a call took more than it was allowed."""

    code = "budget_exceeded"
    title = "The budget does not allow it"
    http_status = 402

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class DeadlineExceeded(DevSkyyError):
    code = "deadline_exceeded"
    title = "The time allowed is over"
    http_status = 504

    def __init__(self, what: str, timeout_s: float) -> None:
        super().__init__(what, timeout_s)
        self.what, self.timeout_s = what, timeout_s

    def __str__(self) -> str:
        return f"{self.what} was not finished within {self.timeout_s:g} s"


class Cancelled(DevSkyyError):
    code = "cancelled"
    title = "Cancelled"
    http_status = 409

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what, self.reason = what, reason

    def __str__(self) -> str:
        return f"{self.what} was cancelled: {self.reason}"


class UpstreamError(DevSkyyError):
    """A provider refused, failed or answered nonsense.

    `again` says whether another try may help; `retry_after_s` is what the provider asked for;
    `spent` says whether it may have charged for the call (None: nobody can know); `status` is the HTTP status of its
    refusal, None where it gave none.
    """

    code = "upstream_error"
    title = "A model provider failed"
    http_status = 502

    def __init__(
        self,
        service: str,
        reason: str,
        again: bool = False,
        retry_after_s: float | None = None,
        spent: bool | None = False,
        status: int | None = None,
    ) -> None:
        super().__init__(service, reason, again, retry_after_s, spent, status)
        self.service, self.reason, self.again = service, reason, again
        self.retry_after_s, self.spent, self.status = retry_after_s, spent, status
        self.retryable = again and spent is False  # type: ignore[misc]

    def __str__(self) -> str:
        return f"{self.service}: {self.reason}"


class Fenced(DevSkyyError):
    code = "fenced"
    title = "Another owner has taken over"

    def __init__(self, task_id: str, event: str) -> None:
        super().__init__(task_id, event)
        self.task_id, self.event = task_id, event

    def __str__(self) -> str:
        return f"task {self.task_id} has a newer owner; {self.event!r} was not written"


class RemoteError(DevSkyyError):
    """Another part answered with a problem; its fields are that problem's."""

    def __init__(
        self, code: str, title: str, status: int, detail: str, again: bool, retry_after_s: float | None = None
    ) -> None:
        super().__init__(code, title, status, detail, again, retry_after_s)
        self.code, self.title, self.http_status = code, title, status  # type: ignore[misc]
        self.detail, self.retryable = detail, again  # type: ignore[misc]
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.detail


class StartError(DevSkyyError):
    code = "cannot_start"
    title = "The platform cannot start"

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause, remedy)
        self.cause, self.remedy = cause, remedy

    def __str__(self) -> str:
        return f"{self.cause}\n  remedy: {self.remedy}"


class BackupError(DevSkyyError):
    code = "backup_failed"
    title = "The backup cannot be made or used"

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause, remedy)
        self.cause, self.remedy = cause, remedy

    def __str__(self) -> str:
        return f"{self.cause}\n  remedy: {self.remedy}"
