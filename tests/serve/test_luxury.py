"""Workflows as luxury automation knows them, called as its documents call them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from actors.workflow.creation import Creation, workflow_id_of
from bus.client import Bus
from bus.streams import WORKFLOW_PROJECTOR
from schemas.settings import DEFAULT_TENANT, Settings
from schemas.workflow import WorkflowDefinition
from serve import directory
from tests.serve.conftest import problem
from tests.serve.flows import Doing
from tests.serve.gateway import projector, taken
from tests.workflow.engines import Engines

DOOR = "/api/v1/luxury-automation/workflows"
TOWER = WorkflowDefinition.model_validate(
    {
        "name": "fashion_brand_launch",
        "inputs": {"brand_name": {"type": "string"}, "visual_assets_params": {"type": "object", "default": {}}},
        "tasks": {
            "visuals": {"function": "one"},
            "numbers": {"function": "add", "map": {"over": "[`1`, `2`]"}, "inputs": {"n": "${item}"}},
            "website": {"function": "breaks", "depends_on": ["visuals"], "retry": {"attempts": 1}},
        },
    }
)
"""A template of the documents' name, whose tasks are done at once."""


@pytest.fixture
def doing() -> Doing:
    return Doing()


@pytest.fixture
async def engine(engines: Engines, app: FastAPI, doing: Doing) -> AsyncIterator[Engines]:
    """An engine, and doors that know the template."""
    catalogue = app.state.catalogue
    catalogue.functions.update(dict.fromkeys(doing.functions, "somewhere:else"))
    app.state.creation = Creation(engines.bus, catalogue, {TOWER.name: TOWER})
    await engines.start(doing.functions)
    yield engines


# -- the documents -------------------------------------------------------------------------------------------------


class Session:
    """As much of `aiohttp.ClientSession` as the documents use, answered without a network."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def __aenter__(self) -> "Session":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def post(self, url: str, json: Any = None) -> Any:
        return self._asked("POST", url, json)

    def get(self, url: str) -> Any:
        return self._asked("GET", url, None)

    @asynccontextmanager
    async def _asked(self, method: str, url: str, body: Any) -> AsyncIterator[Any]:
        reply = await self._http.request(method, url, json=body)
        reply.raise_for_status()

        class Reply:
            async def json(self) -> Any:
                return reply.json()

        yield Reply()


async def launch_brand(session: Session) -> Any:
    """The documents' complete brand launch, as it stands there but for the session and the pause."""
    async with session:
        # 1. Create workflow
        workflow_data = {
            "workflow_type": "fashion_brand_launch",
            "workflow_data": {
                "brand_name": "Luxe Couture",
                "max_parallel_tasks": 5
            }
        }  # fmt: skip

        async with session.post(
            "http://localhost:8000/api/v1/luxury-automation/workflows/create",
            json=workflow_data
        ) as resp:  # fmt: skip
            workflow = await resp.json()
            workflow_id = workflow["workflow_id"]

        # 2. Execute workflow
        async with session.post(
            f"http://localhost:8000/api/v1/luxury-automation/workflows/{workflow_id}/execute"
        ) as resp:
            execution = await resp.json()  # noqa: F841

        # 3. Monitor progress
        while True:
            async with session.get(
                f"http://localhost:8000/api/v1/luxury-automation/workflows/{workflow_id}/status"
            ) as resp:
                status = await resp.json()

                print(f"Progress: {status['progress']['percentage']:.1f}%")

                if status["status"] in ["completed", "failed"]:
                    break

                await asyncio.sleep(0.05)

        return status


async def test_the_documents_brand_launch_runs_as_it_stands(http: httpx.AsyncClient, engine: Engines) -> None:
    status = await launch_brand(Session(http))
    assert (status["status"], status["progress"]["percentage"]) == ("completed", 100.0)
    assert status["results"] == {"visuals": 1, "numbers": [2, 3], "website": "whole"}
    assert status["error"] is None


async def test_it_runs_to_its_end_also_where_a_task_fails(
    http: httpx.AsyncClient, engine: Engines, doing: Doing
) -> None:
    doing.broken = True
    status = await launch_brand(Session(http))
    assert status["status"] == "failed"
    assert "it is broken" in status["error"]["detail"]
    assert status["results"]["visuals"] == 1


async def test_the_documents_requests_are_taken_by_the_platforms_own_template(http: httpx.AsyncClient) -> None:
    # Given the documents' long request, as it stands there
    workflow_request = {
        "workflow_type": "fashion_brand_launch",
        "workflow_data": {
            "brand_name": "Élégance Noir",
            "visual_assets_params": {
                "style": "minimalist_luxury",
                "color_palette": ["#000000", "#FFFFFF", "#D4AF37"]
            },
            "website_params": {
                "theme": "luxury_fashion",
                "pages": ["home", "shop", "about", "contact"]
            },
            "inventory_params": {
                "initial_products": 50,
                "channels": ["woocommerce", "shopify"]
            },
            "marketing_params": {
                "budget": 10000.00,
                "channels": ["email", "instagram", "facebook"]
            }
        }
    }  # fmt: skip
    # When it is sent, Then there is a workflow of it that waits
    reply = await http.post(f"{DOOR}/create", json=workflow_request)
    assert reply.status_code == 201
    found = reply.json()
    assert (found["workflow_type"], found["status"], found["progress"]["percentage"]) == (
        "fashion_brand_launch",
        "pending",
        0.0,
    )
    shown = (await http.get(f"/api/v1/workflows/{found['workflow_id']}")).json()
    assert shown["inputs"]["brand_name"] == "Élégance Noir"
    # And so there is of the short one
    short = {"workflow_type": "fashion_brand_launch", "workflow_data": {"brand_name": "L", "max_parallel_tasks": 5}}
    reply = await http.post(f"{DOOR}/create", json=short)
    history = (await http.get(f"/api/v1/workflows/{reply.json()['workflow_id']}/history")).json()
    assert history["events"][0]["definition"]["max_parallel_tasks"] == 5


