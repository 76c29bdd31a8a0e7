"""Workflows carried by engines on a real broker."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from actors.workflow import runner as runner_module
from bus.client import Bus
from bus.desk import Endpoint
from bus.streams import WAKES
from bus.subjects import ActorJob
from schemas.errors import BusUnavailable, InvalidRequest
from schemas.workflow import Done, Job
from tests.broker import Broker, until
from tests.workflow.engines import TENANT, Engines

ADD = {"function": "add", "inputs": {"n": 1}}


async def add(inputs: dict[str, Any]) -> int:
    return int(inputs["n"]) + 1


class Gate:
    """A function that waits to be let on, and counts."""

    def __init__(self) -> None:
        self.began: Counter[Any] = Counter()
        self.open = asyncio.Event()
        self.cancelled = 0

    async def __call__(self, inputs: dict[str, Any]) -> Any:
        self.began[inputs.get("n")] += 1
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return inputs.get("n")


def chain(length: int) -> dict[str, Any]:
    tasks = {
        f"t{n}": {"function": "add", "inputs": {"n": f"${{tasks.t{n - 1}.output}}" if n else 0}} for n in range(length)
    }
    return {"tasks": tasks, "output": f"${{tasks.t{length - 1}.output}}"}


async def wakes_left(bus: Bus) -> int:
    return int((await bus.js.stream_info(WAKES)).state.messages)


async def test_a_chain_is_carried_to_its_end(engines: Engines) -> None:
    await engines.start({"add": add})
    workflow = await engines.run(chain(5))
    assert (workflow.status, workflow.output, workflow.progress.percentage) == ("completed", 5, 100.0)


async def test_nothing_is_left_in_the_queue_once_it_has_ended(engines: Engines, bus: Bus) -> None:
    running = await engines.start({"add": add})
    await engines.run(chain(2))
    await until(lambda: running.engine.carried == 0)
    async with asyncio.timeout(10):
        while await wakes_left(bus):  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.05)


async def test_a_plain_function_runs_beside_the_loop(engines: Engines) -> None:
    await engines.start({"add": lambda inputs: inputs["n"] + 1})
    assert (await engines.run({"tasks": {"a": ADD}})).output == {"a": 2}


async def test_a_function_that_fails_is_tried_again(engines: Engines) -> None:
    tries = []

    async def flaky(inputs: dict[str, Any]) -> int:
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("not yet")
        return 7

    await engines.start({"flaky": flaky})
    workflow = await engines.run({"tasks": {"a": {"function": "flaky", "retry": {"delay_s": 0.01}}}})
    assert (workflow.status, workflow.tasks["a"].attempt, workflow.output) == ("completed", 3, {"a": 7})


async def test_a_function_that_takes_too_long_fails_and_may_have_had_its_effect(engines: Engines) -> None:
    await engines.start({"slow": Gate(), "add": add})
    task = {"function": "slow", "timeout_s": 0.1, "retry": {"attempts": 1}, "compensation": ADD}
    workflow = await engines.run({"tasks": {"a": task}})
    assert workflow.error is not None
    assert (workflow.error.code, workflow.compensated) == ("deadline_exceeded", ("a",))


async def test_what_an_expression_cannot_find_fails_its_task_with_the_reason(engines: Engines) -> None:
    await engines.start({"add": add})
    workflow = await engines.run({"tasks": {"a": ADD, "b": {**ADD, "inputs": {"n": "no ${tasks.a.output.x}"}}}})
    assert workflow.status == "failed" and workflow.error is not None
    assert "tasks.a.output.x" in workflow.error.detail


@pytest.mark.parametrize("output", [{1, 2}, {1: 2}, float("nan"), object()])
async def test_an_output_that_json_cannot_say_fails_its_task(engines: Engines, output: Any) -> None:
    async def odd(inputs: dict[str, Any]) -> Any:
        return output

    await engines.start({"odd": odd})
    workflow = await engines.run({"tasks": {"a": {"function": "odd", "retry": {"attempts": 1}}}})
    assert workflow.status == "failed" and workflow.error is not None
    assert "the output" in workflow.error.detail


async def test_a_large_output_lies_in_the_object_store_and_is_there_for_the_next_task(engines: Engines) -> None:
    # Given a task that gives a megabyte, and one that measures it
    async def much(inputs: dict[str, Any]) -> str:
        return "x" * 1_000_000

    async def measure(inputs: dict[str, Any]) -> int:
        return len(inputs["text"])

    await engines.start({"much": much, "measure": measure})
    tasks = {
        "a": {"function": "much"},
        "b": {"function": "measure", "inputs": {"text": "${tasks.a.output}"}, "when": "length(tasks.a.output) > `5`"},
    }
    # When they have run
    workflow = await engines.run({"tasks": tasks, "output": "${tasks.b.output}"})
    # Then it reached the other whole, and is not in the events
    assert (workflow.output, workflow.tasks["a"].output) == (1_000_000, None)
    assert workflow.tasks["a"].output_bytes == 1_000_005


async def test_an_output_of_20_mb_is_refused_with_its_limit(engines: Engines) -> None:
    async def too_much(inputs: dict[str, Any]) -> str:
        return "x" * 20_000_000

    await engines.start({"too_much": too_much})
    workflow = await engines.run({"tasks": {"a": {"function": "too_much"}}})
    assert workflow.status == "failed" and workflow.error is not None
    assert (workflow.error.code, "16,000,000" in workflow.error.detail) == ("too_large", True)


async def test_an_engine_that_dies_is_replaced_and_what_was_done_is_not_done_again(engines: Engines) -> None:
    # Given a workflow of which one task is done and one under way, in the hands of an engine
    gate, later = Gate(), Gate()
    first = await engines.start({"gate": gate, "add": add})
    tasks = {
        "a": ADD,
        "b": {"function": "gate", "inputs": {"n": "${tasks.a.output}"}},
        "c": {**ADD, "depends_on": ["b"]},
    }
    workflow_id = await engines.begin({"tasks": tasks})
    await until(lambda: gate.began.total() == 1)
    # When that dies, and another is there
    await first.die()
    later.open.set()
    await engines.start({"gate": later, "add": add})
    await engines.until(workflow_id)
    # Then it went on where the first had stopped
    workflow = await engines.view(workflow_id)
    assert (workflow.status, workflow.output) == ("completed", {"a": 2, "b": 2, "c": 2})
    assert later.began == {2: 1}


async def test_a_successor_goes_on_before_the_lease_of_the_dead_is_over(engines: Engines) -> None:
    # Given an engine that dies with a workflow in hand
    gate, later = Gate(), Gate()
    first = await engines.start({"gate": gate})
    workflow_id = await engines.begin({"tasks": {"a": {"function": "gate"}}})
    await until(lambda: gate.began.total() == 1)
    await first.die()
    # When another starts
    successor = await engines.start({"gate": later})
    # Then it has taken the workflow up while nothing was delivered to it,
    await until(lambda: later.began.total() == 1)
    runner = successor.engine._runners[TENANT, workflow_id]
    assert not runner.leased
    # and what is delivered later becomes its lease
    await until(lambda: runner.leased)
    later.open.set()
    assert (await engines.until(workflow_id)).event == "completed"


async def test_two_engines_share_workflows_and_each_has_one_owner(engines: Engines) -> None:
    seen: Counter[int] = Counter()

    async def count(inputs: dict[str, Any]) -> int:
        seen[inputs["n"]] += 1
        return 0

    for _ in range(2):
        await engines.start({"count": count})
    ids = [await engines.begin({"tasks": {"a": {"function": "count", "inputs": {"n": n}}}}) for n in range(20)]
    for workflow_id in ids:
        await engines.until(workflow_id)
    assert seen == dict.fromkeys(range(20), 1)


async def test_a_command_reaches_the_owner_through_another_engine(engines: Engines) -> None:
    # Given two engines, and workflows that run in the hands of either
    gate = Gate()
    for _ in range(2):
        await engines.start({"gate": gate})
    ids = [await engines.begin({"tasks": {"a": {"function": "gate", "inputs": {"n": n}}}}) for n in range(8)]
    await until(lambda: gate.began.total() == 8)
    # When each is paused
    for workflow_id in ids:
        await engines.send(workflow_id, "pause")
    # Then each is, and nobody had to take one over
    for workflow_id in ids:
        await engines.until(workflow_id, "paused")
        history = [entry.event.event for entry in await engines.log.read(TENANT, workflow_id)]
        assert "claimed" not in history
    assert gate.began == dict.fromkeys(range(8), 1)


async def test_a_workflow_that_waits_is_in_nobodys_hands_and_a_signal_brings_it_back(
    engines: Engines, bus: Bus
) -> None:
    running = await engines.start({"add": add})
    workflow_id = await engines.begin({"tasks": {"go": {"signal": "go"}, "a": {**ADD, "depends_on": ["go"]}}})
    await engines.waits(workflow_id)
    await until(lambda: running.engine.carried == 0)
    await engines.send(workflow_id, "signal", name="go", payload={"by": "Ada"})
    assert (await engines.until(workflow_id)).event == "completed"


async def test_a_far_timer_brings_a_workflow_back_that_nobody_held(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "IDLE_S", 0.2)
    running = await engines.start({"add": add})
    workflow_id = await engines.begin({"tasks": {"t": {"wait_s": 2}, "a": {**ADD, "depends_on": ["t"]}}})
    await engines.waits(workflow_id)
    await until(lambda: running.engine.carried == 0)
    assert (await engines.until(workflow_id)).event == "completed"


async def test_a_workflow_is_done_within_another_and_its_output_is_the_tasks(engines: Engines) -> None:
    await engines.start({"add": add})
    inner = {
        "name": "inner",
        "inputs": {"n": {"type": "integer"}, "more": {"type": "integer", "default": 1}},
        "tasks": {"x": {"function": "add", "inputs": {"n": "${inputs.n}"}}},
        "output": {"sum": "${tasks.x.output}", "more": "${inputs.more}"},
    }
    outer = {"tasks": {"a": {"workflow": inner, "inputs": {"n": 41}}}, "output": "${tasks.a.output}"}
    workflow = await engines.run(outer)
    assert (workflow.status, workflow.output) == ("completed", {"sum": 42, "more": 1})


async def test_a_workflow_within_another_is_undone_with_it(engines: Engines) -> None:
    undone: list[Any] = []

    async def undo(inputs: dict[str, Any]) -> None:
        undone.append(inputs["what"])

    async def fail(inputs: dict[str, Any]) -> None:
        raise InvalidRequest("n", "is wrong")

    await engines.start({"add": add, "undo": undo, "fail": fail})
    compensation = {"function": "undo", "inputs": {"what": "${output}"}}
    inner = {"name": "inner", "tasks": {"x": {**ADD, "compensation": compensation}}}
    tasks = {"a": {"workflow": inner}, "b": {"function": "fail", "depends_on": ["a"]}}
    workflow = await engines.run({"tasks": tasks})
    assert (workflow.status, workflow.compensated, undone) == ("failed", ("a",), [2])
    child = await engines.view(str(workflow.tasks["a"].task_id))
    assert (child.status, child.compensated) == ("cancelled", ("x",))


async def test_a_workflow_within_another_is_cancelled_with_it(engines: Engines) -> None:
    await engines.start()
    workflow_id = await engines.begin(
        {"tasks": {"a": {"workflow": {"name": "inner", "tasks": {"x": {"signal": "never"}}}}}}
    )
    ref = None
    async with asyncio.timeout(30):
        while ref is None:
            ref = (await engines.view(workflow_id)).tasks["a"].task_id
    await engines.waits(ref)
    await engines.send(workflow_id, "cancel")
    assert (await engines.until(workflow_id)).event == "cancelled"
    assert (await engines.view(ref)).status == "cancelled"


async def test_a_compensation_that_fails_for_good_raises_an_alert(engines: Engines, bus: Bus) -> None:
    async def fail(inputs: dict[str, Any]) -> None:
        raise InvalidRequest("n", "is wrong")

    await engines.start({"add": add, "fail": fail})
    tasks = {"a": {**ADD, "compensation": {"function": "fail"}}, "b": {"function": "fail", "depends_on": ["a"]}}
    workflow = await engines.run({"tasks": tasks})
    assert workflow.undone == ("a",)

    async def raised() -> bytes:
        while True:
            try:
                return (await bus.js.get_last_msg("ALERTS", "devskyy.v1.alerts.3")).data or b""
            except Exception:
                await asyncio.sleep(0.05)

    assert workflow.workflow_id.encode() in await asyncio.wait_for(raised(), 10)


# -- actors --------------------------------------------------------------------------------------------------------


class Shop:
    """An actor that does each job once, by its key."""

    def __init__(self) -> None:
        self.asked: list[Job] = []
        self.done: dict[str, Any] = {}

    async def sell(self, job: Job) -> Done:
        self.asked.append(job)
        if job.inputs.get("broken"):
            raise InvalidRequest("broken", "cannot be sold")
        if job.inputs.get("slow"):
            await asyncio.sleep(3600)
        self.done.setdefault(job.key, len(self.done))
        return Done(output={"sold": self.done[job.key]}, cost_usd=0.25, once=True)


@pytest.fixture
async def shop(broker: Broker) -> Any:
    shop = Shop()
    bus = await broker.connect("shop")
    endpoint = Endpoint("sell", str(ActorJob("shop", "sell")), Job, shop.sell)
    await bus.serve("shop", [endpoint], description="", metadata={})
    yield shop
    await bus.close(0.2)


async def test_an_actor_does_a_task_under_its_key(engines: Engines, shop: Shop) -> None:
    await engines.start()
    task = {"actor": "shop.sell", "inputs": {"bag": "${inputs.bag}"}}
    workflow = await engines.run({"tasks": {"a": task}}, {"bag": "tote"})
    [job] = shop.asked
    assert (job.inputs, job.key) == ({"bag": "tote"}, f"{workflow.workflow_id}.a.1")
    told = workflow.tasks["a"]
    assert (told.output, told.served_by, told.once, workflow.cost_usd) == ({"sold": 0}, "shop.sell", True, 0.25)


async def test_an_actor_that_refuses_fails_the_task_with_its_own_problem(engines: Engines, shop: Shop) -> None:
    await engines.start()
    workflow = await engines.run({"tasks": {"a": {"actor": "shop.sell", "inputs": {"broken": True}}}})
    assert workflow.status == "failed" and workflow.error is not None
    assert (workflow.error.code, workflow.tasks["a"].attempt) == ("invalid_request", 1)


async def test_an_actor_that_works_on_a_cancelled_workflow_is_stopped_and_what_it_may_have_done_is_undone(
    engines: Engines, shop: Shop
) -> None:
    # Given an actor that would take an hour
    await engines.start()
    tasks = {"a": {"actor": "shop.sell", "inputs": {"slow": True}, "compensation": {"actor": "shop.sell"}}}
    workflow_id = await engines.begin({"tasks": tasks})
    await until(lambda: len(shop.asked) == 1)
    # When its workflow is cancelled
    await engines.send(workflow_id, "cancel")
    # Then it is over at once, and undone
    assert (await engines.until(workflow_id)).event == "cancelled"
    assert (await engines.view(workflow_id)).compensated == ("a",)
    assert [job.undoes for job in shop.asked] == [False, True]


async def test_an_actor_that_is_not_there_fails_the_task_and_says_so(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.workflow.workers.ABSENT_S", 0.1)
    await engines.start()
    workflow = await engines.run({"tasks": {"a": {"actor": "nobody.here", "retry": {"attempts": 1}}}})
    assert workflow.error is not None
    assert (workflow.error.code, "nobody.here" in workflow.error.detail) == ("no_actor", True)


# -- outages -------------------------------------------------------------------------------------------------------


async def test_a_broker_that_is_killed_and_comes_back_loses_nothing(engines: Engines, broker: Broker) -> None:
    # Given workflows under way
    await engines.start({"add": add})
    ids = [await engines.begin(chain(60)) for _ in range(5)]
    await engines.until(ids[-1], "advanced")
    # When the broker is killed and started again
    await asyncio.to_thread(broker.kill)
    await asyncio.to_thread(broker.start)
    # Then all of them end as they would have
    for workflow_id in ids:
        await engines.until(workflow_id)
        assert (await engines.view(workflow_id)).output == 60


async def test_recovery_reads_a_snapshot_and_what_came_after(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an engine that keeps snapshots often, and dies in the midst of a long map
    monkeypatch.setattr(runner_module, "SNAPSHOT_EVENTS", 20)
    gate = Gate()

    async def item(inputs: dict[str, Any]) -> int:
        if inputs["n"] == 75:
            await gate(inputs)
        return int(inputs["n"])

    first = await engines.start({"item": item})
    task = {"function": "item", "map": {"over": "inputs.list", "limit": 1}, "inputs": {"n": "${item}"}}
    workflow_id = await engines.begin({"tasks": {"a": task}}, {"list": list(range(100))})
    await until(lambda: gate.began.total() == 1)
    await first.die()
    snapshot = await engines.log.snapshot(TENANT, workflow_id)
    assert snapshot is not None and snapshot.seq >= 60
    # When another takes over
    gate.open.set()
    await engines.start({"item": item})
    await engines.until(workflow_id)
    # Then it went on from there
    assert (await engines.view(workflow_id)).output == {"a": list(range(100))}


async def test_a_wake_for_no_workflow_is_put_aside_with_the_reason(engines: Engines, bus: Bus) -> None:
    await engines.start()
    await engines.send("nothing-of-the-kind", "start")

    async def letter() -> bytes:
        while True:
            try:
                return (await bus.js.get_last_msg("DEAD", "devskyy.v1.dead.engines")).data or b""
            except Exception:
                await asyncio.sleep(0.05)

    assert b"nothing-of-the-kind" in await asyncio.wait_for(letter(), 10)


async def test_an_engine_that_is_stopped_leaves_its_workflows_to_others_at_once(engines: Engines) -> None:
    gate = Gate()
    first = await engines.start({"gate": gate})
    workflow_id = await engines.begin({"tasks": {"a": {"function": "gate"}}})
    await until(lambda: gate.began.total() == 1)
    gate.open.set()
    await engines.start({"gate": gate})
    await first.engine.stop(2)
    assert (await engines.until(workflow_id)).event == "completed"


async def test_work_that_the_bus_could_not_take_is_asked_for_again_under_its_key(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether it was taken, so another key might have it done, and paid, twice."""
    # Given a bus that loses two answers about a task of an agent
    running = await engines.start()
    asked: list[str] = []
    tasks = running.engine._hands._tasks  # type: ignore[attr-defined]
    accept = tasks.accept

    async def losing(*args: Any, **how: Any) -> Any:
        asked.append(how["task_id"])
        accepted = await accept(*args, **how)
        if len(asked) < 3:
            raise BusUnavailable("the answer was lost")
        return accepted

    monkeypatch.setattr(tasks, "accept", losing)
    # When a workflow with such a task is run
    workflow_id = await engines.begin({"tasks": {"a": {"prompt": "Name a bag.", "retry": {"attempts": 1}}}})
    await until(lambda: len(asked) == 3)
    # Then it was handed in under one id, and goes on
    assert len(set(asked)) == 1
    assert (await engines.view(workflow_id)).tasks["a"].status == "running"


async def test_events_since_the_last_snapshot_count_for_whoever_takes_over(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an engine that dies before its first snapshot is due
    monkeypatch.setattr(runner_module, "SNAPSHOT_EVENTS", 12)
    first = await engines.start({"add": add})
    workflow_id = await engines.begin({"tasks": {"a": ADD, "go": {"signal": "go"}}})
    await engines.waits(workflow_id)
    for number in range(8):
        await engines.send(workflow_id, "pause" if number % 2 == 0 else "resume")
        await engines.until_seq(workflow_id, 4 + number)
    assert await engines.log.snapshot(TENANT, workflow_id) is None
    await first.die()
    # When its successor writes a few more events
    await engines.start({"add": add})
    await engines.send(workflow_id, "signal", name="go")
    await engines.until(workflow_id)
    # Then there is one
    assert await engines.log.snapshot(TENANT, workflow_id) is not None
