"""A task remembers which API key asked for it, and what that key may spend."""

from bus.tasklog import OwnedTask, TaskLog
from schemas.budget import Budget
from schemas.task import TaskRequest

HELLO = TaskRequest(prompt="Say hello.")
TENANT = "default"


async def test_a_task_carries_its_key_and_the_keys_budget(tasks: TaskLog) -> None:
    # Given a task that an API key asks for
    task, _ = await tasks.accept(HELLO, TENANT, api_key="ci-1", key_budget=Budget(usd=2))
    # When its owner reads it
    accepted = OwnedTask(tasks, await tasks.read(TENANT, task.task_id)).accepted
    # Then both are there, and the task says whose it is
    assert (accepted.key, accepted.key_budget) == ("ci-1", Budget(usd=2))
    assert task.key == (await tasks.task(TENANT, task.task_id)).key == "ci-1"


async def test_a_task_that_is_waited_for_carries_them_too(tasks: TaskLog) -> None:
    task = await tasks.perform(HELLO, TENANT, None, 0.01, "ci-1", Budget(tokens=5))
    (entry,) = await tasks.read(TENANT, task.task_id)
    assert (task.key, getattr(entry.event, "key_budget", None)) == ("ci-1", Budget(tokens=5))


async def test_a_repeat_by_another_key_is_the_first_keys_task(tasks: TaskLog) -> None:
    first, _ = await tasks.accept(HELLO, TENANT, key="order 66", api_key="ci-1")
    again, created = await tasks.accept(HELLO, TENANT, key="order 66", api_key="shop-2")
    assert (again, created, again.key) == (first, False, "ci-1")
