"""The supervisor: owns nats-server, Ray, Serve and the fleet of one home; restarts what dies, ends exactly its own."""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import httpx
import nats.errors
import nats.js.errors
import psutil
import structlog

from bus import logs, permissions, server
from bus.accounts import OUTSIDE
from bus.client import Bus
from bus.files import tail
from bus.logins import Logins
from bus.tls import Trust
from devskyy.supervisor import processes, ray_head
from devskyy.supervisor.broker import EmbeddedBroker
from devskyy.supervisor.checks import ENOUGH_DISK, EVERY_INTERFACE, check, check_port, locked, stream_budget
from devskyy.supervisor.operator import operators_key
from devskyy.supervisor.state import START_PATIENCE_S, Phase, PlatformState, clear_state, write_state
from schemas.errors import DevSkyyError, StartError
from schemas.key import digest
from schemas.message import now
from schemas.settings import Settings

log = structlog.get_logger()

WATCH_S = 1.0
RESTART_PAUSE_S = 0.5
HTTP_PATIENCE_S = 30.0
"""Serve heals its own replicas and proxies; a door shut for longer than this means that Ray itself is started anew."""
LONGEST_PAUSE_S = 30.0
"""Between two attempts to start Ray."""
DEGRADED_AFTER_S = 3.0
"""A door or a JetStream silent for longer is told; a shorter silence is somebody being started anew."""
DRAIN_PATIENCE_S = 10.0


