"""Our side of the workflows: an engine in this process, on the broker of a home, and a function that adds one.

    … run HOME WORKFLOWS STEPS     prints seconds, bytes kept and settings, as JSON
    … hold HOME STEPS              does so many, says so, waits to be killed
    … resume HOME                  says when it is ready, goes on once a line is read, prints seconds, waits

As `peer_dbos.py` and `peer_langgraph_workflows.py` do it. What is held is a workflow of mapped tasks, one item at a
time: a definition has at most a thousand tasks, and a history may be longer.
"""

import asyncio
import hashlib
import json
import re
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog
import uvloop
from nats.aio.msg import Msg

from actors.base import keep_for_good
from actors.workflow.engine import Engine
from bus import server, streams
from bus.client import Bus
from bus.codec import encode
from bus.permissions import SUPERVISOR
from bus.subjects import WorkflowEvents
from bus.workflowlog import WorkflowLog
from schemas.message import now
from schemas.settings import DEFAULT_TENANT
from schemas.workflow import MAX_TASKS, Map, TaskDefinition, WorkflowDefinition
from schemas.workflow_event import Completed, Created, WorkflowCommand

ITEMS = 1000
"""Of each mapped task of the workflow that is held."""
HELD = "held"
GIB = 1024**3


class Holding:
    """The step at which a process stops and waits to be killed."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.began: float | None = None
        """When recovery began; the step after the first new one then begins once that one is kept."""
        self.noticed_s: float | None = None

    async def add(self, inputs: dict[str, Any]) -> int:
        number = int(inputs["number"]) + int(inputs.get("before", 0))
        if self.at is None and self.began is not None:
            self.at = number + 1
        elif number == self.at:
            seconds = time.perf_counter() - self.began if self.began else None
            say({"seconds": seconds, "noticed_s": self.noticed_s})
            await asyncio.Event().wait()
        return number + 1


class Noticing(Engine):
    """Says when the first wake came: it is the lease of an engine that is gone."""

    def __init__(self, bus: Bus, name: str, holding: Holding) -> None:
        super().__init__(bus, name, {"add": holding.add})
        self._holding = holding

    async def _on_wake(self, msg: Msg) -> None:
        if self._holding.began is not None and self._holding.noticed_s is None:
            self._holding.noticed_s = time.perf_counter() - self._holding.began
        await super()._on_wake(msg)


def say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


# -- the broker ----------------------------------------------------------------------------------------------------


def configuration(home: Path) -> str:
    """What the broker of this home was started with."""
    return (home / "nats" / "nats.conf").read_text()


def url(home: Path) -> str:
    found = re.search(r'^listen: "127\.0\.0\.1:(\d+)"', configuration(home), re.MULTILINE)
    assert found is not None
    return server.Credentials.of_home(home).url(int(found.group(1)), SUPERVISOR)


def settings(home: Path) -> dict[str, str]:
    found = re.search(r"sync_interval: (\w+)", configuration(home))
    return {"database": "nats", "sync_interval": found.group(1) if found else "2m"}  # the server's default


async def kept(bus: Bus) -> int:
    """Bytes of all streams."""
    return sum(info.state.bytes for info in await bus.js.streams_info())


# -- workflows -----------------------------------------------------------------------------------------------------


def chain(steps: int) -> WorkflowDefinition:
    """Each task adds one to what the one before came to."""
    tasks = {
        f"s{n}": TaskDefinition(function="add", inputs={"number": f"${{tasks.s{n - 1}.output}}" if n else 0})
        for n in range(steps)
    }
    return WorkflowDefinition(name="chain", tasks=tasks, output=f"${{tasks.s{steps - 1}.output}}")


def long(steps: int) -> WorkflowDefinition:
    """Of more steps than these, one after the other."""
    tasks = {
        f"m{n}": TaskDefinition(
            function="add",
            inputs={"number": "${item}", "before": n * ITEMS},
            map=Map(over="inputs.numbers", limit=1),
            depends_on=(f"m{n - 1}",) if n else (),
        )
        for n in range(steps // ITEMS + 2)
    }
    numbers = {"type": "array", "default": list(range(ITEMS))}
    return WorkflowDefinition(name="long", inputs={"numbers": numbers}, tasks=tasks, output=steps)


async def begin(workflows: WorkflowLog, workflow_id: str, definition: WorkflowDefinition) -> None:
    """Create and start a workflow, as the doors do."""
    created = Created(
        event_id=workflow_id,
        workflow_id=workflow_id,
        tenant=DEFAULT_TENANT,
        seq=1,
        at=now(),
        status="pending",
        percentage=0,
        definition=definition,
        inputs={name: schema["default"] for name, schema in definition.inputs.items()},
        body_sha256=hashlib.sha256(encode(definition)).hexdigest(),
    )
    await workflows.create(created)
    await workflows.wake(DEFAULT_TENANT, workflow_id, WorkflowCommand(kind="start", command=f"start-{workflow_id}"))


class Watch:
    """Hears how workflows end, over plain NATS: reading a stream for it would be work that the peers do not have."""

    def __init__(self, workflows: WorkflowLog) -> None:
        self._workflows = workflows
        self._ended: dict[str, asyncio.Future[Any]] = {}

    async def listen(self, bus: Bus) -> None:
        for event in ("completed", "failed", "cancelled"):
            await bus.client.subscribe(WorkflowEvents.pattern(tenant=DEFAULT_TENANT, event=event), cb=self._on_end)
        await bus.client.flush()

    async def _on_end(self, msg: Msg) -> None:
        event = await self._workflows.event_of(msg)
        ended = self._future(event.workflow_id)
        if isinstance(event, Completed):
            ended.set_result(event.output)
        else:
            ended.set_exception(RuntimeError(f"{event!r}"))

    def _future(self, workflow_id: str) -> asyncio.Future[Any]:
        return self._ended.setdefault(workflow_id, asyncio.get_running_loop().create_future())

    async def output(self, workflow_id: str) -> Any:
        return await self._future(workflow_id)


# -- what is asked -------------------------------------------------------------------------------------------------


async def connected(home: Path, name: str, holding: Holding) -> tuple[Bus, "asyncio.Task[None]"]:
    """A bus with an engine on it that takes wakes."""
    bus = await Bus(url(home), name).connect()
    engine = Noticing(bus, name, holding)
    await bus.serve(name, engine.endpoints, "", {})
    return bus, asyncio.create_task(engine.run())


async def prepared(home: Path, holding: Holding) -> tuple[Bus, "asyncio.Task[None]"]:
    """The same on a broker that has no streams yet."""
    bus = await Bus(url(home), "streams").connect()
    await streams.ensure(bus.client, budget=GIB)
    await bus.close(grace_s=0)
    return await connected(home, "engine-0", holding)


async def run(home: Path, workflows: int, steps: int) -> None:
    assert steps <= MAX_TASKS
    bus, engine = await prepared(home, Holding())
    log = WorkflowLog(bus)
    watch = Watch(log)
    await watch.listen(bus)

    async def whole(workflow_id: str, definition: WorkflowDefinition) -> Any:
        await begin(log, workflow_id, definition)
        return await watch.output(workflow_id)

    await whole("warm-up", chain(20))
    keep_for_good()  # as an actor does once it is ready
    before, definition = await kept(bus), chain(steps)
    began = time.perf_counter()
    ends = await asyncio.gather(*(whole(f"w{n}", definition) for n in range(workflows)))
    seconds = time.perf_counter() - began
    if ends != [steps] * workflows:
        raise RuntimeError(f"{steps} steps came to {ends}")
    say({"seconds": seconds, "bytes": await kept(bus) - before, "settings": settings(home)})
    engine.cancel()
    await bus.close(grace_s=0.2)


async def hold(home: Path, steps: int) -> None:
    bus, engine = await prepared(home, Holding(steps))
    await begin(WorkflowLog(bus), HELD, long(steps))
    await engine


async def resume(home: Path) -> None:
    holding = Holding()
    say({"ready": True})
    await asyncio.to_thread(sys.stdin.readline)
    holding.began = time.perf_counter()
    _, engine = await connected(home, f"engine-{time.time_ns()}", holding)
    await engine


if __name__ == "__main__":
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(40), logger_factory=structlog.PrintLoggerFactory(sys.stderr)
    )
    verb, where, *numbers = sys.argv[1:]
    does: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {"run": run, "hold": hold, "resume": resume}
    uvloop.run(does[verb](Path(where), *map(int, numbers)))
