"""Bad input at every door of a real platform: an error with cause and remedy; nothing started, nothing lost."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import msgpack
import nats
import pytest
from nats.js.api import DeliverPolicy

from bus import server
from bus.client import Bus
from bus.streams import ALERTS, DEAD, TASKS
from bus.subjects import TaskEvents
from tests.live import LivePlatform, free_port, until

pytestmark = pytest.mark.platform


def problem(reply: httpx.Response) -> dict[str, Any]:
    assert reply.headers["content-type"] == "application/problem+json"
    body = dict(reply.json())
    assert body["status"] == reply.status_code
    assert {"type", "title", "detail"} <= set(body)
    return body


def accepted(live: LivePlatform) -> int:
    """How many tasks were ever accepted: from the log itself, for lists are a little late."""
    return live.messages(TASKS, TaskEvents.pattern(event="accepted"))


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"prompt": ""}, 422, "prompt"),
        ({"prompt": "   \n"}, 422, "prompt"),
        ({}, 422, "prompt"),
        ({"prompt": 5}, 422, "prompt"),
        ({"prompt": "x", "tier": "enormous"}, 422, "tier"),
        ({"prompt": "x", "tier": "huge"}, 422, "tier"),
        ({"prompt": "x", "max_cost_usd": -1}, 422, "max_cost_usd"),
        ({"prompt": "x", "max_cost_usd": "much"}, 422, "max_cost_usd"),
        ({"prompt": "x", "min_quality": 7}, 422, "min_quality"),
        ({"prompt": "x", "timeout_s": 0}, 422, "timeout_s"),
        ({"prompt": "x", "agents": 0}, 422, "agents"),
        ({"prompt": "x", "tier": "complex", "agents": 13}, 422, "agents"),
        ({"prompt": "x", "agent": "cerebras-ultra", "tier": "mega"}, 422, "agent"),
        ({"prompt": "x", "promt": "y"}, 422, "promt"),
        ({"prompt": "x", "inputs": [{"kind": "text", "name": "a"}]}, 422, "inputs.0"),
        ({"prompt": "x", "inputs": [{"kind": "image", "name": "a", "base64": "§"}]}, 422, "inputs.0"),
        ([1, 2], 422, ""),
    ],
)
def test_a_bad_field_is_named_and_nothing_is_started(
    body: Any, status: int, field: str, platform: LivePlatform
) -> None:
    before = accepted(platform)
    found = problem(httpx.post(f"{platform.url}/api/v1/tasks", json=body, timeout=10))
    assert found["status"] == status
    assert field in [error["field"] for error in found["errors"]]
    assert accepted(platform) == before


def test_a_prompt_of_five_megabytes_is_refused_with_both_sizes(platform: LivePlatform) -> None:
    found = problem(httpx.post(f"{platform.url}/api/v1/tasks", json={"prompt": "x" * 5_000_000}, timeout=30))
    assert found["status"] == 413
    assert "5,000,000" in found["detail"]
    assert "262,144" in found["detail"]


def test_a_body_beyond_every_limit_is_refused_before_it_is_read(platform: LivePlatform) -> None:
    found = problem(httpx.post(f"{platform.url}/api/v1/tasks", content=b"x" * 40_000_000, timeout=60))
    assert found["status"] == 413


def test_what_is_no_json_is_refused_as_such(platform: LivePlatform) -> None:
    reply = httpx.post(
        f"{platform.url}/api/v1/tasks", content=b'{"prompt": ', headers={"content-type": "application/json"}, timeout=10
    )
    assert problem(reply)["status"] == 400


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("GET", "/events")])
@pytest.mark.parametrize("task_id", ["nobody-knows-this", "a b*c>", "x" * 120])
def test_an_unknown_task_is_not_found(method: str, path: str, task_id: str, platform: LivePlatform) -> None:
    found = problem(httpx.request(method, f"{platform.url}/api/v1/tasks/{task_id}{path}", timeout=10))
    assert found["status"] == 404


def test_an_unknown_page_and_a_wrong_method_are_problems_too(platform: LivePlatform) -> None:
    assert problem(httpx.get(f"{platform.url}/nowhere", timeout=10))["status"] == 404
    assert problem(httpx.patch(f"{platform.url}/api/v1/tasks", timeout=10))["status"] == 405


def test_a_bad_cursor_limit_or_event_number_is_named(platform: LivePlatform) -> None:
    base = f"{platform.url}/api/v1/tasks"
    assert problem(httpx.get(f"{base}?limit=0", timeout=10))["status"] == 422
    assert problem(httpx.get(f"{base}?cursor=nonsense", timeout=10))["errors"][0]["field"] == "cursor"
    task = httpx.post(base, json={"prompt": "hello"}, timeout=10).json()["task_id"]
    wrong = httpx.get(f"{base}/{task}/events", headers={"Last-Event-ID": "nine"}, timeout=10)
    assert problem(wrong)["errors"][0]["field"] == "Last-Event-ID"
    httpx.delete(f"{base}/{task}", timeout=10)


async def test_a_nats_message_that_cannot_be_decoded_is_kept_with_the_reason_and_an_alert(
    platform: LivePlatform,
) -> None:
    # Given the operator's view of the dead letters and alerts
    bus = await Bus(platform.state.nats_url, "test").connect()
    outside = await nats.connect(platform.state.outside_nats_url)
    try:
        new = {"ordered_consumer": True, "deliver_policy": DeliverPolicy.NEW}
        dead = await bus.js.subscribe("devskyy.v1.dead.>", stream=DEAD, **new)
        alerts = await bus.js.subscribe("devskyy.v1.alerts.>", stream=ALERTS, **new)
        for garbage in (b"\xc1 no msgpack", msgpack.packb([1, 2]), msgpack.packb({"prompt": ""})):
            # When it arrives
            reply = msgpack.unpackb((await outside.request("devskyy.v1.submit.default", garbage, timeout=15)).data)
            # Then its sender is told
            assert reply["status"] in (400, 422)
            assert reply["detail"]
            # And its bytes are kept with the reason, and an operator is alerted
            kept = msgpack.unpackb((await dead.next_msg(timeout=30)).data)
            assert kept["data"] == garbage
            assert kept["reason"]
            alert = msgpack.unpackb((await alerts.next_msg(timeout=30)).data)
            assert alert["title"] == "a message could not be used"
    finally:
        await outside.close()
        await bus.close()


def start(home: Path, port: int, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("DEVSKYY_")}
    clean |= {"DEVSKYY_HOME": str(home), "DEVSKYY_HTTP_PORT": str(port), **environment}
    return subprocess.run(
        [sys.executable, "-m", "devskyy", "up", "--detach"],
        env=clean,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def nothing_started(home: Path) -> bool:
    return not LivePlatform(home).processes()


def test_an_overlay_with_a_misspelt_key_names_file_key_and_the_nearest(home: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("services:\n  my-model:\n    modle: openai/x\n    api_key_env: none\n")
    done = start(home, free_port(), DEVSKYY_CONFIG=str(overlay))
    assert done.returncode == 2
    for word in ("mine.yaml", "modle", "model"):
        assert word in done.stderr
    assert nothing_started(home)


def test_a_taken_port_is_named_with_the_remedy(home: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        done = start(home, port)
    assert done.returncode == 1
    assert f"port {port} is taken" in done.stderr
    assert "DEVSKYY_HTTP_PORT" in done.stderr
    assert nothing_started(home)


def test_a_home_that_cannot_be_written_is_named_with_the_remedy(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("no folder")
    done = start(blocker / "home", free_port())
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "DEVSKYY_HOME" in done.stderr


def test_a_host_that_others_can_reach_is_refused_without_a_key(home: Path) -> None:
    done = start(home, free_port(), DEVSKYY_HTTP_HOST="0.0.0.0")
    assert done.returncode == 1
    assert "there is no API key" in " ".join(done.stderr.split())
    assert nothing_started(home)


def test_a_secret_of_tokens_that_can_be_guessed_is_refused(home: Path) -> None:
    done = start(home, free_port(), JWT_SECRET_KEY="twelve bytes")
    assert done.returncode == 1
    assert "JWT_SECRET_KEY has 12 bytes" in " ".join(done.stderr.split())
    assert "openssl rand -hex 32" in " ".join(done.stderr.split())
    assert "twelve bytes" not in done.stderr
    assert nothing_started(home)


def test_a_ray_cluster_with_a_loopback_broker_is_refused_with_the_remedy(home: Path) -> None:
    done = start(home, free_port(), DEVSKYY_RAY_ADDRESS="10.1.2.3:6379")
    assert done.returncode == 1
    assert "DEVSKYY_NATS_URL" in done.stderr
    assert nothing_started(home)


def test_a_bad_variable_is_named_with_its_rule(home: Path) -> None:
    done = start(home, 8000, DEVSKYY_HTTP_PORT="many")
    assert done.returncode == 2
    assert "DEVSKYY_HTTP_PORT" in done.stderr


def test_a_second_start_with_the_same_home_is_refused_and_harms_nothing(platform: LivePlatform) -> None:
    before = platform.state.pid
    done = platform.cli("up", "--detach")
    assert done.returncode == 1
    assert "runs already" in done.stderr
    assert platform.state.pid == before
    assert platform.ready()


def test_commands_say_when_nothing_runs(home: Path) -> None:
    idle = LivePlatform(home)
    for words in (("run", "hello"), ("status",), ("tasks", "list"), ("nats-url",), ("down",)):
        done = idle.cli(*words)
        assert done.returncode == 4, words
    assert json.loads(idle.cli("status", "--json").stdout)["ready"] is False


def test_credentials_and_state_are_for_their_owner_only(platform: LivePlatform) -> None:
    for name in ("credentials.json", "ray.token", "run/platform.json", "nats/nats.conf"):
        assert (platform.home / name).stat().st_mode & 0o777 == 0o600, name
    secrets = server.Credentials.of_home(platform.home)
    for path in (platform.home / "logs").iterdir():
        text = path.read_text(errors="replace")
        assert not any(password in text for password in secrets.passwords.values()), path


def test_everything_that_is_meant_to_listens_on_loopback_and_strangers_are_refused(platform: LivePlatform) -> None:
    # Given the sockets of the broker and the proxy
    open_wide = []
    for process in platform.processes():
        if process.name() in ("nats-server", "haproxy"):
            for connection in process.net_connections("tcp"):
                if connection.status == "LISTEN" and not connection.laddr.ip.startswith("127."):
                    open_wide.append((process.name(), connection.laddr))
    # Then none of them listens wider
    assert open_wide == []
    # And the replica's own port, which Ray opens on every interface, refuses other machines
    replica = platform.process("ray::ServeReplica:devskyy")
    address = next((a for a in socket.gethostbyname_ex(socket.gethostname())[2] if not a.startswith("127.")), None)
    if address is not None:
        ports = [c.laddr.port for c in replica.net_connections("tcp") if c.status == "LISTEN"]
        answers = []
        for port in ports:
            try:
                answers.append(httpx.get(f"http://{address}:{port}/health/live", timeout=5).status_code)
            except httpx.HTTPError:
                answers.append(None)
        assert 200 not in answers


def test_the_platform_is_still_ready_after_all_of_this(platform: LivePlatform) -> None:
    assert until(platform.ready, 30, "a ready platform") is True
