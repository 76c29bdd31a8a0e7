"""Why a service would serve a task: what is foreseen of each that may, how it is weighed, and what keeps one out."""

from typing import Literal

from schemas.message import Message


class WorkProfile(Message):
    """The kind of work that a task was taken for, and what counts for it."""

    name: str
    why: str
    """Why this kind, in a sentence."""
    weighs_because: str
    """Why its weights, in a sentence."""
    capabilities: dict[str, float]
    """How much each capability matters; sums to 1."""
    weighs: dict[str, float]
    """How much quality, cost and latency matter against each other; sums to 1."""


class TaskFeatures(Message):
    """All of a task that the prediction looks at."""

    difficulty: float
    """A fraction in [0, 1]."""
    domains: tuple[str, ...] = ()
    prompt_bytes: int
    """Of all that is sent: the agent's prompt, the conversation, the inputs that are text."""
    prompt_tokens: int
    """An estimate; `assumptions` say how it is made. So is `completion_tokens`."""
    completion_tokens: int
    max_tokens: int
    images: int = 0
    inputs: tuple[str, ...] = ()
    """The kinds of input beside the prompt."""
    json_schema: bool = False
    max_cost_usd: float | None = None


class CandidateService(Message):
    """One service of the agent's order."""

    service: str
    model: str
    region: str | None = None
    state: Literal["can serve", "excluded", "unavailable"]
    """`unavailable`: for every task; `excluded`: for this one, or just now."""
    reason: str | None = None
    """Why it cannot serve."""
    rank: int | None = None
    """1 is the one chosen; `null`: it cannot serve."""
    quality: float
    """Predicted, a fraction in [0, 1]; from priors it orders services and is no probability."""
    quality_from: Literal["prior", "learned"]
    cost_usd: float | None = None
    """Predicted; `null`: unknown."""
    cost_unknown_reason: str | None = None
    most_usd: float | None = None
    """The most that the call can cost, which a cost limit is held against."""
    latency_ms: float | None = None
    """Predicted, to the end of the answer; `null`: unknown."""
    latency_unknown_reason: str | None = None
    success: float | None = None
    """How likely a call answers, from those just seen; `null`: none was."""
    utility: float | None = None
    """What it is worth by the profile's weights; comparable within one explanation only. `null`: it cannot serve."""
    notes: tuple[str, ...] = ()
    """What moved its worth beside the prediction."""


class Explanation(Message):
    """Which service would serve a task, and why; nothing was started for it."""

    agent: str
    agent_reasons: tuple[str, ...] = ()
    adaptive: bool
    """Whether the order follows the prediction; else the stated one is kept."""
    kept_because: str | None = None
    """Why the stated order is kept."""
    profile: WorkProfile
    features: TaskFeatures
    candidates: tuple[CandidateService, ...]
    """In the agent's own order."""
    chosen: str | None = None
    runners_up: tuple[str, ...] = ()
    order: tuple[str, ...]
    """As the gateway would try them; those that cannot serve it passes over with their reason."""
    not_routed: tuple[str, ...] = ()
    """`service: reason` for those of the agent's order that routing keeps out."""
    reasons: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    """What the predicted figures rest on."""
    figures_unknown_reason: str | None = None
    """Why nothing is known of how the services are doing just now; `null`: it is known."""
