"""A platform that speaks DevSkyy's HTTP API on a real socket, with tasks that go as a test has written.

    with PlatformSimulator() as platform:
        platform.scripts["hello"] = Script(held=True)            # runs until `finish`, or until it is cancelled
        platform.refuse(Refusal(503, retry_after_s=0.01), times=2)   # the next two requests
        platform.scripts["plan"] = Script(team=tuple(coordinated()))  # goes as a story of `tests.stories` does
        platform.cut_streams(after=1, times=1)                   # the next stream breaks off after one event
        client = Client(platform.url)
        ...
        assert platform.seen[0].key == platform.seen[1].key

It serves from a thread with an event loop of its own, so tests of every kind and other processes can call it.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Any, Literal, Self

import psutil
import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from bus.recordings import NotRecordable
from devskyy.supervisor.state import PlatformState
from schemas.agent import AgentStatus
from schemas.audit import AuditEntry, AuditList
from schemas.budget import BudgetLeft, BudgetList
from schemas.costs import CostRow, Costs
from schemas.errors import DeadlineExceeded, DevSkyyError, InvalidRequest, KeyReused, NotFound
from schemas.event import Accepted, Claimed, Ended, TaskEvent
from schemas.health import Check, Health
from schemas.key import ROLES, ApiKey, CreatedKey, KeyChange, KeyList, NewKey, new_id, new_secret
from schemas.message import now
from schemas.problem import MEDIA_TYPE, Problem, field_errors
from schemas.quality import Quality, QualityList
from schemas.receipt import Call, Receipt
from schemas.recording import MEDIA_TYPE as LINES
from schemas.recording import Recording, Uploaded
from schemas.selection import CandidateService, Explanation, TaskFeatures, WorkProfile
from schemas.service import ServiceStatus
from schemas.task import SHAPE_OF, Links, Task, TaskAccepted, TaskList, TaskRequest, TaskSummary
from schemas.token import CreatedToken, NewToken

CALL = Call(
    step="answer",
    agent="writing",
    service="local",
    model="smollm2-135m-instruct",
    fallback_from=("claude-opus: unavailable: no key", "groq: HTTP 500"),
    prompt_tokens=12,
    completion_tokens=30,
    cost_usd=0.0,
    latency_ms=12.5,
)
RECEIPT = Receipt.of((CALL,), wall_ms=1500.0, premium_service="claude-opus", premium_cost_usd=0.00243)
COSTS = Costs(
    by="day",
    calls=3,
    spent_usd=0.25,
    estimated_usd=0.05,
    unknown_calls=1,
    prompt_tokens=1200,
    completion_tokens=300,
    premium_cost_usd=1.5,
    saved_usd=1.25,
    tasks_without_premium=1,
    rows=(
        CostRow(key="2026-05-04", calls=2, spent_usd=0.25, estimated_usd=0.05, premium_cost_usd=1.5, saved_usd=1.25),
        CostRow(key="2026-05-05", calls=1, unknown_calls=1, tasks_without_premium=1),
    ),
)

EXPLANATION = Explanation(
    agent="writing",
    agent_reasons=("no agent's capabilities match the prompt; 'writing' is the first general one",),
    adaptive=True,
    profile=WorkProfile(
        name="writing",
        why="the prompt shows no trade",
        weighs_because="Most models write well enough.",
        capabilities={"writing": 1.0},
        weighs={"quality": 0.5, "cost": 0.3, "latency": 0.2},
    ),
    features=TaskFeatures(difficulty=0.25, prompt_bytes=900, prompt_tokens=225, completion_tokens=512, max_tokens=1536),
    candidates=(
        CandidateService(
            service="groq",
            model="groq/openai/gpt-oss-20b",
            state="unavailable",
            reason="no key: set GROQ_API_KEY",
            quality=0.62,
            quality_from="prior",
            cost_usd=0.0002,
            most_usd=0.0009,
            latency_unknown_reason="the gateways have said nothing of it yet",
        ),
        CandidateService(
            service="mistral",
            model="mistral/mistral-large-4",
            state="can serve",
            rank=1,
            quality=0.8,
            quality_from="learned",
            cost_unknown_reason="not in the table",
            latency_ms=1250.0,
            success=0.75,
            utility=0.125,
            notes=("2 of 4 calls failed lately",),
        ),
        CandidateService(
            service="local",
            model="embedded/smollm2-135m-instruct",
            state="can serve",
            rank=2,
            quality=0.13,
            quality_from="prior",
            cost_usd=0.0,
            most_usd=0.0,
            latency_ms=80.0,
            utility=0.05,
        ),
    ),
    chosen="mistral",
    runners_up=("local",),
    order=("groq", "mistral", "local"),
    reasons=("'mistral' serves, of 2 that can",),
    assumptions=("an answer has 512 tokens",),
)


def recorded(http: str, **fields: Any) -> PlatformState:
    """What the supervisor of a running platform writes down; this very process is taken for the supervisor."""
    about = {
        "instance": "simulated",
        "pid": os.getpid(),
        "pid_started": psutil.Process().create_time(),
        "phase": "ready",
        "http": http,
        "nats_url": "nats://platform:hidden@127.0.0.1:4222",
        "outside_nats_url": "nats://outside:given@127.0.0.1:4222",
        "ray_dashboard": "http://127.0.0.1:8265",
        "started_at": now(),
    }
    return PlatformState.model_validate({**about, **fields})


@dataclass(frozen=True)
class Script:
    """How the tasks of one prompt go."""

    ends: Literal["completed", "failed"] = "completed"
    held: bool = False
    """It runs until `finish`, or until it is cancelled."""
    deaf: bool = False
    """Asked to cancel, it goes on."""
    answer: str = "A fine answer."
    quality: Quality | None = None
    receipt: Receipt = RECEIPT
    team: tuple[TaskEvent, ...] = ()
    """What happens to it, as the events of some other task tell it; their end is its own, unless it is held."""


@dataclass(frozen=True)
class Refusal:
    status: int
    retry_after_s: float | None = None
    html: bool = False
    """A page of some proxy instead of a problem."""


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    query: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str | None:
        return self.headers.get("idempotency-key")


@dataclass
class Running:
    """One task, as the events that happened to it."""

    task: Task
    request: TaskRequest
    script: Script
    events: list[dict[str, Any]] = field(default_factory=list)


class PlatformSimulator:
    """Serves while it is started; may be read and steered from any thread."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        """By prompt; a prompt without one completes at once."""
        self.health = Health(status="ready", checks=(Check(name="nats", ok=True),))
        self.agents = (
            AgentStatus(name="writing", role="writer", state="up", services=("local",), serves_now="local"),
            AgentStatus(
                name="code", role="programmer", state="degraded", reason="no service of its order is available"
            ),
        )
        self.services: tuple[ServiceStatus, ...] = (
            ServiceStatus(name="local", kind="chat", model="embedded/smollm2-135m-instruct", state="available"),
            ServiceStatus(
                name="groq",
                kind="chat",
                model="groq/openai/gpt-oss-20b",
                state="unavailable",
                reason="no key: set GROQ_API_KEY",
                price_unknown_reason="not in the table",
            ),
        )
        self.costs = COSTS
        self.qualities = QualityList()
        self.budgets: tuple[BudgetLeft, ...] = ()
        self.keys: tuple[ApiKey, ...] = ()
        self.audit: tuple[AuditEntry, ...] = ()
        self.explanation = EXPLANATION
        self.heartbeat_s = 10.0
        self.seen: list[Seen] = []
        self.tasks: dict[str, Running] = {}
        self._keys: dict[str, tuple[bytes, str]] = {}
        self._refusals: deque[Refusal] = deque()
        self._cuts: deque[int] = deque()
        self._port = 0
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = threading.Condition(threading.RLock())  # guards all of the above, and tells those who wait
        self._waiting: set[asyncio.Event] = set()

    # Life

    def start(self) -> Self:
        """Returns once requests are accepted; started again, it comes back on the same port with its tasks."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        listener.listen(128)  # from here on clients may connect; the thread takes them up when it runs
        self._port = listener.getsockname()[1]
        config = uvicorn.Config(self._app(), lifespan="off", ws="none", log_config=None, access_log=False)
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Breaks off every connection, as a platform that is killed does."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()
            self._server = self._thread = self._loop = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    # What a test does

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def refuse(self, refusal: Refusal, times: int) -> None:
        """The next requests, whatever they are."""
        with self._changed:
            self._refusals.extend([refusal] * times)

    def cut_streams(self, after: int, times: int) -> None:
        """The next streams of events break off in the middle of the event after so many."""
        with self._changed:
            self._cuts.extend([after] * times)

    def happen(self, task_id: str, event: str, **facts: Any) -> None:
        """Something happens to a task that does not end it."""
        with self._changed:
            self._record(self.tasks[task_id], event, facts)

    def finish(self, task_id: str) -> None:
        """A held task ends as its script says."""
        with self._changed:
            running = self.tasks[task_id]
            self._end(running, running.script.ends)

    def wait_until(self, holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Blocks until that holds, looking again whenever something happens.

        Raises:
            TimeoutError: it does not hold within that time.
        """
        with self._changed:
            if not self._changed.wait_for(holds, timeout_s):
                raise TimeoutError(f"not within {timeout_s:g} s; seen: {[(s.method, s.path) for s in self.seen]}")

    def made(self, method: str, path: str | None = None) -> list[Seen]:
        """The requests of a method, in order."""
        with self._changed:
            return [s for s in self.seen if s.method == method and path in (None, s.path)]

    # What happens to tasks

    def _record(self, running: Running, event: str, facts: dict[str, Any]) -> None:
        seq = len(running.events) + 1
        named = {"event": event, "version": 1, "event_id": secrets.token_hex(8), "task_id": running.task.task_id}
        common = {**named, "tenant": "default", "seq": seq, "at": now().isoformat(), "epoch": 1}
        running.events.append({**common, **facts})
        self._notify()

    def _play(self, running: Running, story: Sequence[TaskEvent]) -> None:
        """The story of another task, as if it happened to this one."""
        for event in story:
            if isinstance(event, Claimed):
                about = {"tier": event.tier, "shape": event.shape, "started_at": now()}
                running.task = running.task.model_copy(update={"status": "running", **about})
            if isinstance(event, Accepted) or (isinstance(event, Ended) and running.script.held):
                continue
            facts = event.model_dump(mode="json", exclude={"event", "event_id", "task_id", "tenant", "seq", "at"})
            if isinstance(event, Ended):
                update = {"task_id": running.task.task_id, "prompt": running.task.prompt}
                running.task = event.task.model_copy(update=update)
                facts["task"] = running.task.model_dump(mode="json")
            self._record(running, event.event, facts)

    def _end(self, running: Running, status: Literal["completed", "failed", "cancelled"]) -> None:
        if running.task.ended:
            return
        done: dict[str, Any] = {"status": status, "finished_at": now(), "receipt": running.script.receipt}
        if status == "completed":
            done |= {"answer": running.script.answer, "quality": running.script.quality}
        elif status == "failed":
            done["error"] = Problem.of(DeadlineExceeded("the task", 1))
        running.task = running.task.model_copy(update=done)
        self._record(running, status, {"task": running.task.model_dump(mode="json", exclude_none=True)})

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()
            if self._loop is not None:
                for event in self._waiting:
                    self._loop.call_soon_threadsafe(event.set)

    @contextlib.contextmanager
    def listening(self) -> Iterator[asyncio.Event]:
        """An event that is set whenever something happens, from before the first look."""
        event = asyncio.Event()
        with self._changed:
            self._waiting.add(event)
        try:
            yield event
        finally:
            with self._changed:
                self._waiting.discard(event)

    # What is served

    def _app(self) -> Starlette:
        doors: dict[tuple[str, str], Callable[[Request, bytes], Any]] = {
            ("POST", "/api/v1/tasks"): self._submit,
            ("GET", "/api/v1/tasks"): self._list,
            ("GET", "/api/v1/tasks/{id}"): self._show,
            ("DELETE", "/api/v1/tasks/{id}"): self._cancel,
            ("GET", "/api/v1/agents"): self._agents,
            ("GET", "/api/v1/services"): self._services,
            ("POST", "/api/v1/services/explain"): self._explain,
            ("GET", "/api/v1/tasks/{id}/recording"): self._recording,
            ("POST", "/api/v1/recordings"): self._upload,
            ("GET", "/api/v1/costs"): self._costs,
            ("GET", "/api/v1/quality"): self._quality,
            ("GET", "/api/v1/budgets"): self._budgets,
            ("POST", "/api/v1/keys"): self._create_key,
            ("GET", "/api/v1/keys"): self._list_keys,
            ("PATCH", "/api/v1/keys/{id}"): self._change_key,
            ("DELETE", "/api/v1/keys/{id}"): self._revoke_key,
            ("POST", "/api/v1/tokens"): self._create_token,
            ("GET", "/api/v1/audit"): self._audit,
            ("GET", "/health/ready"): self._ready,
        }
        routes = [Route(path, self._door(answer), methods=[method]) for (method, path), answer in doors.items()]
        return Starlette(routes=[*routes, Route("/api/v1/tasks/{id}/events", _Stream(self))])

    def _door(self, answer: Callable[[Request, bytes], Any]) -> Callable[[Request], Any]:
        async def door(request: Request) -> Response:
            body = await request.body()
            if (refused := self.arrive(request, body)) is not None:
                return refused
            try:
                answered: Response = await answer(request, body)
                return answered
            except DevSkyyError as error:
                return _problem(Problem.of(error))

        return door

    def arrive(self, request: Request, body: bytes = b"") -> Response | None:
        """Note a request; the answer if it is to be refused."""
        with self._changed:
            self._loop = asyncio.get_running_loop()
            lines = request.headers.get("content-type") == LINES
            decoded = body.decode() if lines else json.loads(body) if body else None
            self.seen.append(
                Seen(request.method, request.url.path, dict(request.headers), decoded, dict(request.query_params))
            )
            refusal = self._refusals.popleft() if self._refusals else None
        self._notify()
        if refusal is None:
            return None
        headers = {} if refusal.retry_after_s is None else {"retry-after": f"{refusal.retry_after_s:g}"}
        if refusal.html:
            return Response("<html>Bad Gateway</html>", refusal.status, headers, media_type="text/html")
        text = "Not now"
        said = Problem(
            type="urn:devskyy:problem:unavailable", title=text, status=refusal.status, detail="come back later"
        )
        return _problem(said, headers)

    def find(self, request: Request) -> Running:
        with self._changed:
            task_id = request.path_params["id"]
            if task_id not in self.tasks:
                raise NotFound("task", task_id)
            return self.tasks[task_id]

    def since(self, running: Running, after: int) -> tuple[list[dict[str, Any]], bool]:
        """A task's events from there on, and whether those are the last."""
        with self._changed:
            return running.events[after:], running.task.ended

    def cut(self) -> int | None:
        """After how many events the present stream is to break off."""
        with self._changed:
            return self._cuts.popleft() if self._cuts else None

    async def _submit(self, request: Request, body: bytes) -> Response:
        try:
            asked = TaskRequest.model_validate_json(body)
        except ValidationError as error:
            return _problem(Problem.of_validation(field_errors(error)))
        if asked.tier == "mega" and not self.scripts.get(asked.prompt, Script()).team:
            raise InvalidRequest("tier", "'mega' cannot be run by this version")
        running = self._accept(asked, body, request.headers.get("idempotency-key"))
        waited_s = float(request.headers.get("prefer", "wait=0").removeprefix("wait="))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(waited_s):
                with self.listening() as news:
                    while not running.task.ended:
                        await news.wait()
                        news.clear()
        task = running.task
        if waited_s and task.ended:
            return _json(task)
        path = f"/api/v1/tasks/{task.task_id}"
        return _json(
            TaskAccepted(task_id=task.task_id, status=task.status, links=Links(self=path, events=f"{path}/events")), 202
        )

    def _accept(self, asked: TaskRequest, body: bytes, key: str | None) -> Running:
        with self._changed:
            if key is not None and key in self._keys:
                first, task_id = self._keys[key]
                if first != body:
                    raise KeyReused(key, task_id)
                return self.tasks[task_id]
            task = Task(task_id=secrets.token_hex(8), status="accepted", prompt=asked.prompt, created_at=now())
            running = Running(task, asked, self.scripts.get(asked.prompt, Script()))
            self.tasks[task.task_id] = running
            if key is not None:
                self._keys[key] = (body, task.task_id)
            deadline_at = now() + timedelta(seconds=asked.timeout_s)
            about = {"request": asked.model_dump(mode="json"), "body_sha256": "0" * 64}
            self._record(running, "accepted", {**about, "deadline_at": deadline_at.isoformat()})
            if running.script.team:
                self._play(running, running.script.team)
                return running
            tier = asked.tier or "simple"
            update = {"status": "running", "tier": tier, "shape": SHAPE_OF[tier], "started_at": now()}
            running.task = task.model_copy(update=update)
            about = {"owner": "simulated", "tier": tier, "shape": SHAPE_OF[tier], "agents": ["writing"]}
            self._record(running, "claimed", about)
            if not running.script.held:
                self._end(running, running.script.ends)
            return running

    async def _show(self, request: Request, body: bytes) -> Response:
        return _json(self.find(request).task)

    async def _list(self, request: Request, body: bytes) -> Response:
        asked = request.query_params
        limit, first = int(asked.get("limit", 50)), int(asked.get("cursor", 0))
        with self._changed:
            tasks = [r.task for r in reversed(self.tasks.values()) if asked.get("status") in (None, r.task.status)]
        page = tuple(
            TaskSummary(
                task_id=task.task_id,
                status=task.status,
                tier=task.tier,
                prompt=task.prompt[:200],
                created_at=task.created_at,
                finished_at=task.finished_at,
                cost_usd=task.receipt.cost_usd if task.receipt else None,
                replayed=any(call.replayed for call in task.receipt.calls) if task.receipt else False,
            )
            for task in tasks[first : first + limit]
        )
        return _json(TaskList(tasks=page, next=str(first + limit) if first + limit < len(tasks) else None))

    async def _cancel(self, request: Request, body: bytes) -> Response:
        running = self.find(request)
        with self._changed:
            if running.task.ended:
                return _json(running.task)
            asked = running.task
            if not running.script.deaf:
                self._end(running, "cancelled")
            return _json(asked, 202)

    async def _agents(self, request: Request, body: bytes) -> Response:
        return JSONResponse({"agents": [agent.model_dump(mode="json") for agent in self.agents]})

    async def _services(self, request: Request, body: bytes) -> Response:
        return JSONResponse({"services": [service.model_dump(mode="json") for service in self.services]})

    async def _explain(self, request: Request, body: bytes) -> Response:
        return _json(self.explanation)

    async def _recording(self, request: Request, body: bytes) -> Response:
        running = self.find(request)
        events, ended = self.since(running, 0)
        if not ended:
            raise NotRecordable(running.task.task_id, "has not ended yet")
        recording = Recording(running.task.task_id, now(), "0.1.0", tuple(events), ())
        return Response(recording.dump(), media_type=LINES)

    async def _upload(self, request: Request, body: bytes) -> Response:
        name = hashlib.sha256(body).hexdigest()
        asked = Recording.parse(body).request.model_copy(update={"replay": name})
        return _json(Uploaded(recording=name, request=asked))

    async def _budgets(self, request: Request, body: bytes) -> Response:
        return _json(BudgetList(budgets=self.budgets))

    async def _create_key(self, request: Request, body: bytes) -> Response:
        new = NewKey.model_validate_json(body)
        made = {"id": new_id(new.name), "tenant": new.tenant or "default", "created_at": now()}
        key = ApiKey.model_validate({**new.model_dump(), **made})
        with self._changed:
            self.keys = (key, *self.keys)
        return _json(CreatedKey(key=key, secret=new_secret(key.id)), 201)

    async def _list_keys(self, request: Request, body: bytes) -> Response:
        return _json(KeyList(keys=self.keys))

    async def _change_key(self, request: Request, body: bytes) -> Response:
        """Knows nothing of merging: what is changed replaces what was there."""
        key_id, change = request.path_params["id"], KeyChange.model_validate_json(body)
        said = change.model_dump(mode="json", include=change.model_fields_set)
        if not any((said.get("budget") or {}).values()):
            said["budget"] = None
        with self._changed:
            if (found := next((k for k in self.keys if k.id == key_id), None)) is None:
                raise NotFound("key", key_id)
            changed = ApiKey.model_validate({**found.model_dump(), **said})
            self.keys = tuple(changed if k.id == key_id else k for k in self.keys)
            return _json(changed)

    async def _create_token(self, request: Request, body: bytes) -> Response:
        new = NewToken.model_validate_json(body)
        said = {"tenant": new.tenant, "scopes": [ROLES[new.role]], "expires_at": new.expires_at}
        return _json(CreatedToken.model_validate({"token": "eyJ.a.token", "key": f"jwt_{new.sub}", **said}), 201)

    async def _audit(self, request: Request, body: bytes) -> Response:
        start, limit = int(request.query_params.get("cursor", "0")), int(request.query_params["limit"])
        page = self.audit[start : start + limit]
        more = str(start + limit) if start + limit < len(self.audit) else None
        return _json(AuditList(entries=page, next=more))

    async def _revoke_key(self, request: Request, body: bytes) -> Response:
        key_id = request.path_params["id"]
        with self._changed:
            ended = {"revoked_at": now()}
            self.keys = tuple(k.model_copy(update=ended) if k.id == key_id else k for k in self.keys)
            if (found := next((k for k in self.keys if k.id == key_id), None)) is None:
                raise NotFound("key", key_id)
            return _json(found)

    async def _costs(self, request: Request, body: bytes) -> Response:
        asked = request.query_params
        if asked.get("until", "9999") < asked.get("since", "0000"):
            raise InvalidRequest("until", "lies before since")
        return _json(self.costs.model_copy(update={"by": asked.get("by", "day")}))

    async def _quality(self, request: Request, body: bytes) -> Response:
        return _json(self.qualities.model_copy(update={"by": request.query_params.get("by")}))

    async def _ready(self, request: Request, body: bytes) -> Response:
        return _json(self.health, 200 if self.health.status == "ready" else 503)


class _Stream:
    """The events of one task; an application of its own, because only that can break off in the middle."""

    def __init__(self, platform: PlatformSimulator) -> None:
        self._platform = platform

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        platform, request = self._platform, Request(scope, receive)
        if (refused := platform.arrive(request)) is not None:
            return await refused(scope, receive, send)
        try:
            running = platform.find(request)
        except NotFound as error:
            return await _problem(Problem.of(error))(scope, receive, send)
        cut = platform.cut()
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        left = asyncio.create_task(_disconnected(receive))
        try:
            after = int(request.headers.get("last-event-id") or request.query_params.get("after") or 0)
            follow = request.query_params.get("follow") != "false"
            await self._events(running, after, follow, cut, left, send)
        finally:
            left.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await left

    async def _events(
        self,
        running: Running,
        after: int,
        follow: bool,
        cut: int | None,
        left: "asyncio.Task[None]",
        send: Send,
    ) -> None:
        sent = 0
        with self._platform.listening() as news:
            while not left.done():
                news.clear()
                pending, ended = self._platform.since(running, after)
                for event in pending:
                    line = f"id: {event['seq']}\nevent: {event['event']}\ndata: {json.dumps(event)}\n\n".encode()
                    broken = cut is not None and sent == cut
                    await send({"type": "http.response.body", "body": line[:-9] if broken else line, "more_body": True})
                    if broken:
                        return  # without the end that was promised: the connection is closed
                    after, sent = after + 1, sent + 1
                if ended or not follow:
                    await send({"type": "http.response.body", "body": b""})
                    return
                waiting = asyncio.create_task(news.wait())
                await asyncio.wait(
                    {waiting, left}, timeout=self._platform.heartbeat_s, return_when=asyncio.FIRST_COMPLETED
                )
                if waiting.cancel() and not left.done():
                    await send({"type": "http.response.body", "body": b": heartbeat\n\n", "more_body": True})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()  # uvicorn would wait for a held stream for ever
        await asyncio.sleep(0)  # they are gone before uvicorn looks, which it does every tenth of a second
        await super().shutdown(sockets)


def _json(value: Any, status: int = 200) -> Response:
    return Response(value.model_dump_json(), status, media_type="application/json")


def _problem(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    return Response(problem.model_dump_json(), problem.status, headers, media_type=MEDIA_TYPE)
