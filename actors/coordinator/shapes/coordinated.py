"""The coordinated shape: analysis, review, refinement, consensus, synthesis; it stops where a phase brings nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from actors.coordinator import prompts
from actors.coordinator.asking import Asking
from actors.coordinator.bounds import ROUNDS
from actors.coordinator.remarks import MOST_KEPT, Review, choice_of, review_of
from actors.coordinator.run import PATIENT, Run
from actors.coordinator.seats import Seat
from actors.coordinator.shapes.parallel import agree
from actors.coordinator.shapes.part import (
    Outcome,
    Part,
    best_of,
    failure,
    left_out,
    outcome_of,
    sound,
    weight,
    worth,
)
from schemas.team import Contribution, Remark

CONSENSUS = 0.6
"""Share of the weight behind one answer from which it needs no vote."""
REVIEW_TOKENS = 600
VOTE_TOKENS = 300


@dataclass
class Standing:
    """Where the team stands: each member's present answer, and what was said of it."""

    now: dict[str, Contribution]
    """By seat."""
    remarks: dict[str, list[Remark]] = field(default_factory=dict)
    praised: dict[str, int] = field(default_factory=dict)
    """How many reviewers called a seat's answer the best."""

    @property
    def answers(self) -> list[Contribution]:
        return list(self.now.values())

    def weight(self, contribution: Contribution) -> float:
        """Quality, and up to as much again for the reviewers' praise."""
        return weight(contribution) * (1 + self.praised.get(contribution.agent, 0) / max(1, len(self.now)))


async def coordinated(run: Run, part: Part) -> Outcome:
    """
    Raises:
        DevSkyyError: nobody answered; the error of the first who failed.
    """
    drafts = await run.ask(
        part.step("analysis"),
        [
            part.asking(seat, "draft", to=tuple(other.name for other in part.seats if other is not seat))
            for seat in part.seats
        ],
        enough=max(2, len(part.seats) - 1),
        patience=PATIENT,
        substitutes=part.spare,
    )
    usable = sound(drafts)
    if not usable:
        raise failure(drafts)
    if len(usable) == 1:
        return await _stop(run, part, usable[0], "only one member of the team answered, so nobody can review it")
    first = await agree(run, part, usable)
    if len(first.clusters) == 1:
        how = "give the same answer" if first.by == "answer" else f"say the same (similarity {first.similarity:.2f})"
        return await _stop(
            run, part, best_of(usable), f"all {len(usable)} drafts {how}; a discussion would bring nothing"
        )
    if (because := run.thrift.why_not(part.step("discussion"), part.step("review-"))) is not None:
        await left_out(run, part, "discussion", because)
        return await _settle(run, part, Standing({each.agent: each for each in usable}), vote=False)
    standing = Standing({each.agent: each for each in usable})
    seats = _seats(part, usable)
    await _review(run, part, standing, seats)
    if not await _refine(run, part, standing, seats):
        await run.decide(
            part.step("refinement-stopped"),
            {"phase": "refinement"},
            ("the reviewers found nothing that has to be changed, so nothing is refined",),
            change="stopped_early",
            part=part.name,
        )
    return await _settle(run, part, standing, vote=run.thrift.why_not(part.step("vote"), part.step("vote1-")) is None)


async def _stop(run: Run, part: Part, best: Contribution, why: str) -> Outcome:
    await run.decide(part.step("stopped"), {"step": best.step}, (why,), change="stopped_early", part=part.name)
    return outcome_of(best, part.seats)


def _seats(part: Part, usable: Sequence[Contribution]) -> list[Seat]:
    """Those who answered, in the team's order; substitutes too."""
    return [outcome_of(each, (*part.seats, *part.spare)).seat for each in usable]


async def _review(run: Run, part: Part, standing: Standing, seats: Sequence[Seat]) -> None:
    """Everybody reads everybody else."""
    askings = []
    for seat in seats:
        others = [each for name, each in standing.now.items() if name != seat.name]
        askings.append(
            Asking(
                seat=seat,
                kind="review",
                step=part.step(f"review-{seat.name}"),
                prompt=prompts.review(part.prompt, others, part.room),
                part=part.name,
                about=tuple(each.step for each in others),
                to=tuple(each.agent for each in others),
                priority=1,
                reviewed=tuple(each.agent for each in others),
                **part.material,
                **part.form(prompts.review_schema([each.agent for each in others]), REVIEW_TOKENS),
            )
        )
    names = list(standing.now)
    for asking, said in zip(askings, await run.ask(part.step("review"), askings, enough=len(askings) - 1), strict=True):
        # Whoever tries to steer its readers has no say in what they think of others.
        review = None if said.marks else review_of(said.text, [n for n in names if n != asking.seat.name], MOST_KEPT)
        if review is not None:
            _take(standing, review)


def _take(standing: Standing, review: Review) -> None:
    for name, remarks in review.remarks.items():
        standing.remarks.setdefault(name, []).extend(remarks)
    if review.best is not None:
        standing.praised[review.best] = standing.praised.get(review.best, 0) + 1


async def _refine(run: Run, part: Part, standing: Standing, seats: Sequence[Seat]) -> bool:
    """Each improves its answer by what was found; kept where it does not measure worse. Whether there was anything."""
    askings = []
    for seat in seats:
        remarks = [each for each in standing.remarks.get(seat.name, ()) if each.severity != "low"]
        if not remarks:
            continue
        remarks.sort(key=lambda each: each.severity != "high")
        own = standing.now[seat.name]
        askings.append(
            part.asking(
                seat,
                "refinement",
                prompts.refinement(part.prompt, own.text or "", remarks[: prompts.MOST_REMARKS], part.room),
                about=(own.step,),
                to=tuple(other.name for other in seats if other is not seat),
            )
        )
    if askings and (because := run.thrift.why_not(part.step("refinement"), part.step("refinement-"))) is not None:
        await left_out(run, part, "refinement", because)
        return True
    for refined in await run.ask(part.step("refinement"), askings, enough=max(1, len(askings) - 1)):
        if refined.usable and worth(refined) >= worth(standing.now[refined.agent]):
            standing.now[refined.agent] = refined
    return bool(askings)


