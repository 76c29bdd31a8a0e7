"""The quality door, and the quality of agents."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi import FastAPI

from schemas.errors import Unavailable
from schemas.settings import DEFAULT_TENANT
from serve import directory
from storage import Measured, QualityHistory
from tests.serve.conftest import problem

DOOR = "/api/v1/quality"
NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def one(step: str, agent: str, overall: float, days: int = 0) -> Measured:
    return Measured(DEFAULT_TENANT, "t", step, agent, "marketing", "moderate", overall, NOON + timedelta(days=days))


@pytest.fixture(autouse=True)
async def measured(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three answers; no actor is there, and looking for them takes a while."""
    monkeypatch.setattr(directory, "FRESH_S", 600.0)
    name = next(iter(app.state.catalogue.carriers))
    qualities: QualityHistory = app.state.qualities
    async with qualities._database.begin() as connection:
        await qualities.record_all([one("1", name, 0.5), one("2", f"{name}-2", 1.0, 1)], connection)


async def test_how_good_answers_were_is_told_by_agent_seats_among_them(http: httpx.AsyncClient, app: FastAPI) -> None:
    name = next(iter(app.state.catalogue.carriers))
    found = (await http.get(DOOR)).json()
    assert found["by"] is None
    (row,) = found["rows"]
    assert (row["agent"], row["kind"], row["n"], row["mean"]) == (name, "marketing", 2, 0.75)


async def test_rows_are_of_what_is_asked_for_since_a_day(http: httpx.AsyncClient) -> None:
    found = (await http.get(DOOR, params={"by": "kind", "since": "2026-05-05"})).json()
    assert [(row["agent"], row["kind"], row["n"]) for row in found["rows"]] == [(None, "marketing", 1)]


@pytest.mark.parametrize(("field", "value"), [("by", "service"), ("since", "yesterday")])
async def test_a_value_that_breaks_a_rule_is_named(http: httpx.AsyncClient, field: str, value: str) -> None:
    reply = await http.get(DOOR, params={field: value})
    assert reply.status_code == 422
    assert field in problem(reply)["errors"][0]["field"]


async def test_agents_show_how_good_their_answers_were(http: httpx.AsyncClient, app: FastAPI) -> None:
    first, second, *_ = app.state.catalogue.carriers
    agents = {agent["name"]: agent for agent in (await http.get("/api/v1/agents")).json()["agents"]}
    assert agents[first]["quality"] == {"overall": 0.75, "n": 2}
    assert agents[second]["quality"] is None


async def test_who_is_there_is_told_without_the_database_too(
    http: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a database that cannot be read
    async def away(*_: object) -> None:
        raise Unavailable("the database is away")

    monkeypatch.setattr(app.state.qualities, "history", away)
    # When the agents are asked for, Then they are there, and their quality is not known
    agents = (await http.get("/api/v1/agents")).json()["agents"]
    assert agents
    assert all(agent["quality"] is None for agent in agents)
    # And the quality itself is refused for now
    assert (await http.get(DOOR)).status_code == 503
