"""Breakers, limits and hedges of a real platform, as its users see them."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import msgpack
import openai
import pytest
from nats.js.api import DeliverPolicy

from actors.gateway.figures import ENOUGH, FRESH_S
from bus.client import Bus
from bus.codec import decode
from bus.streams import ALERTS
from bus.subjects import GatewayFigures
from schemas.figures import Figures
from tests.integration.providers import GATEWAYS, Providers, code
from tests.live import until
from tests.simulators.base import Behaviour

pytestmark = pytest.mark.platform

LEFT_ALONE = ("open", "half_open")
"""What a breaker may be while nobody asks: once its rest is over, the next call may try."""
FIRST_REST_S = 2.4
"""How long a breaker that opens for the first time rests at the longest."""

Alerts = Callable[[str], Awaitable[dict[str, Any]]]


@pytest.fixture
async def operator(gateways: Providers) -> AsyncIterator[Bus]:
    """A part of the platform, who hears everything."""
    bus = await Bus(gateways.live.state.nats_url, "test").connect()
    yield bus
    await bus.close(grace_s=0)


@pytest.fixture
async def alerts(operator: Bus) -> Alerts:
    """What an operator is alerted of from now on: `await alerts("frail")` gives the next that names it."""
    stream = await operator.js.subscribe(
        "devskyy.v1.alerts.>", stream=ALERTS, ordered_consumer=True, deliver_policy=DeliverPolicy.NEW
    )

    async def alert(name: str) -> dict[str, Any]:
        while True:
            told = dict(msgpack.unpackb((await stream.next_msg(timeout=30)).data))
            if name in told["title"]:
                return told

    return alert


def said_by_command(provided: Providers, service: str) -> dict[str, Any]:
    """What `devskyy services` says of one."""
    return next(dict(row) for row in provided.live.json("services")["services"] if row["name"] == service)


async def test_a_service_that_keeps_failing_is_left_alone_and_used_again_when_it_answers(
    provided: Providers, alerts: Alerts
) -> None:
    # Given a service whose provider is down
    provided.openai.behaviour = Behaviour(fault="500")
    # When it fails again and again
    alerted = asyncio.create_task(alerts("frail"))
    while not alerted.done():
        await asyncio.to_thread(provided.run, "frail")
        await asyncio.wait([alerted], timeout=0.2)  # the breaker opens only once, if it has opened now
    # Then it is left alone, and an operator hears of it
    opened = await alerted
    assert (opened["level"], opened["title"]) == (2, "frail is left alone")
    assert "HTTP 500" in opened["detail"]
    # And everybody is told why, and when it may be asked again
    figures = provided.told("frail", lambda seen: seen["breaker"] in LEFT_ALONE, "a breaker that opened")["figures"]
    assert "HTTP 500" in figures["breaker_reason"]
    assert figures["retry_after_s"] is None or 0 < figures["retry_after_s"] <= FIRST_REST_S  # None: the other gateway
    assert figures["errors"] == figures["calls"] >= 5
    until(lambda: said_by_command(provided, "frail")["breaker"] in LEFT_ALONE, 60, "what the command says of it")
    # And it is used again once it answers: one call tries it, and the breaker closes
    provided.openai.behaviour = Behaviour()
    until(
        lambda: provided.run("frail")["status"] == "completed" and provided.row("frail")["breaker"] == "closed",
        30,
        "a closed breaker",
    )
    while (closed := await alerts("frail"))["title"] != "frail answers again":
        assert closed["title"] == "frail is left alone"
    assert closed["level"] == 1


def test_an_open_breaker_fails_at_once_with_the_reason_and_asks_nobody(provided: Providers) -> None:
    # Given a service whose provider denies our key, which no other call can do better
    provided.openai.behaviour = Behaviour(fault="401")
    until(lambda: "left alone" in provided.run("denied", timeout_s=5)["error"]["detail"], 20, "a service left alone")
    asked = provided.calls

    # When it is asked while both gateways leave it alone, for which each was denied once
    def passed_over() -> dict[str, Any] | None:
        nonlocal asked
        asked = provided.calls
        task = provided.run("denied", timeout_s=5)
        return task if provided.calls == asked else None

    task = until(passed_over, 20, "a task that asks nobody")
    # Then the error says so, and is one of a service that fails, not of one that is busy
    assert (task["status"], code(task), task["error"]["status"]) == ("failed", "no_service", 503)
    assert "denied: left alone: HTTP 401" in task["error"]["detail"]
    assert task["error"]["retryable"] is True
    assert task["receipt"]["cost_usd"] == 0

    # And the table for people says it too
    def in_table() -> bool:
        row = next(line for line in provided.live.cli("services").stdout.splitlines() if line.startswith("denied "))
        return "left alone" in row or "being tried" in row  # the rest may stand in the next line

    until(in_table, 60, "what its gateway says of it")


def test_other_services_of_the_same_provider_go_on(provided: Providers) -> None:
    assert provided.run("sim-openai")["status"] == "completed"


def test_a_providers_own_limit_pauses_the_service_and_opens_no_breaker(provided: Providers) -> None:
    # Given a provider that is over its limit for a minute
    provided.openai.behaviour = Behaviour(fault="429", retry_after_s=60)
    # When it is asked, by every gateway in the end
    tasks = [provided.run("throttled", timeout_s=5) for _ in range(9)]
    # Then each is told when to come again, and the provider is left in peace
    for task in tasks:
        assert (code(task), task["error"]["status"]) == ("too_busy", 429), task["error"]
        assert 40 < task["error"]["retry_after_s"] <= 60
    seen = provided.told("throttled", lambda figures: figures["limited"], "a pause")["figures"]
    assert (seen["breaker"], seen["errors"]) == ("closed", 0)
    assert 1 <= seen["limited"] <= GATEWAYS


def test_when_all_services_are_at_their_limits_the_error_says_when_to_come_again(provided: Providers) -> None:
    # Given an agent whose two services take so many requests a minute, which are used up
    served = 0
    for _ in range(2 * GATEWAYS + 1):
        task = provided.run(None, agent="queue", timeout_s=5)
        served += task["status"] == "completed"
        if task["status"] == "failed":
            break
    # Then the next is refused with 429, both services named, and told to come back within the minute
    assert 2 <= served <= 2 * GATEWAYS
    error = task["error"]
    assert (code(task), error["status"], error["retryable"]) == ("too_busy", 429, True)
    assert "narrow: at its limit of 2 requests a minute" in error["detail"]
    assert "narrower: at its limit of 2 requests a minute" in error["detail"]
    assert 0 < error["retry_after_s"] <= 61
    assert task["receipt"]["calls"] == []

    # And so does the OpenAI door, in its own words
    def refused() -> httpx.Response | None:
        body = {"model": "agent/queue", "messages": [{"role": "user", "content": "Name a bag"}], "timeout_s": 5}
        reply = httpx.post(f"{provided.live.url}/v1/chat/completions", json=body, timeout=30)
        return reply if reply.status_code != 200 else None

    reply = until(refused, 30, "a refusal")
    assert reply.status_code == 429
    assert 1 <= int(reply.headers["retry-after"]) <= 61
    assert set(reply.json()) == {"error"}
    assert reply.json()["error"]["code"] == "too_busy"

    def refused_by_sdk() -> openai.RateLimitError | None:
        # Each gateway has a share of the limit, and one of them may still have some of it.
        with openai.OpenAI(base_url=f"{provided.live.url}/v1", api_key="any", max_retries=0) as client:
            try:
                client.chat.completions.create(
                    model="agent/queue",
                    messages=[{"role": "user", "content": "Name a bag"}],
                    extra_body={"timeout_s": 5},
                )
            except openai.RateLimitError as error:
                return error
        return None

    assert "at its limit of 2 requests a minute" in str(until(refused_by_sdk, 30, "a refusal"))

    # And that nothing is left is told too, once every gateway has used its share
    def used_up() -> bool:
        provided.run(None, agent="queue", timeout_s=5)
        figures = provided.row("narrow")["figures"]
        return figures is not None and figures["requests_left"] == 0

    until(used_up, 30, "a limit that is used up")


async def test_a_call_that_is_slower_than_usual_is_made_a_second_time_and_both_are_paid(
    provided: Providers, operator: Bus
) -> None:
    # Given a service whose usual latency every gateway knows
    said, known = await operator.client.subscribe(GatewayFigures.pattern()), dict[str, int]()
    while len(known) < GATEWAYS or min(known.values()) < ENOUGH:
        asked = (asyncio.to_thread(provided.run, "hedged", f"How long is usual? {n}") for n in range(10))
        await asyncio.gather(*asked)
        figures = decode((await said.next_msg(timeout=30)).data, Figures)
        known[figures.gateway] = sum(
            count for each in figures.services if each.service == "hedged" for _, count in each.latencies
        )
    await asyncio.sleep(FRESH_S)  # for so long a gateway repeats what it knew before
    began = len(provided.openai.calls)
    # When the next call hangs, and only that one
    provided.openai.behaviour = Behaviour(fault="hang", faults_left=1)
    task = provided.run("hedged", "Who is faster?", timeout_s=20)
    # Then a second one answers, and the receipt holds both: the slow one was cancelled, and may have cost
    assert task["status"] == "completed", task["error"]
    assert len(provided.openai.calls) - began == 2
    outrun, answered = sorted(task["receipt"]["calls"], key=lambda call: str(call["outcome"] == "answered"))
    assert (outrun["outcome"], outrun["hedged"], outrun["cost_estimated"]) == ("outrun", False, True)
    assert (answered["outcome"], answered["hedged"], answered["cost_estimated"]) == ("answered", True, False)
    assert outrun["cost_usd"] > 0
    assert task["receipt"]["cost_usd"] == pytest.approx(math.fsum([outrun["cost_usd"], answered["cost_usd"]]))
    provided.openai.wait_until(lambda: provided.openai.open == 0, 10)
