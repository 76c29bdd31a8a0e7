"""The choice told in full: what is known of the task, what is foreseen of each service, and what decides."""

from collections.abc import Mapping, Sequence

from actors.catalogue import Catalogue
from actors.selection.predictor import ASSUMPTIONS, Features
from actors.selection.selection import Choice, Weighed
from actors.selection.selector import Selector, Slate
from schemas.figures import ServiceFigures
from schemas.selection import CandidateService, Explanation, TaskFeatures, WorkProfile
from schemas.task import TaskRequest

NO_FIGURES = "no gateway has said lately how the services are doing"


def explain(
    request: TaskRequest,
    difficulty: float,
    domains: Sequence[str],
    agent: str,
    because: Sequence[str],
    catalogue: Catalogue,
    environ: Mapping[str, str],
    figures: Mapping[str, ServiceFigures],
    down: Mapping[str, str],
) -> Explanation:
    """Choose for a task as its coordinator would, and say everything that went into it.

    Args:
        difficulty, domains: as the classifier finds them.
        agent: who would do it, `because` of these reasons; anything where the task names a service.
        figures: what the gateways see just now; empty: nothing is known.
        down: why a service is known not to be there just now, by name.

    Raises:
        NotFound: there is no such agent, or no such service.
    """
    selector = Selector(catalogue, environ, lambda: figures, down=down)
    slate = selector.slate_of(request, agent)
    choice = selector.weigh(request, difficulty, domains, agent, slate)
    kept = slate.kept_because
    ranked = choice.ranked if kept is None else tuple(each for each in choice.candidates if each.excluded is None)
    asked = agent if request.service is None else (request.service,)
    return Explanation(
        agent=agent,
        agent_reasons=tuple(because),
        adaptive=kept is None,
        kept_because=kept,
        profile=_profile(selector, catalogue, request, domains),
        features=_features(choice.features, request),
        candidates=tuple(_candidates(slate, choice, [each.name for each in ranked], catalogue)),
        chosen=ranked[0].name if ranked else None,
        runners_up=tuple(each.name for each in ranked[1:]),
        order=choice.order if kept is None else tuple(each.name for each in slate.candidates),
        not_routed=catalogue.passed_over_by_routing(asked),
        reasons=choice.reasons if kept is None else _kept_reasons(kept, ranked),
        assumptions=ASSUMPTIONS,
        figures_unknown_reason=None if figures else NO_FIGURES,
    )


def _profile(selector: Selector, catalogue: Catalogue, request: TaskRequest, domains: Sequence[str]) -> WorkProfile:
    name, why = selector.profile_of(request, domains)
    profile = catalogue.profiles[name]
    return WorkProfile(
        name=name,
        why=why,
        weighs_because=profile.why,
        capabilities=profile.capabilities,
        weighs=profile.weighs.model_dump(),
    )


def _features(found: Features, request: TaskRequest) -> TaskFeatures:
    return TaskFeatures(
        difficulty=found.difficulty,
        domains=found.domains,
        prompt_bytes=found.prompt_bytes,
        prompt_tokens=found.prompt_tokens,
        completion_tokens=found.completion_tokens,
        max_tokens=found.max_tokens,
        images=found.images,
        inputs=found.inputs,
        json_schema=found.json_schema,
        max_cost_usd=request.max_cost_usd,
    )


def _candidates(slate: Slate, choice: Choice, ranking: Sequence[str], catalogue: Catalogue) -> list[CandidateService]:
    rank_of = {name: place for place, name in enumerate(ranking, 1)}
    return [
        _candidate(weighed, rank_of.get(each.name), each.unavailable is not None, catalogue)
        for each, weighed in zip(slate.candidates, choice.candidates, strict=True)
    ]


def _candidate(each: Weighed, rank: int | None, unavailable: bool, catalogue: Catalogue) -> CandidateService:
    spec, found = catalogue.services[each.name], each.prediction
    return CandidateService(
        service=each.name,
        model=spec.model,
        region=spec.region,
        state="unavailable" if unavailable else "can serve" if each.excluded is None else "excluded",
        reason=each.excluded,
        rank=rank,
        quality=found.quality,
        quality_from=found.quality_from,
        cost_usd=found.cost_usd,
        cost_unknown_reason=found.cost_unknown,
        most_usd=each.most_usd,
        latency_ms=found.latency_ms,
        latency_unknown_reason=found.latency_unknown,
        success=found.success,
        utility=each.utility,
        notes=each.notes,
    )


def _kept_reasons(kept: str, ranked: Sequence[Weighed]) -> tuple[str, ...]:
    order = f"the order is kept as it stands: {kept}"
    if not ranked:
        return order, "none of its services can serve now"
    return order, f"{ranked[0].name!r} is the first of it that can serve"
