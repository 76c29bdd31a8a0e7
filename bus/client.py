"""A connection to NATS that stays: it reconnects for ever, asks with deadlines, and answers as a micro service."""

import asyncio
import contextlib
import itertools
import json
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any, TypeVar

import nats
import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import APIError, NoStreamResponseError
from nats.micro.service import Service, ServiceConfig
from pydantic import BaseModel

from bus import trace, urls
from bus.blobs import H_REF, TRAVEL_LIMIT, Blobs
from bus.codec import CONTENT_TYPE, decode, encode
from bus.connection import Connection
from bus.desk import HEARTBEAT_S, Beating, Desk, Endpoint, InFlight, Load
from bus.inboxes import answers_of, asker_of, inbox_of, may_be_answered
from bus.pieces import Pieces
from bus.replies import H_STATUS, SILENCE_S, WORKING, Ack, Reply
from bus.streams import REQUESTS
from bus.subjects import Abort, AlertSubject, DeadLetterSubject
from bus.tls import NOBODY_ELSE, Trust
from schemas.errors import (
    BusUnavailable,
    Cancelled,
    DeadlineExceeded,
    DevSkyyError,
    NobodyListens,
    RemoteError,
    ResponderLost,
    Unavailable,
)
from schemas.event import Alert, DeadLetter
from schemas.message import now
from schemas.problem import Problem

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

TRY_S = 5.0
"""For one try to connect to one server."""

H_REQUEST, H_WORK = "Devskyy-Request", "Devskyy-Work"
H_ERROR, H_ERROR_CODE = "Nats-Service-Error", "Nats-Service-Error-Code"

log = structlog.get_logger()


