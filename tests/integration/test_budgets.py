"""Budgets of a real platform: refused before anything is called, with what was left; what was overrun is shown."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.integration.providers import DAY_USD, PRICE, Providers, code, ledger, spent, used
from tests.live import until
from tests.simulators.base import Behaviour

pytestmark = pytest.mark.platform


def test_a_cost_limit_that_no_call_fits_under_is_refused_with_what_was_left(provided: Providers) -> None:
    asked = provided.calls
    # When a task may cost next to nothing
    task = provided.run("sim-openai", max_cost_usd=0.000001)
    # Then it fails, says what the call may cost and what was left, and nobody was called
    assert (task["status"], code(task), task["error"]["status"]) == ("failed", "budget_exceeded", 402)
    assert "may cost $" in task["error"]["detail"]
    assert "$0.000001 is left of the task's budget" in task["error"]["detail"]
    assert (task["receipt"]["calls"], task["receipt"]["cost_usd"]) == ([], 0)
    assert provided.calls == asked


def test_a_token_limit_that_no_call_fits_under_is_refused_with_what_was_left(provided: Providers) -> None:
    asked = provided.calls
    task = provided.run("sim-openai", max_total_tokens=10)
    assert (task["status"], code(task), task["error"]["status"]) == ("failed", "budget_exceeded", 402)
    assert "10 tokens are left of the task's budget" in task["error"]["detail"]
    assert provided.calls == asked


def test_the_openai_door_refuses_with_402_too(provided: Providers) -> None:
    asked = provided.calls
    body = {
        "model": "service/sim-openai",
        "messages": [{"role": "user", "content": "Name a bag"}],
        "max_cost_usd": 0.000001,
    }
    reply = httpx.post(f"{provided.live.url}/v1/chat/completions", json=body, timeout=30)
    assert (reply.status_code, reply.json()["error"]["code"]) == (402, "budget_exceeded")
    assert "is left of the task's budget" in reply.json()["error"]["message"]
    assert provided.calls == asked


def test_a_price_that_nobody_knows_is_refused_under_a_cost_limit_and_unknown_without_one(provided: Providers) -> None:
    asked = provided.calls
    # When a service without a price is asked under a limit
    task = provided.run("unpriced", max_cost_usd=100)
    # Then it is refused, with the remedy, and nobody is called
    assert (task["status"], code(task)) == ("failed", "budget_exceeded")
    assert "its price is unknown, so " in task["error"]["detail"]
    assert provided.calls == asked


def test_a_limit_that_a_call_fits_under_leaves_it_alone(provided: Providers) -> None:
    task = provided.run("sim-anthropic", max_cost_usd=0.01, max_total_tokens=5000)
    assert task["status"] == "completed", task["error"]
    assert 0 < task["receipt"]["cost_usd"] <= 0.01


def test_a_provider_that_charges_more_than_was_allowed_ends_the_task_and_the_receipt_shows_it(
    provided: Providers,
) -> None:
    # Given a provider that takes far more than it was asked for
    provided.openai.behaviour = Behaviour(answer="A bag.", prompt_tokens=50_000, completion_tokens=20_000)
    # When a task with a limit asks it
    task = provided.run("dear", max_cost_usd=0.01)
    # Then the task is stopped, and says by how much
    assert (task["status"], code(task)) == ("failed", "budget_exceeded")
    assert "dear took $0.090000 and 70,000 tokens, allowed were $0.00" in task["error"]["detail"]
    assert task["answer"] is None
    # And what was taken is counted as it was
    (call,) = task["receipt"]["calls"]
    assert (call["overrun"], call["prompt_tokens"], call["completion_tokens"]) == (True, 50_000, 20_000)
    assert task["receipt"]["cost_usd"] == pytest.approx(0.09)


def test_a_days_budget_of_a_service_is_kept_by_all_gateways_together(provided: Providers) -> None:
    # Given a service with a budget for a day, of which a call takes an eighth
    provided.openai.behaviour = Behaviour(answer="A bag.", prompt_tokens=10, completion_tokens=100, latency_s=0.2)
    asked, each = len(provided.openai.calls), (10 * PRICE["input_per_mtok"] + 100 * PRICE["output_per_mtok"]) / 1e6
    # When many tasks ask it at once, and then others one after another until one is refused

    def run(n: int) -> dict[str, Any]:
        return provided.run("capped", f"Name bag {n}", max_tokens=100, timeout_s=20)

    with ThreadPoolExecutor(16) as pool:
        tasks = list(pool.map(run, range(16)))
    while tasks[-1]["status"] == "completed" or len(tasks) == 16:
        tasks.append(run(len(tasks)))
        assert len(tasks) < 40
    # Then some were served, and what they cost together stays within the budget
    served = [task for task in tasks if task["status"] == "completed"]
    assert 0 < len(served) <= DAY_USD / each
    assert sum(map(spent, tasks)) <= DAY_USD
    assert len(provided.openai.calls) - asked == len(served)
    # And the others were refused by name, with what was left
    for task in tasks:
        if task not in served:
            assert (code(task), task["error"]["status"]) == ("budget_exceeded", 402), task["error"]
            assert "left of the day's budget of service capped" in task["error"]["detail"]
            assert spent(task) == 0
    # And what is left of the day is told, to the command line too
    until(lambda: used(provided.live, "capped") == pytest.approx(sum(map(spent, tasks))), 10, "the settlements")
    told = {(each["scope"], each["name"]): each for each in provided.live.json("budgets")["budgets"]}
    mine = told["service", "capped"]
    assert mine["limit"] == DAY_USD
    assert mine["left"] == pytest.approx(DAY_USD - mine["used"])
    assert [each["limit"] for (scope, _), each in told.items() if scope == "day"] == [1000]


def test_costs_add_up_to_what_the_receipts_say(provided: Providers) -> None:
    # Given tasks of one service whose cost is known, estimated and unknown
    tasks = []
    for behaviour in (Behaviour(), Behaviour(fault="cut", faults_left=1), Behaviour(fault="usage_missing")):
        provided.openai.behaviour = behaviour
        tasks.append(provided.run("billed", "What does it cost?"))
    assert [task["status"] for task in tasks] == ["completed"] * 3
    calls = [call for task in tasks for call in task["receipt"]["calls"]]
    assert len(calls) == 4
    # When all their calls have reached the ledger
    until(lambda: ledger(provided.live, "billed")["calls"] == len(calls), 20, "every call in the ledger")
    # Then its sums are those of the receipts, and what is unknown is counted beside them
    row = ledger(provided.live, "billed")
    assert row["spent_usd"] == pytest.approx(sum(call["cost_usd"] or 0 for call in calls))
    assert row["estimated_usd"] == pytest.approx(sum(call["cost_usd"] for call in calls if call["cost_estimated"]))
    assert row["unknown_calls"] == 1
    assert row["calls_without_tokens"] == sum(call["completion_tokens"] is None for call in calls) > 0
