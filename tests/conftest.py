"""What every test has: one real platform per run where it is asked for, and its logs beside a failure."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, settings

from tests.broker import store
from tests.live import LivePlatform, overlay, running, until
from tests.simulators.openai import Behaviour, OpenAISimulator

__all__ = ["store"]

# A machine that does other work besides is slow, not wrong.
settings.register_profile("devskyy", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("devskyy")


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivePlatform]:
    """The platform of this run, with no key and no overlay: the embedded model serves."""
    with running(tmp_path_factory.mktemp("platform")) as live:
        yield live


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LivePlatform, OpenAISimulator]]:
    """A second platform whose only service is a simulated provider."""
    with OpenAISimulator() as sim, running(tmp_path_factory.mktemp("simulated"), overlay(sim)) as live:
        yield live, sim


@pytest.fixture
def sim(simulated: tuple[LivePlatform, OpenAISimulator]) -> Iterator[OpenAISimulator]:
    """The simulated provider, well behaved before and after."""
    live, simulator = simulated
    simulator.behaviour = Behaviour()
    yield simulator
    failed = simulator.behaviour.fault is not None
    simulator.behaviour = Behaviour()
    if failed:  # its breaker may leave it alone for some seconds
        until(lambda: _serves(live), 60, "the simulated provider in use again")


def _serves(live: LivePlatform) -> bool:
    wait = {"Prefer": "wait=30"}
    reply = httpx.post(f"{live.url}/api/v1/tasks", json={"prompt": "Are you back?"}, headers=wait, timeout=40)
    return bool(reply.json()["status"] == "completed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rounds", type=int, default=0, help="more rounds of killing every part, for `make soak`")
    parser.addoption("--seed", type=int, default=1, help="order of the victims in those rounds")


SOAK_ONLY = ("test_full_disk.py", "test_side_by_side.py", "is_killed[supervisor]", "is_killed[raylet]")
"""Minutes of starting platforms anew: they run with `--rounds`, as `make soak` does."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--rounds"):
        return
    left_out = [item for item in items if any(part in item.nodeid for part in SOAK_ONLY)]
    if left_out and len(items) > len(left_out):  # asked for by name, they run
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.when == "call" and report.failed:
        for fixture in getattr(item, "funcargs", {}).values():
            live = fixture[0] if isinstance(fixture, tuple) else getattr(fixture, "live", fixture)
            if isinstance(live, LivePlatform):
                report.sections.append(("platform logs", live.logs()))
    return report


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"
