"""One task through each door of a real platform: command line, HTTP, SDK, and a NATS client with nothing of ours."""

import asyncio
import json
from typing import Any

import httpx
import msgpack
import nats
import pytest

from devskyy import AsyncClient, Client
from tests.live import LivePlatform, until

PROMPT = "Greet a customer in one short sentence"
SHORT = 48
"""Tokens of an answer at the most, at the doors where one can say so: the embedded model may go on for a minute."""

pytestmark = pytest.mark.platform


def check(task: dict[str, Any]) -> None:
    """The task of the contract, served by the embedded model."""
    assert task["status"] == "completed", task["error"]
    assert (task["tier"], task["shape"]) == ("simple", "direct")
    assert task["answer"].strip()
    assert task["created_at"] <= task["finished_at"]
    receipt = task["receipt"]
    assert receipt["cost_usd"] == 0
    assert receipt["agents"] == 1
    assert receipt["premium_service"] == "claude-opus"
    assert receipt["premium_cost_usd"] > 0
    assert receipt["saved_usd"] == receipt["premium_cost_usd"]
    (call,) = receipt["calls"]
    assert (call["service"], call["model"]) == ("local", "smollm2-135m-instruct")
    assert call["prompt_tokens"] > 0
    assert call["completion_tokens"] > 0
    assert not call["cached"]
    assert not call["replayed"]
    # The services before it were passed over, each with its reason
    assert call["fallback_from"]
    assert all(": no key" in reason for reason in call["fallback_from"])
    # How good it is was measured, and it is said by what means
    assert 0 <= task["quality"]["overall"] <= 1
    assert task["quality"]["means"]["overall"] == ["checks", "embeddings"]


def test_the_command_line_prints_one_json_document_with_the_whole_task(platform: LivePlatform) -> None:
    done = platform.cli("run", PROMPT, "--json")
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout))


def test_the_command_line_reads_the_prompt_from_standard_input(platform: LivePlatform) -> None:
    done = platform.cli("run", "-", "--json", stdin=PROMPT)
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout))


def test_http_with_prefer_wait_returns_the_whole_task(platform: LivePlatform) -> None:
    reply = httpx.post(
        f"{platform.url}/api/v1/tasks",
        json={"prompt": PROMPT, "max_tokens": SHORT},
        headers={"Prefer": "wait=60"},
        timeout=70,
    )
    assert reply.status_code == 200
    assert reply.headers["preference-applied"] == "wait=60"
    check(reply.json())


def test_http_without_waiting_accepts_and_the_task_is_visible_at_once(platform: LivePlatform) -> None:
    # When a task is accepted
    reply = httpx.post(f"{platform.url}/api/v1/tasks", json={"prompt": PROMPT, "max_tokens": SHORT}, timeout=10)
    assert reply.status_code == 202
    accepted = reply.json()
    assert reply.headers["location"] == accepted["links"]["self"]
    # Then the very next request finds it
    now = httpx.get(platform.url + accepted["links"]["self"], timeout=10)
    assert now.status_code == 200
    # And its events lead to the end, counted from 1
    lines = httpx.get(platform.url + accepted["links"]["events"], timeout=90).text.splitlines()
    ids = [int(line.removeprefix("id: ")) for line in lines if line.startswith("id: ")]
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert ids == list(range(1, len(ids) + 1))
    assert (names[0], names[-1]) == ("accepted", "completed")
    last = json.loads(next(line for line in reversed(lines) if line.startswith("data: ")).removeprefix("data: "))
    check(last["task"])
    # And a reader that was cut off goes on where it stopped
    headers = {"Last-Event-ID": str(ids[-2])}
    rest = httpx.get(platform.url + accepted["links"]["events"], headers=headers, timeout=30).text
    assert [line for line in rest.splitlines() if line.startswith("id: ")] == [f"id: {ids[-1]}"]


def test_the_sdk_runs_a_task_and_streams_its_events(platform: LivePlatform) -> None:
    with Client(platform.url) as client:
        check(json.loads(client.run(PROMPT, max_tokens=SHORT).model_dump_json()))
        accepted = client.submit(PROMPT, max_tokens=SHORT)
        names = [event["event"] for event in client.events(accepted.task_id)]
    assert (names[0], names[-1]) == ("accepted", "completed")


async def test_the_asynchronous_sdk_runs_tasks_at_the_same_time(platform: LivePlatform) -> None:
    async with AsyncClient(platform.url) as client:
        tasks = await asyncio.gather(*(client.run(f"{PROMPT} number {i}", max_tokens=SHORT) for i in range(3)))
    assert len({task.task_id for task in tasks}) == 3
    for task in tasks:
        check(json.loads(task.model_dump_json()))


