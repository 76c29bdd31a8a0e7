"""A platform whose only service is a provider on real HTTP: tokens, cost, idempotency, cancel, faults."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.live import LivePlatform, until
from tests.simulators.openai import Behaviour, OpenAISimulator

pytestmark = pytest.mark.platform


@pytest.fixture
def live(simulated: tuple[LivePlatform, OpenAISimulator], sim: OpenAISimulator) -> LivePlatform:
    return simulated[0]


def run(live: LivePlatform, prompt: str, **fields: Any) -> dict[str, Any]:
    reply = httpx.post(
        f"{live.url}/api/v1/tasks", json={"prompt": prompt, **fields}, headers={"Prefer": "wait=90"}, timeout=100
    )
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def test_the_receipt_holds_the_tokens_and_the_cost_that_the_provider_reported(
    live: LivePlatform, sim: OpenAISimulator
) -> None:
    # Given a provider that reports 1,000 tokens in and 500 out, at 1 and 2 dollars a million
    sim.behaviour = Behaviour(answer="A bag.", prompt_tokens=1000, completion_tokens=500)
    # When a task runs
    task = run(live, "Describe a bag")
    # Then its receipt says so
    receipt = task["receipt"]
    assert task["answer"] == "A bag."
    assert (receipt["prompt_tokens"], receipt["completion_tokens"]) == (1000, 500)
    assert receipt["cost_usd"] == pytest.approx(0.002)
    assert receipt["calls"][0]["service"] == "simulated"
    assert receipt["calls"][0]["fallback_from"] == []
    assert receipt["saved_usd"] == pytest.approx(receipt["premium_cost_usd"] - 0.002)


def test_fifty_requests_with_one_idempotency_key_are_one_task(live: LivePlatform, sim: OpenAISimulator) -> None:
    before = len(sim.calls)
    key = f"fifty-{time.time_ns()}"

    def send(_: int) -> str:
        reply = httpx.post(
            f"{live.url}/api/v1/tasks", json={"prompt": "only once"}, headers={"Idempotency-Key": key}, timeout=60
        )
        assert reply.status_code == 202, reply.text
        return str(reply.json()["task_id"])

    # When the same request arrives fifty times at once
    with ThreadPoolExecutor(50) as pool:
        ids = set(pool.map(send, range(50)))
    # Then there is one task, and one call
    assert len(ids) == 1
    url = f"{live.url}/api/v1/tasks/{ids.pop()}"
    until(lambda: httpx.get(url, timeout=10).json()["status"] == "completed", 30, "the task's end")
    assert len(sim.calls) - before == 1
    # And the key with another body is refused, by name
    other = httpx.post(
        f"{live.url}/api/v1/tasks", json={"prompt": "another"}, headers={"Idempotency-Key": key}, timeout=10
    )
    assert other.status_code == 422
    assert other.json()["type"] == "urn:devskyy:problem:idempotency-key-reused"


def test_cancelling_closes_the_upstream_connection_and_charges_what_may_have_been_spent(
    live: LivePlatform, sim: OpenAISimulator
) -> None:
    # Given a task whose provider hangs
    sim.behaviour = Behaviour(fault="hang")
    cut = sim.cut_by_client
    accepted = httpx.post(f"{live.url}/api/v1/tasks", json={"prompt": "never"}, timeout=10).json()
    until(lambda: sim.open == 1, 30, "the call at the provider")
    # When it is cancelled
    reply = httpx.delete(live.url + accepted["links"]["self"], headers={"Prefer": "wait=20"}, timeout=30)
    # Then the provider sees its connection closed, and the task says what was spent
    until(lambda: sim.cut_by_client == cut + 1, 10, "the closed connection")
    task = reply.json()
    assert (reply.status_code, task["status"]) == (200, "cancelled")
    (call,) = task["receipt"]["calls"]
    assert call["outcome"] == "cancelled"
    assert call["cost_usd"] > 0
    assert call["cost_estimated"] is True
    # And cancelling it again changes nothing
    again = httpx.delete(live.url + accepted["links"]["self"], timeout=10)
    assert (again.status_code, again.json()["finished_at"]) == (200, task["finished_at"])


def test_ctrl_c_during_run_cancels_the_task(live: LivePlatform, sim: OpenAISimulator) -> None:
    import signal
    import subprocess
    import sys

    # Given a run whose provider hangs
    sim.behaviour = Behaviour(fault="hang")
    process = subprocess.Popen(
        [sys.executable, "-m", "devskyy", "run", "wait for ever", "--json"],
        env=live.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: sim.open == 1, 30, "the call at the provider")
    # When Ctrl-C is pressed
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    # Then the task is cancelled and the command says so
    assert process.returncode == 3, err
    assert '"status": "cancelled"' in out or '"status":"cancelled"' in out
    until(lambda: sim.open == 0, 10, "the closed connection")


def test_a_deadline_ends_the_task_and_the_call(live: LivePlatform, sim: OpenAISimulator) -> None:
    sim.behaviour = Behaviour(fault="hang")
    task = run(live, "too slow", timeout_s=1.5)
    assert task["status"] == "failed"
    assert task["error"]["type"] == "urn:devskyy:problem:deadline-exceeded"
    until(lambda: sim.open == 0, 10, "the closed connection")


@pytest.mark.parametrize("fault", ["429", "500", "cut", "malformed", "html", "error_in_200", "empty"])
def test_a_fault_that_passes_is_tried_again_and_what_it_may_have_cost_is_charged(
    fault: Any, live: LivePlatform, sim: OpenAISimulator
) -> None:
    # Given a provider that fails once
    sim.behaviour = Behaviour(fault=fault, faults_left=1, retry_after_s=1)
    before = len(sim.calls)
    # When a task runs
    task = run(live, f"survive {fault}")
    # Then the second attempt serves it
    assert task["status"] == "completed", task["error"]
    assert len(sim.calls) - before == 2
    calls = task["receipt"]["calls"]
    assert calls[-1]["outcome"] == "answered"
    if fault in ("429", "500"):
        assert len(calls) == 1  # refused with a status: nothing was charged
    else:
        assert [c["outcome"] for c in calls] == ["failed", "answered"]
        # An empty answer comes with its usage; of the others nobody knows what they took.
        assert calls[0]["cost_estimated"] is (fault != "empty")
        assert calls[0]["cost_usd"] > 0


def test_a_fault_that_stays_fails_the_task_and_names_it(live: LivePlatform, sim: OpenAISimulator) -> None:
    sim.behaviour = Behaviour(fault="500")
    task = run(live, "never works")
    assert task["status"] == "failed"
    assert "simulated: HTTP 500" in task["error"]["detail"]
    assert task["answer"] is None


def test_missing_usage_makes_the_cost_unknown_and_never_zero(live: LivePlatform, sim: OpenAISimulator) -> None:
    sim.behaviour = Behaviour(fault="usage_missing")
    receipt = run(live, "how much")["receipt"]
    assert receipt["cost_usd"] is None
    assert "no usage" in receipt["cost_unknown_reason"]
    assert receipt["saved_usd"] is None


def test_a_cost_limit_refuses_a_call_that_might_exceed_it(live: LivePlatform, sim: OpenAISimulator) -> None:
    before = len(sim.calls)
    task = run(live, "cheap only", max_cost_usd=0.000001)
    assert task["status"] == "failed"
    assert "is left" in task["error"]["detail"]
    assert len(sim.calls) == before


def test_a_disconnected_client_loses_nothing(live: LivePlatform, sim: OpenAISimulator) -> None:
    # Given a client that waits for a slow task and gives up
    sim.behaviour = Behaviour(latency_s=1.5)
    key = f"gone-{time.time_ns()}"
    with pytest.raises(httpx.TimeoutException):
        httpx.post(
            f"{live.url}/api/v1/tasks",
            json={"prompt": "slow"},
            headers={"Idempotency-Key": key, "Prefer": "wait=60"},
            timeout=0.5,
        )
    # When it comes back with the same key
    reply = httpx.post(
        f"{live.url}/api/v1/tasks",
        json={"prompt": "slow"},
        headers={"Idempotency-Key": key, "Prefer": "wait=60"},
        timeout=70,
    )
    # Then the task went on without it
    assert reply.json()["status"] == "completed"


def test_many_tasks_at_once_all_end(live: LivePlatform, sim: OpenAISimulator) -> None:
    sim.behaviour = Behaviour(latency_s=0.2)
    done: list[str] = []
    threads = [
        threading.Thread(target=lambda i=i: done.append(run(live, f"one of many {i}")["status"])) for i in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == ["completed"] * 40
