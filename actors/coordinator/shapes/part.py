"""What a shape works on, the whole task or a part of it, and what it comes to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from actors.coordinator.asking import Asking
from actors.coordinator.run import Run
from actors.coordinator.seats import Seat
from schemas.errors import BudgetExceeded, DevSkyyError
from schemas.task import Input, Turn
from schemas.team import Contribution, StepKind


class NobodyAnswered(DevSkyyError):
    """A team whose members all said nothing."""

    code = "no_answer"
    title = "Nobody of the team answered anything"
    http_status = 502


@dataclass(frozen=True)
class Part:
    prompt: str
    seats: tuple[Seat, ...]
    """The team; the first leads it."""
    room: int
    """Characters of others' texts that a step may be shown: what the narrowest service of the team can read."""
    answer_tokens: int | None = None
    """How long an answer may be; None: as its agent says."""
    narrow: bool = False
    """The embedded model serves: what is asked for as JSON is kept short, so that it is whole."""
    name: str = ""
    """Empty for the whole task."""
    inputs: tuple[Input, ...] = ()
    history: tuple[Turn, ...] = ()
    json_schema: dict[str, Any] | None = None
    spare: tuple[Seat, ...] = ()
    """Who takes the place of those that fail."""
    depth: int = 0

    def step(self, name: str) -> str:
        return f"{self.name}-{name}" if self.name else name

    @property
    def material(self) -> dict[str, Any]:
        """What came with the part, for a step that is shown others' texts too; the embedded model has little room."""
        texts = sum(len(item.text_content()) for item in self.inputs if item.kind != "image")
        texts += sum(len(turn.content) for turn in self.history)
        fits = not self.narrow or texts <= self.room // 2
        inputs = self.inputs if fits else tuple(item for item in self.inputs if item.kind == "image")
        return {"inputs": inputs, "history": self.history if fits else ()}

    def form(self, schema: dict[str, Any], tokens: int) -> dict[str, Any]:
        """The fields of a step that answers in JSON: its schema, and how long it may be."""
        if self.narrow:
            return {"json_schema": tersely(schema), "max_tokens": NARROW_JSON}
        return {"json_schema": schema, "max_tokens": tokens}

    def asking(self, seat: Seat, kind: StepKind, prompt: str | None = None, **fields: Any) -> Asking:
        """Ask for an answer to the part, which is measured, in the form that it has to have.

        Args:
            prompt: left out: the part as it stands, with what comes with it.
            fields: `step`, and what is to be otherwise.
        """
        material = {"inputs": self.inputs, "history": self.history} if prompt is None else self.material
        return Asking(
            **{
                "seat": seat,
                "kind": kind,
                "step": self.step(f"{kind}-{seat.name}"),
                "prompt": self.prompt if prompt is None else prompt,
                "part": self.name,
                **material,
                "sources": self.inputs,
                "json_schema": self.json_schema,
                "max_tokens": self.answer_tokens,
                "aim": self.prompt,
                **fields,
            }
        )


NARROW_JSON = 320
"""Tokens of an answer in JSON where the embedded model serves."""
NARROW_ITEMS, NARROW_CHARACTERS = 3, 100


def tersely(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema whose lists and texts are short: llama.cpp keeps to such bounds while it writes; others may not."""
    short = {key: tersely(value) if isinstance(value, dict) else value for key, value in schema.items()}
    if schema.get("type") == "array":
        short["maxItems"] = min(NARROW_ITEMS, int(schema.get("maxItems", NARROW_ITEMS)))
    elif schema.get("type") == "string":
        short["maxLength"] = NARROW_CHARACTERS
    return short


@dataclass(frozen=True)
class Outcome:
    """The answer of a shape."""

    text: str
    seat: Seat
    """Who wrote it."""
    step: str
    finish_reason: str | None = None
    quality: float | None = None


def outcome_of(contribution: Contribution, seats: Sequence[Seat]) -> Outcome:
    seat = next((s for s in seats if s.name == contribution.agent), Seat(contribution.agent, contribution.agent))
    return Outcome(contribution.text or "", seat, contribution.step, contribution.finish_reason, contribution.quality)


def worth(contribution: Contribution) -> tuple[bool, float]:
    """What is sounder sorts higher: what tries to steer its readers comes after all that does not."""
    return not contribution.marks, -1.0 if contribution.quality is None else contribution.quality


def best_of(contributions: Sequence[Contribution]) -> Contribution:
    """The best by measured quality; of equals the first."""
    return max(contributions, key=worth)


def sound(contributions: Sequence[Contribution]) -> list[Contribution]:
    """Those that can be used; those that try to steer only where there are no others."""
    usable = [each for each in contributions if each.usable]
    return [each for each in usable if not each.marks] or usable


def weight(contribution: Contribution) -> float:
    """How much an answer counts beside others: its quality, and never nothing."""
    return max(0.05, 0.5 if contribution.quality is None else contribution.quality)


def failure(contributions: Sequence[Contribution]) -> DevSkyyError:
    """Why there is no answer; a budget's refusal tells its reader most."""
    problems = [each.problem for each in contributions if each.problem is not None]
    for problem in problems:
        if problem.code == BudgetExceeded.code:
            return problem.error()
    return problems[0].error() if problems else NobodyAnswered("nobody of the team answered anything")


async def left_out(run: Run, part: Part, phase: str, because: str) -> None:
    """A phase is left out for want of money, time or steps."""
    await run.decide(
        part.step(f"{phase}-left-out"),
        {"phase": phase, "because": because},
        (f"the {phase} is left out: {because}",),
        change="shrunk",
        part=part.name,
    )
