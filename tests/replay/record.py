"""Records histories for `test_replay.py`.

    python -m tests.replay.record NAME...        the scenarios of these names; all, where none is named

A history that is there is never written again: it is what a running workflow may have in its stream when the code
under it changes. A change that can bring about other events gets a scenario of its own, or a new name.
"""

import json
import sys
from pathlib import Path
from typing import Any

from actors.workflow.state import State
from actors.workflow.work import Assignment, Outcome
from schemas.workflow_event import WorkflowEvent
from tests.workflow.drive import Drive, created, failing, failure, well

FOLDER = Path(__file__).parent / "histories"
UNDO = {"function": "undo", "inputs": {"what": "${output}"}}


def chain() -> Drive:
    tasks = {
        "a": {"function": "f"},
        "b": {"function": "f", "inputs": {"n": "${tasks.a.output.of}"}},
        "c": {"function": "f", "depends_on": ["b"], "title": "the last"},
    }
    return ran(Drive(created({"tasks": tasks, "output": "${tasks.c.output.of}"})))


def saga() -> Drive:
    """Fails at its end, is undone but for one task, and is retried."""
    tasks: dict[str, Any] = {f"t{n}": {"function": "f", "compensation": UNDO} for n in range(4)}
    tasks["last"] = {"function": "f", "depends_on": list(tasks), "retry": {"attempts": 2}}

    def answer(state: State, work: Assignment) -> Outcome:
        if work.place[0] == "last" or (work.undoes and work.place[0] == "t2"):
            return Outcome(work, problem=failure(retryable=not work.undoes), unsure=work.attempt == 1)
        return Outcome(work, output={"id": work.place[0]}, cost_usd=0.01, served_by="function", once=False)

    drive = ran(Drive(created({"tasks": tasks, "max_parallel_tasks": 3}), answer, seed=5))
    drive.answer = well
    drive.send("retry")
    return ran(drive)


def items() -> Drive:
    """A map of which some fail and are tried again, and one that is allowed to fail."""
    tasks = {
        "list": {"function": "f"},
        "each": {
            "function": "f",
            "map": {"over": "inputs.names", "limit": 2},
            "inputs": {"name": "${item}", "number": "${index}"},
            "depends_on": ["list"],
        },
        "may": {"prompt": "Look at ${tasks.each.output}", "agent": "groq-lightning", "allow_failure": True},
        "never": {"function": "f", "when": "tasks.may.status == 'completed'"},
    }
    answer = failing("each[1]", "each[3]", times=1)

    def or_refuse(state: State, work: Assignment) -> Outcome:
        if work.place[0] == "may":
            return Outcome(work, problem=failure(retryable=False), cost_usd=0.5, served_by="agent", once=True)
        outcome = answer(state, work)
        assert outcome is not None
        return outcome

    return ran(Drive(created({"tasks": tasks}, {"names": list("vwxyz")}), or_refuse, seed=3))


def waits() -> Drive:
    """Signals before and after their time, an approval, timers, a pause, another workflow."""
    inner = {"name": "inner", "inputs": {"n": {"type": "integer"}}, "tasks": {"x": {"function": "f"}}}
    tasks = {
        "go": {"signal": "go"},
        "ask": {"approval": "Publish ${tasks.go.output.what}?"},
        "timer": {"wait_s": "${inputs.seconds}", "depends_on": ["ask"]},
        "moment": {"wait_until": "2026-03-01T12:00:00+01:00", "depends_on": ["timer"]},
        "child": {"workflow": inner, "inputs": {"n": 1}, "depends_on": ["moment"]},
        "late": {"signal": "late", "timeout_s": 3600, "allow_failure": True},
    }
    drive = Drive(created({"tasks": tasks, "timeout_s": 86400}, {"seconds": 90}))
    drive.send("start")
    drive.send("signal", name="ask", payload={"approved": True, "by": "Ada"})
    drive.send("pause")
    drive.send("signal", name="go", payload={"what": "the bag"})
    drive.settle()
    drive.send("resume")
    return ran(drive)


def cancelled() -> Drive:
    """Cancelled while a task runs, and undone."""
    tasks = {
        "a": {"actor": "shop.open", "compensation": UNDO, "otherwise": {"prompt": "Open a shop."}},
        "b": {"function": "f", "depends_on": ["a"]},
    }
    drive = Drive(created({"tasks": tasks}))
    drive.send("start")
    drive.finish_one()
    drive.send("cancel", reason="it rains")
    [running] = drive.open
    drive.open.clear()
    drive.turn(Outcome(running, problem=failure("cancelled"), cancelled=True))
    return ran(drive)


def late() -> Drive:
    """Fails at its deadline, and is undone."""
    tasks = {"a": {"function": "f", "compensation": UNDO}, "b": {"signal": "never", "depends_on": ["a"]}}
    return ran(Drive(created({"tasks": tasks, "timeout_s": 3600})))


SCENARIOS = {each.__name__: each for each in (chain, saga, items, waits, cancelled, late)}


def ran(drive: Drive) -> Drive:
    drive.run()
    return drive


def written(events: list[WorkflowEvent]) -> str:
    told = [event.model_dump(mode="json", exclude_none=True) for event in events]
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def main(names: list[str]) -> None:
    for name in names or list(SCENARIOS):
        path = FOLDER / f"{name}.json"
        if path.exists():
            print(f"{path.name} is there, and stays")
            continue
        path.write_text(written(SCENARIOS[name]().events))
        print(f"{path.name} recorded")


if __name__ == "__main__":
    main(sys.argv[1:])