class Bus:
    """One process's connection. `connect` first; `close` drains what is under way."""

    def __init__(self, url: str, name: str, *, jetstream: bool = True, trust: Trust = NOBODY_ELSE) -> None:
        """
        Args:
            url: may name several servers of a cluster, with commas between: see `bus.urls`.
            jetstream: whether its user may ask JetStream. Else what is too large to travel goes through the gateway.
            trust: whom it takes for the broker, where that speaks TLS.
        """
        self._url, self.name, self._jetstream, self._trust = url, name, jetstream, trust
        self._user = urls.user(url)
        self._nc = trust.client(url)
        self._js: JetStreamContext | None = None
        self._replies: dict[str, asyncio.Queue[Msg] | Reply | Ack] = {}
        self._reply_prefix = ""
        self._ids = itertools.count()
        self._in_flight = InFlight()
        self._running: set[asyncio.Task[Any]] = set()
        self._services: list[Service] = []
        self._desks: list[Desk] = []
        self._beside: list[Bus] = []
        self._when_reconnected: list[Callable[[], Coroutine[None, None, None]]] = []
        self._draining = False
        self._last_error: Exception | None = None
        self.connected_at = now()
        """When the present connection began; what others published before it may not have been heard."""
        self.closed = asyncio.Event()
        """Set when the connection is gone for good; the process should end and be started anew."""

    @property
    def client(self) -> Connection:
        return self._nc

    @property
    def js(self) -> JetStreamContext:
        if self._js is None or self._js._nc is not self._nc:
            self._js = self._nc.jetstream(timeout=5)
        return self._js

    @property
    def blobs(self) -> Blobs:
        return Blobs(self.js)

    @property
    def bodies(self) -> Blobs | Pieces:
        """Where large bodies of requests and answers lie."""
        return Blobs(self.js) if self._jetstream else Pieces(self.request)

    @property
    def healthy(self) -> bool:
        return self._nc.is_connected and not self.closed.is_set()

    @property
    def clustered(self) -> bool:
        """Whether the server is one of several, so that one may not have yet what another has."""
        return bool(self._nc._server_info.get("cluster"))

    @property
    def in_flight(self) -> int:
        return len(self._running)

    async def connect(self, patience_s: float = 30.0) -> "Bus":
        """Connect, trying again until `patience_s` is over.

        Raises:
            BusUnavailable: no server answered, or it refused the credentials.
        """
        deadline = asyncio.get_running_loop().time() + patience_s
        while True:
            try:
                # After a refused certificate nats-py waits for ever for the connection's end.
                async with asyncio.timeout(TRY_S * len(urls.servers(self._url))):
                    await self._nc.connect(
                        urls.servers(self._url),
                        **urls.login(self._url),
                        name=self.name,
                        connect_timeout=2,
                        # Told to try for ever, nats-py would not come back from here either.
                        max_reconnect_attempts=1,
                        reconnect_time_wait=0.2,
                        ping_interval=10,
                        max_outstanding_pings=2,
                        pending_size=16 * 1024 * 1024,
                        error_cb=self._on_error,
                        disconnected_cb=self._on_disconnected,
                        reconnected_cb=self._on_reconnected,
                        closed_cb=self._on_closed,
                        inbox_prefix=inbox_of(self._user),
                        tls_hostname=self._trust.name,
                    )
                self._nc.options["max_reconnect_attempts"] = -1
                break
            except (OSError, nats.errors.Error, TimeoutError) as error:
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(self._nc.close(), TRY_S)
                self._nc = self._trust.client(self._url)
                self.closed.clear()
                if asyncio.get_running_loop().time() > deadline:
                    cause = self._last_error or error
                    raise BusUnavailable(f"no NATS server answered within {patience_s:g} s: {cause!r}") from error
                await asyncio.sleep(0.1)
        self.connected_at = now()
        self._reply_prefix = f"{answers_of(self._user)}.{secrets.token_hex(8)}."
        await self._nc.take(self._reply_prefix + "*", self._on_reply)
        await self._subscribe(Abort.pattern(), self._on_abort)
        return self

    async def close(self, grace_s: float = 5.0) -> None:
        """Take no more requests, finish what is under way within `grace_s`, and disconnect.

        What is not finished by then is left, not cancelled: a cancelled call would be written down as if its caller
        had wanted that. Whoever asked hears nothing more, and asks again elsewhere.
        """
        self._draining = True
        for service in self._services:
            with contextlib.suppress(nats.errors.Error):
                await service.stop()
        give_up = asyncio.get_running_loop().time() + grace_s
        # What ends may leave something behind, as an answer its record.
        while self._running and (left_s := give_up - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(self._running, timeout=left_s)
            await asyncio.sleep(0)
        with contextlib.suppress(Exception):
            await self._nc.flush(timeout=1)
        with contextlib.suppress(Exception):
            await self._nc.close()
        await self._end_reconnecting()

    async def _end_reconnecting(self) -> None:
        """nats-py cancels its search for a server once; where it is refused in that moment, `wait_for` of Python 3.11
        tells of the refusal alone, and the search would go on for ever."""
        while (search := self._nc._reconnection_task) is not None and not search.done():
            search.cancel()
            await asyncio.wait([search], timeout=0.1)

    # -- asking ------------------------------------------------------------------------------------------------

    def when_reconnected(self, catch_up: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run this after every reconnect: for whoever must know what was published while nothing was heard."""
        self._when_reconnected.append(catch_up)

    def stand_beside(self, other: "Bus") -> None:
        """Hand what `other` answers to it as it is, for it lives in this process: no wire, nothing written and read."""
        self._beside.append(other)

    def keep(self, work: asyncio.Task[None]) -> None:
        """Have `close` wait for some work as it does for requests."""
        self._running.add(work)
        work.add_done_callback(self._running.discard)

    def _new_id(self) -> str:
        """A name for a request, which nobody else gives, nor this again. It cannot be guessed: whoever answers one
        request may publish to the inbox that the answers to others come to."""
        return f"{secrets.token_hex(12)}{next(self._ids):x}"

    async def request(
        self, subject: object, message: BaseModel, reply: type[M], *, timeout_s: float, work: str | None = None
    ) -> M:
        """Ask and wait for the answer. Cancelling the wait aborts the work on the other side.

        Args:
            work: the task that this belongs to, so that aborting the task aborts this too.

        Raises:
            ResponderLost: nobody listens, or whoever worked on it went silent. Ask again.
            DeadlineExceeded: no answer within `timeout_s`.
            DevSkyyError: the other side's problem.
        """
        for other in self._beside:
            if (desk := other._desk_of(str(subject))) is not None:
                return await other._hand(desk, message, reply, timeout_s, work)
        request_id = self._new_id()
        awaited = self._replies[request_id] = Reply(asyncio.get_running_loop(), timeout_s)
        headers = {"Content-Type": CONTENT_TYPE, H_REQUEST: request_id}
        if work is not None:
            headers[H_WORK] = work
        if (parent := trace.current()) is not None:
            headers[trace.HEADER] = parent
        try:
            if len(body := encode(message)) > TRAVEL_LIMIT:
                body = await self.bodies.offload(body, headers, REQUESTS)
            await self._publish(str(subject), body, headers, self._reply_prefix + request_id)
            msg = await self._answer(str(subject), awaited, timeout_s)
        except (asyncio.CancelledError, DeadlineExceeded):
            with contextlib.suppress(nats.errors.Error):
                await self._nc.publish(str(Abort(self._user, request_id)), b"")
            raise
        finally:
            awaited.close()
            del self._replies[request_id]
        answered = msg.headers or {}
        body = await self.bodies.load(msg) if H_REF in answered else msg.data
        if H_ERROR_CODE in answered:
            raise decode(body, Problem).error()
        return decode(body, reply)

    async def ask(
        self, subject: object, message: BaseModel, reply: type[M], *, deadline: datetime, work: str | None = None
    ) -> M:
        """As `request`, asking again for as long as the responder dies or is not there, until `deadline`.

        Whoever answers must give a repeated question the same answer; agents and the gateway do, by step.

        Raises:
            DeadlineExceeded: no answer in time.
            DevSkyyError: the other side's problem.
        """
        began = now()
        while (left_s := (deadline - now()).total_seconds()) > 0:
            try:
                return await self.request(subject, message, reply, timeout_s=left_s, work=work)
            except DeadlineExceeded:
                break  # it names the last try's time only
            except (ResponderLost, BusUnavailable, RemoteError) as error:
                if not error.retryable:
                    raise
                log.info("asking again", subject=str(subject), reason=str(error))
                await asyncio.sleep(min(0.25, max(0.0, left_s)))
        allowed_s = max(0.0, (deadline - began).total_seconds())
        raise DeadlineExceeded(f"a request to {subject}", round(allowed_s, 3))

    async def _answer(self, subject: str, awaited: Reply, timeout_s: float) -> Msg:
        msg = await awaited.answer
        if msg is None:
            if awaited.deadline <= asyncio.get_running_loop().time():
                raise DeadlineExceeded(f"a request to {subject}", timeout_s)
            raise ResponderLost(f"whoever worked on {subject} has been silent for {SILENCE_S:g} s")
        if (msg.headers or {}).get("Status") == "503":
            raise NobodyListens(f"nobody listens on {subject}")
        return msg

    async def ask_many(self, subject: str, body: bytes, timeout_s: float = 5.0) -> AsyncGenerator[Msg, None]:
        """Ask something that is answered by many messages; the reader stops at the one that says so.

        Raises:
            BusUnavailable: no answer, or a gap of more than `timeout_s` between two.
        """
        request_id = self._new_id()
        queue: asyncio.Queue[Msg] = asyncio.Queue()
        self._replies[request_id] = queue
        try:
            await self._publish(subject, body, None, self._reply_prefix + request_id)
            while True:
                msg = await asyncio.wait_for(queue.get(), timeout_s)
                if (msg.headers or {}).get("Status") == "503":
                    raise BusUnavailable(f"nobody answers {subject}; JetStream may be down")
                yield msg
        except TimeoutError:
            raise BusUnavailable(f"no answer on {subject} within {timeout_s:g} s") from None
        finally:
            del self._replies[request_id]

    async def discover(self, expected: set[str], timeout_s: float = 1.0) -> dict[str, dict[str, Any]]:
        """Statistics of the micro services that answer, by name; returns early once all of `expected` have.

        Raises:
            BusUnavailable: the connection is down.
        """
        found: dict[str, dict[str, Any]] = {}
        deadline = asyncio.get_running_loop().time() + timeout_s
        answers = self.ask_many("$SRV.STATS", b"", timeout_s)
        try:
            async for msg in answers:
                stats = json.loads(msg.data)
                found[stats["name"]] = stats
                if expected <= found.keys() or asyncio.get_running_loop().time() > deadline:
                    break
        except BusUnavailable:
            if not self.healthy:
                raise
        finally:
            await answers.aclose()
        return found

    def _on_reply(self, msg: Msg) -> None:
        awaited = self._replies.get(msg.subject.removeprefix(self._reply_prefix))
        if awaited is not None:
            awaited.put_nowait(msg)

    async def abort(self, work: str) -> None:
        """Stop all work on a task wherever it goes on."""
        await self._publish(str(Abort.of_task(work)), b"", None, "")

    # -- publishing --------------------------------------------------------------------------------------------

    async def _publish(self, subject: str, body: bytes, headers: dict[str, str] | None, reply: str) -> None:
        try:
            await self._nc.publish(subject, body, reply=reply, headers=headers)
        except nats.errors.Error as error:
            raise BusUnavailable(f"cannot publish on {subject}: {error!r}") from error

    async def publish(self, subject: object, message: BaseModel, headers: dict[str, str] | None = None) -> None:
        """Send and forget, to whoever listens now.

        Raises:
            BusUnavailable: the connection is closed, or too much waits to be sent.
        """
        await self._publish(str(subject), encode(message), {"Content-Type": CONTENT_TYPE, **(headers or {})}, "")

    async def put(
        self, subject: object, body: bytes, headers: dict[str, str] | None = None, *, timeout_s: float = 5.0
    ) -> int:
        """Publish into a stream, and return its place there once it is on disk.

        Raises:
            See `acknowledged`.
        """
        return int((await self.acknowledged(subject, body, headers, timeout_s))["seq"])

    async def acknowledged(
        self,
        subject: object,
        body: bytes,
        headers: dict[str, str] | None,
        timeout_s: float,
        at_once: bool = False,
    ) -> dict[str, Any]:
        """Publish into a stream, and return what JetStream said once it is on disk.

        nats-py's own `publish` does the same for twice the CPU.

        Args:
            at_once: whether it does not wait for what else is said in this turn of the event loop.

        Raises:
            NoStreamResponseError: no stream takes this subject, or JetStream is not up.
            APIError: JetStream refused it.
            nats.errors.Error, TimeoutError: it was not acknowledged; whether it was written is unknown.
        """
        request_id = self._new_id()
        ack = self._replies[request_id] = Ack(asyncio.get_running_loop(), timeout_s)
        try:
            await self._nc.publish(str(subject), body, reply=self._reply_prefix + request_id, headers=headers)
            if at_once:
                self._nc.write_out()
            msg = await ack.answer
        finally:
            ack.close()
            del self._replies[request_id]
        if (msg.headers or {}).get("Status") == "503":
            raise NoStreamResponseError
        said: dict[str, Any] = json.loads(msg.data)
        if "error" in said:
            raise APIError.from_error(said["error"])
        return said

    async def record(self, subject: object, message: BaseModel, dedupe: str | None = None) -> None:
        """Publish into a stream: on disk before this returns. `dedupe` makes a repeat have no effect.

        What is too large to travel goes to the object store: read it back with `blobs.load`.

        Raises:
            BusUnavailable: JetStream did not acknowledge.
        """
        headers = {"Content-Type": CONTENT_TYPE} | ({"Nats-Msg-Id": dedupe} if dedupe else {})
        try:
            body = await self.blobs.offload(encode(message), headers)
            await self.put(subject, body, headers)
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise BusUnavailable(f"{subject} was not recorded: {error!r}") from error

    async def alert(self, level: int, title: str, detail: str) -> None:
        """Raise an alert; logged too, so that it is seen when the bus is what fails."""
        log.warning("alert", level=level, title=title, detail=detail)
        alert = Alert.model_validate(
            {"level": level, "source": self.name, "title": title, "detail": detail, "at": now()}
        )
        with contextlib.suppress(BusUnavailable):
            await self.record(AlertSubject(str(level)), alert)

    async def dead_letter(self, origin: str, msg: Msg, reason: str) -> None:
        """Keep a message that cannot be used, with the reason, and raise an alert.

        Raises:
            BusUnavailable: it could not be kept; do not acknowledge it.
        """
        headers = {str(k): str(v) for k, v in (msg.headers or {}).items()}
        letter = DeadLetter(subject=msg.subject, reason=reason, data=msg.data, headers=headers, at=now())
        await self.record(DeadLetterSubject(origin), letter)
        await self.alert(2, "a message could not be used", f"{msg.subject}: {reason}")

    # -- answering ---------------------------------------------------------------------------------------------

    async def serve(self, name: str, endpoints: list[Endpoint], description: str, metadata: dict[str, str]) -> None:
        """Answer as a NATS micro service: found by `$SRV.PING|INFO|STATS`, one answer per request and queue group.

        Requests find it from the moment that this returns.

        Raises:
            BusUnavailable: the server does not answer.
        """
        loads = {endpoint.name: Load() for endpoint in endpoints}

        def stats(endpoint: Any) -> dict[str, int]:
            return vars(loads[endpoint.name])

        config = ServiceConfig(
            name=name, version="1.0.0", description=description, metadata=metadata, stats_handler=stats
        )
        service = Service(self._nc, config)
        await service.start()
        for endpoint in endpoints:
            desk = Desk(endpoint, asyncio.Semaphore(endpoint.concurrency), loads[endpoint.name])

            # nats-py awaits one callback after another, so each request becomes a task of its own at once.
            async def on_request(request: Any, desk: Desk = desk) -> None:
                self._start(self._handle(request._msg, desk), desk, _keys(request._msg))

            await service.add_endpoint(name=endpoint.name, subject=endpoint.subject, handler=on_request)
            self._desks.append(desk)
        self._services.append(service)
        await self.settle()

    def _start(self, work: Coroutine[None, None, T], desk: Desk, keys: list[str]) -> asyncio.Task[T]:
        task: asyncio.Task[Any] = asyncio.create_task(work, name=desk.endpoint.subject)
        self._running.add(task)
        self._in_flight.add(keys, task)

        def done(task: asyncio.Task[Any]) -> None:
            self._running.discard(task)
            self._in_flight.remove(keys, task)

        task.add_done_callback(done)
        return task

    async def _handle(self, msg: Msg, desk: Desk) -> None:
        if msg.reply and not may_be_answered(msg.reply):
            log.warning("a request wants its answer where none belongs", subject=msg.subject, reply=msg.reply)
            return
        beating = Beating(self._beat, msg.reply)
        try:
            answer = await self._work(desk, msg)
            if isinstance(answer, Problem):
                await self._reply(msg.reply, answer, {H_ERROR: answer.title, H_ERROR_CODE: str(answer.status)})
            else:
                await self._reply(msg.reply, answer)
        finally:
            beating.cancel()

    async def _work(self, desk: Desk, asked: Msg | BaseModel) -> BaseModel:
        """The answer, or the problem."""
        endpoint, load = desk.endpoint, desk.load
        trace.start((asked.headers or {}).get(trace.HEADER) if isinstance(asked, Msg) else trace.current())
        load.in_flight += 1
        try:
            if load.in_flight > 2 * endpoint.concurrency or self._draining:
                raise Unavailable(f"{endpoint.name} is busy with {load.in_flight - 1} requests; try again later")
            async with desk.room:
                if isinstance(asked, Msg):
                    body = await self.bodies.load(asked) if H_REF in (asked.headers or {}) else asked.data
                    asked = decode(body, endpoint.request)
                answer = await endpoint.handler(asked)
        except DevSkyyError as error:
            problem = Problem.of(error)
        except asyncio.CancelledError:
            problem = Problem.of(Cancelled(endpoint.name, "aborted by its caller"))
        except Exception:
            log.exception("handler failed", endpoint=endpoint.subject)
            problem = Problem.of(DevSkyyError(f"{endpoint.name} failed; see its log"))
        else:
            load.answered += 1
            return answer
        finally:
            load.in_flight -= 1
        load.errors += 1
        return problem

    def _desk_of(self, subject: str) -> Desk | None:
        return next((desk for desk in self._desks if desk.answers(subject)), None)

    async def _hand(self, desk: Desk, message: BaseModel, reply: type[M], timeout_s: float, work: str | None) -> M:
        """Answer somebody in this process, by the same rules as over the wire. It raises as `request` does."""
        asked = (
            message if isinstance(message, desk.endpoint.request) else decode(encode(message), desk.endpoint.request)
        )
        task = self._start(self._work(desk, asked), desk, [] if work is None else [str(Abort.of_task(work))])
        try:
            await asyncio.wait([task], timeout=timeout_s)
        finally:
            task.cancel()  # unless it is done; nobody waits until it has stopped
        if not task.done():
            raise DeadlineExceeded(f"a request to {desk.endpoint.subject}", timeout_s)
        answer = task.result()
        if isinstance(answer, Problem):
            raise answer.error()
        return answer if isinstance(answer, reply) else decode(encode(answer), reply)

    async def _beat(self, reply: str) -> None:
        while True:
            with contextlib.suppress(nats.errors.Error):
                await self._nc.publish(reply, b"", headers={H_STATUS: WORKING})
            await asyncio.sleep(HEARTBEAT_S)

    async def _reply(self, reply: str, message: BaseModel, headers: dict[str, str] | None = None) -> None:
        if not reply:
            return
        headers = {"Content-Type": CONTENT_TYPE, **(headers or {})}
        try:
            if len(body := encode(message)) > TRAVEL_LIMIT:
                body = await self.bodies.offload(body, headers, REQUESTS)
            await self._nc.publish(reply, body, headers=headers)
        except (nats.errors.Error, DevSkyyError) as error:
            log.warning("a reply was lost", error=repr(error))  # the caller asks again

    async def _on_abort(self, msg: Msg) -> None:
        self._in_flight.abort(msg.subject)

    # -- the connection ----------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Return once the server knows every subscription made here; nats-py's `flush` may overtake them.

        Raises:
            BusUnavailable: the server does not answer.
        """
        mark = self._new_id()
        queue: asyncio.Queue[Msg] = asyncio.Queue()
        self._replies[mark] = queue
        try:
            await self._publish(self._reply_prefix + mark, b"", None, "")
            await asyncio.wait_for(queue.get(), SILENCE_S)
        except TimeoutError:
            raise BusUnavailable(f"the NATS server has not answered for {SILENCE_S:g} s") from None
        finally:
            del self._replies[mark]

    async def _subscribe(self, subject: str, callback: Callable[[Msg], Awaitable[None]]) -> None:
        await self._nc.subscribe(subject, cb=callback)

    async def _on_error(self, error: Exception) -> None:
        # A refusal is the cause; that the server then closes the connection is not.
        if "Authorization" not in str(self._last_error):
            self._last_error = error
        log.warning("nats error", error=repr(error))

    async def _on_disconnected(self) -> None:
        log.info("nats disconnected")

    async def _on_reconnected(self) -> None:
        self.connected_at = now()
        for catch_up in self._when_reconnected:
            self.keep(asyncio.create_task(catch_up()))
        log.info("nats reconnected")

    async def _on_closed(self) -> None:
        self.closed.set()


def _keys(msg: Msg) -> list[str]:
    """The subjects on which a request may be called off."""
    headers, keys = msg.headers or {}, []
    with contextlib.suppress(ValueError):  # somebody else's way to name requests
        if H_WORK in headers:
            keys.append(str(Abort.of_task(headers[H_WORK])))
        if H_REQUEST in headers:
            keys.append(str(Abort(asker_of(msg.reply), headers[H_REQUEST])))
    return keys
