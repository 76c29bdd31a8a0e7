"""A workflow driven turn by turn on a clock of its own: no engine, no broker, no waiting."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from actors.workflow.state import Place, State, label
from actors.workflow.turn import Turn, next_due
from actors.workflow.work import Assignment, Outcome
from schemas.problem import Problem, urn
from schemas.workflow import WorkflowDefinition
from schemas.workflow_event import Created, WorkflowCommand, WorkflowEvent

BEGAN = datetime(2026, 3, 1, 9, tzinfo=UTC)
MOST_TURNS = 10_000

Answer = Callable[[State, Assignment], Outcome | None]
"""What comes of an assignment; None: it goes on."""


def created(definition: dict[str, Any], inputs: dict[str, Any] | None = None, **more: Any) -> Created:
    return Created(
        event_id="first",
        workflow_id="w1",
        tenant="default",
        seq=1,
        at=BEGAN,
        status="pending",
        percentage=0.0,
        definition=WorkflowDefinition.model_validate({"name": "test", **definition}),
        inputs=inputs or {},
        body_sha256="0",
        **more,
    )


def failure(code: str = "broken", *, retryable: bool = True, detail: str = "it broke") -> Problem:
    return Problem(type=urn(code), title="Broken", status=500, detail=detail, retryable=retryable)


def well(state: State, work: Assignment) -> Outcome:
    """Everything succeeds."""
    return Outcome(work, output={"of": label(work.place), "attempt": work.attempt})


@dataclass
class Drive:
    """Takes turns until nothing is left to do; keeps every event and every assignment."""

    first: Created
    answer: Answer = well
    clock: datetime = BEGAN
    seed: int = 0
    events: list[WorkflowEvent] = field(default_factory=list)
    begun: list[Assignment] = field(default_factory=list)
    open: list[Assignment] = field(default_factory=list)
    blobs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.state = State(self.first)
        self.state.take(self.first)
        self.events.append(self.first)
        self._random = random.Random(self.seed)
        self._sent = 0

    def send(self, kind: str, **said: Any) -> WorkflowEvent | None:
        """Give a command, and return the event that answers it."""
        self._sent += 1
        return self.turn(command=WorkflowCommand.model_validate({"kind": kind, "command": f"c{self._sent}", **said}))

    def turn(self, *outcomes: Outcome, command: WorkflowCommand | None = None) -> WorkflowEvent | None:
        turn = Turn(self.state, self.clock, self._random.random, self.blobs, "me", f"e{len(self.events)}")
        event = turn.take(outcomes, command)
        assert not turn.missing
        if event is not None:
            self.events.append(event)
        self.begun += turn.begun
        self.open += turn.begun
        return event

    def settle(self) -> None:
        """Go on with what is known until nothing happens any more."""
        while self.turn() is not None:
            pass

    def finish_one(self) -> bool:
        """One assignment, drawn, comes to what `answer` says. False: none does now."""
        answers = {work: outcome for work in self.open if (outcome := self.answer(self.state, work)) is not None}
        if not answers:
            return False
        work = self._random.choice(list(answers))
        self.open.remove(work)
        self.turn(answers[work])
        return True

    def run(self) -> State:
        """Start it where it is not, and go on to its end, or to where only a command helps."""
        if self.state.started_at is None:
            self.send("start")
        for _ in range(MOST_TURNS):
            self.settle()
            if self.state.ended is not None:
                return self.state
            if self.finish_one() or self.finish_one():  # what goes on at first may have come to something
                continue
            due = next_due(self.state)
            if due is None or due - self.clock > timedelta(days=6):
                return self.state
            self.clock = max(self.clock, due)
        raise AssertionError("it does not come to an end")

    @property
    def done(self) -> list[str]:
        """Units in the order in which they were completed."""
        return [
            label((change.task, change.item))
            for event in self.events
            for change in event.changes
            if change.to == "completed"
        ]

    @property
    def undone_in_order(self) -> list[str]:
        return [label(work.place) for work in self.begun if work.undoes and work.attempt == 1]


def failing(*places: str | Place, times: int = 10**6, **how: Any) -> Answer:
    """These fail, so often; the rest succeed."""
    wanted = {place if isinstance(place, str) else label(place) for place in places}

    def answer(state: State, work: Assignment) -> Outcome:
        if label(work.place) in wanted and not work.undoes and work.attempt <= times:
            return Outcome(work, problem=failure(**how))
        return well(state, work)

    return answer
