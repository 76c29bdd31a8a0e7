"""A platform with two gateways and simulated providers of three formats; a service for whatever a test wants to see.

Each test that makes a service fail has one of its own, for a breaker remembers.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import httpx

from tests.live import LivePlatform, free_port, running, until
from tests.simulators.anthropic import AnthropicSimulator
from tests.simulators.base import Behaviour, Fault, Simulator
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.openai import OpenAISimulator

Wire = Literal["openai", "anthropic", "gemini"]
WIRES: tuple[Wire, ...] = get_args(Wire)
FAULTS: tuple[Fault, ...] = get_args(Fault)

KEY = "SIMULATED_KEY"
"""The variable that holds the simulators' key."""
PRICE = {"input_per_mtok": 1.0, "output_per_mtok": 2.0}
PATIENCE_S = 0.8
"""What an attempt gets at a service that goes silent."""
DAY_USD = 0.002
"""The day's budget of the services that have one."""
GATEWAYS = 2
ENDED = ("completed", "failed", "cancelled")


def faulty(wire: Wire, fault: Fault, streamed: bool) -> str:
    """The service that meets that fault, and no other test asks."""
    return f"{wire}-{fault}-{'streamed' if streamed else 'whole'}"


@dataclass
class Providers:
    """The platform, and who stands behind its services."""

    live: LivePlatform
    sims: dict[Wire, Simulator]

    @property
    def openai(self) -> Simulator:
        return self.sims["openai"]

    def behave(self, behaviour: Behaviour) -> None:
        """From now on, all three do."""
        for sim in self.sims.values():
            sim.behaviour = behaviour

    @property
    def calls(self) -> int:
        return sum(len(sim.calls) for sim in self.sims.values())

    def run(self, service: str | None, prompt: str = "Name a bag", wait_s: float = 60, **fields: Any) -> dict[str, Any]:
        """A task of that service, or of whoever is chosen, to its end."""
        task = submit(self.live, {"prompt": prompt, **({"service": service} if service else {}), **fields}, wait_s)
        assert task["status"] in ENDED, task
        return task

    def row(self, service: str) -> dict[str, Any]:
        """One row of `GET /api/v1/services`, now; what gateways say in it comes each second, and goes stale."""
        found = httpx.get(f"{self.live.url}/api/v1/services", timeout=20).json()
        return next(dict(row) for row in found["services"] if row["name"] == service)

    def told(self, service: str, of: Callable[[dict[str, Any]], Any], what: str) -> dict[str, Any]:
        """Its row, once its gateways have told figures that are `of` this kind."""

        def look() -> dict[str, Any] | None:
            row = self.row(service)
            return row if row["figures"] and of(row["figures"]) else None

        return dict(until(look, 30, f"{what}, told of {service}"))


def submit(live: LivePlatform, body: dict[str, Any], wait_s: float) -> dict[str, Any]:
    reply = httpx.post(
        f"{live.url}/api/v1/tasks", json=body, headers={"Prefer": f"wait={wait_s:g}"}, timeout=wait_s + 10
    )
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def ledger(live: LivePlatform, service: str) -> dict[str, Any]:
    """What the ledger holds of a service."""
    found = httpx.get(f"{live.url}/api/v1/costs", params={"by": "service"}, timeout=10).json()
    return next((dict(row) for row in found["rows"] if row["key"] == service), {"calls": 0})


def used(live: LivePlatform, service: str) -> float:
    """Dollars that are reserved and spent of the day's budget of a service."""
    found = httpx.get(f"{live.url}/api/v1/budgets", timeout=10).json()
    return next(
        float(each["used"]) for each in found["budgets"] if (each["scope"], each["name"]) == ("service", service)
    )


def code(task: dict[str, Any]) -> str:
    """The kind of a task's error."""
    return str(task["error"]["type"]).removeprefix("urn:devskyy:problem:").replace("-", "_")


def spent(task: dict[str, Any]) -> float:
    """What all calls of a task come to; of each something must be known."""
    costs = [call["cost_usd"] for call in task["receipt"]["calls"]]
    assert None not in costs, costs
    return math.fsum(costs)


@contextmanager
def providers(home: Path) -> Iterator[Providers]:
    with OpenAISimulator() as openai, AnthropicSimulator() as anthropic, GeminiSimulator() as gemini:
        sims: dict[Wire, Simulator] = {"openai": openai, "anthropic": anthropic, "gemini": gemini}
        config = overlay(sims)
        with running(home, config, DEVSKYY_GATEWAYS=str(GATEWAYS), **{KEY: "simulated"}) as live:
            made = Providers(live, sims)
            for wire in WIRES:  # litellm is imported when it is first needed
                assert made.run(f"sim-{wire}")["status"] == "completed"
            yield made


def overlay(sims: dict[Wire, Simulator]) -> dict[str, Any]:
    base = {"openai": "", "anthropic": "", "gemini": "/v1beta"}

    def at(wire: Wire, **fields: Any) -> dict[str, Any]:
        """A service at a simulator; a field that is None is left out."""
        spec = {
            "model": f"{wire}/simulated",
            "api_base": sims[wire].url + base[wire],
            "api_key_env": KEY,
            "price": PRICE,
            "timeout_s": 20,
            **fields,
        }
        return {name: value for name, value in spec.items() if value is not None}

    services = {f"sim-{wire}": at(wire) for wire in WIRES}
    for wire in WIRES:
        for fault in FAULTS:
            for streamed in (False, True):
                silent = fault in ("hang", "stall")
                services[faulty(wire, fault, streamed)] = at(wire, **({"timeout_s": PATIENCE_S} if silent else {}))
    services |= {
        "frail": at("openai"),
        "denied": at("openai"),
        "throttled": at("openai"),
        "hedged": at("openai", hedge=True),
        "cached": at("openai", cache_s=600),
        "narrow": at("openai", limits={"rpm": GATEWAYS}),
        "narrower": at("openai", limits={"rpm": GATEWAYS}),
        "capped": at("openai"),
        "shared": at("openai"),
        "sole": at("openai"),
        "billed": at("openai"),
        "dear": at("openai"),
        "unpriced": at("openai", price=None),
        "keyless": at("openai", api_key_env="NOBODY_SET_THIS"),
        "dependent": at("openai", depends_on=["keyless"]),
        "unreachable": at("openai", api_base=f"http://127.0.0.1:{free_port()}/v1"),
        "broken": at("gemini"),
        # Built-in ones, asked at the simulators.
        "gemini-flash": {"api_base": sims["gemini"].url + base["gemini"], "api_key_env": KEY},
        "groq": {"model": "openai/gpt-oss-20b", "api_base": sims["openai"].url, "api_key_env": KEY, "price": PRICE},
    }
    falls = ["keyless", "dependent", "unpriced", "unreachable", "broken", "sim-openai", "sim-anthropic"]
    return {
        "services": services,
        "agents": {
            "stubborn": {"role": "Tester", "prompt": "Go on.", "services": falls},
            "queue": {"role": "Tester", "prompt": "Wait.", "services": ["narrow", "narrower"]},
        },
        "budgets": {
            "day": {"usd": 1000},
            "services": {"capped": {"usd": DAY_USD}, "shared": {"usd": DAY_USD}},
        },
    }
