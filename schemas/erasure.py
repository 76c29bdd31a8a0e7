"""What was erased, and where it was kept."""

from pydantic import Field

from schemas.message import Message


class Erased(Message):
    """The report of an erasure: nothing of it is kept any more, but for what `docs/data.md` names."""

    tasks: int = 0
    workflows: int = 0
    costs_kept: bool
    """Whether what it cost is kept, without a name."""
    removed: dict[str, int] = Field(default_factory=dict)
    """How many messages, objects and rows went, by stream, store and table; where there were none, it is left out."""

    def __add__(self, other: "Erased") -> "Erased":
        removed = dict(self.removed)
        for place, count in other.removed.items():
            removed[place] = removed.get(place, 0) + count
        return Erased(
            tasks=self.tasks + other.tasks,
            workflows=self.workflows + other.workflows,
            costs_kept=self.costs_kept and other.costs_kept,
            removed=removed,
        )
