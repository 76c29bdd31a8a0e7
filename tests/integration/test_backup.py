"""A platform on PostgreSQL, backed up while it works, and restored to an empty home on SQLite: all of it goes on."""

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from devskyy import Client
from devskyy.supervisor.operator import read_operators_key
from tests.live import LivePlatform, overlay, running, until
from tests.simulators.openai import Behaviour, OpenAISimulator
from tests.storage.postgres import PostgresServer, postgres

__all__ = ["postgres"]

pytestmark = [pytest.mark.platform, pytest.mark.soak, pytest.mark.timeout(600)]

WAITS = {
    "name": "waits",
    "tasks": {"a": {"agent": "groq-lightning", "prompt": "Name a bag"}, "b": {"wait_s": 90, "depends_on": ["a"]}},
}


@pytest.fixture
def database(postgres: PostgresServer) -> str:
    name = f"test_{secrets.token_hex(6)}"

    async def make() -> None:
        admin = await asyncpg.connect(postgres.url().replace("+asyncpg", ""))
        await admin.execute(f"CREATE DATABASE {name}")
        await admin.close()

    asyncio.run(make())
    return postgres.url(name)


@pytest.fixture
def simulator() -> Iterator[OpenAISimulator]:
    with OpenAISimulator() as simulator:
        yield simulator


def client(live: LivePlatform, secret: str | None = None) -> Client:
    return Client(live.url, api_key=secret or read_operators_key(live.home), timeout_s=60)


def asked(simulator: OpenAISimulator, prompt: str) -> int:
    """How often the provider was asked that."""
    return sum(prompt in str(call.body) for call in simulator.calls)


def spent_by(own: Client, key: str) -> tuple[float, float]:
    """What the ledger has under a key, and what is used of its budget."""
    (row,) = [row for row in own.costs(by="key").rows if row.key == key]
    (budget,) = [each for each in own.budgets() if each.name == key]
    assert budget.used > 0
    return row.spent_usd, budget.used


def test_a_platform_is_restored_and_goes_on(tmp_path: Path, database: str, simulator: OpenAISimulator) -> None:
    config, file = overlay(simulator), str(tmp_path / "state.backup")
    with running(tmp_path / "first", config, DATABASE_URL=database) as first, client(first) as own:
        # Given a key that has spent something, and tasks: done, deleted, of a tenant that was erased
        key = own.create_key("ann", budget={"usd": 5})
        with client(first, key.secret) as ann:
            done = ann.run("Name a red bag", idempotency_key="once")
            deleted = ann.run("Name a blue bag")
        other = own.create_key("bob", tenant="acme")
        with client(first, other.secret) as bob:
            bob.run("Name a green bag")
        until(lambda: own.costs(by="key").calls == 2, 30, "the calls in the ledger")
        gone = first.json("tasks", "delete", deleted.task_id)
        assert (gone["tasks"], gone["removed"]["TASKS"] > 0, gone["removed"]["tasks"]) == (1, True, 1)
        erased = first.json("erase", "--tenant", "acme", "--yes")
        assert (erased["tasks"], erased["removed"]["api_keys"]) == (1, 1)
        # And a workflow that waits for a moment, and a task in progress
        workflow = own.create_workflow(WAITS).workflow_id
        until(lambda: own.workflow(workflow).status == "waiting", 60, "the workflow waiting")
        simulator.behaviour = Behaviour(fault="hang")
        goes_on = own.submit("Name a white bag").task_id
        until(lambda: asked(simulator, "Name a white bag") == 1, 30, "the task in progress")
        spent = spent_by(own, key.key.id)
        # When it is backed up while it works, and stopped, and restored to an empty home on SQLite
        assert first.json("backup", file)["bytes"] == Path(file).stat().st_size
    assert first.cli("backup", "--verify", file).returncode == 0
    second = LivePlatform(tmp_path / "second")
    restored = second.json("restore", file)
    assert restored["woken"] == 1
    simulator.behaviour = Behaviour()
    with running(tmp_path / "second", DEVSKYY_CONFIG=restored["overlay"]) as live, client(live) as own:
        # Then what was done is there, and is not done again
        with client(live, key.secret) as ann:
            assert ann.run("Name a red bag", idempotency_key="once") == done
        assert asked(simulator, "Name a red bag") == 1
        # What was deleted is not
        assert deleted.task_id not in {task.task_id for task in own.tasks().tasks}
        keys = own.keys()
        assert {each.name for each in keys if each.revoked_at is None} == {"ann"}
        # What was spent is what was spent, and counts against the key's budget
        assert spent_by(own, key.key.id) == spent
        assert [entry.route for entry in own.audit().entries if entry.method == "DELETE"]
        # And what was under way goes on to its end: the task with one more call, as nobody knows what came of the first
        assert own.wait(goes_on, timeout_s=60).status == "completed"
        assert asked(simulator, "Name a white bag") == 2
        assert own.wait_workflow(workflow, timeout_s=120).status == "completed"
        assert asked(simulator, "Name a bag") == 1
