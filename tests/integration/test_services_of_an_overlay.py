"""What an overlay adds is listed, chosen by reckoning, and every service passed over is named in the receipt."""

import json
from typing import Any

import httpx
import pytest
import yaml

from actors.catalogue import load
from tests.integration.providers import DAY_USD, PRICE, Providers
from tests.live import LivePlatform, until
from tests.simulators.base import Behaviour

pytestmark = pytest.mark.platform


def test_all_services_are_listed_with_their_state_and_the_reason(provided: Providers) -> None:
    # Given the built-in services, and those of the overlay
    assert provided.live.config is not None
    built_in, added = set(load().services), set(provided.live.config["services"])
    assert len(built_in) == 21

    # When they are listed, and the embedded model's actor answers in time
    def rows() -> dict[str, Any] | None:
        listed = {row["name"]: row for row in provided.live.json("services")["services"]}
        return listed if listed["local"]["state"] == "available" else None

    listed = until(rows, 60, "an embedded model that answers")
    # Then all are there, each available or with the reason
    assert set(listed) == built_in | added
    for row in listed.values():
        assert (row["state"] == "available") == (row["reason"] is None), row
        assert row["price"] is not None or row["price_unknown_reason"], row
    assert listed["claude-opus"]["reason"] == "no key: set ANTHROPIC_API_KEY"
    # And a built-in one that the overlay points elsewhere keeps what it does not say
    assert listed["gemini-flash"]["state"] == "available"
    assert listed["gemini-flash"]["model"] == "gemini/gemini-3.8-flash"


def test_a_service_of_a_few_lines_serves_and_a_limit_of_one_line_holds(provided: Providers) -> None:
    # Given a service and its limit, as they stand in the overlay
    (lines,) = [
        yaml.safe_dump({name: spec})
        for name, spec in (provided.live.config or {})["services"].items()
        if name == "narrower"
    ]
    assert len(lines.splitlines()) <= 12
    # Then it is listed with its price and its limit
    row = provided.row("narrower")
    assert (row["state"], row["limits"]["rpm"]) == ("available", 2)
    assert (row["price"]["input_per_mtok"], row["price"]["source"]) == (PRICE["input_per_mtok"], "stated")
    # And OpenAI's clients find it by its name
    names = [each["id"] for each in httpx.get(f"{provided.live.url}/v1/models", timeout=10).json()["data"]]
    assert {"service/narrower", "agent/queue"} <= set(names)


def test_a_service_that_needs_another_says_what_that_one_lacks(provided: Providers) -> None:
    row = provided.row("dependent")
    assert row["state"] == "unavailable"
    assert row["reason"] == "needs keyless: no key: set NOBODY_SET_THIS"


def test_every_service_that_was_passed_over_is_named_in_the_receipt(provided: Providers) -> None:
    # Given an agent whose first services have no key, need one without, have no price, are not there, are broken
    provided.sims["gemini"].behaviour = Behaviour(fault="500")
    # When it works under a cost limit
    task = provided.run(None, agent="stubborn", max_cost_usd=1, max_tokens=20)
    # Then the first that can serves, and each before it is named with its own reason, in order
    assert task["status"] == "completed", task["error"]
    (call,) = task["receipt"]["calls"]
    assert call["service"] == "sim-openai"
    names = [reason.split(": ", 1)[0] for reason in call["fallback_from"]]
    reasons = dict(reason.split(": ", 1) for reason in call["fallback_from"])
    assert names == ["keyless", "dependent", "unpriced", "unreachable", "broken"]
    assert reasons["keyless"] == "no key: set NOBODY_SET_THIS"
    assert reasons["dependent"] == "needs keyless: no key: set NOBODY_SET_THIS"
    assert "its price is unknown" in reasons["unpriced"]
    assert "cannot be reached" in reasons["unreachable"]
    assert "HTTP 500" in reasons["broken"]


def test_explain_names_the_choice_the_reasons_and_the_runners_up_and_runs_nothing(provided: Providers) -> None:
    # Given a built-in agent, three of whose services are available
    asked, prompt = provided.calls, "Write a Python function that merges two sorted lists"
    # When somebody asks who would serve
    done = provided.live.cli("services", "explain", prompt, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    # Then there is a choice, with its reasons and those that come after it
    assert told["adaptive"] is True
    assert told["chosen"] in ("gemini-flash", "groq")
    assert set(told["runners_up"]) == {"gemini-flash", "groq", "local"} - {told["chosen"]}
    assert told["reasons"]
    assert told["profile"]["name"] == "code"
    states = {each["service"]: each["state"] for each in told["candidates"]}
    assert states["cerebras"] == "unavailable"
    # And nobody was asked
    assert provided.calls == asked
    # And the task is served as it was told
    task = provided.run(None, prompt)
    assert task["receipt"]["calls"][-1]["service"] == told["chosen"]


def test_explain_says_who_would_serve_when_the_order_is_stated(provided: Providers) -> None:
    done = provided.live.cli("services", "explain", "Go on", "--agent", "stubborn", "--json")
    told: dict[str, Any] = json.loads(done.stdout)
    assert (told["adaptive"], told["kept_because"]) == (False, "agents.stubborn.services states it")
    assert told["chosen"] == "unpriced"
    assert told["runners_up"] == ["unreachable", "broken", "sim-openai", "sim-anthropic"]


def test_the_overlay_of_these_tests_passes_the_doctor(provided: Providers) -> None:
    live: LivePlatform = provided.live
    checks = {check["name"]: check for check in live.json("doctor")["checks"]}
    assert checks["overlay"]["ok"] is True
    assert load(live.home / "overlay.yaml").budgets.services["capped"].usd == DAY_USD
