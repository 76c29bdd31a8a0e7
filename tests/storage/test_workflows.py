"""Rows of workflows: they move forward by their events, are listed, and keep what has ended."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.errors import InvalidRequest
from schemas.workflow import Attempted, TaskView, Workflow, WorkflowDefinition, WorkflowProgress
from schemas.workflow_event import Advanced, Created, Retried
from storage import Database, WorkflowRepository
from storage.workflows import MAX_KEPT_OUTPUT, MAX_KEPT_OUTPUTS, News, without_large_outputs

NOON = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
TENANT = "acme"


@pytest.fixture
def workflows(database: Database) -> WorkflowRepository:
    return WorkflowRepository(database)


def fields(workflow_id: str, seq: int, **more: Any) -> dict[str, Any]:
    said = {"event_id": f"e{seq}", "workflow_id": workflow_id, "tenant": TENANT, "seq": seq, "at": NOON}
    return {**said, "status": "running", "percentage": 0.0, **more}


def created(workflow_id: str = "w1", name: str = "launch", **more: Any) -> Created:
    definition = WorkflowDefinition.model_validate({"name": name, "tasks": {"a": {"prompt": "p"}}})
    said = fields(workflow_id, 1, status="pending", definition=definition, body_sha256="0", **more)
    return Created.model_validate(said)


def advanced(seq: int, workflow_id: str = "w1", **more: Any) -> Advanced:
    return Advanced.model_validate(fields(workflow_id, seq, **more))


def whole(workflow_id: str = "w1", seq: int = 5, **more: Any) -> Workflow:
    said: dict[str, Any] = {
        "workflow_id": workflow_id,
        "name": "launch",
        "status": "completed",
        "progress": WorkflowProgress(percentage=100, total=1, completed=1),
        "tasks": {"a": TaskView(status="completed", kind="prompt", output={"answer": "A\0 é"})},
        "created_at": NOON,
        "started_at": NOON + timedelta(seconds=1),
        "finished_at": NOON + timedelta(seconds=2),
        "cost_usd": 0.25,
        "seq": seq,
    }
    return Workflow.model_validate(said | more)


async def row(database: Database, workflow_id: str = "w1") -> dict[str, Any]:
    from storage.tables import WORKFLOWS

    async with database.begin() as connection:
        query = WORKFLOWS.select().where(WORKFLOWS.c.workflow_id == workflow_id)
        return dict((await connection.execute(query)).mappings().one())


# -- forward -------------------------------------------------------------------------------------------------------


async def test_a_row_moves_on_with_each_event_and_never_back(workflows: WorkflowRepository, database: Database) -> None:
    # Given a workflow that was created, started, and has got on
    await workflows.take(News(created=[created(template="fashion")]))
    begun = NOON + timedelta(minutes=1)
    await workflows.take(
        News(moved=[advanced(4, percentage=50.0, status="waiting")], started=[((TENANT, "w1"), begun)])
    )
    # When earlier events come late, and the first again
    missing = await workflows.take(
        News([created()], [advanced(3, percentage=25.0)], [((TENANT, "w1"), begun + timedelta(hours=1))])
    )
    # Then the row stays where it was
    found = await row(database)
    assert not missing
    assert (found["status"], found["percentage"], found["seq"]) == ("waiting", 50.0, 4)
    assert (found["name"], found["template"], found["created_at"], found["started_at"]) == (
        "launch",
        "fashion",
        NOON,
        begun,
    )


async def test_one_that_is_not_there_is_named_so_that_its_beginning_can_be_read(workflows: WorkflowRepository) -> None:
    await workflows.take(News(created=[created("w1")]))
    news = News(moved=[advanced(2, "w1"), advanced(2, "w2")], started=[((TENANT, "w3"), NOON)])
    assert await workflows.take(news) == {(TENANT, "w2"), (TENANT, "w3")}


async def test_what_has_ended_is_read_back_whole(workflows: WorkflowRepository) -> None:
    # Given one whose beginning never came, When its end does
    assert not await workflows.take(News(ended=[(TENANT, whole())]))
    # Then all of it is there, and nothing for another tenant
    assert await workflows.get(TENANT, "w1") == whole()
    assert await workflows.get("other", "w1") is None


async def test_one_that_goes_on_after_its_end_is_not_whole_until_it_ends_anew(
    workflows: WorkflowRepository, database: Database
) -> None:
    # Given one that failed
    await workflows.take(News([created()], ended=[(TENANT, whole(status="failed"))]))
    # When it is retried
    retried = Retried.model_validate(fields("w1", 6, owner="e", deadline_at=NOON))
    await workflows.take(News(moved=[retried]))
    # Then its row goes on, and says nothing of that end
    found = await row(database)
    assert (found["status"], found["finished_at"], found["cost_usd"]) == ("running", None, None)
    assert found["started_at"] == NOON + timedelta(seconds=1)
    assert await workflows.get(TENANT, "w1") is None
    # And the end that it had before does not come back
    await workflows.take(News(ended=[(TENANT, whole(status="failed"))]))
    assert await workflows.get(TENANT, "w1") is None
    await workflows.take(News(ended=[(TENANT, whole(seq=9))]))
    assert (await row(database))["status"] == "completed"


async def test_tenants_have_workflows_of_the_same_id(workflows: WorkflowRepository) -> None:
    await workflows.take(News([created(), created(name="theirs").model_copy(update={"tenant": "other"})]))
    assert [each.name for each in (await workflows.list(TENANT, 10, None)).workflows] == ["launch"]
    assert [each.name for each in (await workflows.list("other", 10, None)).workflows] == ["theirs"]


# -- listed --------------------------------------------------------------------------------------------------------


async def test_pages_are_whole_and_newest_first_whatever_comes_meanwhile(workflows: WorkflowRepository) -> None:
    # Given five, two of them of one moment
    minutes = [0, 1, 1, 2, 3]
    events = [created(f"w{n}", at=NOON + timedelta(minutes=minute)) for n, minute in enumerate(minutes)]
    await workflows.take(News(events))
    # When they are read in pages of two, and another arrives after the first
    first = await workflows.list(TENANT, 2, None)
    await workflows.take(News([created("w9", at=NOON + timedelta(hours=1))]))
    second = await workflows.list(TENANT, 2, first.next)
    third = await workflows.list(TENANT, 2, second.next)
    # Then each of the five is there once
    pages = [[each.workflow_id for each in page.workflows] for page in (first, second, third)]
    assert pages == [["w4", "w3"], ["w2", "w1"], ["w0"]]
    assert third.next is None


async def test_a_list_is_of_a_status_or_a_name_and_of_children_only_when_asked(workflows: WorkflowRepository) -> None:
    child = created("child", name="inner", parent={"workflow_id": "w1", "task": "a"})
    await workflows.take(News([created("w1"), created("w2", "other"), child], [advanced(2, "w2")]))

    async def listed(**how: Any) -> set[str]:
        return {each.workflow_id for each in (await workflows.list(TENANT, 10, None, **how)).workflows}

    assert await listed() == {"w1", "w2"}
    assert await listed(children=True) == {"w1", "w2", "child"}
    assert await listed(status="running") == {"w2"}
    assert await listed(name="launch") == {"w1"}
    assert await listed(name="inner") == set()
    assert await listed(name="inner", children=True, status="pending") == {"child"}
    assert await workflows.counts(TENANT) == {"pending": 1, "running": 1}
    assert await workflows.counts("other") == {}


@pytest.mark.parametrize(("limit", "cursor", "field"), [(0, None, "limit"), (1001, None, "limit"), (1, "x", "cursor")])
async def test_what_is_no_page_is_refused(
    workflows: WorkflowRepository, limit: int, cursor: str | None, field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await workflows.list(TENANT, limit, cursor)
    assert caught.value.field == field
    assert "workflow" in caught.value.rule


# -- large outputs -------------------------------------------------------------------------------------------------


def test_a_large_output_is_left_out_and_says_how_large_it_is() -> None:
    large = "x" * MAX_KEPT_OUTPUT
    tasks = {
        "a": TaskView(status="completed", kind="prompt", output=large),
        "b": TaskView(status="completed", kind="prompt", output=large[2:]),
        "c": TaskView(status="completed", kind="prompt", items=(Attempted(status="completed", output=large),)),
        "d": TaskView(status="completed", kind="prompt", output_bytes=70_000),
    }
    kept = without_large_outputs(whole(tasks=tasks, output=large))
    assert (kept.output, kept.output_bytes) == (None, MAX_KEPT_OUTPUT + 2)
    assert (kept.tasks["a"].output, kept.tasks["a"].output_bytes) == (None, MAX_KEPT_OUTPUT + 2)
    assert kept.tasks["b"] == tasks["b"]
    assert (kept.tasks["c"].items[0].output, kept.tasks["c"].items[0].output_bytes) == (None, MAX_KEPT_OUTPUT + 2)
    assert kept.tasks["d"] == tasks["d"]


def test_many_outputs_are_kept_as_far_as_there_is_room() -> None:
    size = 50_000
    items = tuple(Attempted(status="completed", output="y" * size) for _ in range(200))
    tasks = {
        "items": TaskView(status="completed", kind="prompt", items=items),
        "task": TaskView(status="completed", kind="prompt", output="y" * size),
    }
    kept = without_large_outputs(whole(tasks=tasks))
    assert len(kept.model_dump_json()) < MAX_KEPT_OUTPUTS + 100_000
    assert kept.tasks["task"].output == "y" * size
    there = [item.output is not None for item in kept.tasks["items"].items]
    assert there == sorted(there, reverse=True)
    assert sum(there) == MAX_KEPT_OUTPUTS // size - 1