class Supervisor:
    """`run` starts everything, keeps it running, and ends it on SIGTERM, SIGINT or `stop`."""

    def __init__(self, settings: Settings, on_state: Callable[[PlatformState], None] = lambda _: None) -> None:
        self._home = settings.home
        self._instance = secrets.token_hex(8)
        self._on_state = on_state
        self._stop = asyncio.Event()
        self._nats: asyncio.subprocess.Process | None = None
        self._ray: asyncio.subprocess.Process | None = None
        self._host: asyncio.subprocess.Process | None = None
        self._ready = self._was_ready = False
        self._settings = settings
        self._embeds_nats = settings.embeds_nats
        self._broker: EmbeddedBroker | None = None
        self._letting_in: asyncio.Task[None] | None = None
        self._logins = Logins()
        self._state: PlatformState | None = None
        self._bus: Bus | None = None
        self._disk_was_full = False
        self._nats_began = self._ray_began = 0.0
        self._shut_since: float | None = None
        self._dumb_since: float | None = None
        self._nats_trouble: str | None = None
        self._ray_trouble: str | None = None
        self._attempts = 0
        self._hearing: asyncio.Task[None] | None = None

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        """Until stopped.

        Raises:
            StartError, ConfigError: it cannot start here; nothing is left running.
        """
        check(self._settings)
        with locked(self._home):
            logs.configure(self._home / "logs", "supervisor", self._settings.log_level)
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stop.set)
            try:
                await asyncio.to_thread(self._end_orphans)
                check_port(self._settings)
                await self._start()
                await self._watch()
            finally:
                await self._shut_down()

    # -- starting ----------------------------------------------------------------------------------------------

    def _end_orphans(self) -> None:
        if ended := processes.end_home(self._home, besides=self._instance):
            log.warning("ended what a killed supervisor had left", processes=ended)

    async def _start(self) -> None:
        operator = digest(operators_key(self._home))
        self._settings = self._settings.model_copy(update={"operator_sha256": operator})
        outside: str | None = None
        if self._embeds_nats:
            budget = stream_budget(self._settings)
            self._broker = EmbeddedBroker(self._settings)
            self._broker.write()
            self._logins, outside, trust = self._broker.logins, self._broker.outside_url, self._broker.trust
            told = {"nats_url": self._broker.url(permissions.SUPERVISOR), "stream_bytes": budget}
            told |= {"nats_ca": trust.ca, "nats_tls_name": trust.name}
            self._settings = self._settings.model_copy(update=told)
        elif self._settings.nats_logins is not None:
            self._logins = Logins.of_file(self._settings.nats_logins)
            outside = self._logins.urls.get(OUTSIDE)
            url = self._logins.urls[permissions.SUPERVISOR]
            self._settings = self._settings.model_copy(update={"nats_url": url})
        assert self._settings.nats_url is not None
        self._state = PlatformState(
            instance=self._instance,
            pid=os.getpid(),
            pid_started=psutil.Process().create_time(),
            phase="starting",
            http=f"http://{_shown(self._settings.http_host)}:{self._settings.http_port}",
            nats_url=self._settings.nats_url,
            nats_ca=self._settings.nats_ca,
            nats_tls_name=self._settings.nats_tls_name,
            outside_nats_url=outside,
            sql_url=self._settings.sql_url,
            config=self._settings.config,
            ray_dashboard=None,
            started_at=now(),
            detail="nats",
        )
        self._tell("starting", "nats")
        if self._broker is not None:
            await self._start_nats()
            self._letting_in = asyncio.create_task(self._let_in(self._broker))
        self._ray_began = _clock()
        await self._start_ray()

    async def _start_nats(self) -> None:
        assert self._broker is not None
        self._nats_began = _clock()
        command = [server.binary(), "-c", str(self._broker.config)]
        self._broker.starting()
        self._nats = await self._spawn(command, "nats-server", server.environment())
        where = self._home / "logs" / "nats.log"
        await _answers(self._broker.port, self._nats, 10, "nats-server", where, self._broker.host)
        self._broker.started()
        self._tell_version(self._broker)

    async def _let_in(self, broker: EmbeddedBroker) -> None:
        """Follow who is let in by NATS, and the certificate that it shows."""
        while True:
            await broker.changed()
            self._tell_version(broker)

    def _tell_version(self, broker: EmbeddedBroker) -> None:
        assert self._state is not None
        self._state = self._state.model_copy(update={"nats_users": broker.version})
        self._write_state()

    async def _start_ray(self) -> None:
        if self._settings.ray_address is not None:
            address, dashboard = self._settings.ray_address, None
            environment: dict[str, str] = {}
        else:
            head = await asyncio.to_thread(ray_head.plan, self._home)
            address, dashboard, environment = head.address, head.dashboard, head.environment
            self._ray = await self._spawn(head.command, "ray", head.environment)
        self._ray_environment, self._ray_address = environment, address
        assert self._state is not None
        self._state = self._state.model_copy(update={"ray_dashboard": dashboard})
        self._tell("starting", "ray")
        if self._ray is not None:
            await _answers(int(address.rsplit(":", 1)[1]), self._ray, 60, "ray", self._home / "logs" / "ray.log")
        await self._start_host()

    async def _start_host(self) -> None:
        command = [sys.executable, "-m", "devskyy.supervisor.host", self._ray_address]
        self._host = await self._spawn(command, "host", self._ray_environment, piped=True)
        assert self._host.stdin is not None
        with contextlib.suppress(ConnectionError):  # it ended at once, which is seen to while watching
            self._host.stdin.write(f"{self._settings.dump()}\n{self._logins.dump()}\n".encode())
            await self._host.stdin.drain()
        if self._hearing is not None:
            self._hearing.cancel()
        self._hearing = asyncio.create_task(self._hear(self._host))

    async def _hear(self, host: asyncio.subprocess.Process) -> None:
        """Follow what the host says until it is ready, then wait until a task could really come in."""
        assert host.stdout is not None
        async for line in host.stdout:
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                if waiting := said.get("waiting"):
                    self._tell("starting", waiting)
                if said.get("ready"):
                    self._tell("starting", "the HTTP door")
                    await self._doors_open()

    async def _doors_open(self) -> None:
        url = f"http://127.0.0.1:{self._settings.http_port}/health/ready"
        async with httpx.AsyncClient(timeout=2) as http:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if (await http.get(url)).status_code == 200:
                        break
                await asyncio.sleep(0.05)
        self._ready = self._was_ready = True
        self._attempts = 0
        self._tell("ready", None)

    # -- watching ----------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while not await self._stopped_within(WATCH_S if self._ready else 0.2):
            if self._nats is not None and self._nats.returncode is not None:
                await self._restart_nats()
            if why := self._why_ray_anew():
                await self._restart_ray(why)
            elif self._host is not None and self._host.returncode is not None:
                await self._restart_host()
            shut = await self._see_to_the_door() if self._ready else None
            dumb = await self._see_to_jetstream() if self._embeds_nats and self._was_ready else None
            if self._ready:
                self._tell_health(dumb or shut or (self._broker.trouble if self._broker is not None else None))

    async def _see_to_the_door(self) -> str | None:
        """What is wrong with HTTP, if anything; Ray is started anew when it has been for long."""
        await self._end_strays()
        self._shut_since = None if await self._http_answers() else self._shut_since or _clock()
        if _lasts(self._shut_since, HTTP_PATIENCE_S):
            await self._restart_ray(f"nothing answered over HTTP for {HTTP_PATIENCE_S:g} s")
        return "nothing answers over HTTP" if _lasts(self._shut_since, DEGRADED_AFTER_S) else None

    async def _see_to_jetstream(self) -> str | None:
        """What is wrong with JetStream, if anything; nats-server is started anew where that may help."""
        room = self._disk_has_room()
        works = room and await self._jetstream_works()
        self._dumb_since = None if works else self._dumb_since or _clock()
        silent = _lasts(self._dumb_since, DEGRADED_AFTER_S)
        if room and (self._disk_was_full or (silent and _lasts(self._nats_began, DEGRADED_AFTER_S))):
            await self._revive_jetstream()
        elif works:
            self._nats_trouble = None
        self._disk_was_full = not room
        if not room:
            return f"the disk under {self._home} is full: new tasks are refused; free some space"
        return self._nats_trouble or ("JetStream does not answer" if silent else None)

    async def _stopped_within(self, timeout_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), timeout_s)
        return self._stop.is_set()

    def _tell_health(self, trouble: str | None) -> None:
        """What the checks say is what is told, so that nothing stays told that is over."""
        assert self._state is not None
        phase: Phase = "degraded" if trouble else "ready"
        if (self._state.phase, self._state.detail) != (phase, trouble):
            self._tell(phase, trouble)

    async def _end_strays(self) -> None:
        if strays := await asyncio.to_thread(processes.stray_haproxies, self._home):
            log.warning("ending proxies whose manager died", pids=[p.pid for p in strays])
            await asyncio.to_thread(processes.kill, strays)

    def _why_ray_anew(self) -> str | None:
        """Why Ray must be started anew, if it must.

        Raises:
            StartError: the platform was never ready, and its time is over.
        """
        if not self._ready and _lasts(self._ray_began, START_PATIENCE_S):
            assert self._state is not None
            why = f"not ready within {START_PATIENCE_S:g} s: waited for {self._state.detail}"
            if not self._was_ready:
                raise StartError(why, f"see `devskyy doctor`, and the logs in {self._home / 'logs'}")
            return why
        if self._ray is not None and self._ray.returncode is not None:
            return "ray ended"
        return self._ray_trouble

    async def _http_answers(self) -> bool:
        url = f"http://127.0.0.1:{self._settings.http_port}/health/live"
        try:
            # Without TLS to make ready, which takes 20 ms each time and is not used on loopback.
            async with httpx.AsyncClient(timeout=5, verify=False) as http:
                return (await http.get(url)).status_code == 200
        except httpx.HTTPError:
            return False

    async def _jetstream_works(self) -> bool:
        """Whether JetStream answers. After a full disk it may refuse writes until the server is started anew."""
        assert self._settings.nats_url is not None
        try:
            if self._bus is None:
                self._bus = await Bus(self._settings.nats_url, "supervisor", trust=Trust.of(self._settings)).connect(
                    patience_s=1
                )
            await self._bus.js.account_info()
            return True
        except (DevSkyyError, nats.errors.Error, nats.js.errors.Error, TimeoutError):
            return False

    def _disk_has_room(self) -> bool:
        return shutil.disk_usage(self._home / "nats").free >= ENOUGH_DISK

    async def _revive_jetstream(self) -> None:
        log.warning("JetStream is off and there is room; starting nats-server anew")
        assert self._nats is not None
        await _ended(self._nats, grace_s=5)
        await self._restart_nats()

    async def _restart_nats(self) -> None:
        log.warning("nats-server ended; starting it anew", code=self._nats.returncode if self._nats else None)
        await asyncio.sleep(RESTART_PAUSE_S)
        try:
            await self._start_nats()
            self._nats_trouble = None
        except (StartError, OSError) as error:
            self._nats_trouble = str(error)

    async def _restart_host(self) -> None:
        if not self._was_ready:
            raise StartError(
                f"the fleet could not be started:\n{tail(self._home / 'logs' / 'host.out')}",
                "see `devskyy doctor`, and the logs in " + str(self._home / "logs"),
            )
        log.warning("the host ended; starting it anew")
        await asyncio.sleep(RESTART_PAUSE_S)
        try:
            await self._start_host()
        except OSError as error:
            log.warning("the host could not be started; trying again", error=str(error))

    async def _restart_ray(self, reason: str) -> None:
        """Once the platform was ready, this is tried for as long as it takes.

        Raises:
            StartError: it never was, and cannot be started.
        """
        pause_s = min(RESTART_PAUSE_S * 2**self._attempts, LONGEST_PAUSE_S)
        log.warning("starting Ray, Serve and the fleet anew", reason=reason, pause_s=pause_s)
        self._ready = False
        self._shut_since = None
        self._attempts += 1
        if self._hearing is not None:
            self._hearing.cancel()
        await asyncio.to_thread(processes.kill, await self._all_but_nats())
        self._ray = self._host = None
        if await self._stopped_within(pause_s):
            return
        if self._was_ready:
            self._ray_began = _clock()
        try:
            await self._start_ray()
            self._ray_trouble = None
        except (StartError, OSError) as error:
            if not self._was_ready:
                raise
            self._ray_trouble = str(error)
            self._tell("degraded", f"Ray could not be started and is tried again: {error}")

    async def _all_but_nats(self) -> list[psutil.Process]:
        spared = {os.getpid(), self._nats.pid if self._nats else 0}
        return [p for p in await asyncio.to_thread(processes.of_home, self._home) if p.pid not in spared]

    # -- ending ------------------------------------------------------------------------------------------------

    async def _shut_down(self) -> None:
        if self._letting_in is not None:
            self._letting_in.cancel()
        if self._state is not None:
            self._tell("stopping", None)
        await self._drain()
        # The actors are done; nothing under Ray holds state, and its own orderly end takes many seconds.
        await asyncio.to_thread(processes.kill, await self._all_but_nats())
        if self._bus is not None:
            await self._bus.close(grace_s=1)
        if self._nats is not None:
            await _ended(self._nats, grace_s=5)
        await asyncio.to_thread(processes.end_home, self._home, None, 2.0)
        shutil.rmtree(ray_head.folder(self._home), ignore_errors=True)
        clear_state(self._home)

    async def _drain(self) -> None:
        """Ask the host to let the actors finish; a word, because Ray takes SIGTERM for a crash."""
        if self._host is None or self._host.returncode is not None or self._host.stdin is None:
            return
        with contextlib.suppress(ConnectionError, TimeoutError):
            self._host.stdin.write(b"stop\n")
            await self._host.stdin.drain()
            await asyncio.wait_for(self._host.wait(), DRAIN_PATIENCE_S)

    # -- processes ---------------------------------------------------------------------------------------------

    async def _spawn(
        self, command: list[str], name: str, environment: dict[str, str] | None = None, piped: bool = False
    ) -> asyncio.subprocess.Process:
        """Start a child in a session of its own, so that Ctrl-C reaches the supervisor alone; its output is logged."""
        merged = {**os.environ, **processes.marks(self._instance, self._home), **(environment or {})}
        with _log_file(self._home / "logs" / f"{name}.out") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                env=merged,
                cwd=self._home,
                stdin=asyncio.subprocess.PIPE if piped else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if piped else output,
                stderr=output,
                start_new_session=True,
            )
        processes.record_session(self._home, self._instance, process.pid)
        return process

    def _tell(self, phase: Phase, detail: str | None) -> None:
        assert self._state is not None
        if self._stop.is_set() and phase != "stopping":
            return
        self._state = self._state.model_copy(update={"phase": phase, "detail": detail})
        self._write_state()
        log.info("platform", phase=phase, detail=detail)
        self._on_state(self._state)

    def _write_state(self) -> None:
        assert self._state is not None
        with contextlib.suppress(OSError):  # on a full disk the platform goes on with the state that was written last
            write_state(self._home, self._state)


