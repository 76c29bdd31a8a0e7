"""Workflows with failures and compensations, while the parts of a real platform that carry them are killed at random.

Each ends as a model without faults says, and each effect at an endpoint that honours keys happens once. A short run is
in every test run; `make soak` has 200 workflows of ten tasks and sixty kills.
"""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from actors.workflow.state import State
from actors.workflow.work import Assignment, Outcome
from tests.chaos.counter import Counting
from tests.live import LivePlatform, until
from tests.simulators.openai import Behaviour, OpenAISimulator
from tests.workflow.drive import Drive, created, failure, well

pytestmark = [pytest.mark.chaos]

ENDED = ("completed", "failed", "cancelled")
VICTIMS = ("ray::EngineActor", "ray::AgentActor", "ray::CoordinatorActorWithGateway", "nats-server")
TASKS = 10
DO, UNDO = "counter.do", {"actor": "counter.undo", "inputs": {"of": "${output.number}"}}
LOST_S = 6.0
"""An attempt whose answer is lost is given up after so long."""


def definition(name: str, seed: str) -> dict[str, Any]:
    """Ten tasks, each after up to two others: most at the counter, some by an agent, a map, a timer."""
    draw = random.Random(seed)
    kinds = ["do"] * 6 + draw.sample(["agent", "agent", "map", "timer", "allowed", "lost", "fails"], 4)
    draw.shuffle(kinds)
    refuses = draw.randrange(TASKS) if draw.random() < 0.4 else None
    tasks: dict[str, Any] = {}
    for number, kind in enumerate(kinds):
        inputs: dict[str, Any] = {}
        task: dict[str, Any] = {"actor": DO, "inputs": inputs, "compensation": UNDO, "timeout_s": 60}
        task["retry"] = {"attempts": 10, "delay_s": 0.2, "max_delay_s": 1}
        if refuses is not None and number >= refuses and kind in ("do", "allowed"):
            inputs["refuses"], refuses = True, None
            task["allow_failure"] = kind == "allowed"
        elif kind == "agent":
            task = {"prompt": f"Say something about task {number} of {name}.", "agent": "groq-lightning"}
        elif kind == "timer":
            task = {"wait_s": round(draw.uniform(1, 4), 2)}
        elif kind == "map":
            task["map"] = {"over": "inputs.items", "limit": 2}
        elif kind == "lost":
            inputs["is_lost"], task["timeout_s"] = True, LOST_S
        elif kind == "fails":
            inputs["fails"] = draw.randint(1, 3)
        earlier = list(tasks)
        task["depends_on"] = draw.sample(earlier, min(len(earlier), draw.randint(0, 2)))
        tasks[f"t{number}"] = task
    return {"name": name, "inputs": {"items": {"type": "array"}}, "tasks": tasks, "max_parallel_tasks": 4}


ITEMS = ["a", "b", "c"]


def modelled(asked: dict[str, Any]) -> State:
    """How it ends where nothing is killed."""

    def answer(state: State, work: Assignment) -> Outcome:
        inputs = state.task(work.place[0]).inputs
        if work.undoes or not inputs:
            return well(state, work)
        if inputs.get("refuses"):
            return Outcome(work, problem=failure("invalid_request", retryable=False))
        if work.attempt <= inputs.get("fails", 0):
            return Outcome(work, problem=failure("unavailable"))
        if inputs.get("is_lost") and work.attempt == 1:
            return Outcome(work, problem=failure("deadline_exceeded"), unsure=True)
        return well(state, work)

    return Drive(created(asked, {"items": ITEMS}), answer).run()


def begin(live: LivePlatform, asked: dict[str, Any], key: str) -> str:
    """Hand it in as a careful client does: the same key until somebody answers."""
    body = {"definition": asked, "inputs": {"items": ITEMS}}
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up:
        try:
            reply = httpx.post(f"{live.url}/api/v1/workflows", json=body, headers={"Idempotency-Key": key}, timeout=20)
            if reply.status_code == 202:
                return str(reply.json()["workflow_id"])
            assert reply.status_code >= 500, reply.text
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"{key} was never accepted")


