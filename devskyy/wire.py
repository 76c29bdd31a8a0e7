"""What the SDK asks, how it reads the replies, when it asks again. Knows no connection: both clients share it."""

import os
import random
import secrets
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Any, Generic, TypedDict, TypeVar, cast
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from devskyy.errors import BadReply, InvalidTask, PlatformNotRunning, TaskCancelled, TaskFailed, api_error
from schemas.agent import AgentStatus
from schemas.audit import AuditList, Outcome
from schemas.budget import Budget, BudgetLeft, BudgetList
from schemas.costs import CostKey, Costs
from schemas.erasure import Erased
from schemas.errors import ConfigError, DevSkyyError, InvalidRequest
from schemas.event import TERMINAL
from schemas.health import Health
from schemas.key import ApiKey, CreatedKey, KeyChange, KeyList, KeyScope, NewKey
from schemas.message import Message
from schemas.problem import Problem, field_errors
from schemas.quality import QualityBy, QualityList
from schemas.recording import MEDIA_TYPE, Uploaded
from schemas.selection import Explanation
from schemas.service import ServiceStatus
from schemas.task import DEFAULT_TIMEOUT_S, Input, Links, Status, Task, TaskAccepted, TaskList, TaskRequest, Tier, Turn
from schemas.token import CreatedToken, NewToken, Role

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

CONNECT_S = 5.0
KEYS = "/api/v1/keys"

NOT_NOW = frozenset({429, 502, 503, 504})
"""Statuses after which the same request may succeed. Each is safe to repeat: a task carries its idempotency key."""
FIRST_DELAY_S, LONGEST_DELAY_S = 0.1, 2.0
LONGEST_RETRY_AFTER_S = 30.0
"""Asked to wait longer than this, the caller is told at once instead."""

WAIT_S = 20
"""How long one request is held open for a task's end: shorter than the idle limits of common proxies."""
GRACE_S = 60.0
"""How much longer than its own deadline a task is waited for, should its owner have died and another taken over."""


class TaskOptions(TypedDict, total=False):
    """All that may be said of a task beside its prompt; what is left out, or None, is the platform's to choose."""

    tier: Tier | None
    max_cost_usd: float | None
    min_quality: float | None
    timeout_s: float | None
    """Seconds from acceptance until the task fails."""
    agents: int | None
    capabilities: Sequence[str]
    inputs: Sequence[Input | Mapping[str, Any]]
    agent: str | None
    service: str | None
    """A service to answer as it is; an agent or a service, not both."""
    history: Sequence[Turn | Mapping[str, Any]]
    """Earlier turns, oldest first."""
    temperature: float | None
    max_tokens: int | None
    json_schema: Mapping[str, Any] | None
    max_total_tokens: int | None
    """Questions and answers together, in all that the task sets off."""
    stream: bool
    """Whether the text is published as it is written."""
    cache_s: float | None
    """Seconds that the answer to an equal question may be old; left out, every question is asked anew."""
    replay: str | None
    """A recording's name: it answers in place of every service."""
    metadata: Mapping[str, Any]


class KeyOptions(TypedDict, total=False):
    """All that may be said of an API key beside its name."""

    scopes: Sequence[KeyScope] | None
    """`read`, `write` (left out: this), `admin`; each includes those before it."""
    tenant: str | None
    """Whose tasks it sees; left out: those of whoever makes it."""
    expires_at: datetime | None
    budget: Budget | Mapping[str, Any] | None
    """What it may spend in a day (UTC): `usd`, `tokens` or both."""
    rpm: int | None
    """Requests in a minute."""


class KeyChanges(TypedDict, total=False):
    """What is to be other about an API key. What is left out stays; `None` takes a limit away."""

    expires_at: datetime | None
    budget: Mapping[str, float | int | None] | None
    """What it may spend in a day (UTC): `usd`, `tokens` or both."""
    rpm: int | None
    """Requests in a minute."""


class Agents(Message):
    agents: tuple[AgentStatus, ...]


class Services(Message):
    services: tuple[ServiceStatus, ...]


# Requests


