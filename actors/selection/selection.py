"""The choice among services: what each would make of a task, weighed as the kind of work asks; with its reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from actors.catalogue import Profile, context_of, no_images_because, price_of
from actors.selection.predictor import Features, Prediction, Predictor
from schemas.figures import ServiceFigures
from schemas.service import Price, ServiceSpec

ENOUGH = 0.4
"""A service whose predicted quality is under this fraction of the best one's is no bargain at any price.

Without it the weights of `writing` put the embedded model (0.13, free) before gemini-flash (0.78, but alone with it the
dearest, so 1 by cost): a saving of a fifth of a cent for an answer of no use. In the built-in orders the weakest other
service stands at 0.49 of the best or higher, however hard the task, and the embedded model at 0.21 or lower. The
line moves with the candidates: where none but the embedded model can serve, it is the best there is.
"""

LOW_REQUESTS = 10
"""Fewer requests left than this, and a service counts for less: others take them at the same time."""

LOW_CALLS_OF_TOKENS = 4
"""The same, in calls like this one, for tokens."""

Reason = str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A service that may serve."""

    name: str
    spec: ServiceSpec
    unavailable: Reason | None = None
    """Why it cannot be asked at all; begins as `unavailable_because` says it."""


class Weighed(NamedTuple):
    """A candidate as it came out."""

    name: str
    prediction: Prediction
    most_usd: float | None
    """The most that the call can cost; None: the price is unknown."""
    excluded: Reason | None = None
    """Why it is not chosen whatever its worth."""
    passed_over: bool = False
    """Whether the gateway itself will pass it over, with its reason, at no cost."""
    quality: float = 0.0
    """What is weighed of it: the predicted one, less what is likely to fail and what has no room. In [0, 1]."""
    cost: float = 0.0
    """As a fraction of the greatest among those that can serve; so is `latency`."""
    latency: float = 0.0
    utility: float | None = None
    """None: excluded."""
    weak: bool = False
    """Under `ENOUGH` of the best."""
    room: float = 1.0
    """How much of what a call needs is left under its limits."""
    others_timed: bool = False
    """Whether the latency of any that can serve is known."""
    figures: ServiceFigures | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What moved its worth beside the prediction, in sentences."""
        if self.excluded is not None:
            return ()
        figures, found = self.figures, self.prediction
        notes = []
        if self.weak:
            notes.append(f"under {ENOUGH:.0%} of the best predicted quality, so after the others whatever it costs")
        if found.cost_usd is None:
            notes.append("its cost is unknown, so it counts as the dearest")
        if found.latency_ms is None and self.others_timed:
            notes.append("its latency is unknown, so it counts as the mean of the others")
        if figures is None:
            return tuple(notes)
        if found.success is not None and found.success < 1:
            notes.append(f"{figures.errors} of {figures.calls} calls failed lately")
        if figures.breaker == "half_open":
            notes.append("its circuit lets one call through, to see whether it is back")
        if figures.retry_after_s:
            notes.append(f"it asked for a pause of {figures.retry_after_s:.1f} s")
        elif self.room < 1:
            notes.append(f"its limits have room for {self.room:.0%} of what is wanted in reserve")
        return tuple(notes)


@dataclass(frozen=True)
class Choice:
    """Which service is to serve, who comes next, and why."""

    features: Features
    ranked: tuple[Weighed, ...]
    """Those that can serve, the chosen one first; empty when none can."""
    candidates: tuple[Weighed, ...]
    """All, in the agent's order."""
    order: tuple[str, ...]
    """All their names, as the gateway is to try them. An excluded one stands before every one that it stood before in
    the agent's order, so that whoever serves, the receipt names what was passed over on the way."""

    @property
    def chosen(self) -> str | None:
        return self.ranked[0].name if self.ranked else None

    @cached_property
    def reasons(self) -> tuple[str, ...]:
        """Sentences for people: the choice, and the one it was closest to."""
        if not self.ranked:
            return ("none of its services can serve now; they are tried in the agent's order",)
        first, work = self.ranked[0], self.features.profile
        if len(self.ranked) == 1:
            return (f"{first.name!r} serves: it is the only one of {len(self.candidates)} services that can",)
        said = f"{first.name!r} serves, of {len(self.ranked)} that can, for {work} work: {_foretold(first.prediction)}"
        second = self.ranked[1]
        return (said, f"next is {second.name!r}, {_foretold(second.prediction)}: {_decided(first, second)}")

    def compact(self) -> dict[str, Any]:
        """What an event keeps of it: plain types, a line for each that can serve."""
        return {
            "profile": self.features.profile,
            "chosen": self.chosen,
            "order": list(self.order),
            "predicted": {each.name: _numbers(each) for each in self.ranked},
        }


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the catalogue and litellm's table say of a service, looked up once."""

    spec: ServiceSpec
    price: Price | None
    unknown: Reason | None
    context: int | None
    no_images: Reason | None
    """Why a prompt with images cannot go there."""


