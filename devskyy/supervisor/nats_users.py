"""Whether the broker that runs knows who is let in, and what the host does about a tenant that is erased."""

import asyncio
import time
from pathlib import Path

import structlog

from bus.nats_users import NatsUsers
from devskyy.supervisor.state import read_state
from schemas.errors import Unavailable
from schemas.fleet import Forget, Forgotten

IN_FORCE_S = 10.0
"""The supervisor looks several times a second, and the server takes milliseconds."""
AGAIN_S = 0.02

log = structlog.get_logger()


def in_force(home: Path, timeout_s: float = IN_FORCE_S) -> bool | None:
    """Whether the embedded broker of this home goes by its file of NATS users, at last; None: none runs here.

    A platform on a broker of one's own has none either: whoever runs that broker tells it.
    """
    version = NatsUsers(home).version()
    give_up = time.monotonic() + timeout_s
    while True:
        state = read_state(home)
        if state is None or not state.alive or state.nats_users is None:
            return None
        if state.nats_users == version:
            return True
        if time.monotonic() > give_up:
            return False
        time.sleep(AGAIN_S)


class Forgetting:
    """Erases the NATS users of tenants."""

    def __init__(self, home: Path, *, embedded: bool) -> None:
        """
        Args:
            embedded: whether the home's own broker runs; else whoever runs the other one shuts them out there.
        """
        self._home, self._embedded = home, embedded

    async def forget(self, asked: Forget) -> Forgotten:
        """
        Raises:
            Unavailable: the broker may still let them in; ask again.
        """
        return await asyncio.to_thread(self._forget, asked.tenant)

    def _forget(self, tenant: str) -> Forgotten:
        erased = NatsUsers(self._home).erase(tenant)
        # Where the supervisor was killed the rest goes on, and nobody tells the broker before the next start.
        if self._embedded and not in_force(self._home):
            raise Unavailable(f"NATS may still let in clients of {tenant}: it has not heard that they are erased")
        if erased:
            log.info("the NATS users of a tenant were erased", tenant=tenant, users=erased)
        return Forgotten(nats_users=erased)