@dataclass(frozen=True)
class Verb(Generic[T]):
    """One request, and how its reply is read."""

    method: str
    path: str
    read: Mapping[int, Callable[[httpx.Response], T]]
    """The reader of each status that is an answer; every other status is an error."""
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    held_s: float = 0.0
    """How long the platform may hold the answer back because it was asked to."""
    repeatable: bool = True
    """Whether it may be sent again when nobody knows what became of it."""

    def arguments(self, timeout_s: float) -> dict[str, Any]:
        """For `httpx`'s `request`; `timeout_s` is the longest silence."""
        json_headers = {"content-type": "application/json"} if self.body is not None else {}
        return {
            "method": self.method,
            "url": self.path,
            "params": self.params,
            "headers": {**json_headers, **self.headers},
            "content": self.body,
            "timeout": httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s), read=timeout_s + self.held_s),
        }

    def result(self, outcome: httpx.Response | httpx.TransportError, url: str) -> T:
        """The answer, or its error.

        Raises:
            ApiError: the platform refused.
            PlatformNotRunning: there was no answer.
            BadReply: there was one that cannot be read.
        """
        if isinstance(outcome, httpx.Response) and (read := self.read.get(outcome.status_code)):
            return read(outcome)
        raise error_of(outcome, url)


def submit(prompt: str, options: TaskOptions, key: str | None, hold_s: int = 0) -> Verb[Task | TaskAccepted]:
    """Hand in a task; with `hold_s` the platform answers with the whole task if it ends within so many seconds.

    Raises:
        InvalidTask: a field breaks a rule; nothing was sent.
    """
    request = task_request(prompt, options)
    return Verb(
        "POST",
        "/api/v1/tasks",
        {200: reader(Task), 202: reader(TaskAccepted)},
        headers={"idempotency-key": key or secrets.token_hex(16)} | ({"prefer": f"wait={hold_s}"} if hold_s else {}),
        body=request.model_dump_json(exclude_unset=True).encode(),
        held_s=hold_s,
    )


def accepted(reply: Task | TaskAccepted) -> TaskAccepted:
    """A repeat of a task that has ended may be answered with the whole of it."""
    if isinstance(reply, TaskAccepted):
        return reply
    links = Links(self=_path(reply.task_id), events=events_path(reply.task_id))
    return TaskAccepted(task_id=reply.task_id, status=reply.status, links=links)


def task(task_id: str) -> Verb[Task]:
    return Verb("GET", _path(task_id), {200: reader(Task)})


def tasks(limit: int | None, cursor: str | None, status: Status | None) -> Verb[TaskList]:
    asked = {"limit": limit, "cursor": cursor, "status": status}
    params = {name: str(value) for name, value in asked.items() if value is not None}
    return Verb("GET", "/api/v1/tasks", {200: reader(TaskList)}, params=params)


def cancel(task_id: str) -> Verb[Task]:
    return Verb("DELETE", _path(task_id), {200: reader(Task), 202: reader(Task)})


def delete(path: str, **asked: bool) -> Verb[Erased]:
    """Have something erased."""
    params = {name: "true" for name, wanted in asked.items() if wanted}
    return Verb("DELETE", path, {200: reader(Erased)}, params=params)


def delete_task(task_id: str, with_costs: bool) -> Verb[Erased]:
    return delete(_path(task_id), purge=True, with_costs=with_costs)


def erase_tenant(tenant: str) -> Verb[Erased]:
    """
    Raises:
        InvalidRequest: the name is empty; nothing was sent.
    """
    if not tenant:
        raise InvalidRequest("tenant", "is empty")
    return delete(f"/api/v1/tenants/{quote(tenant, safe='')}")


def recording(task_id: str) -> Verb[str]:
    return Verb("GET", f"{_path(task_id)}/recording", {200: lambda reply: reply.content.decode()})


