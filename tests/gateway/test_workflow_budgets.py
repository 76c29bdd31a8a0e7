"""The budget of a workflow: all of its tasks draw on it, each within its own."""

from schemas.budget import Budget, Budgets
from tests.gateway.purses import bench_of, refusal, reserve, stands

LAUNCH = {"workflow": "launch", "workflow_budget": Budget(usd=0.1)}


async def test_tasks_of_a_workflow_share_its_budget() -> None:
    # Given a call of one of its tasks
    bench = bench_of(Budgets())
    purse = bench.purse()
    await reserve(purse, 0.06, task_id="t1", **LAUNCH)
    # When a call of another asks for more than is left
    error = await refusal(purse, 0.05, task_id="t2", **LAUNCH)
    # Then it is refused, and names the workflow's budget
    assert (error.scope, "the workflow's budget" in str(error)) == ("workflow", True)
    assert stands(bench.shelf) == {"workflow.default.launch.usd": 60_000_000}


async def test_a_task_of_a_workflow_keeps_to_its_own_budget_too() -> None:
    purse = bench_of(Budgets()).purse()
    assert (await refusal(purse, 0.05, task_id="t1", max_cost_usd=0.01, **LAUNCH)).scope == "tree"


async def test_workflows_do_not_draw_on_each_other() -> None:
    purse = bench_of(Budgets()).purse()
    await reserve(purse, 0.09, task_id="t1", **LAUNCH)
    await reserve(purse, 0.09, task_id="t2", **{**LAUNCH, "workflow": "other"})


async def test_a_workflow_without_a_budget_limits_nothing() -> None:
    store = (bench := bench_of(Budgets())).store()
    await reserve(bench.purse(store=store), 5.0, workflow="launch")
    assert store.traffic == 0
