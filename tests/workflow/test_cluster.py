"""Workflows on three NATS servers that are one cluster, of which one is killed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bus.streams import WAKES, WORKFLOWS
from tests.cluster import Cluster, running
from tests.workflow.engines import Engines

pytestmark = pytest.mark.timeout(300)

WORKFLOWS_AT_ONCE = 8
STEPS = 40


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Any:
    home: Path = tmp_path_factory.mktemp("cluster")
    with running(home) as cluster:
        yield cluster


@pytest.fixture
async def engines(cluster: Cluster) -> AsyncIterator[Engines]:
    bus = await cluster.connect(make_streams=True)
    await cluster.whole(bus)
    engines = Engines(cluster, bus)
    yield engines
    await engines.close()
    await bus.close(grace_s=0.2)


@pytest.mark.parametrize("stream", [WORKFLOWS, pytest.param(WAKES, marks=pytest.mark.soak)])
async def test_a_server_that_is_killed_loses_nothing_and_work_goes_on(
    cluster: Cluster, engines: Engines, stream: str
) -> None:
    # Given chains under way, each step of which is counted by its key
    done: dict[tuple[str, int], int] = {}

    async def add(inputs: dict[str, Any]) -> int:
        place = (inputs["of"], inputs["n"])
        done[place] = done.get(place, 0) + 1
        await asyncio.sleep(0.01)
        return int(inputs["n"]) + 1

    await engines.start({"add": add})
    tasks = {
        f"t{n}": {
            "function": "add",
            "inputs": {"of": "${workflow.id}", "n": f"${{tasks.t{n - 1}.output}}" if n else 0},
        }
        for n in range(STEPS)
    }
    ids = [
        await engines.begin({"tasks": tasks, "output": f"${{tasks.t{STEPS - 1}.output}}"})
        for _ in range(WORKFLOWS_AT_ONCE)
    ]
    await engines.until(ids[0], "advanced")
    # When the server that leads the stream is killed, as by a power cut
    leader = await cluster.leader_of(engines.bus, stream)
    await asyncio.to_thread(leader.kill)
    # Then every workflow is completed by the other two, and each step that was kept was not done again
    for workflow_id in ids:
        await engines.until(workflow_id)
        view = await engines.view(workflow_id)
        assert (view.status, view.output) == ("completed", STEPS)
        history = [entry.event for entry in await engines.log.read("default", workflow_id)]
        assert [event.seq for event in history] == list(range(1, len(history) + 1))
    # And the killed one comes back to what was written without it
    await asyncio.to_thread(leader.start)
    await cluster.whole(engines.bus)
    assert (await engines.run({"tasks": {"t0": tasks["t0"]}})).status == "completed"
