"""Who sits in a team: agents, each perhaps in several seats, and specialists."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from schemas.agent import AgentSpec


@dataclass(frozen=True)
class Seat:
    """One member of a team. Two seats of one agent think apart, and are told apart in the receipt."""

    agent: str
    """Whose subject is asked."""
    name: str
    """What the answer goes under: the agent's name, with a number from the second seat on."""


def seats_of(agents: Iterable[str]) -> tuple[Seat, ...]:
    """A seat for each, numbered where an agent comes again."""
    times: Counter[str] = Counter()
    seats = []
    for agent in agents:
        times[agent] += 1
        seats.append(Seat(agent, agent if times[agent] == 1 else f"{agent}-{times[agent]}"))
    return tuple(seats)


def team_of(first: str, size: int, domains: Sequence[str], agents: Mapping[str, AgentSpec]) -> tuple[str, ...]:
    """`size` agents, the first one given; then those at home in what the prompt touches, then the others in the
    catalogue's order, and from the beginning again where there are fewer agents than seats."""
    touched = {domain.casefold() for domain in domains}
    able = [name for name, spec in agents.items() if spec.kind == "agent" and name != first]
    skills = {name: {skill.casefold() for skill in agents[name].capabilities} for name in able}
    able.sort(key=lambda name: -len(skills[name] & touched))  # stable: of equals the catalogue's order
    order = [first, *able]
    return tuple(order[place % len(order)] for place in range(size))
