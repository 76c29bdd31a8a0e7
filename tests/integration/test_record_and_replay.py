"""A recorded run answers again without its provider; the cache answers an equal question where that is asked for."""

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live import LivePlatform, until
from tests.simulators.openai import Behaviour, OpenAISimulator

pytestmark = pytest.mark.platform

AWAY = Behaviour(fault="500")
"""A provider that answers nobody: whoever asks it now fails, and is counted."""


@pytest.fixture
def live(simulated: tuple[LivePlatform, OpenAISimulator], sim: OpenAISimulator) -> LivePlatform:
    return simulated[0]


def run(live: LivePlatform, prompt: str, **fields: Any) -> dict[str, Any]:
    reply = httpx.post(
        f"{live.url}/api/v1/tasks", json={"prompt": prompt, **fields}, headers={"Prefer": "wait=60"}, timeout=70
    )
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def events(live: LivePlatform, task: dict[str, Any]) -> list[str]:
    streamed = httpx.get(f"{live.url}/api/v1/tasks/{task['task_id']}/events", params={"follow": "false"}, timeout=10)
    return [line.removeprefix("event: ") for line in streamed.text.splitlines() if line.startswith("event: ")]


def bill(task: dict[str, Any]) -> tuple[Any, ...]:
    receipt = task["receipt"]
    sums = ("prompt_tokens", "completion_tokens", "cost_usd", "cost_unknown_reason", "premium_cost_usd", "agents")
    return tuple(receipt[name] for name in sums)


def without_marks(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**call, "replayed": None} for call in calls]


def test_a_recorded_run_replays_without_its_provider(live: LivePlatform, sim: OpenAISimulator, tmp_path: Path) -> None:
    # Given a run that was recorded, of a provider that failed once before it answered
    file = tmp_path / "run.jsonl"
    sim.behaviour = Behaviour(answer="A bag.", prompt_tokens=1000, completion_tokens=500, fault="cut", faults_left=1)
    ran = live.cli("run", "Describe a bag, on record", "--record", str(file), "--json")
    assert ran.returncode == 0, ran.stderr
    first = json.loads(ran.stdout)
    # When it is replayed while the provider answers nobody
    sim.behaviour, asked = AWAY, len(sim.calls)
    again = live.cli("run", "--replay", str(file), "--json")
    assert again.returncode == 0, again.stderr + again.stdout
    second = json.loads(again.stdout)
    # Then there is the same answer at the same tokens and costs, after the same kinds of events, and nobody was asked
    assert second["task_id"] != first["task_id"]
    assert (second["status"], second["answer"], second["finish_reason"]) == (
        first["status"],
        first["answer"],
        first["finish_reason"],
    )
    assert bill(second) == bill(first)
    assert events(live, second) == events(live, first)
    assert len(sim.calls) == asked
    # And every call says that it was replayed, and is as it was otherwise, the failed attempt too
    assert [call["replayed"] for call in second["receipt"]["calls"]] == [True, True]
    assert [call["replayed"] for call in first["receipt"]["calls"]] == [False, False]
    assert without_marks(second["receipt"]["calls"]) == without_marks(first["receipt"]["calls"])
    # And the replay can be recorded and replayed in turn
    copy = httpx.get(f"{live.url}/api/v1/tasks/{second['task_id']}/recording", timeout=10)
    assert copy.status_code == 200
    (tmp_path / "copy.jsonl").write_bytes(copy.content)
    third = json.loads(live.cli("run", "--replay", str(tmp_path / "copy.jsonl"), "--json").stdout)
    assert (third["answer"], bill(third), len(sim.calls)) == (first["answer"], bill(first), asked)


