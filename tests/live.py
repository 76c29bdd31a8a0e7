"""A real platform of a test run's own: real nats-server, real Ray, real Serve, one simulated provider.

Its home, ports and processes are its own, so it runs beside any other. What its logs say is printed when a test fails.
"""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from bus.accounts import PLATFORM
from bus.client import Bus
from bus.streams import CACHE
from devskyy.supervisor import processes
from devskyy.supervisor.state import PlatformState, read_state
from tests.simulators.openai import OpenAISimulator

START_S = 150.0


def free_port() -> int:
    """A port that nobody holds, and that no outgoing connection is given before somebody listens there."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def overlay(sim: OpenAISimulator, **service: Any) -> dict[str, Any]:
    """An overlay file that lets only the simulator serve."""
    spec: dict[str, Any] = {
        "model": "openai/simulated",
        "api_base": sim.url,
        "api_key_env": "none",
        "price": {"input_per_mtok": 1.0, "output_per_mtok": 2.0},
        **service,
    }
    embeddings = {**spec, "kind": "embeddings", "model": "openai/sim-embedding"}
    services = {"simulated": spec, "simulated-embeddings": embeddings}
    return {"services": services, "routing": {"services": ["simulated"]}}


def until(condition: Callable[[], Any], timeout_s: float = 60.0, what: str = "the condition") -> Any:
    """The first true value of `condition`, asked again and again.

    Raises:
        AssertionError: it was never true.
    """
    give_up = time.monotonic() + timeout_s
    while time.monotonic() < give_up:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what} was not seen within {timeout_s:g} s")


@dataclass
class LivePlatform:
    """A platform started with `devskyy up --detach`."""

    home: Path
    port: int = field(default_factory=free_port)
    config: dict[str, Any] | None = None
    variables: dict[str, str] = field(default_factory=dict)
    """What its environment holds besides."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        keys = ("_API_KEY", "DEVSKYY_", "DATABASE_URL", "JWT_SECRET_KEY")
        clean = {name: value for name, value in os.environ.items() if not any(k in name for k in keys)}
        clean |= {"DEVSKYY_HOME": str(self.home), "DEVSKYY_HTTP_PORT": str(self.port), **self.variables}
        if self.config is not None:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self.home / "overlay.yaml"
            path.write_text(yaml.safe_dump(self.config))
            clean["DEVSKYY_CONFIG"] = str(path)
        return clean

    def cli(self, *words: str, timeout_s: float = 120.0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run `devskyy` with this platform's environment."""
        return subprocess.run(
            [sys.executable, "-m", "devskyy", *words],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def up(self) -> "LivePlatform":
        done = self.cli("up", "--detach", timeout_s=START_S)
        assert done.returncode == 0, f"{done.stderr}\n{self.logs()}"
        return self

    def down(self) -> None:
        self.cli("down", timeout_s=90)

    @property
    def state(self) -> PlatformState:
        state = read_state(self.home)
        assert state is not None
        return state

    def processes(self) -> list[psutil.Process]:
        """Every living process of this platform, the supervisor included."""
        found = processes.of_home(self.home)
        if (state := read_state(self.home)) is not None and state.alive:
            found.append(psutil.Process(state.pid))
        return found

    def process(self, name: str) -> psutil.Process:
        """The oldest living process of this platform with `name` in its title or command line."""

        def look() -> psutil.Process | None:
            matching = []
            for process in self.processes():
                try:
                    if name in " ".join(process.cmdline()) or name in process.name():
                        matching.append(process)
                except psutil.Error:
                    continue
            return min(matching, key=lambda p: p.create_time(), default=None)

        found = until(look, 30, f"a process called {name!r}")
        assert isinstance(found, psutil.Process)
        return found

    def caller(self, port: int | None) -> psutil.Process:
        """The process whose end of a connection that port is.

        Raises:
            LookupError: none of the platform's.
        """
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if any(each.laddr.port == port for each in process.net_connections("tcp")):
                    return process
        raise LookupError(f"no process of the platform holds port {port}")

    def messages(self, stream: str, subject: str = ">") -> int:
        """How many messages a stream holds on those subjects, as its broker counts them."""

        async def count() -> int:
            bus = await Bus(self.state.nats_url, "test").connect()
            try:
                info = await bus.js.stream_info(stream, subjects_filter=subject)
            finally:
                await bus.close(grace_s=0)
            return sum((info.state.subjects or {}).values())

        return asyncio.run(count())

    def cached(self, run: Callable[[], Any], answers: int = 1) -> Any:
        """What `run` returns, once the answers that it leaves in the cache are there: they are put there afterwards."""
        before = self.messages(CACHE)
        returned = run()
        until(lambda: self.messages(CACHE) >= before + answers, 30, "the answer in the cache")
        return returned

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def logs(self, lines: int = 25) -> str:
        """The ends of all logs."""
        parts = []
        for path in sorted((self.home / "logs").glob("*.*")):
            parts.append(f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-lines:]))
        return "\n".join(parts)

    def refused(self) -> list[str]:
        """What the broker refused a part of the platform; outside clients may try what they like."""
        log = self.home / "logs" / "nats.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return [line for line in lines if " Violation" in line and f'"{PLATFORM}/' in line]

    def json(self, *words: str, timeout_s: float = 120.0) -> Any:
        done = self.cli(*words, "--json", timeout_s=timeout_s)
        return json.loads(done.stdout)


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A file system of 256 MB of its own in that folder, or only the folder: who may not mount one is told False."""
    folder.mkdir(parents=True, mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=256m,mode=700", "tmpfs", str(folder)]
    mounted = (
        shutil.which("mount") is not None and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def running(home: Path, config: dict[str, Any] | None = None, **variables: str) -> Iterator[LivePlatform]:
    """A platform for as long as the block runs; nothing of it is left afterwards."""
    platform = LivePlatform(home, config=config, variables=variables)
    try:
        yield platform.up()
    finally:
        if read_state(home) is not None:
            platform.down()
        left = platform.processes()
        processes.kill(left)
        assert not platform.refused(), platform.refused()
        assert not left, f"left behind: {[p.name() for p in left]}"
