"""The plan of a task: its tier, its team, the order of services for each of them, and why."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from actors.catalogue import Catalogue, context_of
from actors.coordinator.classifier import THRESHOLDS, Classification, choose, classify
from actors.coordinator.conduct import Team
from actors.coordinator.seats import seats_of, team_of
from actors.coordinator.shapes.part import Part
from actors.coordinator.staffing import staff
from actors.selection import Selector
from schemas.event import Claimed
from schemas.service import ServiceSpec
from schemas.task import TaskRequest, Tier

FEWEST_IN_MEGA, MOST_IN_MEGA = 13, 45
"""How many a hierarchy has, by difficulty, where its caller does not say."""
COORDINATORS = 4
"""Agents that carry the parts of a hierarchy, where there are as many."""

NARROW_ROOM = 3_600
"""Characters of others' texts where the embedded model serves: four such steps at once share its 8,192 tokens."""
NARROW_ANSWER = 512
"""Tokens of an answer there."""
LEAST_ROOM, MOST_ROOM = 3_600, 60_000
CHARACTERS_A_TOKEN = 3
"""Of English prose there are some four; code and other languages have fewer."""
UNKNOWN_CONTEXT = 16_000
"""Tokens that a service is trusted with whose context nobody states."""


@dataclass(frozen=True)
class Plan:
    tier: Tier
    agents: tuple[str, ...]
    """The team, the first leads; of a hierarchy those who carry parts."""
    reasons: tuple[str, ...]
    features: dict[str, Any]
    services: dict[str, tuple[str, ...]]
    """The order in which services may serve, by agent; none: as it is stated."""

    fixed: bool = True
    """Its caller named who or what does it, so no dearer shape is tried."""

    @property
    def size(self) -> int:
        """How many the team is to have in all."""
        return int(self.features.get("size") or 1)

    @property
    def alone(self) -> bool:
        """Whether one agent or service answers once, and that is all."""
        return self.tier == "simple"