def workflow(live: LivePlatform, workflow_id: str) -> dict[str, Any] | None:
    """None while nobody can be reached. One that was accepted is never unknown."""
    try:
        reply = httpx.get(f"{live.url}/api/v1/workflows/{workflow_id}", timeout=20)
    except httpx.HTTPError:
        return None
    assert reply.status_code != 404, f"{workflow_id} was accepted and is unknown"
    return dict(reply.json()) if reply.status_code == 200 else None


def strike(live: LivePlatform, kills: int, draw: random.Random, every_s: float, struck: list[str]) -> None:
    """Kill parts at random, one after another, each once it is there again; note whom."""
    while len(struck) < kills:
        victim = draw.choice(VICTIMS)
        live.process(victim).kill()
        struck.append(victim)
        time.sleep(draw.uniform(0.5, 1.5) * every_s)


def survive(live: LivePlatform, sim: OpenAISimulator, workflows: int, kills: int, seed: int, every_s: float) -> None:
    until(live.ready, 90, "a platform that is ready")
    sim.behaviour = Behaviour(answer="A word about it.", latency_s=0.3)
    asked = {f"w{number}": definition(f"w{number}", f"{seed}-{number}") for number in range(workflows)}
    ids: dict[str, str] = {}
    struck: list[str] = []
    mark = time.time_ns()
    with Counting(live.state.nats_url) as counter:
        # Given workflows that are handed in while parts are killed
        def hand_in() -> None:
            for number, (name, each) in enumerate(asked.items()):
                # Spread over the kills, so that each meets workflows that have just begun.
                until(lambda: len(struck) * workflows >= number * kills or len(struck) == kills, 600, "the next kill")  # noqa: B023
                ids[name] = begin(live, each, f"{mark}-{name}")

        pool = ThreadPoolExecutor(1)
        sending = pool.submit(hand_in)
        draw = random.Random(seed)
        left = set(asked)

        def all_ended() -> bool:
            for name in list(left):
                found = workflow(live, ids[name]) if name in ids else None
                if found is not None and found["status"] in ENDED:
                    left.discard(name)
            return not left

        strike(live, kills, draw, every_s, struck)
        sending.result()
        pool.shutdown()
        # When it is over
        until(all_ended, 120 + 4 * workflows, f"the end of {len(left)} workflows after {struck}")
        until(live.ready, 90, "a platform that is ready again")
        # Then each has ended as the model says, and nothing was done twice or left half done
        for name, workflow_id in ids.items():
            check(name, asked[name], workflow(live, workflow_id), counter)


def check(name: str, asked: dict[str, Any], found: dict[str, Any] | None, counter: Counting) -> None:
    assert found is not None
    model, workflow_id = modelled(asked), found["workflow_id"]
    assert found["status"] == model.ended, (name, found["error"])
    statuses = {task: told["status"] for task, told in found["tasks"].items()}
    if model.ended == "completed":
        assert statuses == {task: whole.status for task, whole in model.units.items()}
        assert found["progress"]["percentage"] == 100
    else:
        assert model.problem is not None
        assert found["error"]["type"] == model.problem.type, name
        assert found["undone"] == []
    for task, definition_ in asked["tasks"].items():
        for item in range(len(ITEMS)) if "map" in definition_ else [None]:
            work = (workflow_id, task, item)
            stands = statuses[task] == "completed" if model.ended == "completed" else False
            done, undone = counter.effects[work], counter.undone[work]
            if definition_.get("actor") != DO:
                assert done == 0
                continue
            assert done <= 1, f"{name}.{task} had its effect {done} times, under {counter.keys[work]}"
            assert done - undone == int(stands), f"{name}.{task}: {done} done, {undone} undone, {statuses[task]}"


def test_workflows_end_as_they_should_while_parts_are_killed(
    simulated: tuple[LivePlatform, OpenAISimulator], sim: OpenAISimulator, request: pytest.FixtureRequest
) -> None:
    survive(simulated[0], sim, workflows=20, kills=5, seed=request.config.getoption("--seed"), every_s=1.0)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_two_hundred_workflows_end_as_they_should_through_sixty_kills(
    simulated: tuple[LivePlatform, OpenAISimulator], sim: OpenAISimulator, request: pytest.FixtureRequest
) -> None:
    survive(simulated[0], sim, workflows=200, kills=60, seed=request.config.getoption("--seed"), every_s=3.0)
