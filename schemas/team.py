"""What a team says to each other: the steps that are asked, what came of each, what its coordinator decided."""

from typing import Any, Literal

from pydantic import Field

from schemas.message import Message
from schemas.problem import Problem
from schemas.receipt import Call

StepKind = Literal[
    "draft", "review", "refinement", "synthesis", "merge", "plan", "subtask", "optimisation", "assembly", "judgement"
]
"""What a step is for. A draft is an analysis of the whole task; an optimisation is a specialist's."""
Severity = Literal["low", "medium", "high"]
Priority = Literal[1, 2, 3]
"""1 is read first."""
Change = Literal["escalated", "stopped_early", "replaced", "shrunk", "bounded", "missing", "fell_back"]
"""How a decision changed the plan: a dearer shape, phases left out because they would bring nothing, another agent for
one that failed or was slow, fewer steps for the money that is left, a bound that was met, a part that nobody could do,
a simpler way than planned."""


class Remark(Message):
    """One finding of a reviewer about another's answer."""

    severity: Severity
    about: str = ""
    """Whose answer it is about; empty: the one that its step is about."""
    place: str = ""
    """The words it is about, or where it is; empty: the whole."""
    problem: str
    proposal: str = ""


class Step(Message):
    """One thing that is asked of one agent."""

    step: str
    """A subject token, unique in its task; the same whoever owns the task."""
    agent: str
    """The name that the answer goes under: an agent's, or of one of its seats."""
    kind: StepKind
    about: tuple[str, ...] = ()
    """Earlier steps whose results it is shown."""
    part: str = ""
    """The part of the task that it belongs to; empty: the whole."""


class Contribution(Message):
    """What came of a step, as a message of its agent to those named in `to`."""

    step: str
    agent: str
    kind: StepKind
    part: str = ""
    to: tuple[str, ...] = ()
    """Agents that are to read it; empty: the coordinator alone."""
    priority: Priority = 2
    text: str | None = None
    finish_reason: str | None = None
    remarks: tuple[Remark, ...] = ()
    """Of a review or an optimisation, what it found."""
    quality: float | None = None
    """Overall, a fraction; `null` where it was not measured."""
    marks: tuple[str, ...] = ()
    """What is suspicious about it, such as words that try to steer its readers."""
    calls: tuple[Call, ...] = ()
    problem: Problem | None = None
    """Why there is no text."""

    @property
    def usable(self) -> bool:
        return self.problem is None and bool(self.text and self.text.strip())


class Decision(Message):
    """What the coordinator decided, and why. A later owner of the task keeps to it."""

    name: str
    """Unique in its task."""
    part: str = ""
    change: Change | None = None
    """Set where the plan changed."""
    value: dict[str, Any] = {}
    reasons: tuple[str, ...] = Field(min_length=1)


class Progress(Message):
    """How far a team is, in steps."""

    phase: str
    """The one under way; of several the one that began last."""
    asked: int
    """All that were asked for so far; a team may go on to ask for more."""
    answered: int
    failed: int
    left_out: int
    """Those that the team went on without."""
