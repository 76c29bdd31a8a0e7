"""What every test has: real platforms where they are asked for, and their logs beside a failure."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from hypothesis import HealthCheck, settings

from tests.broker import made_streams
from tests.live import LivePlatform, overlay, running, small_disk, until
from tests.simulators.openai import Behaviour, OpenAISimulator

__all__ = ["made_streams"]

T = TypeVar("T")

for name in ("COLUMNS", "LINES"):  # of the terminal in which the tests happen to run; several workers always set them
    os.environ.pop(name, None)

# A machine that does other work besides is slow, not wrong.
settings.register_profile("devskyy", max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("devskyy")

PLATFORMS = ("platform", "gateways", "simulated")
"""The fixtures that are one, in the order in which their tests run. A start takes 30 s of CPU, and a platform that only
waits takes a fifth of a core: so each is started once, and goes when no test needs it any more."""

LIVE = ("integration", "chaos")
"""The folders of tests that use them."""

_LEFT = pytest.StashKey[Counter[str]]()
"""How many tests still need each."""
_THERE = pytest.StashKey[dict[str, ExitStack]]()
"""Those that run."""


def while_needed(request: pytest.FixtureRequest, platform: AbstractContextManager[T]) -> T:
    """The platform of a fixture, for as long as there are tests that need it."""
    assert request.fixturename in PLATFORMS
    stack = request.config.stash.setdefault(_THERE, {})[request.fixturename] = ExitStack()
    request.addfinalizer(stack.close)
    return stack.enter_context(platform)


@pytest.fixture(scope="session")
def platform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LivePlatform:
    """A platform with no key and no overlay: the embedded model serves."""
    return while_needed(request, running(tmp_path_factory.mktemp("platform")))


@pytest.fixture(scope="session")
def simulated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LivePlatform, OpenAISimulator]]:
    """A platform whose only service is a simulated provider. Its streams lie on a small disk, where one can be made."""
    home = tmp_path_factory.mktemp("simulated")
    with OpenAISimulator() as sim, small_disk(home / "nats"):
        yield while_needed(request, running(home, overlay(sim))), sim


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


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


# -- how tests run -------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rounds", type=int, default=0, help="more rounds of killing every part, for `make soak`")
    parser.addoption("--seed", type=int, default=1, help="order of the victims in those rounds")


def platforms_of(item: pytest.Item) -> list[str]:
    if item.path.parent.name not in LIVE:  # others have fixtures of these names, of their own
        return []
    return [name for name in PLATFORMS if name in getattr(item, "fixturenames", ())]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Platforms one after the other, after everything else; where several workers share the tests, before it."""
    others = len(PLATFORMS) if hasattr(config, "workerinput") else -1

    def place(item: pytest.Item) -> tuple[int, int, bool]:
        used = [PLATFORMS.index(name) for name in platforms_of(item)] or [others]
        return min(used), max(used), item.get_closest_marker("last") is not None

    items.sort(key=place)
    if not config.getoption("--rounds"):
        left_out = [item for item in items if item.get_closest_marker("soak")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_collection_finish(session: pytest.Session) -> None:
    session.config.stash[_LEFT] = Counter(name for item in session.items for name in platforms_of(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Any:
    try:
        return (yield)
    finally:
        there, left = item.config.stash.get(_THERE, {}), item.config.stash[_LEFT]
        for name in platforms_of(item):
            left[name] -= 1
            if not left[name] and name in there:
                there.pop(name).close()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Of several workers, each takes whole files; and one takes all files of a platform, so that it is started once."""
    from xdist.scheduler import LoadScopeScheduling

    config.option.loadscopereorder = False  # the order is ours

    class ByPlatform(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file, _, _ = nodeid.partition("::")
            return together(file)

    return ByPlatform(config, log)


@cache
def together(file: str) -> str:
    """Which files one worker takes: those with equal names. Where tests are handed out, only their ids are known."""
    if not file.startswith(("tests/integration/", "tests/chaos/")):
        return file
    text = (Path(__file__).parent.parent / file).read_text()
    return "simulated" if re.search(r"\b(simulated|sim: OpenAISimulator)\b", text) else "platform and gateways"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.when == "call" and report.failed:
        for fixture in getattr(item, "funcargs", {}).values():
            live = fixture[0] if isinstance(fixture, tuple) else getattr(fixture, "live", fixture)
            if isinstance(live, LivePlatform):
                report.sections.append(("platform logs", live.logs()))
    return report
