"""The workflow engine's actor: a shell around `Engine`."""

import secrets

from actors.base import Actor
from actors.catalogue import load
from actors.workflow.engine import Engine
from actors.workflow.functions import load_functions
from bus.desk import Endpoint
from schemas.workflow import retry_within_s


class EngineActor(Actor):
    """Carries workflows: says what is next, has it done, has it undone where it must be."""

    kind = "engine"

    async def begin(self) -> list[Endpoint]:
        functions = load_functions(load(self.settings.config).functions, str(self.settings.config))
        # Another name each time: what the last process of this actor owned, nobody has in hand.
        name = f"{self.name}-{secrets.token_hex(4)}"
        self._engine = Engine(
            self.bus,
            name,
            functions,
            concurrency=self.settings.concurrent_workflows,
            retry_within_s=retry_within_s(self.settings.keep_s),
        )
        self.spawn(self._engine.run())
        return self._engine.endpoints

    async def end(self, grace_s: float) -> None:
        await self._engine.stop(grace_s)
