"""The catalogue: services, agents, profiles, routing and budgets: our four files and the user's overlay on top."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from pydantic import Field

from actors.catalogue.budgets import read_budgets
from actors.catalogue.document import mapping, named, read
from actors.catalogue.entry import NOT_A_KEY, dotted, entry, nearest
from actors.catalogue.profiles import PROFILES, Profile, lay_over
from schemas.agent import AgentSpec
from schemas.budget import Budgets
from schemas.errors import ConfigError, NotFound
from schemas.message import Strict
from schemas.receipt import JUDGE
from schemas.service import NO_KEY_NEEDED, ServiceSpec

_ACTORS = Path(__file__).parent.parent
SERVICES = _ACTORS / "gateway" / "services.yaml"
AGENTS = _ACTORS / "agents" / "agents.yaml"
SPECIALISTS = _ACTORS / "agents" / "specialists.yaml"
SECTIONS = ("services", "agents", "profiles", "routing", "budgets", "functions")

_FUNCTION_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_SEAT = re.compile(r"(.+)-\d+")

NOT_ROUTED = "not in routing.services"


class Routing(Strict):
    """Who may serve at all, and whom the receipt compares with."""

    services: tuple[str, ...] | None = Field(default=None, min_length=1)
    """What may serve, in this order; nothing else, the embedded model neither. Left out: each agent's own order."""
    premium_service: str
    adaptive: bool | None = Field(default=None, strict=True)
    """Whether services are tried in the order of what is foreseen of them. Left out: only where nobody stated an order,
    which `services` and an agent's own `services` in the overlay do."""


@dataclass(frozen=True)
class Catalogue:
    """All that can serve and all who ask; the same in every process that reads the same files."""

    services: dict[str, ServiceSpec]
    agents: dict[str, AgentSpec]
    """Agents and specialists."""
    routing: Routing
    own_agents: frozenset[str] = frozenset()
    """Agents whose order of services the overlay states: new ones, and built-in ones that it gives another order."""
    profiles: dict[str, Profile] = field(default_factory=dict)
    """Kinds of work, and what counts for each."""
    budgets: Budgets = field(default_factory=Budgets)
    """What may be spent in a day; only the overlay limits anything."""
    functions: dict[str, str] = field(default_factory=dict)
    """What workflows may call in the engine's process: `module:name` of a Python function, by the name they know it by;
    only the overlay names any."""

    @property
    def carriers(self) -> dict[str, AgentSpec]:
        """Those who carry tasks, and have actors of their own."""
        return {name: spec for name, spec in self.agents.items() if spec.kind == "agent"}

    @property
    def specialists(self) -> dict[str, AgentSpec]:
        """Those who improve what concerns their trade, and share actors."""
        return {name: spec for name, spec in self.agents.items() if spec.kind == "specialist"}

    def role_of(self, seat: str) -> str:
        """The agent who sits in a seat, which is called by the agent's name, or by that and a number.

        A name that belongs to nobody is its own role: its agent may have left the overlay since.
        """
        if seat not in self.agents and (numbered := _SEAT.fullmatch(seat)) and numbered[1] in self.agents:
            return numbered[1]
        return seat

    def order_for(self, agent: str | Sequence[str]) -> tuple[str, ...]:
        """The order in which services may serve.

        Without `routing.services` it is the agent's own. With it, that is the order for every agent; but an agent of
        `own_agents` keeps its own order, less what routing forbids, as long as anything is left of it.

        Args:
            agent: an agent's name, or an order of services that somebody asks for: of that, what routing allows is
                left, which may be nothing, for nobody gets a service in place of the one asked for.

        Raises:
            NotFound: there is no such agent, or no such service.
        """
        own, allowed = self._own_order(agent), self.routing.services
        if allowed is None:
            return own
        kept = tuple(service for service in own if service in allowed)
        if not isinstance(agent, str):
            return kept
        return kept if kept and agent in self.own_agents else allowed

    def passed_over_by_routing(self, agent: str | Sequence[str]) -> tuple[str, ...]:
        """`service: reason` for every service of an agent's own order, or of one asked for, that routing forbids.

        Raises:
            NotFound: there is no such agent, or no such service.
        """
        own, allowed = self._own_order(agent), self.routing.services
        return () if allowed is None else tuple(f"{s}: {NOT_ROUTED}" for s in own if s not in allowed)

    def kept_because(self, agent: str) -> str | None:
        """Why an agent's order stays as it stands; None: it follows what is foreseen of its services."""
        if self.routing.adaptive is not None:
            return None if self.routing.adaptive else "routing.adaptive is false"
        if self.routing.services is not None:
            return "routing.services states it"
        return f"agents.{agent}.services states it" if agent in self.own_agents else None

    def _own_order(self, agent: str | Sequence[str]) -> tuple[str, ...]:
        if isinstance(agent, str):
            if agent not in self.agents:
                raise NotFound("agent", agent)
            return self.agents[agent].services
        for service in agent:
            if service not in self.services:
                raise NotFound("service", service)
        return tuple(agent)


