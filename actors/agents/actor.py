"""The agent actor: one model agent behind its subject."""

from actors.agents.agent import ModelAgent
from actors.base import Actor
from actors.catalogue import Catalogue, load
from bus.client import Bus
from bus.desk import Endpoint
from bus.subjects import AgentAsk, ModelsComplete
from schemas.agent import Ask
from schemas.completion import Complete, Completion

PREFIX = "agent-"
"""An agent's actor and micro service are called `agent-<agent>`."""

CONCURRENCY = 1024
"""Steps that one agent does at a time; a model call waits, it does not compute."""


class AgentActor(Actor):
    """A model agent: answers one step of a task at a time, many at once."""

    kind = "agent"
    jetstream = False

    async def begin(self) -> list[Endpoint]:
        return [endpoint_for(self.name.removeprefix(PREFIX), "ask", load(self.settings.config), self.bus)]


def endpoint_for(agent: str, name: str, catalogue: Catalogue, bus: Bus) -> Endpoint:
    """The agent of that name behind its subject, under an endpoint's `name`."""
    spec, order, asked = catalogue.agents[agent], catalogue.order_for(agent), ModelsComplete(agent)

    async def complete(ask: Complete) -> Completion:
        # On the agent's own subject, which its credentials permit, whatever seat it answers for.
        return await bus.ask(asked, ask, Completion, deadline=ask.deadline_at, work=ask.task_id)

    handle = ModelAgent(agent, spec, order, complete).handle
    return Endpoint(name, str(AgentAsk(agent)), Ask, handle, concurrency=CONCURRENCY)
