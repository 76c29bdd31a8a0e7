"""What is asked of one member of a team, and why there may be no answer to it."""

from dataclasses import dataclass
from typing import Any

from actors.coordinator.seats import Seat
from schemas.errors import BudgetExceeded, DeadlineExceeded, DevSkyyError
from schemas.task import Input, Turn
from schemas.team import Contribution, Priority, Step, StepKind


class TooSlow(DevSkyyError):
    """Others had answered long before."""

    code = "too_slow"
    title = "The team went on without it"
    http_status = 504


class NotAsked(DevSkyyError):
    """A bound of the task stood before this step."""

    code = "not_asked"
    title = "A bound of the task was met"
    http_status = 422


@dataclass(frozen=True)
class Asking:
    """A step with all that is said to whoever does it."""

    seat: Seat
    kind: StepKind
    step: str
    prompt: str
    part: str = ""
    about: tuple[str, ...] = ()
    to: tuple[str, ...] = ()
    priority: Priority = 2
    inputs: tuple[Input, ...] = ()
    history: tuple[Turn, ...] = ()
    json_schema: dict[str, Any] | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    aim: str | None = None
    """What its quality is measured against; None: it is not measured."""
    sources: tuple[Input, ...] = ()
    """What came with that, whether or not the step was shown it: a quotation is looked up there."""
    reviewed: tuple[str, ...] | None = None
    """Whose answers its remarks may be about; empty: of one alone; None: it is no review."""

    @property
    def plan(self) -> Step:
        """As the story announces it."""
        return Step(step=self.step, agent=self.seat.name, kind=self.kind, about=self.about, part=self.part)

    @property
    def place(self) -> dict[str, Any]:
        """What a contribution says of the step that it came of."""
        return {
            "step": self.step,
            "agent": self.seat.name,
            "kind": self.kind,
            "part": self.part,
            "to": self.to,
            "priority": self.priority,
        }


def worth_another(failed: Contribution) -> bool:
    """Whether somebody else may do better: not where money, time or a bound stood in the way."""
    if failed.usable:
        return False
    settled = (BudgetExceeded.code, DeadlineExceeded.code, NotAsked.code, TooSlow.code)
    return failed.problem is None or failed.problem.code not in settled
