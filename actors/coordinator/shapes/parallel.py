"""The parallel shape: several agents at once, the first of them that suffice, the best answer or a merge."""

from collections.abc import Sequence

from actors.coordinator import prompts
from actors.coordinator.run import Run
from actors.coordinator.shapes.part import (
    Outcome,
    Part,
    best_of,
    failure,
    left_out,
    outcome_of,
    sound,
    weight,
)
from actors.quality.answer import Agreement, agreement
from schemas.team import Contribution

MERGE_WITHIN = 0.1
"""Answers whose quality lies this near the best one's are worth putting together."""
HASTE = 1.0
"""Several answers are there already; another is waited for as long again as they took."""


def enough(team: int) -> int:
    """How many of a team's answers suffice, so that one slow agent holds up nobody."""
    return team if team <= 3 else team - max(1, team // 4)


async def parallel(run: Run, part: Part) -> Outcome:
    """
    Raises:
        DevSkyyError: nobody answered; the error of the first who failed.
    """
    drafts = await run.ask(
        part.step("drafts"),
        [part.asking(seat, "draft") for seat in part.seats],
        enough=enough(len(part.seats)),
        patience=HASTE,
        substitutes=part.spare,
    )
    usable = sound(drafts)
    if not usable:
        raise failure(drafts)
    best = best_of(usable)
    if len(usable) == 1:
        return outcome_of(best, part.seats)
    agreed = await agree(run, part, usable)
    heaviest = [usable[place] for place in agreed.clusters[0]]
    best = best_of(heaviest if agreed.by == "answer" else usable)
    if agreed.by == "answer":
        await run.decide(
            part.step("choice"),
            {"step": best.step, "by": "vote", "share": round(agreed.share, 4)},
            (f"{len(heaviest)} of {len(usable)} gave the same answer, by {agreed.share:.0%} of the weight",),
            part=part.name,
        )
        return outcome_of(best, part.seats)
    near = [each for each in usable if each is not best and (best.quality or 0) - (each.quality or 0) <= MERGE_WITHIN]
    if len(agreed.clusters) == 1 or not near:
        why = "the answers say the same" if len(agreed.clusters) == 1 else "no other answer comes near it"
        await run.decide(
            part.step("choice"),
            {"step": best.step, "by": "quality", "quality": best.quality},
            (f"{best.agent!r} has the best answer, and {why}",),
            part=part.name,
        )
        return outcome_of(best, part.seats)
    return await merge(run, part, [best, *near])


async def agree(run: Run, part: Part, usable: Sequence[Contribution]) -> Agreement:
    """How far answers agree, weighted by quality."""
    embed = await run.assessor.embed()
    return agreement(part.prompt, [each.text or "" for each in usable], [weight(each) for each in usable], embed)


async def merge(run: Run, part: Part, near: Sequence[Contribution]) -> Outcome:
    """One answer out of several good ones; kept only if it measures better than the best of them.

    Args:
        near: the best first.
    """
    best = near[0]
    if (because := run.thrift.why_not(part.step("merge"), part.step("merge-"))) is not None:
        await left_out(run, part, "merge", because)
        return outcome_of(best, part.seats)
    whole = sum(weight(each) for each in near)
    weighted = [(each, weight(each) / whole) for each in near]
    author = outcome_of(best, part.seats).seat
    merged = (
        await run.ask(
            part.step("merge"),
            [
                part.asking(
                    author,
                    "merge",
                    prompts.synthesis(part.prompt, weighted, part.room),
                    about=tuple(each.step for each in near),
                )
            ],
        )
    )[0]
    better = merged.usable and not merged.marks and (merged.quality or 0) > (best.quality or 0)
    chosen = merged if better else best
    await run.decide(
        part.step("choice"),
        {"step": chosen.step, "by": "merge" if better else "quality", "quality": chosen.quality},
        (
            f"the merge of {len(near)} answers measures {merged.quality or 0:.2f}, "
            f"the best of them {best.quality or 0:.2f}; the {'merge' if better else 'best of them'} is kept",
        ),
        part=part.name,
    )
    return outcome_of(chosen, part.seats)
