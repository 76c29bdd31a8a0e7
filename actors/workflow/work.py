"""Units of work: what is to be done under which key, and what came of it."""

import hashlib
from dataclasses import dataclass
from typing import Any

from actors.workflow.state import Place, State, in_order
from schemas.problem import Problem, urn


@dataclass(frozen=True, slots=True)
class Assignment:
    """A unit that is to be worked on."""

    place: Place
    attempt: int
    serial: int
    undoes: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an assignment."""

    assignment: Assignment
    output: Any = None
    blob: str | None = None
    bytes: int | None = None
    problem: Problem | None = None
    unsure: bool = False
    """Whether it may have had its effect although there is a problem."""
    cancelled: bool = False
    cost_usd: float | None = None
    unpriced: bool = False
    served_by: str | None = None
    once: bool | None = None


def key_of(workflow_id: str, work: Assignment) -> str:
    """The idempotency key of a unit's work; the same as long as nobody knows what became of it."""
    task, item = work.place
    named = task if item is None else f"{task}.{item}"
    return f"{workflow_id}.{named}.{'undo.' if work.undoes else ''}{work.serial}"


def ref_of(workflow_id: str, work: Assignment) -> str:
    """The id of the agent task, or of the workflow, that does a unit's work."""
    return hashlib.sha256(key_of(workflow_id, work).encode()).hexdigest()[:32]


def problem(code: str, title: str, detail: str, *, status: int = 500, retryable: bool = False) -> Problem:
    return Problem(type=urn(code), title=title, status=status, detail=detail, retryable=retryable)


def under_way(state: State) -> list[Assignment]:
    """What an engine that takes the workflow over has to work on."""
    found = [(place, state.unit(*place), False) for place in sorted(state.running, key=in_order)]
    undoing = [(place, state.unit(*place), True) for place in sorted(state.undoing, key=in_order)]
    found += [each for each in undoing if each[1].due_at is None]
    return [Assignment(place, unit.attempt, unit.serial, undoes) for place, unit, undoes in found]