class Planner:
    def __init__(self, catalogue: Catalogue, selector: Selector | None) -> None:
        """
        Args:
            selector: left out: services are tried in the order that is stated.
        """
        self._catalogue, self._selector = catalogue, selector

    def plan(self, request: TaskRequest) -> Plan:
        """
        Raises:
            InvalidRequest: it names an agent, service or capability that is not there.
        """
        if request.service is not None:
            # Nothing is left to choose, so nobody need look at the prompt: a tenth of what a task costs here.
            agent, because = staff(request, (), self._catalogue)
            return Plan("simple", (agent,), because, {}, {})
        seen = classify(request)
        tier: Tier = "simple"
        why: tuple[str, ...]
        if request.agent is not None:
            why = ("its caller named the agent, who answers alone",)
        elif request.for_one:
            why = ("it brings what is for one model: tools, or how words are picked",)
        else:
            tier, why = choose(seen, request.tier, request.agents)
        first, because = staff(request, seen.domains, self._catalogue)
        features: dict[str, Any] = {
            "difficulty": seen.difficulty,
            "confidence": seen.confidence,
            "domains": list(seen.domains),
            **seen.features,
        }
        size = size_of(tier, seen, request.agents)
        agents = team_of(
            first, min(size, COORDINATORS) if tier == "mega" else size, seen.domains, self._catalogue.agents
        )
        fixed = request.tier is not None or request.agent is not None or request.agents == 1 or request.for_one
        plan = self._served(Plan(tier, agents, (*why, *because), features, {}, fixed), request, seen)
        if tier == "simple" and request.min_quality is None:
            return plan
        room, narrow = self._room(plan, request)
        # Written down, for whoever takes the task over may find other services.
        return replace(plan, features={**plan.features, "size": size, "room": room, "narrow": narrow})

    def resumed(self, claimed: Claimed, request: TaskRequest) -> Plan:
        """The plan that an earlier owner, or a recorded run, wrote down; only the order of services is found anew.

        What its steps are shown stays too, so that they are asked the same.

        Raises:
            InvalidRequest: see `plan`.
        """
        anew = self.plan(request)
        if any(agent not in self._catalogue.agents for agent in claimed.agents) or "room" not in claimed.features:
            return anew
        kept = {name: claimed.features.get(name) for name in ("size", "room", "narrow")}
        return replace(anew, tier=claimed.tier, agents=claimed.agents, features={**anew.features, **kept})

    def _served(self, plan: Plan, request: TaskRequest, seen: Classification) -> Plan:
        if self._selector is None:
            return plan
        profile = self._selector.profile_of(request, seen.domains)[0]
        services, reasons, features = {}, plan.reasons, {**plan.features, "profile": profile}
        for place, agent in enumerate(dict.fromkeys(plan.agents)):
            choice = self._selector.choose(request, seen.difficulty, seen.domains, agent)
            if choice is None:
                continue
            services[agent] = choice.order
            if place == 0:
                reasons, features = (*reasons, *choice.reasons), {**features, "selection": choice.compact()}
        return replace(plan, services=services, reasons=reasons, features=features)

    def team(self, plan: Plan, *, alone: bool = False) -> Team:
        """Who sits where; whoever of the catalogue has no seat is on the bench.

        Args:
            alone: the caller named the agent, so nobody else answers in its place.
        """
        agents = self._catalogue.agents
        bench = [name for name, spec in agents.items() if spec.kind == "agent" and name not in plan.agents]
        specialists = {name: spec for name, spec in agents.items() if spec.kind == "specialist"}
        if alone:
            bench = []
        return Team(seats_of(plan.agents), plan.size, seats_of(bench), specialists)

    def whole(self, plan: Plan, request: TaskRequest) -> Part:
        """The task as its shape works on it."""
        room, narrow = int(plan.features.get("room") or LEAST_ROOM), bool(plan.features.get("narrow"))
        tokens = request.max_tokens
        if narrow:
            tokens = min(tokens or NARROW_ANSWER, 2 * NARROW_ANSWER)
        return Part(
            prompt=request.prompt,
            seats=(),
            room=room,
            answer_tokens=tokens,
            narrow=narrow,
            inputs=request.inputs,
            history=request.history,
            json_schema=request.json_schema,
        )

    def _room(self, plan: Plan, request: TaskRequest) -> tuple[int, bool]:
        """What the narrowest service that is likely to serve can be shown, and whether that is the embedded model."""
        rooms = []
        for agent in dict.fromkeys(plan.agents):
            spec = self._first(agent, plan.services.get(agent, ()), request)
            if spec is None:
                continue
            if spec.model.startswith("embedded/"):
                return NARROW_ROOM, True
            rooms.append((context_of(spec) or UNKNOWN_CONTEXT) * CHARACTERS_A_TOKEN // 2)
        return max(LEAST_ROOM, min([MOST_ROOM, *rooms])), False

    def _first(self, agent: str, order: Sequence[str], request: TaskRequest) -> ServiceSpec | None:
        if self._selector is None or agent not in self._catalogue.agents:
            return None
        there = {each.name: each for each in self._selector.slate_of(request, agent).candidates}
        for name in order or there:
            if name in there and there[name].unavailable is None:
                return there[name].spec
        return None


def size_of(tier: Tier, seen: Classification, asked: int | None) -> int:
    """How many a team is to have: as its caller says, else by how hard the task is."""
    if asked is not None:
        return asked
    match tier:
        case "simple":
            return 1
        case "moderate":
            return 4 if seen.difficulty >= (THRESHOLDS["moderate"] + THRESHOLDS["complex"]) / 2 else 3
        case "complex":
            return 4
        case "mega":
            begin = THRESHOLDS["mega"]
            share = max(0.0, seen.difficulty - begin) / (1 - begin)
            return FEWEST_IN_MEGA + round(share * (MOST_IN_MEGA - FEWEST_IN_MEGA))