def load(overlay: Path | None = None) -> Catalogue:
    """Our own services, agents and profiles, with the overlay laid over them.

    An entry with the name of one that is there replaces the fields it names, each as a whole; a new name adds.

    Raises:
        ConfigError: a file cannot be read or an entry breaks a rule; names the file, the dotted key and the rule.
    """
    services: dict[str, ServiceSpec] = {}
    agents: dict[str, AgentSpec] = {}
    routing: Routing | None = None
    own_agents: frozenset[str] = frozenset()
    profiles: dict[str, Profile] = {}
    theirs = None if overlay is None else _Layer.of(overlay)
    for layer in _ours() if theirs is None else (*_ours(), theirs):
        for name, fields in layer.services.items():
            services[name] = _service(name, fields, services, layer.file)
        _check_dependencies(layer.services, services, layer.file)
        for name, fields in layer.agents.items():
            agents[name] = _agent(name, fields, agents, services, layer.file)
        profiles = lay_over(profiles, layer.profiles, layer.file)
        if routing is None or layer.routing:
            routing = _routing(layer.routing, routing, services, layer.file)
        if layer is theirs:
            own_agents = frozenset(name for name, fields in layer.agents.items() if "services" in fields)
    if all(spec.kind != "agent" for spec in agents.values()):
        assert theirs is not None
        raise ConfigError(theirs.file, "agents", "all are specialists; one at least must carry tasks (kind: agent)")
    assert routing is not None
    budgets = Budgets() if theirs is None else read_budgets(theirs.budgets, services, theirs.file)
    functions = {} if theirs is None else _functions(theirs.functions, theirs.file)
    return Catalogue(services, agents, routing, own_agents, profiles, budgets, functions)


@dataclass(frozen=True)
class _Layer:
    """What one file holds, not yet against any schema."""

    file: str
    services: dict[str, dict[Any, Any]]
    agents: dict[str, dict[Any, Any]]
    profiles: dict[str, dict[Any, Any]]
    routing: dict[Any, Any]
    budgets: dict[Any, Any]
    functions: dict[Any, Any]

    @classmethod
    def of(cls, path: Path) -> "_Layer":
        document, file = read(path), str(path)
        for key in document:
            if key not in SECTIONS:
                raise ConfigError(file, dotted("", [key]), f"unknown key; {nearest(key, SECTIONS)}")
        sections = {key: mapping(document.get(key), file, key) for key in SECTIONS}
        entries = {key: named(sections[key], file, key) for key in ("services", "agents", "profiles")}
        rest = {key: sections[key] for key in ("routing", "budgets", "functions")}
        return cls(file, **entries, **rest)


@cache
def _ours() -> tuple[_Layer, ...]:
    """Our own files, which do not change while a process lives; parsing them takes 50 ms."""
    return tuple(_Layer.of(file) for file in (SERVICES, AGENTS, SPECIALISTS, PROFILES))


def _functions(section: Mapping[Any, Any], file: str) -> dict[str, str]:
    for name, where in section.items():
        place = dotted("functions", [name])
        if not isinstance(name, str) or not _FUNCTION_NAME.fullmatch(name):
            raise ConfigError(
                file, place, "a function's name has letters, digits, '_', '.' and '-' only, 1 to 128 of them"
            )
        if not isinstance(where, str) or not _FUNCTION.fullmatch(where):
            raise ConfigError(file, place, "names a Python function as `module:name`")
    return dict(section)


