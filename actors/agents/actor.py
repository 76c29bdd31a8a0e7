"""The agent actor: one model agent behind its subject."""

from actors.agents.agent import ModelAgent
from actors.base import Actor
from actors.catalogue import load
from bus.client import Endpoint
from bus.subjects import AgentAsk, ModelsComplete
from schemas.agent import Ask
from schemas.completion import Complete, Completion

PREFIX = "agent-"
"""An agent's actor and micro service are called `agent-<agent>`."""


class AgentActor(Actor):
    """A model agent: answers one step of a task at a time, many at once."""

    kind = "agent"

    async def begin(self) -> list[Endpoint]:
        agent = self.name.removeprefix(PREFIX)
        catalogue = load(self.settings.config)
        self._agent = ModelAgent(agent, catalogue.agents[agent], catalogue.order_for(agent), self._complete)
        return [Endpoint("ask", str(AgentAsk(agent)), Ask, self._agent.handle, concurrency=1024)]

    async def _complete(self, ask: Complete) -> Completion:
        return await self.bus.ask(
            ModelsComplete(ask.agent), ask, Completion, deadline=ask.deadline_at, work=ask.task_id
        )
