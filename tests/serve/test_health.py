"""The doors that tell how the platform is, and what every door has in common: problems and a description."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from actors.catalogue import load
from bus.client import Bus
from bus.desk import Endpoint
from bus.subjects import FleetScale
from schemas.fleet import Scale, Scaled
from schemas.message import Message
from serve import directory
from tests.broker import Broker
from tests.serve.conftest import problem


class Nothing(Message):
    pass


async def echo(message: Nothing) -> Nothing:
    return message


@pytest.fixture
async def fleet(broker: Broker, app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, Bus]]:
    """Every actor that is expected, each on a connection of its own, doing nothing."""
    monkeypatch.setattr(directory, "FRESH_S", 0.0)
    actors: dict[str, Bus] = {}
    for name in sorted(app.state.directory.expected):
        actors[name] = await broker.connect(name)
        await actors[name].serve(name, [Endpoint("ask", f"test.{name}", Nothing, echo)], "Does nothing.", {})
    yield actors
    for bus in actors.values():
        await bus.close(grace_s=0.1)


def checks(health: dict[str, Any]) -> dict[str, bool]:
    return {check["name"]: check["ok"] for check in health["checks"]}


# -- health --------------------------------------------------------------------------------------------------------


async def test_a_replica_that_answers_is_live(http: httpx.AsyncClient) -> None:
    reply = await http.get("/health/live")
    assert (reply.status_code, reply.json()) == (200, {"status": "live"})


async def test_without_actors_every_missing_part_is_named(http: httpx.AsyncClient, app: FastAPI) -> None:
    reply = await http.get("/health/ready")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    found = reply.json()
    assert found["status"] == "not_ready"
    assert checks(found) == {"nats": True} | dict.fromkeys(app.state.directory.expected, False)
    assert all(check["detail"] for check in found["checks"] if not check["ok"])


async def test_with_every_actor_the_platform_is_ready(http: httpx.AsyncClient, fleet: dict[str, Bus]) -> None:
    reply = await http.get("/health/ready")
    assert (reply.status_code, reply.json()["status"]) == (200, "ready")
    assert all(checks(reply.json()).values())


async def test_the_one_part_that_is_missing_is_named(http: httpx.AsyncClient, fleet: dict[str, Bus]) -> None:
    # Given a platform of which one actor has died
    await fleet.pop("gateway-0").close(grace_s=0.1)
    # When it is asked whether it is ready
    reply = await http.get("/health/ready")
    # Then it is not, because of that one
    assert reply.status_code == 503
    assert [name for name, ok in checks(reply.json()).items() if not ok] == ["gateway-0"]


async def test_without_a_bus_the_bus_is_named(http: httpx.AsyncClient, app: FastAPI) -> None:
    await app.state.bus.close(grace_s=0.1)
    reply = await http.get("/health/ready")
    assert reply.status_code == 503
    assert checks(reply.json())["nats"] is False


# -- who is there --------------------------------------------------------------------------------------------------


async def test_agents_that_do_not_answer_are_down_and_say_why(http: httpx.AsyncClient) -> None:
    agents = (await http.get("/api/v1/agents")).json()["agents"]
    assert {agent["name"] for agent in agents} == set(load().agents)
    assert {agent["state"] for agent in agents} == {"down"}
    assert all(agent["reason"] for agent in agents)


async def test_agents_that_answer_say_who_serves_them_and_what_they_did(
    http: httpx.AsyncClient, fleet: dict[str, Bus], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CEREBRAS_API_KEY", "GEMINI_API_KEY", "GROQ_API_KEY", "SCALEWAY_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    agents = (await http.get("/api/v1/agents")).json()["agents"]
    agent = next(agent for agent in agents if agent["name"] == "cerebras-ultra")
    assert (agent["state"], agent["serves_now"], agent["reason"]) == ("up", "local", None)
    assert (agent["requests"], agent["errors"], agent["in_flight"]) == (0, 0, 0)


def specialists(agents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [agent for agent in agents if agent["kind"] == "specialist"]


@pytest.fixture
async def scaled(broker: Broker, fleet: dict[str, Bus]) -> AsyncIterator[Callable[[int], None]]:
    """The process that starts actors: says that there are so many hosts of specialists, none at first."""
    there = 0

    def hosts(count: int) -> None:
        nonlocal there
        there = count

    async def scale(ask: Scale) -> Scaled:
        assert ask.seats == 0  # whoever only looks starts nothing
        return Scaled(actors=there, started=0)

    bus = await broker.connect("fleet")
    await bus.serve("fleet", [Endpoint("scale", str(FleetScale()), Scale, scale)], "", {})
    yield hosts
    await bus.close(grace_s=0.1)


async def test_specialists_that_nobody_needed_yet_are_on_standby_and_the_platform_is_ready(
    http: httpx.AsyncClient, scaled: Callable[[int], None]
) -> None:
    listed = specialists((await http.get("/api/v1/agents")).json()["agents"])
    assert {agent["name"] for agent in listed} == set(load().specialists)
    assert {(agent["state"], agent["reason"]) for agent in listed} == {("standby", "starts when it is needed")}
    assert {agent["requests"] for agent in listed} == {None}
    assert (await http.get("/health/ready")).status_code == 200


async def test_specialists_are_up_while_their_hosts_are_and_tell_what_all_of_them_did(
    http: httpx.AsyncClient, scaled: Callable[[int], None], broker: Broker
) -> None:
    # Given two hosts, of which both have answered for some
    hosts = [await broker.connect(name) for name in ("specialists-0", "specialists-1")]
    for bus in hosts:
        endpoints = [Endpoint(name, f"test.{bus.name}.{name}", Nothing, echo) for name in load().specialists]
        await bus.serve(bus.name, endpoints, "", {})
        await hosts[0].request(f"test.{bus.name}.copy-editor", Nothing(), Nothing, timeout_s=5)
    scaled(2)
    # When they are listed
    listed = {agent["name"]: agent for agent in specialists((await http.get("/api/v1/agents")).json()["agents"])}
    # Then all are up, and what they did is summed up
    assert {agent["state"] for agent in listed.values()} == {"up"}
    assert (listed["copy-editor"]["requests"], listed["merchandiser"]["requests"]) == (2, 0)
    for bus in hosts:
        await bus.close(grace_s=0.1)


async def test_specialists_whose_host_does_not_answer_are_down(
    http: httpx.AsyncClient, scaled: Callable[[int], None]
) -> None:
    scaled(1)
    listed = specialists((await http.get("/api/v1/agents")).json()["agents"])
    assert {(a["state"], a["reason"]) for a in listed} == {("down", "its host does not answer; Ray restarts it")}
    assert (await http.get("/health/ready")).status_code == 200


async def test_a_specialist_that_no_service_can_serve_is_not_said_to_wait(
    http: httpx.AsyncClient, scaled: Callable[[int], None], fleet: dict[str, Bus]
) -> None:
    # Given that the embedded model, the only one without a key, is away
    await fleet.pop("models").close(grace_s=0.1)
    listed = specialists((await http.get("/api/v1/agents")).json()["agents"])
    reasons = {(agent["state"], agent["reason"]) for agent in listed}
    assert reasons == {("degraded", "none of its services is available")}


async def test_services_say_what_they_cost_and_why_they_are_unavailable(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    services = {s["name"]: s for s in (await http.get("/api/v1/services")).json()["services"]}
    assert set(services) == set(load().services)
    groq = services["groq"]
    assert (groq["state"], groq["reason"]) == ("unavailable", "no key: set GROQ_API_KEY")
    assert (groq["price"] is None) == (groq["price_unknown_reason"] is not None)
    assert services["local"]["reason"] == "its actor does not answer"


async def test_no_key_is_ever_shown(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "the-key-that-nobody-may-see")
    reply = await http.get("/api/v1/services")
    assert next(s for s in reply.json()["services"] if s["name"] == "groq")["state"] == "available"
    assert "nobody-may-see" not in reply.text


async def test_metrics_name_every_actor_and_count_requests(http: httpx.AsyncClient, fleet: dict[str, Bus]) -> None:
    await http.get("/health/live")
    reply = await http.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    assert 'devskyy_actor_up{actor="gateway-0"} 1.0' in reply.text
    assert 'devskyy_http_requests_total{method="GET",route="/health/live",status="200"}' in reply.text


# -- problems ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("PATCH", "/api/v1/tasks", 405), ("POST", "/health/live", 405), ("GET", "/api", 404)],
)
async def test_what_there_is_not_is_a_problem(http: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    found = problem(await http.request(method, path))
    assert (found["status"], found["instance"]) == (status, path)
    assert "/docs" in found["detail"]


async def test_a_wrong_method_says_which_are_right(http: httpx.AsyncClient) -> None:
    assert (await http.patch("/health/live")).headers["allow"] == "GET"


async def test_a_failure_of_ours_is_a_problem_that_tells_no_secrets(http: httpx.AsyncClient, app: FastAPI) -> None:
    # Given a door that fails for a reason of its own
    async def fail() -> None:
        raise RuntimeError("the-key-that-nobody-may-see")

    app.add_api_route("/fails", fail)
    # When it is called
    reply = await http.get("/fails")
    # Then its caller learns that it failed, and where to look
    assert problem(reply)["status"] == 500
    assert "see the platform's log" in reply.json()["detail"]
    assert "nobody-may-see" not in reply.text


# -- the description -----------------------------------------------------------------------------------------------


async def test_the_description_lists_the_tasks_doors(http: httpx.AsyncClient) -> None:
    paths = (await http.get("/openapi.json")).json()["paths"]
    doors = {path: set(methods) for path, methods in paths.items()}
    assert doors["/api/v1/tasks"] == {"get", "post"}
    assert doors["/api/v1/tasks/{task_id}"] == {"get", "delete"}
    assert doors["/api/v1/tasks/{task_id}/events"] == {"get"}
    assert {"/health/live", "/health/ready", "/api/v1/agents", "/api/v1/services", "/metrics"} <= doors.keys()


async def test_the_description_says_what_a_task_request_holds(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    request = document["components"]["schemas"]["TaskRequest"]
    assert request["required"] == ["prompt"]
    assert {"tier", "max_cost_usd", "min_quality", "timeout_s", "inputs", "metadata"} <= request["properties"].keys()
    assert "application/problem+json" in str(document["paths"]["/api/v1/tasks"]["post"]["responses"]["422"])


async def test_the_description_can_be_read_by_people(http: httpx.AsyncClient) -> None:
    reply = await http.get("/docs")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