def upload_recording(text: str) -> Verb[Uploaded]:
    """Hand in a recording.

    Raises:
        InvalidRequest: it holds half of a surrogate pair, which no recording does.
    """
    try:
        body = text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"line {text.count(chr(10), 0, error.start) + 1}", "is no UTF-8 text") from None
    headers = {"content-type": MEDIA_TYPE}
    return Verb("POST", "/api/v1/recordings", {200: reader(Uploaded)}, headers=headers, body=body)


def agents() -> Verb[tuple[AgentStatus, ...]]:
    return Verb("GET", "/api/v1/agents", {200: lambda reply: reader(Agents)(reply).agents})


def services() -> Verb[tuple[ServiceStatus, ...]]:
    return Verb("GET", "/api/v1/services", {200: lambda reply: reader(Services)(reply).services})


def explain_services(prompt: str, options: TaskOptions) -> Verb[Explanation]:
    """Ask which service would serve a task.

    Raises:
        InvalidTask: a field breaks a rule; nothing was sent.
    """
    body = task_request(prompt, options).model_dump_json(exclude_unset=True).encode()
    return Verb("POST", "/api/v1/services/explain", {200: reader(Explanation)}, body=body)


def costs(by: CostKey, since: date | None, until: date | None) -> Verb[Costs]:
    asked = {"by": by, "since": since, "until": until}
    params = {name: str(value) for name, value in asked.items() if value is not None}
    return Verb("GET", "/api/v1/costs", {200: reader(Costs)}, params=params)


def quality(by: QualityBy | None, since: date | None) -> Verb[QualityList]:
    params = {name: str(value) for name, value in {"by": by, "since": since}.items() if value is not None}
    return Verb("GET", "/api/v1/quality", {200: reader(QualityList)}, params=params)


def budgets() -> Verb[tuple[BudgetLeft, ...]]:
    return Verb("GET", "/api/v1/budgets", {200: lambda reply: reader(BudgetList)(reply).budgets})


def create_key(name: str, options: KeyOptions) -> Verb[CreatedKey]:
    """Make a key. Sent twice it would make two, so it is not sent again when the answer got lost.

    Raises:
        InvalidTask: a field breaks a rule; nothing was sent.
    """
    said = {name: value for name, value in options.items() if value is not None}
    new = _checked(NewKey, {"name": name, **said})
    body = new.model_dump_json(exclude_unset=True).encode()
    return Verb("POST", KEYS, {201: reader(CreatedKey)}, body=body, repeatable=False)


def keys() -> Verb[tuple[ApiKey, ...]]:
    return Verb("GET", KEYS, {200: lambda reply: reader(KeyList)(reply).keys})


def update_key(key_id: str, changes: KeyChanges) -> Verb[ApiKey]:
    """
    Raises:
        InvalidTask: a field breaks a rule; nothing was sent.
    """
    change = _checked(KeyChange, changes)
    body = change.model_dump_json(exclude_unset=True).encode()
    return Verb("PATCH", _key_path(key_id), {200: reader(ApiKey)}, body=body)


def create_token(subject: str, role: Role, tenant: str | None, expires_at: datetime) -> Verb[CreatedToken]:
    """
    Raises:
        InvalidTask: a field breaks a rule; nothing was sent.
    """
    said = {"sub": subject, "role": role, "tenant": tenant, "expires_at": expires_at}
    new = _checked(NewToken, {name: value for name, value in said.items() if value is not None})
    body = new.model_dump_json(exclude_unset=True).encode()
    return Verb("POST", "/api/v1/tokens", {201: reader(CreatedToken)}, body=body)


def audit(limit: int, cursor: str | None, since: datetime | None, outcome: Outcome | None) -> Verb[AuditList]:
    asked = {"limit": limit, "cursor": cursor, "since": since and since.isoformat(), "outcome": outcome}
    params = {name: str(value) for name, value in asked.items() if value is not None}
    return Verb("GET", "/api/v1/audit", {200: reader(AuditList)}, params=params)


def revoke_key(key_id: str) -> Verb[ApiKey]:
    return Verb("DELETE", _key_path(key_id), {200: reader(ApiKey)})


def _key_path(key_id: str) -> str:
    if not key_id:
        raise InvalidRequest("key_id", "is empty")
    return f"{KEYS}/{quote(key_id, safe='')}"


