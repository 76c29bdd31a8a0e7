"""`up` and `down`: start a platform in this process or beside it, and end it."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time

from rich.console import Console
from rich.status import Status

from bus.files import tail
from devskyy.supervisor import processes
from devskyy.supervisor.checks import check, check_port
from devskyy.supervisor.state import START_PATIENCE_S, PlatformState, clear_state, read_state
from schemas.errors import StartError
from schemas.settings import Settings

READY_S = START_PATIENCE_S + 15
"""The supervisor gives up first, and says what it waited for."""
DOWN_S = 45.0

console = Console(stderr=True)


def up(settings: Settings, *, detach: bool, first_task: str | None = None) -> int:
    """Start the platform; stay until Ctrl-C, or return once it is ready with `detach`.

    Raises:
        StartError, ConfigError: it cannot start here; nothing is left running.
    """
    check(settings)
    return _detached(settings) if detach else _foreground(settings, first_task)


def down(settings: Settings) -> int:
    """End all of this home's platform, also what a killed supervisor left; 4 when nothing ran."""
    state = read_state(settings.home)
    alive = state is not None and state.alive
    if state is not None and alive:
        console.print(f"stopping the platform at {state.http} …")
        processes.interrupt(state.pid)
        processes.wait_gone(state.pid, DOWN_S)
        if (deaf := state.process) is not None:
            processes.kill([deaf])  # before its children, which it would start anew
    left = processes.end_home(settings.home)
    clear_state(settings.home)
    if not alive and not left:
        console.print("nothing runs with this home")
        return 4
    console.print("stopped")
    return 0


def _detached(settings: Settings) -> int:
    began = time.monotonic()
    state = read_state(settings.home)
    if state is not None and state.alive:
        raise StartError(f"a platform runs already at {state.http}", "use it, or end it with `devskyy down`")
    logs = settings.home / "logs"
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    output = logs / "supervisor.out"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "devskyy.supervisor"],
            env={**os.environ, "DEVSKYY_HOME": str(settings.home), "DEVSKYY_HTTP_PORT": str(settings.http_port)},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    with console.status("starting") as status:
        while time.monotonic() - began < READY_S:
            state = read_state(settings.home)
            if process.poll() is not None:
                cause = tail(output) or f"the supervisor ended with code {process.returncode}"
                cause, _, remedy = cause.partition("\n  remedy: ")
                raise StartError(cause, remedy or f"read {logs}")
            if state is not None and state.pid == process.pid:
                status.update(_line(state))
                if state.phase == "ready":
                    break
            time.sleep(0.05)
        else:
            processes.interrupt(process.pid)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(DOWN_S)
            if process.poll() is None:
                process.kill()
                processes.end_home(settings.home)
                clear_state(settings.home)
            raise StartError(f"not ready within {READY_S:g} s", f"read the logs in {logs}")
    console.print(f"ready in {time.monotonic() - began:.1f} s")
    _print_urls(state)
    return 0


def _line(state: PlatformState) -> str:
    return f"{state.phase}: {state.detail}" if state.detail else state.phase


def _print_urls(state: PlatformState) -> None:
    console.print(f"  http           {state.http}  (API documentation: {state.http}/docs)")
    if state.ray_dashboard:
        console.print(f"  ray dashboard  {state.ray_dashboard}")
    console.print("  nats           `devskyy nats-url` prints a URL for outside clients")


def _foreground(settings: Settings, first_task: str | None) -> int:
    # Half a second of imports that `--detach` leaves to the process it starts.
    from devskyy.supervisor.supervisor import Supervisor

    check_port_unless_ours(settings)
    began = time.monotonic()
    with console.status("starting") as status:
        seen: list[str] = []

        def on_state(state: PlatformState) -> None:
            status.update(f"{_line(state)}  ·  {state.http}  ·  Ctrl-C stops everything")
            if state.phase == "ready" and not seen:
                seen.append(state.phase)
                console.print(f"ready in {time.monotonic() - began:.1f} s")
                _print_urls(state)
                if first_task:
                    threading.Thread(target=_run_first, args=(state, first_task, status), daemon=True).start()

        asyncio.run(Supervisor(settings, on_state).run())
    console.print("stopped")
    return 0


def _run_first(state: PlatformState, prompt: str, status: Status) -> None:
    """Run one task as a user would, in place of the status line; it may cost nothing, so no key is used."""
    status.stop()
    console.print(f"\na first task, which may cost nothing: {prompt}\n")
    environment = {**os.environ, "DEVSKYY_URL": state.http}
    subprocess.run(
        [sys.executable, "-m", "devskyy", "run", prompt, "--max-cost-usd", "0"], env=environment, check=False
    )
    status.start()


def check_port_unless_ours(settings: Settings) -> None:
    """A port held by an orphan of this very home is freed by the start; held by anybody else, it is refused."""
    if not processes.of_home(settings.home):
        check_port(settings)