async def test_a_nats_client_of_any_language_submits_and_reads_the_task(platform: LivePlatform) -> None:
    # Given what `devskyy nats-url` prints, msgpack, and a NATS library
    told = json.loads(platform.cli("nats-url", "--json").stdout)
    assert set(told) == {"url", "tenant", "submit", "events", "tokens", "workflows", "commands", "wakes"}
    connection = await nats.connect(told["url"])
    try:
        events = await connection.subscribe(told["events"])
        # When a task is submitted
        reply = await connection.request(
            told["submit"], msgpack.packb({"prompt": PROMPT, "max_tokens": SHORT}), timeout=20
        )
        accepted = msgpack.unpackb(reply.data)
        assert accepted["task_id"]
        # Then its events arrive, and the last carries the whole task
        seen = []
        while True:
            event = msgpack.unpackb((await events.next_msg(timeout=60)).data)
            if event["task_id"] == accepted["task_id"]:
                seen.append(event)
                if event["event"] in ("completed", "failed", "cancelled"):
                    break
        assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1))
        assert seen[-1]["event"] == "completed"
        task = seen[-1]["task"]
        assert task["answer"]
        assert task["receipt"]["calls"][0]["service"] == "local"
        assert task["receipt"]["calls"][0]["model"] == "smollm2-135m-instruct"
    finally:
        await connection.close()


async def test_a_nats_client_with_a_message_id_or_task_id_gets_one_task_however_often_it_sends(
    platform: LivePlatform,
) -> None:
    told = json.loads(platform.cli("nats-url", "--json").stdout)
    connection = await nats.connect(told["url"])
    try:
        body = msgpack.packb({"prompt": PROMPT, "max_tokens": SHORT})
        ids = set()
        for _ in range(3):
            reply = await connection.request(told["submit"], body, timeout=20, headers={"Nats-Msg-Id": "key-1"})
            ids.add(msgpack.unpackb(reply.data)["task_id"])
        assert len(ids) == 1
        named = msgpack.packb({"prompt": PROMPT, "max_tokens": SHORT, "task_id": "my-own-id"})
        for _ in range(2):
            reply = await connection.request(told["submit"], named, timeout=20)
            assert msgpack.unpackb(reply.data)["task_id"] == "my-own-id"
        # And two equal tasks without a key are two tasks, each answered
        replies = await asyncio.gather(*(connection.request(told["submit"], body, timeout=20) for _ in range(4)))
        assert len({msgpack.unpackb(reply.data)["task_id"] for reply in replies}) == 4
    finally:
        await connection.close()


def all_answered(platform: LivePlatform) -> dict[str, Any]:
    """A status that every part has answered for; each has a second to, which is little on a busy machine."""

    def look() -> dict[str, Any] | None:
        status = platform.json("status")
        return status if status["ready"] and "does not answer" not in json.dumps(status) else None

    return dict(until(look, 60, "a status of parts that all answered"))


def test_status_agents_services_and_tasks_tell_what_is_there(platform: LivePlatform) -> None:
    status = all_answered(platform)
    assert status["ready"] is True
    assert status["http"] == platform.url
    assert status["ray_dashboard"].startswith("http://127.0.0.1:")
    agents = {a["name"]: a["state"] for a in status["agents"] if a["kind"] == "agent"}
    assert agents == dict.fromkeys(("cerebras-ultra", "gemini-flash", "groq-lightning", "scaleway-eu"), "up")
    specialists = [a["state"] for a in status["agents"] if a["kind"] == "specialist"]
    assert len(specialists) == 24
    assert set(specialists) <= {"up", "standby"}
    services = {s["name"]: s for s in status["services"]}
    assert services["local"]["state"] == "available"
    assert services["groq"]["state"] == "unavailable"
    assert "no key" in services["groq"]["reason"]
    listed = platform.json("tasks", "list")
    assert listed["tasks"]


def test_the_ray_dashboard_shows_every_actor_by_its_name(platform: LivePlatform) -> None:
    # Given the token that Ray asks of everybody
    token = (platform.home / "ray.token").read_text()
    assert (platform.home / "ray.token").stat().st_mode & 0o777 == 0o600
    base = platform.state.ray_dashboard
    # When its list of actors is read
    reply = httpx.get(f"{base}/api/v0/actors?limit=1000", headers={"Authorization": f"Bearer {token}"}, timeout=30)
    # Then the fleet is there under its own names
    found = [actor["name"] for actor in reply.json()["data"]["result"]["result"]]
    names = {name for process in found for name in process.split("+")}  # two that share a process are shown as one
    assert {"coordinator-0", "gateway-0", "models", "intake", "projector", "agent-groq-lightning"} <= names
    # And without the token nothing is shown
    assert httpx.get(f"{base}/api/v0/actors", timeout=30).status_code in (401, 403)


def test_metrics_count_what_was_answered(platform: LivePlatform) -> None:
    httpx.get(f"{platform.url}/health/live", timeout=10)

    def actors_up() -> str | None:
        text = httpx.get(f"{platform.url}/metrics", timeout=10).text
        return text if 'devskyy_actor_up{actor="coordinator-0"} 1.0' in text else None

    text = until(actors_up, 60, "a coordinator that answers")
    assert 'devskyy_http_requests_total{method="GET",route="/health/live",status="200"}' in text