def _checked(model: type[M], said: Mapping[str, Any]) -> M:
    try:
        return model.model_validate(dict(said))
    except ValidationError as error:
        raise InvalidTask(Problem.of_validation(field_errors(error))) from None


def health() -> Verb[Health]:
    """Not being ready is an answer here, not an error."""

    def not_ready(reply: httpx.Response) -> Health:
        try:
            return Health.model_validate_json(reply.content)
        except ValidationError:
            raise error_of(reply, str(reply.request.url.join("/"))) from None

    return Verb("GET", "/health/ready", {200: reader(Health), 503: not_ready})


def events_path(task_id: str) -> str:
    return f"{_path(task_id)}/events"


def _path(task_id: str) -> str:
    if not task_id:
        raise InvalidRequest("task_id", "is empty")
    return f"/api/v1/tasks/{quote(task_id, safe='')}"


def task_request(prompt: str, options: TaskOptions) -> TaskRequest:
    """Check the request here, by the platform's own rules.

    Raises:
        InvalidTask: every field that breaks a rule, named.
    """
    said = {name: value for name, value in options.items() if value is not None}
    try:
        return TaskRequest.model_validate({"prompt": prompt, **said})
    except ValidationError as error:
        raise InvalidTask(Problem.of_validation(field_errors(error))) from None


def options_of(request: TaskRequest) -> TaskOptions:
    """What a request says beside its prompt, to say it again."""
    return cast(TaskOptions, request.model_dump(exclude={"prompt"}, exclude_defaults=True))


class Waiting:
    """How long the end of a task with these options is waited for; the time runs from here."""

    def __init__(self, options: TaskOptions, patience_s: float | None = None) -> None:
        if patience_s is None:
            patience_s = (options.get("timeout_s") or DEFAULT_TIMEOUT_S) + GRACE_S
        self._until = monotonic() + patience_s
        self.hold_s = max(1, min(WAIT_S, int(patience_s)))
        """Whole seconds that the platform is asked to hold its answer."""

    @property
    def remaining_s(self) -> float:
        return max(0.0, self._until - monotonic())


# Replies


def reader(model: type[M]) -> Callable[[httpx.Response], M]:
    """Reads a reply as a message of that kind."""

    def read(reply: httpx.Response) -> M:
        try:
            return model.model_validate_json(reply.content)
        except ValidationError as error:
            first = field_errors(error)[0]
            where = f"{model.__name__}.{first.field}" if first.field else model.__name__
            raise BadReply(str(reply.request.url), f"{where}: {first.message}") from None

    return read


def error_of(outcome: httpx.Response | httpx.TransportError, url: str) -> DevSkyyError:
    """What went wrong, as an error to raise. `url` is the platform's address."""
    match outcome:
        case httpx.TimeoutException():
            return PlatformNotRunning(url, "it did not answer in time")
        case httpx.TransportError():
            return PlatformNotRunning(url, str(outcome) or type(outcome).__name__)
        case httpx.Response(status_code=status):
            try:
                return api_error(Problem.model_validate_json(outcome.content))
            except ValidationError:
                if status in NOT_NOW:  # the proxy in front of a platform that starts, or has died
                    return PlatformNotRunning(url, f"a proxy in front of it says HTTP {status}")
                kind = outcome.headers.get("content-type", "no content type")
                return BadReply(str(outcome.request.url), f"HTTP {status} with {kind}")


def checked(task: Task) -> Task:
    """The task, if it has an answer.

    Raises:
        TaskFailed, TaskCancelled: it ended without one.
    """
    match task.status:
        case "failed":
            raise TaskFailed(task)
        case "cancelled":
            raise TaskCancelled(task)
        case _:
            return task


def ended_task(event: Mapping[str, Any]) -> Task | None:
    """The whole task, when this event is its last one and carries it in a form that can be read; else ask for it."""
    if event.get("event") not in TERMINAL:
        return None
    try:
        return Task.model_validate(event.get("task"))
    except ValidationError:
        return None


# Asking again