class Selection:
    """Chooses. The same predictions always give the same choice."""

    def __init__(self, profiles: Mapping[str, Profile], predictor: Predictor) -> None:
        self._profiles, self._predictor = profiles, predictor
        self._facts: dict[str, _Facts] = {}

    def choose(
        self,
        features: Features,
        candidates: Sequence[Candidate],
        budget_usd: float | None,
        figures: Mapping[str, ServiceFigures],
    ) -> Choice:
        """Predict for each candidate, weigh, and order them.

        The worth of a candidate is `weighs.quality * quality * success * room - weighs.cost * cost - weighs.latency *
        latency`. Cost and latency are fractions of the greatest among those that can serve. An unknown cost counts as
        the greatest, for it may be anything; an unknown latency as the mean of the known, for it was only not asked.
        Of equals the agent's own order decides, as it does among those under `ENOUGH` that are equally good.

        Args:
            candidates: in the agent's own order, each name once; not empty.
            budget_usd: what the call may cost at most.
            figures: what the gateways see just now, by service.
        """
        looks = [self._look_at(features, each, budget_usd, figures.get(each.name)) for each in candidates]
        able = self._weigh(features, [look for look in looks if look.excluded is None])
        # Stable, so that the agent's order decides between equals. The weak stand by their quality: none is a bargain.
        ranked = sorted(able.values(), key=_worth, reverse=True)
        weighed = [able.get(look.name) or look.unweighed() for look in looks]
        return Choice(features, tuple(ranked), tuple(weighed), _order(weighed, ranked))

    def _look_at(
        self, features: Features, candidate: Candidate, budget_usd: float | None, figures: ServiceFigures | None
    ) -> "_Look":
        facts = self._facts_of(candidate)
        prediction = self._predictor.predict(features, candidate.name, candidate.spec, figures)
        most_usd = None if facts.price is None else features.most_usd(facts.price)
        excluded = (
            candidate.unavailable
            or _unfit(features, facts)
            or (None if budget_usd is None else _over_budget(facts, most_usd, budget_usd))
            or (None if figures is None else _broken(figures))
        )
        passed_over = excluded is not None
        if excluded is None:
            excluded = _too_long(features, facts.context)
        return _Look(candidate, prediction, figures, most_usd, excluded, passed_over)

    def _facts_of(self, candidate: Candidate) -> _Facts:
        known = self._facts.get(candidate.name)
        if known is None or known.spec is not candidate.spec:
            name, spec = candidate.name, candidate.spec
            known = _Facts(spec, *price_of(name, spec), context_of(spec), no_images_because(name, spec))
            self._facts[name] = known
        return known

    def _weigh(self, features: Features, able: list["_Look"]) -> dict[str, Weighed]:
        """Those that can serve, weighed, by name."""
        if not able:
            return {}
        weighs = self._profiles[features.profile].weighs
        costs = _shares([look.prediction.cost_usd for look in able], unknown_counts_as_mean=False)
        latencies = _shares([look.prediction.latency_ms for look in able], unknown_counts_as_mean=True)
        timed = any(look.prediction.latency_ms is not None for look in able)
        best = max(look.prediction.quality for look in able)
        found = {}
        for look, cost, latency in zip(able, costs, latencies, strict=True):
            room = 1.0 if look.figures is None else _room(features, look.candidate.spec, look.figures)
            quality, success = look.prediction.quality, look.prediction.success
            weak = quality < ENOUGH * best
            quality *= room if success is None else success * room
            utility = weighs.quality * quality - weighs.cost * cost - weighs.latency * latency
            found[look.name] = Weighed(
                look.name,
                look.prediction,
                look.most_usd,
                quality=quality,
                cost=cost,
                latency=latency,
                utility=utility,
                weak=weak,
                room=room,
                others_timed=timed,
                figures=look.figures,
            )
        return found


class _Look(NamedTuple):
    """A candidate by itself, before it is compared with the others."""

    candidate: Candidate
    prediction: Prediction
    figures: ServiceFigures | None
    most_usd: float | None
    excluded: Reason | None
    passed_over: bool

    @property
    def name(self) -> str:
        return self.candidate.name

    def unweighed(self) -> Weighed:
        return Weighed(self.name, self.prediction, self.most_usd, self.excluded, self.passed_over)


