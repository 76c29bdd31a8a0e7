"""Parts of a real platform are killed with SIGKILL while twenty tasks run, whose ends a webhook is told of."""

import random
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
import pytest
from standardwebhooks import Webhook

from actors.webhooks import courier as couriers
from devskyy import Client
from tests.live import LivePlatform, until
from tests.simulators.openai import Behaviour, OpenAISimulator
from tests.webhooks.threaded import ThreadedReceiver, told_by_thread

TASKS = 20
ENDED = ("completed", "failed", "cancelled")

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


def submit(live: LivePlatform, name: str, number: int, results: dict[str, str]) -> None:
    """Submit as a careful client does: the same key until somebody answers; then the task must be visible."""
    key = f"{name}-{number}-{time.time_ns()}"
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up:
        try:
            headers = {"Idempotency-Key": key}
            reply = httpx.post(
                f"{live.url}/api/v1/tasks", json={"prompt": f"{key}: say it"}, headers=headers, timeout=15
            )
            if reply.status_code == 202:
                results[key] = reply.json()["task_id"]
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)


def task(live: LivePlatform, task_id: str) -> dict[str, Any] | None:
    """The task, or None while nobody can be reached. One that was accepted is never unknown."""
    try:
        reply = httpx.get(f"{live.url}/api/v1/tasks/{task_id}", timeout=15)
    except httpx.HTTPError:
        return None
    assert reply.status_code != 404, f"{task_id} was accepted and is unknown"
    return dict(reply.json()) if reply.status_code == 200 else None


def terminal_events(live: LivePlatform, task_id: str) -> list[str]:
    reply = httpx.get(f"{live.url}/api/v1/tasks/{task_id}/events", timeout=30)
    names = [line.removeprefix("event: ") for line in reply.text.splitlines() if line.startswith("event: ")]
    return [name for name in names if name in ENDED]


@dataclass
class Told:
    """What a webhook was told, by the task."""

    receiver: ThreadedReceiver
    secret: str
    ids: dict[str, set[str]] = field(default_factory=dict)

    def all_of(self, tasks: Iterable[str]) -> bool:
        while not self.receiver.told.empty():
            headers, body = self.receiver.told.get()
            said = Webhook(self.secret).verify(body, headers)
            self.ids.setdefault(said["data"]["task_id"], set()).add(headers["webhook-id"])
        return self.ids.keys() >= set(tasks)


@pytest.fixture
def told(simulated: tuple[LivePlatform, OpenAISimulator]) -> Iterator[Told]:
    live, _ = simulated
    until(live.ready, 90, "a platform that is ready")
    with told_by_thread() as receiver, Client(live.url, timeout_s=15) as client:
        made = client.create_webhook(receiver.url)
        yield Told(receiver, made.secret)
        client.delete_webhook(made.webhook.id)


def kill_supervisor(live: LivePlatform) -> None:
    psutil.Process(live.state.pid).kill()
    until(lambda: not live.state.alive, 20, "the supervisor's end")
    live.up()


def kill(name: str) -> Any:
    def strike(live: LivePlatform) -> None:
        live.process(name).kill()

    return strike


VICTIMS = {
    "agents": kill("ray::AgentActor"),
    "coordinator and gateway": kill("ray::CoordinatorActorWithGateway"),
    "intake": kill("ray::IntakeActor"),
    "models": kill("ray::ModelsActor"),
    "projector": kill("ray::ProjectorActor"),
    "replica": kill("ray::ServeReplica:devskyy"),
    "nats": kill("nats-server"),
    "haproxy": kill("haproxy"),
    "raylet": kill("raylet/raylet"),
    "host": kill("devskyy.supervisor.host"),
    "supervisor": kill_supervisor,
}
SHORT = ("agents", "coordinator and gateway", "intake", "projector", "replica", "nats", "supervisor")
"""These are killed in every run."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Some victims once; with `--rounds N` each, and N times more, in an order that `--seed` repeats."""
    if "victim" in metafunc.fixturenames:
        order = random.Random(metafunc.config.getoption("--seed"))
        rounds = metafunc.config.getoption("--rounds")
        names = list(VICTIMS if rounds else SHORT)
        for _ in range(rounds):
            names += order.sample(list(VICTIMS), len(VICTIMS))
        metafunc.parametrize("victim", names)


def test_every_accepted_task_ends_exactly_once_when_a_part_is_killed(
    victim: str, simulated: tuple[LivePlatform, OpenAISimulator], sim: OpenAISimulator, told: Told
) -> None:
    live, _ = simulated
    # Given twenty tasks whose provider takes its time
    sim.behaviour = Behaviour(latency_s=2.0)
    before = len(sim.calls)
    accepted: dict[str, str] = {}
    senders = [threading.Thread(target=submit, args=(live, victim, i, accepted)) for i in range(TASKS)]
    for sender in senders:
        sender.start()
    until(lambda: sim.open >= TASKS // 2 or len(accepted) == TASKS, 60, "tasks under way")
    # When a part is killed
    VICTIMS[victim](live)
    for sender in senders:
        sender.join()
    # Then every task was accepted, and each ends
    assert len(accepted) == TASKS

    def all_ended() -> list[dict[str, Any]] | None:
        tasks = [task(live, task_id) for task_id in accepted.values()]
        return [t for t in tasks if t] if all(t and t["status"] in ENDED for t in tasks) else None

    ended = until(all_ended, 150, "the end of every task")
    until(live.ready, 90, "a platform that is ready again")
    for each in ended:
        assert each["status"] == "completed", each["error"]
        assert terminal_events(live, each["task_id"]) == ["completed"]
    # And no call that was answered was made again; what is in doubt is marked and charged
    made = sim.calls[before:]
    for key, task_id in accepted.items():
        mine = [c for c in made if key in str(c.body)]
        answered = [c for c in mine if c.status == 200 and not c.cut_by_client]
        calls = next(t for t in ended if t["task_id"] == task_id)["receipt"]["calls"]
        doubtful = [c for c in calls if c["in_doubt"]]
        assert all(c["cost_usd"] > 0 and c["cost_estimated"] for c in doubtful)
        assert len([c for c in calls if c["outcome"] == "answered"]) == 1
        assert len(mine) <= len(calls), f"{len(mine)} calls reached the provider, {len(calls)} stand in the receipt"
        assert len(answered) <= 1 + len(doubtful)
    # And the webhook was told of each, if several times then as the same
    until(lambda: told.all_of(accepted.values()), couriers.LEASE_S + 30, "a webhook that was told of every task")
    assert all(len(told.ids[task_id]) == 1 for task_id in accepted.values())
