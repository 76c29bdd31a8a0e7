"""The application over a real broker, called without a network; its lifespan runs around each test."""

import json
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import fastapi.applications
import httpx
import pytest
import structlog
from fastapi import FastAPI

from bus.tasklog import OwnedTask, TaskLog
from schemas.event import Accepted, Claimed, Completed, Ended, TaskEvent
from schemas.projection import project
from schemas.settings import DEFAULT_TENANT, Settings
from serve.app import make_app
from tests.broker import Broker, broker, bus, tasks
from tests.workflow.engines import engines

__all__ = ["broker", "bus", "engines", "tasks"]


@pytest.fixture(autouse=True)
def _own_logs() -> Iterator[None]:
    """The application logs into its home; what follows must not."""
    yield
    for handler in (logger := logging.getLogger("devskyy")).handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What `make_app` silences while it builds validators, where requests build them; see `_described_once`."""
    silenced = pytest.mark.filterwarnings("ignore::pydantic.warnings.UnsupportedFieldAttributeWarning")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(silenced)


@pytest.fixture(scope="session", autouse=True)
def _described_once() -> Iterator[None]:
    """All applications are described alike, which takes half a second each time. It also builds the validators of all
    doors; of applications that are not described anew, the first request builds those that it needs."""
    documents: dict[int, str] = {}
    describe = fastapi.applications.get_openapi

    def described(**said: Any) -> Any:
        doors = len(said["routes"])
        if doors not in documents:
            documents[doors] = json.dumps(describe(**said))
        return json.loads(documents[doors])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fastapi.applications, "get_openapi", described)
        yield


@pytest.fixture
def settings(broker: Broker, tmp_path: Path) -> Settings:
    home = tmp_path / "http-home"
    home.mkdir()
    return Settings(home=home, nats_url=broker.url, database_url=None, config=None)


@pytest.fixture
async def app(settings: Settings, tasks: TaskLog) -> AsyncIterator[FastAPI]:
    app = make_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("127.0.0.1", 50000))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=30) as client:
        yield client


def problem(reply: httpx.Response) -> dict[str, Any]:
    """The problem that an error is, checked for its shape."""
    assert reply.headers["content-type"] == "application/problem+json"
    body = dict(reply.json())
    assert body["status"] == reply.status_code
    assert body["type"].startswith("urn:devskyy:problem:")
    assert body["title"]
    assert body["detail"]
    return body


async def claim(tasks: TaskLog, task_id: str) -> OwnedTask:
    """Take a task as a coordinator does."""
    owned = OwnedTask(tasks, await tasks.read(DEFAULT_TENANT, task_id))
    await owned.append(
        Claimed(**owned.next_fields, epoch=1, owner="test", tier="simple", shape="direct", agents=("writing",))
    )
    return owned


async def play(owned: OwnedTask, story: Sequence[TaskEvent]) -> None:
    """Another task's story up to its end, as if it happened to this one."""
    for event in story:
        if not isinstance(event, Accepted | Ended):
            await owned.append(event.model_copy(update=owned.next_fields))


async def complete(owned: OwnedTask, answer: str = "Hello.") -> None:
    fields = owned.next_fields
    ended = {"status": "completed", "answer": answer, "finished_at": fields["at"]}
    await owned.append(Completed(**fields, epoch=1, task=project(owned.events).model_copy(update=ended)))
