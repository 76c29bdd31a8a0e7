"""Whether there is a choice of services for a task, and what it comes to, from catalogue, environment and figures."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from actors.catalogue import Catalogue, profile_for, unavailable_because
from actors.selection.predictor import Features, Predictor, PriorPredictor
from actors.selection.selection import Candidate, Choice, Selection
from schemas.completion import DEFAULT_MAX_TOKENS
from schemas.figures import ServiceFigures
from schemas.task import TaskRequest

VISION = "vision"


@dataclass(frozen=True)
class Slate:
    """Who may serve an agent, as far as it is the same for every task."""

    candidates: tuple[Candidate, ...]
    """In the order as it is stated."""
    kept_because: str | None
    """Why this order is kept; None: it follows the prediction."""

    @property
    def open(self) -> bool:
        """Whether there is anything to choose."""
        return self.kept_because is None and sum(each.unavailable is None for each in self.candidates) > 1


class Selector:
    """Chooses services for the tasks of one process. What does not depend on the task is found out once."""

    def __init__(
        self,
        catalogue: Catalogue,
        environ: Mapping[str, str],
        figures: Callable[[], Mapping[str, ServiceFigures]],
        predictor: Predictor | None = None,
        down: Mapping[str, str] | None = None,
    ) -> None:
        """
        Args:
            environ: read once for each agent; a process's environment does not change.
            figures: what the gateways see just now, by service.
            predictor: left out: the priors.
            down: why a service is known not to be there, which neither entry nor environment tell; by name.
        """
        self._catalogue, self._environ, self._figures, self._down = catalogue, environ, figures, dict(down or {})
        self._selection = Selection(catalogue.profiles, predictor or PriorPredictor(catalogue.profiles))
        self._profiles = {name.casefold(): name for name in catalogue.profiles}
        self._slates: dict[str, Slate] = {}
        self._prompt_bytes = {name: len(spec.prompt.encode()) for name, spec in catalogue.agents.items()}

    def choose(self, request: TaskRequest, difficulty: float, domains: Sequence[str], agent: str) -> Choice | None:
        """The choice for a task; None where there is none: a service was named, one alone can serve, the order is kept.

        Measured: 40 µs for five candidates, 70 with live figures, reasons and what the event keeps (the classifier
        takes 80); 0.5 µs where there is no choice.
        """
        if request.service is not None:
            return None
        slate = self._slates.get(agent)
        if slate is None:
            slate = self._slates[agent] = self.slate_of(request, agent)
        if not slate.open:
            return None
        return self.weigh(request, difficulty, domains, agent, slate)

    def weigh(
        self, request: TaskRequest, difficulty: float, domains: Sequence[str], agent: str, slate: Slate
    ) -> Choice:
        """The choice among these, whether or not the order is kept."""
        features = self._features(request, difficulty, tuple(domains), agent)
        return self._selection.choose(features, slate.candidates, request.max_cost_usd, self._figures())

    def slate_of(self, request: TaskRequest, agent: str) -> Slate:
        """Who may serve.

        Raises:
            NotFound: there is no such agent, or no such service.
        """
        asked = agent if request.service is None else (request.service,)
        services = self._catalogue.services
        kept = self._catalogue.kept_because(agent) if request.service is None else "its caller named the service"
        return Slate(
            tuple(
                Candidate(name, services[name], self._unavailable(name)) for name in self._catalogue.order_for(asked)
            ),
            kept,
        )

    def _unavailable(self, name: str) -> str | None:
        services = self._catalogue.services
        return unavailable_because(name, services[name], self._environ, services, self._down)

    def _features(self, request: TaskRequest, difficulty: float, domains: tuple[str, ...], agent: str) -> Features:
        size = self._prompt_bytes.get(agent, 0) + len(request.prompt.encode())
        turns = (*request.history, *request.later)
        size += sum(len(turn.content.encode()) for turn in turns)
        size += sum(item.size for item in request.inputs if item.kind != "image")
        if request.json_schema:
            size += len(json.dumps(request.json_schema))
        if request.tools:
            size += len(json.dumps(request.tools))
        spec = self._catalogue.agents.get(agent)
        return Features(
            profile=self.profile_of(request, domains)[0],
            difficulty=difficulty,
            domains=domains,
            prompt_bytes=size,
            messages=1 + (spec is not None) + len(turns),
            images=sum(item.kind == "image" for item in request.inputs) + sum(len(turn.images) for turn in turns),
            inputs=tuple(item.kind for item in request.inputs),
            json_schema=request.json_schema is not None,
            max_tokens=request.max_tokens or (spec.max_tokens if spec else DEFAULT_MAX_TOKENS),
            prompt=request.prompt,
        )

    def profile_of(self, request: TaskRequest, domains: Sequence[str]) -> tuple[str, str]:
        """The kind of work, and why it was taken for that.

        What the caller wants by name goes first, then what only some can do at all, then the trades of the prompt.
        """
        for wanted in request.capabilities:
            if (named := self._profiles.get(wanted.strip().casefold())) is not None:
                return named, f"its caller wants {named}"
        shown = any(turn.images for turn in (*request.history, *request.later))
        if shown or any(item.kind == "image" for item in request.inputs):
            return VISION, "there is a picture to look at"
        name = profile_for(domains)
        if domains:
            return name, f"the prompt touches {', '.join(domains)}"
        return name, "the prompt shows no trade"