# -- created and executed ------------------------------------------------------------------------------------------


CREATE = {"workflow_type": "fashion_brand_launch", "workflow_data": {"brand_name": "Luxe"}}


async def test_a_workflow_is_executed_once(http: httpx.AsyncClient, engine: Engines) -> None:
    workflow_id = (await http.post(f"{DOOR}/create", json=CREATE)).json()["workflow_id"]
    replies = await asyncio.gather(*(http.post(f"{DOOR}/{workflow_id}/execute") for _ in range(4)))
    assert sorted(reply.status_code for reply in replies) == [202, 409, 409, 409]
    [first] = [reply.json() for reply in replies if reply.status_code == 202]
    assert first["workflow_id"] == workflow_id
    assert first["status"] in ("running", "completed")
    found = problem(await http.post(f"{DOOR}/{workflow_id}/execute"))
    assert (found["status"], "it was started already" in found["detail"]) == (409, True)


async def test_a_repeat_with_the_same_key_is_the_same_workflow(http: httpx.AsyncClient) -> None:
    replies = [await http.post(f"{DOOR}/create", json=CREATE, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert {reply.json()["workflow_id"] for reply in replies} == {workflow_id_of(DEFAULT_TENANT, "k")}


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        (
            {"workflow_type": "brand", "workflow_data": {}},
            "workflow_type",
            "there is no workflow type 'brand'; there are fashion_brand_launch, marketing_campaign, product_launch",
        ),
        ({"workflow_data": {}}, "workflow_type", "Field required"),
        ({**CREATE, "workflow": 1}, "workflow", "unknown field"),
        ({"workflow_type": "fashion_brand_launch"}, "workflow_data.brand_name", "is missing"),
        (
            {**CREATE, "workflow_data": {"brand_name": "L", "website_parms": {}}},
            "workflow_data.website_parms",
            "there is no such input; did you mean 'website_params'?",
        ),
        (
            {**CREATE, "workflow_data": {"brand_name": "L", "website_params": {"them": "x"}}},
            "workflow_data.website_params.them",
            "there is no such field; did you mean 'theme'?",
        ),
        (
            {**CREATE, "workflow_data": {"brand_name": "L", "max_parallel_tasks": "many"}},
            "workflow_data.max_parallel_tasks",
            "valid integer",
        ),
    ],
)
async def test_what_cannot_be_created_is_refused_in_the_words_of_this_door(
    http: httpx.AsyncClient, body: Any, field: str, said: str
) -> None:
    found = problem(await http.post(f"{DOOR}/create", json=body))
    assert found["status"] == 422
    assert [error["field"] for error in found["errors"]] == [field]
    assert said in found["errors"][0]["message"]


@pytest.mark.parametrize(("method", "what"), [("GET", "status"), ("POST", "execute")])
async def test_what_is_not_there_is_not_found(http: httpx.AsyncClient, method: str, what: str) -> None:
    assert problem(await http.request(method, f"{DOOR}/nobody/{what}"))["status"] == 404


# -- the system ----------------------------------------------------------------------------------------------------


async def test_the_system_says_which_engines_answer_and_how_many_workflows_there_are(
    http: httpx.AsyncClient,
    bus: Bus,
    engine: Engines,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given an engine that is to be there and is, one workflow that is done, and one that waits
    monkeypatch.setattr(directory, "FRESH_S", 0.0)
    await launch_brand(Session(http))
    await http.post(f"{DOOR}/create", json=CREATE)
    async with projector(bus, settings, monkeypatch):
        await taken(bus, WORKFLOW_PROJECTOR)
    # Then that is what is said
    found = (await http.get(f"{DOOR}/status")).json()
    assert found == {
        "status": "operational",
        "engines": [{"name": "engine-0", "answers": True}],
        "workflows": {"completed": 1, "pending": 1},
        "total": 2,
        "workflow_types": ["fashion_brand_launch"],
    }
    # And when it is gone, that too
    await engine.running[0].die()
    gone = (await http.get(f"{DOOR}/status")).json()
    assert (gone["status"], gone["engines"]) == ("down", [{"name": "engine-0", "answers": False}])


async def test_its_body_is_described(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    body = document["paths"][f"{DOOR}/create"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/LuxuryRequest"}
    assert "workflow_type" in json.dumps(document["components"]["schemas"]["LuxuryRequest"]["required"])