async def _settle(run: Run, part: Part, standing: Standing, *, vote: bool) -> Outcome:
    """Consensus, then one answer."""
    answers = standing.answers
    found = await agree(run, part, [_weighed(standing, each) for each in answers])
    heaviest = [answers[place] for place in found.clusters[0]]
    winner, share, how = best_of(heaviest), found.share, "weight"
    rounds = 0
    if found.by == "answer" and len(found.clusters) > 1 and found.share < CONSENSUS and vote:
        positions = {
            best_of([answers[i] for i in cluster]).step: [answers[i] for i in cluster] for cluster in found.clusters
        }
        for number in range(1, ROUNDS + 1):
            voted = await _vote(run, part, standing, positions, number)
            rounds = number
            if voted is None:
                break
            step, share = voted
            heaviest, how = positions[step], "vote"
            winner = best_of(heaviest)
            if share >= CONSENSUS or len(positions) <= 2 or number == ROUNDS:
                break
            if run.thrift.why_not(part.step(f"vote{number + 1}"), part.step(f"vote{number + 1}-")) is not None:
                break
            # The weakest position leaves, so that the next vote is another one.
            others = [name for name in positions if name != step]
            weakest = min(others, key=lambda name: sum(standing.weight(each) for each in positions[name]))
            positions = {name: held for name, held in positions.items() if name != weakest}
    dissent = sorted(each.agent for each in answers if each not in heaviest) if found.by == "answer" else []
    agreed = share if found.by == "answer" else found.similarity
    await run.decide(
        part.step("consensus"),
        {
            "step": winner.step,
            "by": found.by,
            "share": round(agreed, 4),
            "rounds": rounds,
            "agree": sorted(each.agent for each in heaviest),
            "dissent": dissent,
        },
        (
            f"{agreed:.0%} of the {how} is behind {winner.agent!r}"
            + (f"; {', '.join(dissent)} hold to another answer" if dissent else "")
            if found.by == "answer"
            else f"the answers are alike by {agreed:.2f}; {winner.agent!r} has the best one",
        ),
        part=part.name,
    )
    if found.by == "answer":
        return await _stop(
            run, part, winner, "the answer is one that can be compared, so there is nothing to put together"
        )
    if (because := run.thrift.why_not(part.step("synthesis"), part.step("synthesis"))) is not None:
        await left_out(run, part, "synthesis", because)
        return outcome_of(winner, part.seats)
    return await _synthesis(run, part, standing)


def _weighed(standing: Standing, contribution: Contribution) -> Contribution:
    return contribution.model_copy(update={"quality": min(1.0, standing.weight(contribution) / 2)})


async def _vote(
    run: Run, part: Part, standing: Standing, positions: dict[str, list[Contribution]], number: int
) -> tuple[str, float] | None:
    """The position that most of the weight votes for, and its share; None where no vote can be read."""
    named = {f"P{place}": step for place, step in enumerate(positions, start=1)}
    texts = [(name, best_of(positions[step]).text or "") for name, step in named.items()]
    askings = [
        Asking(
            seat=seat,
            kind="review",
            step=part.step(f"vote{number}-{seat.name}"),
            prompt=prompts.vote(part.prompt, texts, part.room),
            part=part.name,
            about=tuple(positions),
            priority=1,
            **part.material,
            **part.form(prompts.vote_schema(list(named)), VOTE_TOKENS),
        )
        for seat in _seats(part, standing.answers)
    ]
    votes: dict[str, float] = {}
    for said in await run.ask(part.step(f"vote{number}"), askings, enough=max(1, len(askings) - 1)):
        choice = None if said.marks else choice_of(said.text, list(named))
        if choice is not None:
            step = named[choice[0]]
            votes[step] = votes.get(step, 0.0) + standing.weight(standing.now[said.agent])
    if not votes:
        return None
    first = max(votes, key=lambda step: votes[step])
    return first, votes[first] / sum(votes.values())


async def _synthesis(run: Run, part: Part, standing: Standing) -> Outcome:
    """One answer out of all, by whoever has the best; kept only if it does not measure worse than that."""
    answers = sorted(standing.answers, key=standing.weight, reverse=True)
    best = best_of(answers)
    whole = sum(standing.weight(each) for each in answers)
    weighted = [(each, standing.weight(each) / whole) for each in answers]
    author = outcome_of(best, (*part.seats, *part.spare)).seat
    said = (
        await run.ask(
            part.step("synthesis"),
            [
                part.asking(
                    author,
                    "synthesis",
                    prompts.synthesis(part.prompt, weighted, part.room),
                    step=part.step("synthesis"),
                    about=tuple(each.step for each in answers),
                )
            ],
        )
    )[0]
    kept = said.usable and worth(said) >= worth(best)
    chosen = said if kept else best
    why = (
        said.problem.detail
        if said.problem
        else f"it measures {said.quality or 0:.2f}, the best answer {best.quality or 0:.2f}"
    )
    await run.decide(
        part.step("choice"),
        {"step": chosen.step, "by": "synthesis" if kept else "quality", "quality": chosen.quality},
        (f"the synthesis is {'kept' if kept else 'not kept'}: {why}",),
        part=part.name,
    )
    return outcome_of(chosen, (*part.seats, *part.spare))
