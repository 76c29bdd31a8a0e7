"""What a task may set off at most. Loops are found by what is done, not by asking a model whether it goes round."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from actors.coordinator.graph import MOST_PARTS
from schemas.task import Tier

ROUNDS = 2
"""Of refinement, and of consensus."""
DEPTH = 2
"""Shapes within shapes: a part of a task may have a team, whose members have none."""


def most_calls(tier: Tier, seats: int) -> int:
    """How many steps a task of this tier may ask for in all.

    A coordinated team asks each seat for a draft, a review, two refinements and two votes, and for one synthesis; the
    rest is room for substitutes and repairs. Each of a hierarchy's parts may have such a team of its own.
    """
    per_seat = {"simple": 6, "moderate": 3, "complex": 7, "mega": 7}[tier]
    parts = 2 * MOST_PARTS * per_seat if tier == "mega" else 0
    return 12 + per_seat * max(seats, 4) + parts


@dataclass
class Bounds:
    """Counts what a task has asked for."""

    calls: int
    """Steps that may be asked for in all."""
    asked: int = 0
    _actions: dict[bytes, str] = field(default_factory=dict)

    def take(self, step: str, *action: Any) -> str | None:
        """Count a step; the earlier step that did exactly the same, if one did.

        Args:
            action: all that determines it; plain values, whose `repr` tells them apart.
        """
        self.asked += 1
        mark = hashlib.sha256(repr(action).encode("utf-8", "surrogatepass")).digest()
        earlier = self._actions.setdefault(mark, step)
        return None if earlier == step else earlier

    @property
    def used_up(self) -> bool:
        return self.asked > self.calls