def test_a_replay_spends_and_saves_nothing(live: LivePlatform, sim: OpenAISimulator) -> None:
    # Given a recorded task that is in the ledger
    def costs() -> dict[str, Any]:
        found = httpx.get(f"{live.url}/api/v1/costs", params={"by": "task"}, timeout=10).json()
        assert not found["rows_left_out"]
        return dict(found)

    def in_ledger(task: dict[str, Any]) -> bool:
        return any(row["key"] == task["task_id"] for row in costs()["rows"])

    first = run(live, f"spend once {time.time_ns()}")
    until(lambda: in_ledger(first), 20, "the task in the ledger")
    before = costs()
    # When it is replayed
    recording = httpx.get(f"{live.url}/api/v1/tasks/{first['task_id']}/recording", timeout=10)
    uploaded = httpx.post(f"{live.url}/api/v1/recordings", content=recording.content, timeout=10).json()
    second = run(live, **uploaded["request"])
    until(lambda: in_ledger(second), 20, "the replay in the ledger")
    # Then its receipt says what it cost, and nothing was spent or saved
    after = costs()
    assert second["receipt"]["cost_usd"] == first["receipt"]["cost_usd"] > 0
    sums = ("spent_usd", "saved_usd", "premium_cost_usd", "prompt_tokens", "tasks_without_premium")
    assert {name: after[name] for name in sums} == {name: before[name] for name in sums}
    assert after["replayed_calls"] == before["replayed_calls"] + 1


def test_a_failed_run_fails_again_in_the_same_way(live: LivePlatform, sim: OpenAISimulator, tmp_path: Path) -> None:
    # Given a run that failed and was recorded
    file = tmp_path / "run.jsonl"
    sim.behaviour = AWAY
    ran = live.cli("run", "never works, on record", "--record", str(file), "--json")
    assert ran.returncode == 1
    first = json.loads(ran.stdout)
    # When it is replayed while the provider is well
    sim.behaviour, asked = Behaviour(), len(sim.calls)
    second = json.loads(live.cli("run", "--replay", str(file), "--json").stdout)
    # Then it fails as it did
    assert (second["status"], second["error"]) == (first["status"], first["error"])
    assert events(live, second) == events(live, first)
    assert len(sim.calls) == asked


def test_what_was_not_recorded_fails_by_name_and_asks_nobody(live: LivePlatform, sim: OpenAISimulator) -> None:
    # Given a recording of one prompt
    first = run(live, f"on record {time.time_ns()}")
    recording = httpx.get(f"{live.url}/api/v1/tasks/{first['task_id']}/recording", timeout=10)
    name = httpx.post(f"{live.url}/api/v1/recordings", content=recording.content, timeout=10).json()["recording"]
    asked = len(sim.calls)
    # When another is asked of it
    task = run(live, "off the record", replay=name)
    # Then the task fails and says which step had no answer
    assert (task["status"], task["error"]["type"]) == ("failed", "urn:devskyy:problem:not-recorded")
    assert "step 'direct'" in task["error"]["detail"]
    assert len(sim.calls) == asked


def test_an_equal_question_is_answered_from_the_cache_only_when_that_is_asked_for(
    live: LivePlatform, sim: OpenAISimulator
) -> None:
    # Given an answer that was asked for with a lifetime
    prompt = f"What is in the cache? {time.time_ns()}"
    sim.behaviour = Behaviour(answer="This is.", prompt_tokens=1000, completion_tokens=500)
    first = live.cached(lambda: run(live, prompt, cache_s=600))
    asked = len(sim.calls)
    # When the same is asked again with one, without one, and another question with one
    cached, anew = run(live, prompt, cache_s=600), run(live, prompt)
    other = run(live, prompt + "!", cache_s=600)
    # Then only the first of them came from the cache: marked, free, and the same
    (call,) = cached["receipt"]["calls"]
    assert (call["cached"], call["service"], cached["answer"]) == (True, "simulated", "This is.")
    assert (cached["receipt"]["cost_usd"], call["model"]) == (0.0, first["receipt"]["calls"][0]["model"])
    assert cached["receipt"]["saved_usd"] == pytest.approx(cached["receipt"]["premium_cost_usd"])
    for task in (first, anew, other):
        assert [call["cached"] for call in task["receipt"]["calls"]] == [False]
    assert len(sim.calls) == asked + 2


def test_an_answer_that_is_older_than_asked_for_is_not_taken(live: LivePlatform, sim: OpenAISimulator) -> None:
    prompt = f"How old is this? {time.time_ns()}"
    live.cached(lambda: run(live, prompt, cache_s=600))
    time.sleep(0.2)
    (call,) = run(live, prompt, cache_s=0.1)["receipt"]["calls"]
    assert call["cached"] is False
