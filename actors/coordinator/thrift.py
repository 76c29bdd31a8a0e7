"""When a task leaves out what an answer does not need: money, tokens, time or steps are running low."""

from datetime import datetime

from actors.coordinator.bounds import Bounds
from actors.coordinator.story import Story
from schemas.errors import BudgetExceeded
from schemas.event import Accepted
from schemas.message import now

SCARCE = 0.7
"""Of its money, tokens or steps used, a task leaves out what is not needed for an answer."""
LATE = 0.15
"""So does one with less than this of its time left."""


class Thrift:
    """Looks at what the story says was spent. What it finds scarce once stays so: all of it only grows."""

    def __init__(self, accepted: Accepted, story: Story, bounds: Bounds, deadline_at: datetime) -> None:
        """
        Args:
            deadline_at: the end of the time for steps.
        """
        self._request, self._story, self._bounds, self._deadline_at = accepted.request, story, bounds, deadline_at
        self._reserve_s = LATE * (accepted.deadline_at - accepted.at).total_seconds()

    def why_not(self, phase: str, begins: str) -> str | None:
        """Why a phase is to be left out; what was decided of it, or begun, stays so for a later owner.

        Args:
            phase: as `left_out` names it, with its part.
            begins: how the names of its steps begin.
        """
        before = self._story.decisions.get(f"{phase}-left-out")
        if before is not None:
            return str(before.value.get("because", before.reasons[0]))
        if any(step.startswith(begins) for step in self._story.dispatched):
            return None
        return self._scarce()

    @property
    def left_s(self) -> float:
        """Seconds until time is scarce; negative once it is."""
        return (self._deadline_at - now()).total_seconds() - self._reserve_s

    def _scarce(self) -> str | None:
        request, bounds = self._request, self._bounds
        if refused := self._refused():
            return refused
        if request.max_cost_usd is not None and self._spent_usd() > SCARCE * request.max_cost_usd:
            return f"${self._spent_usd():.6f} of ${request.max_cost_usd:g} are spent"
        if request.max_total_tokens is not None and self._spent_tokens() > SCARCE * request.max_total_tokens:
            return f"{self._spent_tokens():,} of {request.max_total_tokens:,} tokens are spent"
        if self.left_s < 0:
            return "the task's time is nearly over"
        if bounds.asked >= SCARCE * bounds.calls:
            return f"{bounds.asked} of the {bounds.calls} steps that the task may ask for are used"
        return None

    def _refused(self) -> str | None:
        for each in self._story.contributions.values():
            if each.problem is not None and each.problem.code == BudgetExceeded.code:
                return f"the budget refused {each.step!r}"
        return None

    def _spent_usd(self) -> float:
        """As far as it is known."""
        return sum(call.cost_usd or 0.0 for each in self._story.contributions.values() for call in each.calls)

    def _spent_tokens(self) -> int:
        calls = [call for each in self._story.contributions.values() for call in each.calls]
        return sum((call.prompt_tokens or 0) + (call.completion_tokens or 0) for call in calls)
