"""W3C trace context: taken over where it is well formed, begun anew where it is not."""

import asyncio
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import trace

WELL_FORMED = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01")
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(autouse=True)
def nothing_runs() -> Iterator[None]:
    token = trace._current.set(None)
    yield
    trace._current.reset(token)


def test_outside_of_any_work_there_is_no_trace() -> None:
    assert trace.current() is None
    assert trace.trace_id() is None


def test_a_span_begins_a_trace_of_its_own() -> None:
    first, second = trace.start(), trace.start()
    assert WELL_FORMED.fullmatch(first)
    assert first != second
    assert trace.current() == second
    assert trace.trace_id() == second.split("-")[1]


@pytest.mark.parametrize("flags", ["00", "01", "ff"])
@pytest.mark.parametrize("version", ["00", "01", "cc"])
def test_a_span_under_a_parent_keeps_its_trace(version: str, flags: str) -> None:
    value = trace.start(f"{version}-{TRACE_ID}-00f067aa0ba902b7-{flags}")
    assert WELL_FORMED.fullmatch(value)
    assert value.split("-")[1] == TRACE_ID
    assert value.split("-")[2] != "00f067aa0ba902b7"


def test_a_later_version_may_say_more() -> None:
    assert trace.start("01" + PARENT[2:] + "-what-comes-later").split("-")[1] == TRACE_ID


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "00",
        TRACE_ID,
        PARENT.upper(),
        PARENT + "\n",
        " " + PARENT,
        PARENT[:-1],
        PARENT + "0",
        "ff" + PARENT[2:],
        PARENT.replace(TRACE_ID, "0" * 32),
        PARENT.replace("00f067aa0ba902b7", "0" * 16),
        PARENT.replace("4", "g"),
        PARENT.replace("-", "_"),
    ],
)
def test_what_is_malformed_begins_anew(bad: str) -> None:
    value = trace.start(bad)
    assert WELL_FORMED.fullmatch(value)
    assert value.split("-")[1] != TRACE_ID


@given(st.text())
def test_any_header_gives_a_well_formed_span(parent: str) -> None:
    assert WELL_FORMED.fullmatch(trace.start(parent))


async def test_concurrent_work_has_traces_of_its_own() -> None:
    async def work() -> bool:
        mine = trace.start()
        await asyncio.sleep(0)
        return trace.current() == mine

    assert all(await asyncio.gather(*(work() for _ in range(10))))
    assert trace.current() is None