def _shown(host: str) -> str:
    """Where it is reached from this machine."""
    own = "127.0.0.1" if host == EVERY_INTERFACE else host
    return f"[{own}]" if ":" in own else own


@contextlib.contextmanager
def _log_file(path: Path) -> Iterator[IO[bytes]]:
    """What a child prints; kept small by starting over when it has grown beyond 10 MB."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > logs.MAX_BYTES:
        path.replace(path.with_suffix(".out.1"))
    with path.open("ab") as file:
        yield file


def _clock() -> float:
    return asyncio.get_running_loop().time()


def _lasts(since: float | None, longer_than_s: float) -> bool:
    return since is not None and _clock() - since > longer_than_s


async def _answers(
    port: int,
    process: asyncio.subprocess.Process,
    timeout_s: float,
    name: str,
    where: Path,
    host: str = "127.0.0.1",
) -> None:
    """Wait until a child listens on its port.

    Raises:
        StartError: it ended first, or the time is over; says where its log is.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while loop.time() < deadline and process.returncode is None:
        with contextlib.suppress(OSError):
            socket.create_connection((host, port), timeout=1).close()
            return
        await asyncio.sleep(0.03)
    how = f"ended with code {process.returncode}" if process.returncode is not None else f"took over {timeout_s:g} s"
    raise StartError(f"{name} {how}:\n{tail(where)}", f"read {where}; free disk or memory if that is what it says")


async def _ended(process: asyncio.subprocess.Process, grace_s: float) -> None:
    """Ask a child to end, and kill it when it takes too long."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), grace_s)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        with contextlib.suppress(DevSkyyError):
            await process.wait()