def _worth(each: Weighed) -> tuple[bool, float]:
    return (False, each.prediction.quality) if each.weak else (True, each.utility or 0.0)


def _order(weighed: Sequence[Weighed], ranked: Sequence[Weighed]) -> tuple[str, ...]:
    """Those that can serve as they rank; before each, what is passed over and stood before it in the agent's order.

    What only we rule out comes last: the gateway would ask it.
    """
    place_of = {each.name: place for place, each in enumerate(weighed)}
    waiting = [each.name for each in weighed if each.passed_over]
    order: list[str] = []
    for each in ranked:
        before = [name for name in waiting if place_of[name] < place_of[each.name]]
        waiting = waiting[len(before) :]
        order += [*before, each.name]
    ruled_out = [each.name for each in weighed if each.excluded is not None and not each.passed_over]
    return (*order, *waiting, *ruled_out)


def _unfit(features: Features, facts: _Facts) -> Reason | None:
    if facts.spec.kind != "chat":
        return f"serves {facts.spec.kind}, not chat"
    return facts.no_images if features.images else None


def _over_budget(facts: _Facts, most_usd: float | None, budget_usd: float) -> Reason | None:
    if most_usd is None:
        return f"price unknown ({facts.unknown}), so a cost limit cannot be kept"
    return f"may cost ${most_usd:.6f}, over the limit of ${budget_usd:.6f}" if most_usd > budget_usd else None


def _broken(figures: ServiceFigures) -> Reason | None:
    if figures.breaker != "open":
        return None
    return f"its circuit is open: {figures.breaker_reason or 'the gateway gave no reason'}"


def _too_long(features: Features, context: int | None) -> Reason | None:
    if context is None or features.prompt_tokens <= context:
        return None
    return f"its context of {context:,} tokens has no room for about {features.prompt_tokens:,}"


def _shares(values: Sequence[float | None], *, unknown_counts_as_mean: bool) -> list[float]:
    """Each as a fraction of the greatest, in [0, 1]; all 0 when none is known."""
    known = [value for value in values if value is not None]
    if not known:
        return [0.0] * len(values)
    top = max(known)
    shares = [value / top if top > 0 else 0.0 for value in known]
    unknown = sum(shares) / len(shares) if unknown_counts_as_mean else 1.0
    found = iter(shares)
    return [unknown if value is None else next(found) for value in values]


def _room(features: Features, spec: ServiceSpec, figures: ServiceFigures) -> float:
    """How much of what a call needs is left under the service's limits: 1 is plenty, 0 nothing now."""
    if figures.retry_after_s:
        return 0.0
    room = 1.0
    if figures.requests_left is not None:
        room = min(room, figures.requests_left / min(LOW_REQUESTS, spec.limits.rpm or LOW_REQUESTS))
    if figures.tokens_left is not None:
        wanted = LOW_CALLS_OF_TOKENS * max(1, features.prompt_tokens + features.completion_tokens)
        room = min(room, figures.tokens_left / min(wanted, spec.limits.tpm or wanted))
    return max(0.0, room)


def _foretold(found: Prediction) -> str:
    source = "prior" if found.quality_from == "prior" else "learned"
    cost = "cost unknown" if found.cost_usd is None else f"${found.cost_usd:.2g}"
    latency = "" if found.latency_ms is None else f", {found.latency_ms:.0f} ms"
    return f"quality {found.quality:.2f} ({source}), {cost}{latency}"


def _decided(first: Weighed, second: Weighed) -> str:
    """What the one has over the other."""
    if second.weak and not first.weak:
        return f"under {ENOUGH:.0%} of the best predicted quality"
    has = [
        word
        for word, more in (
            ("better", first.quality - second.quality),
            ("cheaper", second.cost - first.cost),
            ("faster", second.latency - first.latency),
        )
        if more > 1e-9
    ]
    lacks = [
        word
        for word, less in (
            ("better", second.quality - first.quality),
            ("cheaper", first.cost - second.cost),
            ("faster", first.latency - second.latency),
        )
        if less > 1e-9
    ]
    if not has:
        return "no different by these weights, and later in the agent's order"
    return f"the first is {' and '.join(has)}" + (
        f", which outweighs that this is {' and '.join(lacks)}" if lacks else ""
    )


def _numbers(each: Weighed) -> dict[str, float | None]:
    found = each.prediction
    return {
        "quality": round(found.quality, 3),
        "cost_usd": None if found.cost_usd is None else float(f"{found.cost_usd:.3g}"),
        "latency_ms": None if found.latency_ms is None else round(found.latency_ms),
        "utility": None if each.utility is None else round(each.utility, 4),
    }
