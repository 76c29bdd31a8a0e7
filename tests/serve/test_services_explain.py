"""The door that explains a choice of service."""

import httpx
import pytest
from fastapi import FastAPI

from schemas.selection import Explanation
from tests.selection.doubles import said, seen
from tests.serve.conftest import problem

DOOR = "/api/v1/services/explain"


@pytest.fixture(autouse=True)
def _one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CEREBRAS_API_KEY", "GEMINI_API_KEY", "SCALEWAY_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GROQ_API_KEY", "a key")


async def test_the_choice_for_a_task_is_explained(http: httpx.AsyncClient) -> None:
    # Given a replica with one key, and no actor of the embedded model that answers
    reply = await http.post(DOOR, json={"prompt": "Fix the bug in this Python function.", "max_cost_usd": 0.5})
    # When a choice is asked for, Then the whole of it comes back
    assert reply.status_code == 200
    found = Explanation.model_validate_json(reply.content)
    assert (found.agent, found.profile.name, found.chosen) == ("cerebras-ultra", "code", "groq")
    assert found.features.max_cost_usd == 0.5
    reasons = {each.service: each.reason for each in found.candidates}
    assert reasons["gemini-flash"] == "no key: set GEMINI_API_KEY"
    assert reasons["local"] == "its actor does not answer"
    assert found.figures_unknown_reason is not None


async def test_what_the_gateways_see_now_is_part_of_it(http: httpx.AsyncClient, app: FastAPI) -> None:
    # Given a replica that hears the gateways
    app.state.directory.figures.heard(said(seen("groq", p50_ms=321.0)))
    # When a choice is explained, Then it is with what they say
    found = Explanation.model_validate_json((await http.post(DOOR, json={"prompt": "Hi."})).content)
    assert next(each.latency_ms for each in found.candidates if each.service == "groq") == 321.0
    assert found.figures_unknown_reason is None


async def test_the_agent_may_be_named(http: httpx.AsyncClient) -> None:
    found = Explanation.model_validate_json(
        (await http.post(DOOR, json={"prompt": "Hi.", "agent": "scaleway-eu"})).content
    )
    assert found.agent == "scaleway-eu"
    assert [each.service for each in found.candidates] == ["scaleway", "local"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "prompt"),
        ({"prompt": "Hi.", "agent": "nobody"}, "agent"),
        ({"prompt": "Hi.", "service": "nothing"}, "service"),
        ({"prompt": "Hi.", "max_cost_usd": -1}, "max_cost_usd"),
        ({"prompt": "Hi.", "colour": "red"}, "colour"),
    ],
)
async def test_a_task_that_cannot_be_is_refused(http: httpx.AsyncClient, body: dict[str, object], field: str) -> None:
    found = problem(await http.post(DOOR, json=body))
    assert (found["status"], found["errors"][0]["field"]) == (422, field)