@dataclass(frozen=True)
class Patience:
    timeout_s: float
    """The longest silence within one connection."""
    retries: int
    """How often a request is repeated."""
    outage_s: float
    """How long a platform that has answered may be gone while a task's events are followed."""


class Retries:
    """Says after each try whether, and when, the same request is worth another."""

    def __init__(self, count: int) -> None:
        self._made, self._left = 0, count

    def delay_s(self, outcome: httpx.Response | httpx.TransportError, verb: Verb[Any]) -> float | None:
        """Seconds until the next try; None: this outcome stands."""
        if self._left == 0:
            return None
        match outcome:
            case httpx.Response(status_code=status) if status in NOT_NOW and status not in verb.read:
                delay_s = retry_after_s(outcome.headers.get("retry-after"))
            case httpx.NetworkError() | httpx.RemoteProtocolError() if verb.repeatable:
                delay_s = None
            case _:
                return None
        if delay_s is None:
            delay_s = backoff_s(self._made)
        self._made, self._left = self._made + 1, self._left - 1
        return delay_s if delay_s <= LONGEST_RETRY_AFTER_S else None


def backoff_s(made: int) -> float:
    """Twice as long each time, and never in step with others."""
    return float(min(LONGEST_DELAY_S, FIRST_DELAY_S * 2**made) * random.uniform(0.75, 1.25))


def retry_after_s(header: str | None) -> float | None:
    """Seconds that a `Retry-After` asks for, from either of its forms; None when it says nothing usable."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


# Where the platform is


def platform_url(given: str | None) -> str:
    """The address that was given, or `DEVSKYY_URL`, or that of this user's own platform.

    Its own is the one of this home. While none runs there, and no other was named by host and port, that is where the
    last one was that went without a word: at the usual port another home's platform may listen.

    Raises:
        ConfigError: it is no HTTP address, or the environment cannot be used.
    """
    if given is not None:
        return _checked_url(given, "base_url")
    if stated := os.environ.get("DEVSKYY_URL"):
        return _checked_url(stated, "DEVSKYY_URL")
    from devskyy.supervisor.state import read_state
    from schemas.settings import Settings

    settings = Settings.from_environment()
    state = read_state(settings.home)
    placed = not settings.model_fields_set.isdisjoint(("http_host", "http_port"))
    if state is not None and (state.alive or not placed):
        return state.http
    return _address(settings.http_host, settings.http_port)


def _address(host: str, port: int) -> str:
    """Where a platform that listens there is reached from this machine."""
    own = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{own}]:{port}" if ":" in own else f"http://{own}:{port}"


def _checked_url(url: str, name: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigError("environment", name, f"{error} (got {url!r})") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigError("environment", name, f"an address starts with http:// or https:// (got {url!r})")
    return url.rstrip("/")


def _operators_key(url: str) -> str | None:
    """The operator's key, where this home's own platform runs at that very address: nobody else gets to see it."""
    if httpx.URL(url).host not in ("127.0.0.1", "localhost"):
        return None
    from devskyy.supervisor.operator import read_operators_key
    from devskyy.supervisor.state import read_state
    from schemas.settings import Settings

    try:
        home = Settings.from_environment().home
    except ConfigError:
        return None
    state = read_state(home)
    return read_operators_key(home) if state is not None and state.http == url and state.alive else None


def connection_options(url: str, api_key: str | None, timeout_s: float) -> dict[str, Any]:
    """For the constructor of either of `httpx`'s clients."""
    key = api_key or os.environ.get("DEVSKYY_API_KEY") or _operators_key(url)
    plain = httpx.URL(url).scheme == "http"
    return {
        "base_url": url,
        # Reading the certificates takes 0.1 s; where none will be seen, a context that trusts nobody does.
        "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else True,
        "timeout": timeout_s,
        "headers": {"user-agent": "devskyy-python", **({"authorization": f"Bearer {key}"} if key else {})},
        # A proxy of the environment would be asked for this very machine, and knows another one.
        "trust_env": httpx.URL(url).host not in ("127.0.0.1", "localhost", "::1"),
    }
