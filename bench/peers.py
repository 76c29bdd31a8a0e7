"""The other side of a comparison, in environments of its own under `.bench/`, made the first time and kept.

python -m bench.peers        makes them and says where they are
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml
from rich.console import Console

from tests.live import free_port

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".bench"
START_S = 120.0
END_S = 15.0

progress = Console(stderr=True)


def environment(name: str, *requirements: str) -> Path:
    """The `bin` folder of an environment that has the requirements.

    Raises:
        subprocess.CalledProcessError: it cannot be installed; pip has said why.
    """
    place = FOLDER / name
    made, wanted = place / "made-of", "\n".join(requirements)
    if not (made.exists() and made.read_text() == wanted):
        progress.print(f"making an environment for {', '.join(requirements)}, a minute or so …")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *requirements], check=True)
        made.write_text(wanted)
    return place / "bin"


def litellm_version() -> str:
    """The version of the library that we are built on: both sides are of the same day."""
    found = re.search(r"^litellm==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert found, "constraints.txt pins no litellm"
    return found.group(1)


def litellm_environment() -> Path:
    return environment("litellm", f"litellm[proxy]=={litellm_version()}")


def py_spy() -> Path:
    """The sampling profiler: ours where the environment has it."""
    here = Path(sys.executable).with_name("py-spy")
    return here if here.exists() else environment("tools", "py-spy") / "py-spy"


@dataclass(frozen=True)
class Proxy:
    """A LiteLLM proxy that runs."""

    url: str
    pid: int
    workers: int


def configuration(models: dict[str, str], key: str | None) -> dict[str, object]:
    """What its documentation says is fast: nothing that logs, stores, alerts or counts; no retries, no cooldowns.

    Args:
        models: the provider's base URL for each.
        key: its master key, which every request then must bring; None: nothing is looked up.
    """
    rest = {"model": "openai/instant", "api_key": "none"}
    return {
        "model_list": [
            {"model_name": name, "litellm_params": {**rest, "api_base": base}} for name, base in models.items()
        ],
        "litellm_settings": {"request_timeout": 600, "num_retries": 0, "set_verbose": False, "callbacks": []},
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
        "general_settings": {"disable_spend_logs": True, "disable_error_logs": True, "infer_model_from_keys": False}
        | ({"master_key": key} if key is not None else {}),
    }


def _surroundings() -> dict[str, str]:
    strange = ("_API_KEY", "DATABASE_URL", "REDIS", "LITELLM", "PYTHON")
    clean = {name: value for name, value in os.environ.items() if not any(word in name for word in strange)}
    return clean | {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it fetches prices when it starts
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        # Without a key it looks none up, which is its fastest; nobody but this machine can ask it.
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        "NO_PROXY": "127.0.0.1",
    }


@contextmanager
def litellm_proxy(models: dict[str, str], workers: int, key: str | None = None) -> Iterator[Proxy]:
    """LiteLLM's proxy on a loopback port, for as long as the block runs.

    On uvicorn, its default and what its documentation recommends; granian was as fast here.

    Raises:
        RuntimeError: it does not start; says what it wrote.
    """
    program, port = litellm_environment() / "litellm", free_port()
    with tempfile.TemporaryDirectory(prefix="dsky-bench-") as folder:
        config, log = Path(folder) / "config.yaml", Path(folder) / "log"
        config.write_text(yaml.safe_dump(configuration(models, key)))
        command = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        command += ["--num_workers", str(workers), "--telemetry", "False"]
        with log.open("w") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, cwd=folder, env=_surroundings(), start_new_session=True
            )
        try:
            proxy = Proxy(f"http://127.0.0.1:{port}", process.pid, workers)
            _wait_ready(proxy, process, log)
            yield proxy
        finally:
            _end(process)


def _wait_ready(proxy: Proxy, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{proxy.url}/health/liveliness", timeout=5).status_code == 200:
                return
        time.sleep(0.2)
    raise RuntimeError(f"LiteLLM's proxy did not start:\n{log.read_text(errors='replace')[-3000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it with its workers: they are in the session that it was started in, which has its id."""
    for ending in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, ending)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)


if __name__ == "__main__":
    print(litellm_environment())
    print(py_spy())
