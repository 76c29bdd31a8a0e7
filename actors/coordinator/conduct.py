"""A task's team from its first step to its answer: shape, validation, refinement, a dearer shape where it is needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from actors.coordinator import prompts
from actors.coordinator.bounds import ROUNDS
from actors.coordinator.judgement import Bench
from actors.coordinator.run import Run
from actors.coordinator.seats import Seat, seats_of
from actors.coordinator.shapes.coordinated import coordinated
from actors.coordinator.shapes.hierarchical import hierarchical
from actors.coordinator.shapes.parallel import parallel
from actors.coordinator.shapes.part import NobodyAnswered, Outcome, Part, failure, left_out, outcome_of
from schemas.agent import AgentSpec
from schemas.errors import RemoteError
from schemas.quality import Quality
from schemas.task import TEAM_SIZES, TIERS, Tier
from schemas.team import Contribution, Remark

ENOUGH_BETTER = 0.005
"""What is worth a further round of refinement."""


@dataclass(frozen=True)
class Team:
    """Who is there for a task."""

    seats: tuple[Seat, ...]
    """The first leads."""
    size: int
    """How many the shape is to have; a hierarchy fills up with specialists."""
    bench: tuple[Seat, ...] = ()
    """Agents that have no seat, in the order in which they would be asked."""
    specialists: Mapping[str, AgentSpec] | None = None


@dataclass(frozen=True)
class Result:
    """How a task's team ended."""

    outcome: Outcome
    quality: Quality
    tier: Tier


async def conduct(run: Run, whole: Part, team: Team, tier: Tier, bench: Bench, *, fixed: bool) -> Result:
    """
    Args:
        whole: the task; its seats are taken from `team`.
        bench: of judges.
        fixed: the caller named the tier, so no dearer one is tried.

    Raises:
        DevSkyyError: there is no answer.
    """
    outcome = await _shape(run, whole, team, tier)
    wanted = run.request.min_quality
    quality = await _measured(run, whole, outcome, bench)
    if wanted is None:
        return Result(outcome, quality, tier)
    outcome, quality = await _refined(run, whole, outcome, quality, wanted, bench)
    while not fixed and not _met(quality, wanted) and tier != TIERS[-1]:
        dearer = TIERS[TIERS.index(tier) + 1]
        up = f"step up to {dearer}"
        if (
            f"escalated-{dearer}" not in run.story.decisions
            and (because := run.thrift.why_not(up, f"{dearer}-")) is not None
        ):
            await left_out(run, whole, up, because)
            break
        await run.decide(
            f"escalated-{dearer}",
            {"tier": dearer},
            (f"quality is {quality.overall or 0:.2f} where {wanted:g} was asked for; {dearer!r} follows {tier!r}",),
            change="escalated",
        )
        tier = dearer
        later = replace(whole, name=dearer)
        try:
            other = await _shape(run, later, _grown(team, tier), tier)
        except (RemoteError, NobodyAnswered) as error:
            await left_out(run, later, "dearer shape", f"it has no answer: {error}")
            return Result(outcome, quality, TIERS[TIERS.index(tier) - 1])
        measured = await _measured(run, later, other, bench)
        other, measured = await _refined(run, later, other, measured, wanted, bench)
        if (measured.overall or 0.0) > (quality.overall or 0.0):
            outcome, quality = other, measured
    return Result(outcome, quality, tier)


async def _shape(run: Run, part: Part, team: Team, tier: Tier) -> Outcome:
    seated = replace(part, seats=team.seats, spare=team.bench)
    match tier:
        case "simple":
            said = await run.ask(
                part.step("direct"), [seated.asking(team.seats[0], "draft")], substitutes=team.bench[:1]
            )
            if not said[0].usable:
                raise failure(said)
            return outcome_of(said[0], (*team.seats, *team.bench))
        case "moderate":
            return await parallel(run, seated)
        case "complex":
            return await coordinated(run, seated)
        case "mega":
            return await hierarchical(run, seated, team.specialists or {}, team.size)


def _grown(team: Team, tier: Tier) -> Team:
    """The team for a dearer shape: everybody from the bench."""
    size = {"simple": 1, "moderate": 3, "complex": 4, "mega": 13}[tier]
    agents = [seat.agent for seat in (*team.seats, *team.bench)]
    seated = min(max(len(team.seats), min(size, 4)), TEAM_SIZES[tier][1])
    seats = [agents[place % len(agents)] for place in range(seated)]
    bench = [agent for agent in agents if agent not in seats]
    return replace(team, seats=seats_of(seats), bench=seats_of(bench), size=max(size, team.size))


async def _measured(run: Run, part: Part, outcome: Outcome, bench: Bench) -> Quality:
    """By rules and vectors; where the caller set a bar, by a judge too."""
    known = run.qualities.get(outcome.step)
    if known is None or run.story.contributions[outcome.step].text != outcome.text:
        known = await run.measure(part.prompt, outcome.text, part.inputs, part.json_schema)
    if run.request.min_quality is not None:
        known = await bench.judged(run, part, outcome, known)
    return _judged(run, known)


def _judged(run: Run, quality: Quality) -> Quality:
    wanted = run.request.min_quality
    if wanted is None or quality.overall is None:
        return quality
    return quality.model_copy(update={"met": _met(quality, wanted)})


def _met(quality: Quality, wanted: float) -> bool:
    return quality.overall is not None and quality.overall >= wanted


async def _refined(
    run: Run, part: Part, outcome: Outcome, quality: Quality, wanted: float, bench: Bench
) -> tuple[Outcome, Quality]:
    """Improve an answer under the bar by what was measured; bounded, and kept only if better."""
    for number in range(1, ROUNDS + 1):
        remarks = prompts.findings(quality)
        if _met(quality, wanted) or not remarks:
            break
        if (
            because := run.thrift.why_not(part.step(f"refinement {number}"), part.step(f"refine-{number}"))
        ) is not None:
            await left_out(run, part, f"refinement {number}", because)
            break
        said = await _improvement(run, part, outcome, remarks, number)
        measured = await _measured(run, part, outcome_of(said, [outcome.seat]), bench) if said.usable else None
        better = measured is not None and not said.marks and (measured.overall or 0) > (quality.overall or 0)
        await run.decide(
            part.step(f"refined-{number}"),
            {"step": said.step, "kept": better, "quality": said.quality},
            (
                f"the refinement by {len(remarks)} findings is {'kept' if better else 'not kept'}: it measures "
                f"{(measured.overall if measured else None) or 0:.2f}, before it was {quality.overall or 0:.2f}",
            ),
            part=part.name,
        )
        if not better or measured is None:
            break
        gain = (measured.overall or 0) - (quality.overall or 0)
        outcome, quality = outcome_of(said, [outcome.seat]), measured
        if gain < ENOUGH_BETTER:
            break
    return outcome, quality


async def _improvement(run: Run, part: Part, outcome: Outcome, remarks: Sequence[Remark], number: int) -> Contribution:
    found = await run.ask(
        part.step(f"improvement-{number}"),
        [
            part.asking(
                outcome.seat,
                "refinement",
                prompts.refinement(part.prompt, outcome.text, remarks, part.room),
                step=part.step(f"refine-{number}"),
                about=(outcome.step,),
            )
        ],
    )
    return found[0]
