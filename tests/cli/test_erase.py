"""`devskyy tasks delete`, `workflows delete` and `erase`, against the platform's own doors."""

from pathlib import Path

import pytest

from devskyy import Client
from tests.cli.conftest import Command
from tests.served import Served, served, serving

__all__ = ["served", "serving"]

SAYS = {"name": "says", "tasks": {"a": {"function": "say", "inputs": {"text": "hello"}}}}


@pytest.fixture(autouse=True)
def _at_the_platform(home: Path, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVSKYY_URL", served.url)


@pytest.fixture
def ended(served: Served) -> list[str]:
    """Two workflows that have ended."""
    with Client(served.url) as client:
        return [client.run_workflow(SAYS).workflow_id for _ in range(2)]


def test_workflows_are_deleted_and_what_went_is_told(devskyy: Command, served: Served, ended: list[str]) -> None:
    # When they are deleted
    ran = devskyy("workflows", "delete", *ended)
    # Then it is told what went from where, and they are gone
    assert (ran.code, ran.out.splitlines()[-1]) == (
        0,
        "erased 0 tasks and 2 workflows; what they cost stays in the sums, without a name",
    )
    assert "WORKFLOWS" in ran.out
    assert devskyy("workflows", "status", ended[0]).code != 0
    # And a program is told that they are not there any more
    again = devskyy("workflows", "delete", *ended, "--json")
    assert (again.code != 0, again.document["status"]) == (True, 404)


def test_a_task_that_goes_on_is_not_deleted(devskyy: Command, served: Served) -> None:
    with Client(served.url) as client:
        task_id = client.submit("Nobody does this.").task_id
    ran = devskyy("tasks", "delete", task_id)
    assert ran.code != 0
    assert "cancel it first" in ran.err
    assert devskyy("tasks", "show", task_id).code == 0


def test_a_tenant_is_not_erased_where_nobody_can_be_asked(devskyy: Command) -> None:
    ran = devskyy("erase", "--tenant", "acme")
    assert ran.code != 0
    assert "--yes: is needed where nobody can be asked" in ran.err


def test_a_tenant_is_erased_by_who_runs_the_platform_alone(devskyy: Command, ended: list[str]) -> None:
    # When somebody without the operator's key erases the platform's own tenant
    ran = devskyy("erase", "--tenant", "default", "--yes", "--json")
    # Then it is refused, and nothing is lost
    assert (ran.code != 0, ran.document["status"]) == (True, 401)
    assert devskyy("workflows", "status", ended[0]).code == 0
