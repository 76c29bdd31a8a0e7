"""Events of workflows become rows, whatever their order; on a real server too."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.catalogue import load
from actors.projector import WorkflowProjection
from actors.workflow.creation import Asker, Creation
from actors.workflow.state import State
from actors.workflow.view import view_of
from bus.client import Bus
from bus.streams import DEAD, WORKFLOW_PROJECTOR
from schemas.errors import NotFound, Unavailable
from schemas.settings import Settings
from schemas.workflow import Workflow, WorkflowRequest
from schemas.workflow_event import Created, WorkflowEvent
from storage import Database, WorkflowRepository
from storage.tables import WORKFLOWS
from tests.serve.gateway import projector, taken
from tests.workflow.drive import Drive, created
from tests.workflow.engines import Engines
from tests.workflow.test_any_history import Script, carry, definitions


class Log:
    """The stream's stand-in."""

    def __init__(self) -> None:
        self.events: dict[str, list[WorkflowEvent]] = {}
        self.reads: list[str] = []

    def _read(self, workflow_id: str) -> list[WorkflowEvent]:
        self.reads.append(workflow_id)
        if workflow_id not in self.events:
            raise NotFound("workflow", workflow_id)
        return self.events[workflow_id]

    async def created(self, tenant: str, workflow_id: str) -> Created:
        first = self._read(workflow_id)[0]
        assert isinstance(first, Created)
        return first

    async def whole(self, tenant: str, workflow_id: str) -> Workflow:
        return view_of(State.of(self._read(workflow_id)))


@st.composite
def histories(draw: st.DrawFn) -> list[WorkflowEvent]:
    """Of a workflow with an id of its own, up to any of its events."""
    data = draw(st.data())
    drive = Drive(created(draw(definitions()), {"names": ["x", "y"]}), Script(data), seed=draw(st.integers(0, 10**6)))
    carry(drive, data)
    told = {"workflow_id": secrets.token_hex(8)}
    events = [event.model_copy(update=told) for event in drive.events]
    return events[: draw(st.integers(1, len(events)))]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def workflows(database: Database) -> WorkflowRepository:
    return WorkflowRepository(database)


@pytest.fixture
def projection(workflows: WorkflowRepository, log: Log) -> WorkflowProjection:
    return WorkflowProjection(workflows, log.created, log.whole)


async def row_of(database: Database, workflow_id: str) -> dict[str, Any]:
    async with database.begin() as connection:
        query = WORKFLOWS.select().where(WORKFLOWS.c.workflow_id == workflow_id)
        return dict((await connection.execute(query)).mappings().one())


def expected(events: list[WorkflowEvent]) -> dict[str, Any]:
    """The row that these events make, from their fold alone."""
    state = State.of(events)
    ended, view = state.ended is not None, view_of(state)
    return {
        "tenant": "default",
        "workflow_id": events[0].workflow_id,
        "name": "test",
        "template": None,
        "status": state.status,
        "percentage": state.percentage,
        "created_at": events[0].at,
        "started_at": state.started_at,
        "finished_at": state.finished_at,
        "cost_usd": view.cost_usd if ended else None,
        "seq": len(events),
        "parent_id": None,
        "workflow": view.model_dump(mode="json") if ended else None,
        "has_events": True,
    }


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_batches_of_events_in_any_order_make_the_rows_that_their_fold_tells(
    data: st.DataObject, projection: WorkflowProjection, database: Database, log: Log
) -> None:
    # Given events of several workflows, in any order and some of them twice, cut into batches anywhere
    flows = data.draw(st.lists(histories(), min_size=1, max_size=3))
    everything = [event for events in flows for event in events]
    repeats = data.draw(st.lists(st.sampled_from(everything), max_size=5))
    deliveries = data.draw(st.permutations(everything + repeats))
    for events in flows:
        log.events[events[0].workflow_id] = events
    # When each batch is applied as one
    while deliveries:
        size = data.draw(st.integers(1, len(deliveries)))
        await projection.apply(deliveries[:size])
        deliveries = deliveries[size:]
    # Then every row is what its whole history tells
    for events in flows:
        assert await row_of(database, events[0].workflow_id) == expected(events)


