"""What a service will make of a task: how good, at what cost, how soon. One interface, of which priors come first."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple, Protocol

from actors.catalogue import Profile, cost_usd, match, most_cost_usd, price_of, tokens
from schemas.figures import ServiceFigures
from schemas.service import Price, ServiceSpec

TOKENS_PER_IMAGE = 1_600
"""Of an image that is not scaled down. Source: Anthropic's documentation on vision, width times height over 750."""
ANSWER_TOKENS = 512
"""The length of an answer that is reckoned with where `max_tokens` allows it: our own assumption, fitted to nothing."""

PATIENCE = 4
"""So many answers count as seen before the first one was, so that one failed call does not condemn a service."""

ASSUMPTIONS = (
    f"a prompt has one token for each {tokens.BYTES_PER_TOKEN} bytes, and {TOKENS_PER_IMAGE:,} for each image",
    f"an answer has {ANSWER_TOKENS} tokens, or max_tokens where that is fewer",
)
"""What the figures rest on, in sentences."""


@dataclass(frozen=True)
class Features:
    """What is known of a task before anybody serves it; all that a predictor may look at."""

    profile: str
    """The kind of work, an entry of the catalogue's profiles."""
    difficulty: float = 0.0
    """As the classifier gives it, a fraction in [0, 1]."""
    domains: tuple[str, ...] = ()
    prompt_bytes: int = 0
    """Of everything that is sent: the agent's own prompt, the conversation, the inputs that are text."""
    messages: int = 1
    images: int = 0
    inputs: tuple[str, ...] = ()
    """The kinds of input beside the prompt."""
    json_schema: bool = False
    """Whether the answer is to follow a schema."""
    max_tokens: int = 1024
    prompt: str = field(default="", repr=False)
    """The task's own words, for predictors that read them; the priors do not."""

    @cached_property
    def prompt_tokens(self) -> int:
        """An estimate; see `ASSUMPTIONS`. All candidates are estimated alike, so their order stays."""
        return tokens.likely_tokens(self.prompt_bytes) + TOKENS_PER_IMAGE * self.images

    @cached_property
    def completion_tokens(self) -> int:
        """An estimate; see `ASSUMPTIONS`."""
        return min(self.max_tokens, ANSWER_TOKENS)

    def most_usd(self, price: Price) -> float:
        """The most that a call can cost, in US dollars: a token is a byte at least, an answer `max_tokens` at most."""
        return most_cost_usd(price, tokens.most_tokens(self.prompt_bytes, self.messages, self.images), self.max_tokens)


class Prediction(NamedTuple):
    """What one service would make of one task. What nobody knows is None, with the reason."""

    quality: float
    """A fraction in [0, 1]. One from priors orders services, and is no probability."""
    quality_from: Literal["prior", "learned"]
    cost_usd: float | None = None
    cost_unknown: str | None = None
    latency_ms: float | None = None
    latency_unknown: str | None = None
    success: float | None = None
    """How likely a call answers, from the calls just seen; None: none was seen."""


class Predictor(Protocol):
    """Foresees what a service will make of a task.

    It is asked for each candidate of every task, so some microseconds are its due.
    """

    def predict(
        self, features: Features, service: str, spec: ServiceSpec, figures: ServiceFigures | None
    ) -> Prediction:
        """
        Args:
            figures: what the gateways see of the service just now; None where they have said nothing.
        """
        ...


class PriorPredictor:
    """Quality from the catalogue's prior scores, cost from the price, the rest from what is seen just now."""

    def __init__(self, profiles: Mapping[str, Profile]) -> None:
        self._profiles = profiles
        self._matches: dict[tuple[str, str], tuple[ServiceSpec, float]] = {}
        self._prices: dict[str, tuple[ServiceSpec, Price | None, str | None]] = {}

    def predict(
        self, features: Features, service: str, spec: ServiceSpec, figures: ServiceFigures | None
    ) -> Prediction:
        price, unknown = self._price(service, spec)
        cost = None if price is None else cost_usd(price, features.prompt_tokens, features.completion_tokens)
        quality = self._quality(features, service, spec)
        latency_ms, latency_unknown = expected_latency_ms(features, figures)
        return Prediction(
            quality, "prior", cost, unknown, latency_ms, latency_unknown, success=expected_success(figures)
        )

    def _quality(self, features: Features, service: str, spec: ServiceSpec) -> float:
        """The fit of the service's scores to the kind of work, to the power of one plus the difficulty.

        So the easiest task leaves a score as it is, and the hardest squares it: 0.9 becomes 0.81, 0.6 becomes 0.36. A
        weak service loses more by difficulty than a strong one. The form is our own, chosen for that and fitted to
        nothing.
        """
        key = (features.profile, service)
        known = self._matches.get(key)
        if known is None or known[0] is not spec:
            known = self._matches[key] = (spec, match(self._profiles[features.profile], spec))
        return float(known[1] ** (1 + features.difficulty))

    def _price(self, service: str, spec: ServiceSpec) -> tuple[Price | None, str | None]:
        known = self._prices.get(service)
        if known is None or known[0] is not spec:
            known = self._prices[service] = (spec, *price_of(service, spec))
        return known[1], known[2]


def expected_latency_ms(features: Features, figures: ServiceFigures | None) -> tuple[float | None, str | None]:
    """Milliseconds until the whole answer, or None with the reason.

    The median of the calls just seen, or the time for as many tokens as the answer may have where that is less. Whoever
    has to wait for a place waits as many rounds as there are callers before it for each place, and whoever has to
    wait for the provider's pause waits that too.
    """
    if figures is None:
        return None, "the gateways have said nothing of it yet"
    if figures.p50_ms is None:
        return None, "no call has been answered lately"
    base = figures.p50_ms
    if figures.ms_per_token is not None:
        base = min(base, figures.ms_per_token * features.max_tokens)
    pause_ms = 1000 * (figures.retry_after_s or 0.0)
    return pause_ms + base * (1 + figures.waiting / max(1, figures.in_flight)), None


def expected_success(figures: ServiceFigures | None) -> float | None:
    """How likely a call answers: the share that did, as if `PATIENCE` more had. None where no call was seen.

    None too while a breaker waits for one call to say whether the service is back: what failed before is no longer
    news, and held against it would keep that call from being made.
    """
    if figures is None or figures.calls == 0 or figures.breaker == "half_open":
        return None
    return (figures.calls - min(figures.errors, figures.calls) + PATIENCE) / (figures.calls + PATIENCE)
