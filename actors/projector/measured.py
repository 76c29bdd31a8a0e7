"""What a task that has ended tells of the quality of its agents' answers."""

from collections.abc import Sequence

from schemas.event import Answered, Ended, TaskEvent
from schemas.receipt import JUDGE, Call
from schemas.task import Task
from storage.qualities import Measured


def of_a_team(task: Task) -> bool:
    """Whether several steps made the answer, so that the task's events have to be read for what each was worth."""
    steps = {call.step for call in _serving(task)}
    return task.shape != "direct" or len(steps) > 1


def of_one(ended: Ended) -> list[Measured]:
    """The one answer of a task that one agent did; none where it was not measured, or was given before."""
    task, calls = ended.task, _serving(ended.task)
    if task.quality is None or task.quality.overall is None or not calls or _repeated(calls):
        return []
    last = calls[-1]
    return [_measured(ended, last.step, last.agent, task.quality.overall, ended)]


def of_each(events: Sequence[TaskEvent], ended: Ended) -> list[Measured]:
    """The measured answers of a team's members, by its events; of each step one.

    Args:
        events: the task's, oldest first.
    """
    found = {}
    for event in events:
        for said in event.contributions if isinstance(event, Answered) else ():
            if said.quality is not None and not _repeated(said.calls):
                found[said.step] = _measured(ended, said.step, said.agent, said.quality, event)
    return list(found.values())


def _measured(ended: Ended, step: str, agent: str, overall: float, event: TaskEvent) -> Measured:
    task = ended.task
    return Measured(ended.tenant, ended.task_id, step, agent, task.profile, task.tier, overall, event.at)


def _serving(task: Task) -> list[Call]:
    """The calls that answered, less the judges'."""
    calls = task.receipt.calls if task.receipt else ()
    return [call for call in calls if call.outcome == "answered" and call.agent != JUDGE]


def _repeated(calls: Sequence[Call]) -> bool:
    """Whether a recording or the cache answered, with what was measured when it was first given."""
    return any(call.replayed or call.cached for call in calls)
