"""A gateway is killed while calls with budgets run: every budget holds, every task ends, and the costs add up."""

import math
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import pytest

from tests.integration.providers import DAY_USD, GATEWAYS, Providers, code, ledger, spent, used
from tests.live import until
from tests.simulators.base import Behaviour

pytestmark = [pytest.mark.platform, pytest.mark.timeout(240)]

TASKS = 24
TREE_USD = 0.01


def gateways(provided: Providers) -> list[str]:
    """Those that answer."""
    checks = httpx.get(f"{provided.live.url}/health/ready", timeout=10).json()["checks"]
    return [check["name"] for check in checks if check["name"].startswith("gateway-") and check["ok"]]


def in_ledger(provided: Providers, service: str, calls: int) -> dict[str, Any] | None:
    """What the ledger holds of a service, once it holds so many calls."""
    row = ledger(provided.live, service)
    return row if row["calls"] == calls else None


def test_both_gateways_are_there(provided: Providers) -> None:
    both = [f"gateway-{n}" for n in range(GATEWAYS)]
    until(lambda: gateways(provided) == both, 60, "both gateways")


def test_a_gateway_that_is_killed_takes_no_money_with_it(provided: Providers) -> None:
    """Half of the tasks share a service whose budget for the day is too small for all; the others have one each."""
    # Given tasks with budgets whose provider takes its time
    provided.openai.behaviour = Behaviour(answer="A bag.", prompt_tokens=10, completion_tokens=100, latency_s=1.5)
    began = len(provided.openai.calls)
    key = f"budget {time.time_ns()}"

    def run(n: int) -> dict[str, Any]:
        service = "shared" if n % 2 else "sole"
        return provided.run(service, f"{key}-{n}-", wait_s=120, max_cost_usd=TREE_USD, max_tokens=100, timeout_s=100)

    with ThreadPoolExecutor(TASKS) as pool:
        running = [pool.submit(run, n) for n in range(TASKS)]
        until(lambda: provided.openai.open >= TASKS // 2, 30, "calls under way")
        # When one of the gateways is killed
        provided.live.process("ray::GatewayActor").kill()
        tasks = [each.result() for each in running]
    # Then every task has ended, and only what the shared budget could not pay was refused
    for n, task in enumerate(tasks):
        assert task["status"] == "completed" or (n % 2 and code(task) == "budget_exceeded"), task["error"]
    # And each tree has kept within its own budget, what is in doubt included
    calls = [call for task in tasks for call in task["receipt"]["calls"]]
    assert all(spent(task) <= TREE_USD for task in tasks)
    assert any(call["in_doubt"] for call in calls), "the gateway that was killed had no call under way"
    assert all(call["cost_usd"] > 0 and call["cost_estimated"] for call in calls if call["in_doubt"])
    # And all together within the budget of the service
    shared = [call["cost_usd"] for call in calls if call["service"] == "shared"]
    assert 0 < math.fsum(shared) <= DAY_USD
    # And soon nothing is held any more but what was spent
    until(
        lambda: used(provided.live, "shared") == pytest.approx(math.fsum(shared)),
        30,
        "a settlement by the other gateway",
    )
    # And no call was made that stands in no receipt
    made = [call for call in provided.openai.calls[began:] if key in str(call.body)]
    assert len(made) <= len(calls)
    # And the ledger says of both services what the receipts say
    for service in ("shared", "sole"):
        mine = [call["cost_usd"] for call in calls if call["service"] == service]
        row = until(partial(in_ledger, provided, service, len(mine)), 30, "every call in the ledger")
        assert row["spent_usd"] == pytest.approx(math.fsum(mine))
        assert row["unknown_calls"] == 0
    # And the gateway is back
    until(lambda: len(gateways(provided)) == GATEWAYS, 60, "both gateways")


def test_a_call_in_doubt_stays_charged_and_is_tried_again_within_the_limit(provided: Providers) -> None:
    # Given a task whose limit has room for its call twice, and a provider that hangs the first time
    provided.openai.behaviour = Behaviour(answer="A bag.", fault="hang", faults_left=1)
    began = len(provided.openai.calls)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            provided.run, "sim-openai", f"Twice {time.time_ns()}", wait_s=90, max_cost_usd=0.0006, max_tokens=100
        )
        until(lambda: provided.openai.open == 1, 30, "the call at the provider")
        # When the gateway that made it is killed
        provided.live.caller(provided.openai.calls[began].client_port).kill()
        task = running.result()
    # Then the call is in doubt, charged at what was reserved, and tried again within the limit
    assert task["status"] == "completed", task["error"]
    doubtful, answered = task["receipt"]["calls"]
    assert (doubtful["in_doubt"], answered["in_doubt"]) == (True, False)
    assert doubtful["cost_usd"] > answered["cost_usd"] > 0
    assert spent(task) <= 0.0006
    assert provided.openai.calls[began].cut_by_client
