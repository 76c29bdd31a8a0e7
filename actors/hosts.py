"""Hosts of specialists on a Ray that this process is connected to."""

import asyncio
from typing import Any

from actors.agents.hosting import PREFIX
from actors.fleet import NAMESPACE, Post, create, drained
from bus.logins import Logins
from schemas.errors import Unavailable
from schemas.settings import Settings

START_S = 60.0
"""One takes half a second; dozens at once on a busy machine wait for each other."""
AGAIN_S = 0.2
DRAIN_S = 5.0


class RayHosts:
    """See `actors.agents.hosting.Hosts`."""

    def __init__(self, settings: Settings, logins: Logins) -> None:
        self._settings, self._logins = settings, logins

    async def alive(self) -> set[str]:
        from ray.util import list_named_actors

        return {name for name in await asyncio.to_thread(list_named_actors) if name.startswith(PREFIX)}

    async def start(self, name: str) -> None:
        """Until it answers.

        Raises:
            Unavailable: it does not within a minute.
        """
        why: Exception | None = None
        try:
            async with asyncio.timeout(START_S):
                while True:
                    try:
                        post = Post(name, "specialists")
                        handle = await asyncio.to_thread(create, post, self._settings, self._logins)
                        return await _answers(handle)
                    except Exception as error:  # it died on the way; Ray starts it anew, or the next try does
                        why = error
                        await asyncio.sleep(AGAIN_S)
        except TimeoutError:
            raise Unavailable(f"{name} did not answer within {START_S:g} s: {why or 'still starting'}") from None

    async def idle_s(self, name: str) -> float:
        handle = await _found(name)
        return float(await handle.idle_s.remote())

    async def stop(self, name: str) -> None:
        await drained(await _found(name), DRAIN_S)

    async def drain(self, grace_s: float) -> None:
        """Stop all that there are, whoever started them."""
        found = await asyncio.gather(*map(_found, await self.alive()), return_exceptions=True)
        await asyncio.gather(*(drained(each, grace_s) for each in found if not isinstance(each, BaseException)))


async def _found(name: str) -> Any:
    import ray

    return await asyncio.to_thread(ray.get_actor, name, NAMESPACE)


async def _answers(handle: Any) -> None:
    await handle.ready.remote()
