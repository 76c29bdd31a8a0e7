"""Services, figures and a predictor that says what it is told to."""

from dataclasses import dataclass, field
from typing import Any

from actors.catalogue import Profile
from actors.selection import Candidate, Features, Prediction, Selection
from schemas.figures import Figures, ServiceFigures
from schemas.message import now
from schemas.service import Price, ServiceSpec

PROFILE = Profile.model_validate(
    {"why": "Words.", "capabilities": {"writing": 1.0}, "weighs": {"quality": 0.5, "cost": 0.3, "latency": 0.2}}
)
PROFILES = {"writing": PROFILE}
FEATURES = Features(profile="writing", prompt_bytes=400, max_tokens=1000)


def spec(quality: float = 0.8, usd_per_mtok: float | None = 1.0, **fields: Any) -> ServiceSpec:
    """A service whose one score is its quality, and whose price is the same for what goes in and comes out.

    Without a price it has a model that nobody's table lists.
    """
    price = None if usd_per_mtok is None else Price(input_per_mtok=usd_per_mtok, output_per_mtok=usd_per_mtok)
    named = {"model": "openai/nobodys-model", "capabilities": {"general": quality}, "price": price, **fields}
    return ServiceSpec.model_validate(named)


def candidate(name: str, unavailable: str | None = None, **about: Any) -> Candidate:
    return Candidate(name, spec(**about), unavailable)


def seen(service: str, calls: int = 10, errors: int = 0, **fields: Any) -> ServiceFigures:
    rate = errors / calls if calls else None
    about = {"model": "m", "window_s": 60.0, "error_rate": rate, **fields}
    return ServiceFigures(service=service, calls=calls, errors=errors, **about)


def said(*services: ServiceFigures, gateway: str = "gateway-1") -> Figures:
    return Figures(gateway=gateway, at=now(), services=services)


@dataclass
class Told:
    """A predictor that says what a test has written."""

    predictions: dict[str, Prediction] = field(default_factory=dict)

    def predict(
        self, features: Features, service: str, spec: ServiceSpec, figures: ServiceFigures | None
    ) -> Prediction:
        return self.predictions[service]


def told(**predictions: Prediction) -> Selection:
    return Selection(PROFILES, Told(predictions))


def foretold(
    quality: float = 0.8,
    cost_usd: float | None = 0.01,
    latency_ms: float | None = None,
    success: float | None = None,
) -> Prediction:
    return Prediction(quality, "learned", cost_usd, None, latency_ms, None, success)