async def test_what_the_stream_has_forgotten_stays_as_its_events_said(
    projection: WorkflowProjection, database: Database, workflows: WorkflowRepository
) -> None:
    # Given a workflow that completed, and whose events are gone before anybody read them whole
    drive = Drive(created({"tasks": {"a": {"function": "f"}}}))
    drive.run()
    # When they come, and one of a workflow of which nothing is known
    await projection.apply([*drive.events, drive.events[1].model_copy(update={"workflow_id": "unknown"})])
    # Then its row says how it ended, without the whole of it; and there is none of the other
    row = await row_of(database, "w1")
    assert (row["status"], row["percentage"], row["workflow"]) == ("completed", 100.0, None)
    assert len((await workflows.list("default", 10, None)).workflows) == 1


async def test_an_end_that_cannot_be_read_yet_comes_again(projection: WorkflowProjection, log: Log) -> None:
    # Given a copy of the stream that lacks the last event
    drive = Drive(created({"tasks": {"a": {"function": "f"}}}))
    drive.run()
    log.events["w1"] = drive.events[:-1]
    # When that comes, Then it fails, so that it is brought again
    with pytest.raises(Unavailable):
        await projection.apply(drive.events[-1:])


async def test_of_workflows_that_go_on_nothing_is_read(projection: WorkflowProjection, log: Log) -> None:
    drive = Drive(created({"tasks": {"a": {"signal": "go"}}}))
    drive.run()
    for event in drive.events:
        await projection.apply([event])
    assert not log.reads


# -- on a real server ----------------------------------------------------------------------------------------------


@pytest.fixture
async def kept(bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WorkflowRepository]:
    """What a projector that runs keeps."""
    home = tmp_path / "projector-home"
    home.mkdir()
    settings = Settings(home=home, database_url=None, config=None)
    async with projector(bus, settings, monkeypatch):
        database = Database(settings.sql_url)
        yield WorkflowRepository(database)
        await database.close()


async def test_workflows_are_listed_and_outlive_the_stream(
    bus: Bus, engines: Engines, kept: WorkflowRepository
) -> None:
    # Given one that has a workflow as its task, and one that waits
    async def add(inputs: dict[str, Any]) -> int:
        return int(inputs["n"]) + 1

    await engines.start({"add": add})
    inner = {"name": "inner", "tasks": {"add": {"function": "add", "inputs": {"n": 1}}}}
    done = await engines.run({"tasks": {"sub": {"workflow": inner}}})
    waiting = await engines.begin({"name": "waiting", "tasks": {"go": {"signal": "go"}}})
    await engines.waits(waiting)
    # When the projector has taken what there is
    await taken(bus, WORKFLOW_PROJECTOR)
    # Then they are listed, the task of another only when asked for
    listed = (await kept.list("default", 10, None)).workflows
    assert [(each.workflow_id, each.status) for each in listed] == [
        (waiting, "waiting"),
        (done.workflow_id, "completed"),
    ]
    assert len((await kept.list("default", 10, None, children=True)).workflows) == 3
    # And what has ended is whole also when its events are gone
    await engines.log.forget("default", done.workflow_id)
    assert await kept.get("default", done.workflow_id) == done


async def test_what_is_no_event_is_kept_with_the_reason_and_stops_nobody(bus: Bus, kept: WorkflowRepository) -> None:
    await bus.js.publish("devskyy.v1.flow.default.w1.created", b"nonsense")
    definition = {"name": "fine", "tasks": {"go": {"signal": "go"}}}
    request = WorkflowRequest.model_validate({"definition": definition, "start": False})
    await Creation(bus, load()).create(request, Asker("default"))
    await taken(bus, WORKFLOW_PROJECTOR)
    assert [each.name for each in (await kept.list("default", 10, None)).workflows] == ["fine"]
    assert (await bus.js.stream_info(DEAD)).state.messages == 1