def _service(name: str, fields: Mapping[Any, Any], known: Mapping[str, ServiceSpec], file: str) -> ServiceSpec:
    key, before = f"services.{name}", known.get(name)
    spec = entry(ServiceSpec, _over(before, fields), file, key, known)
    if before is not None and before.kind != spec.kind:
        raise ConfigError(file, f"{key}.kind", f"{name!r} is a {before.kind} service; give yours another name")
    if spec.api_key_env is not None and _looks_like_a_key(spec.api_key_env):
        raise ConfigError(file, f"{key}.api_key_env", NOT_A_KEY)
    return spec


def _check_dependencies(stated: Iterable[str], services: Mapping[str, ServiceSpec], file: str) -> None:
    """Each dependency is there, and none leads back to where it came from.

    Args:
        stated: the services that the file has entries for; without them there was no cycle.
    """
    for name in stated:
        for index, other in enumerate(services[name].depends_on):
            if other not in services:
                rule = f"there is no service {other[:128]!r}; {nearest(other, services)}"
                raise ConfigError(file, f"services.{name}.depends_on.{index}", rule)
    try:
        TopologicalSorter({name: spec.depends_on for name, spec in services.items()}).prepare()
    except CycleError as error:
        # The way round begins and ends with the same service, and runs from what is needed to who needs it.
        way: list[str] = error.args[1][:0:-1]
        first = next(place for place, name in enumerate(way) if name in stated)
        way = [*way[first:], *way[:first], way[first]]
        raise ConfigError(file, f"services.{way[0]}.depends_on", f"needs itself: {' -> '.join(way)}") from None


def _agent(
    name: str,
    fields: Mapping[Any, Any],
    known: Mapping[str, AgentSpec],
    services: Mapping[str, ServiceSpec],
    file: str,
) -> AgentSpec:
    if name == JUDGE:
        raise ConfigError(file, f"agents.{name}", "is what the platform's own judges go by; give yours another name")
    spec = entry(AgentSpec, _over(known.get(name), fields), file, f"agents.{name}", known)
    _check_order(spec.services, services, file, f"agents.{name}.services")
    return spec


def _routing(
    fields: Mapping[Any, Any], before: Routing | None, services: Mapping[str, ServiceSpec], file: str
) -> Routing:
    routing = entry(Routing, _over(before, fields), file, "routing")
    _check_order(routing.services or (), services, file, "routing.services")
    _check_chat(routing.premium_service, services, file, "routing.premium_service")
    return routing


def _over(before: Strict | None, fields: Mapping[Any, Any]) -> dict[Any, Any]:
    return {**(before.model_dump(exclude_unset=True) if before else {}), **fields}


def _check_order(order: Sequence[str], services: Mapping[str, ServiceSpec], file: str, key: str) -> None:
    for index, name in enumerate(order):
        _check_chat(name, services, file, f"{key}.{index}")
        if name in order[:index]:
            raise ConfigError(file, f"{key}.{index}", f"{name!r} stands in this order twice")


def _check_chat(name: str, services: Mapping[str, ServiceSpec], file: str, key: str) -> None:
    chat = [other for other, spec in services.items() if spec.kind == "chat"]
    if name not in services:
        raise ConfigError(file, key, f"there is no service {name[:128]!r}; {nearest(name, chat)}")
    if name not in chat:
        raise ConfigError(file, key, f"{name!r} serves {services[name].kind}, not chat")


_KEY_PREFIXES = ("sk_", "gsk_", "csk_", "xai_", "AIza", "pk_live", "ghp_", "hf_")


def _looks_like_a_key(text: str) -> bool:
    """Whether somebody put the secret where its variable's name belongs.

    Names are words with underscores between them; keys are long runs of letters and digits, or begin as providers
    begin theirs. Keys with a hyphen or a dot are no names at all, which the schema sees.
    """
    if text == NO_KEY_NEEDED:
        return False
    if not (text.isascii() and text.isidentifier()) or text.startswith(_KEY_PREFIXES):
        return True
    words = text.split("_")
    return any(len(word) >= 24 or (len(word) >= 16 and any(c.isdigit() for c in word)) for word in words)
