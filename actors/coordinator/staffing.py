"""Who takes a task: the agent whose capabilities cover most of what it wants."""

from collections.abc import Collection, Mapping, Sequence

from actors.catalogue import Catalogue
from schemas.agent import AgentSpec
from schemas.errors import InvalidRequest
from schemas.task import TaskRequest

GENERAL = "general"
"""The capability of an agent for whatever nobody else is for."""


NOBODY = "none"
"""Stands for the agent where a service answers as it is."""


def staff(request: TaskRequest, domains: Sequence[str], catalogue: Catalogue) -> tuple[str, tuple[str, ...]]:
    """Who does a task, and why; doors call it too, so that what nobody can do is refused before it is accepted.

    Raises:
        InvalidRequest: it names an agent, service or capability that is not there, or that routing does not allow.
    """
    if request.service is not None:
        if request.service not in catalogue.services:
            raise InvalidRequest("service", f"there is no service {request.service!r}")
        if not catalogue.order_for((request.service,)):
            raise InvalidRequest("service", f"routing.services does not let {request.service!r} serve")
        return NOBODY, (f"its caller named the service {request.service!r}",)
    if request.agent is not None:
        if request.agent not in catalogue.agents:
            raise InvalidRequest("agent", f"there is no agent {request.agent!r}")
        if request.agent not in catalogue.carriers:
            others = ", ".join(catalogue.carriers)
            rule = f"{request.agent!r} is a specialist, who works in teams only; there are: {others}"
            raise InvalidRequest("agent", rule)
        return request.agent, ("its caller named the agent",)
    return pick_agent(domains, request.capabilities, catalogue.carriers, catalogue.profiles)


def pick_agent(
    domains: Sequence[str],
    capabilities_wanted: Sequence[str],
    agents: Mapping[str, AgentSpec],
    profiles: Collection[str] = (),
) -> tuple[str, tuple[str, ...]]:
    """The agent's name, and why it.

    What the caller wants explicitly counts before what the prompt touches; of equals, the first in the catalogue is
    taken. Where nothing matches, it is the first agent with the capability `general`, or else the first of all.

    Args:
        domains: trades that the prompt touches.
        capabilities_wanted: what the caller named.
        agents: the catalogue, in its order; not empty.
        profiles: kinds of work by name. One that is wanted and that no agent has as a capability says what a service is
            to be good at, and leaves the agent to the rest.

    Raises:
        InvalidRequest: something is wanted that is neither a capability of any agent nor a profile; it names all.
    """
    skills = {name: {_key(skill) for skill in spec.capabilities} for name, spec in agents.items()}
    wanted = list(dict.fromkeys(_key(skill) for skill in capabilities_wanted))
    there = set().union(*skills.values())
    kinds = {_key(profile) for profile in profiles}
    if unknown := [skill for skill in wanted if skill not in there and skill not in kinds]:
        raise InvalidRequest("capabilities", _unknown(unknown, there, kinds))
    wanted = [skill for skill in wanted if skill in there]
    touched = [domain for domain in dict.fromkeys(_key(domain) for domain in domains) if domain not in wanted]

    def covered(name: str) -> tuple[int, int]:
        return len(skills[name].intersection(wanted)), len(skills[name].intersection(touched))

    best = max(agents, key=covered)  # of equals, the first
    if covered(best) == (0, 0):
        general = next((name for name in agents if GENERAL in skills[name]), None)
        if general is not None:
            return general, (f"no agent's capabilities match the prompt; {general!r} is the first general one",)
        first = next(iter(agents))
        return first, (f"no agent's capabilities match the prompt; {first!r} is the first of the catalogue",)
    return best, tuple(_reasons(best, skills[best], wanted, touched))


def _unknown(wanted: list[str], there: Collection[str], kinds: Collection[str]) -> str:
    names = ", ".join(repr(skill) for skill in wanted)
    if not kinds:
        return f"no agent has {names}; there are: {', '.join(sorted(there)) or 'none'}"
    agents_have = f"agents have: {', '.join(sorted(there)) or 'none'}"
    return f"no agent has {names}, nor is that a profile; {agents_have}; profiles are: {', '.join(sorted(kinds))}"


def _reasons(name: str, skills: set[str], wanted: list[str], touched: list[str]) -> list[str]:
    reasons = []
    if has := [skill for skill in wanted if skill in skills]:
        reasons.append(f"{name!r} has what was wanted: {', '.join(has)}")
    if lacks := [skill for skill in wanted if skill not in skills]:
        reasons.append(f"no agent has all that was wanted; {name!r} lacks {', '.join(lacks)}")
    if matched := [domain for domain in touched if domain in skills]:
        reasons.append(f"{name!r} is at home in what the prompt touches: {', '.join(matched)}")
    return reasons


def _key(capability: str) -> str:
    return capability.strip().casefold()
