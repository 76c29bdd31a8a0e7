"""A gateway in a process of its own, which a test may kill: real journal, real purse, a provider that is scripted.

python -m tests.gateway.gateway_process URL INSTANCE CATALOGUE VICTIM

The provider takes some time or none, and counts some of the tokens that it may. Of several gateways the first that has
answered some poor questions while others are under way writes its name into the file VICTIM and is killed on the spot.
On its input a gateway is told to stop; it then waits until nothing is open, and ends.
"""

import asyncio
import contextlib
import os
import random
import signal
import sys
from pathlib import Path

import structlog

from actors.catalogue import load
from actors.gateway.actor import Alive
from actors.gateway.charges import most_usd
from actors.gateway.gateway import Gateway
from actors.gateway.providers import Attempt, EmbedAttempt, Embedded, Heard, Served
from actors.gateway.purse import Purse
from actors.gateway.steadiness import Steadiness
from actors.gateway.surroundings import Surroundings
from bus.cache import Cache
from bus.client import Bus
from bus.desk import Endpoint
from bus.journal import Journal
from bus.purse import PurseStream
from bus.recordings import Recordings
from bus.subjects import GatewayAlive, ModelsComplete
from bus.vectors import Vectors
from schemas.budget import Budget, Budgets
from schemas.completion import Complete
from schemas.errors import BusUnavailable, DeadlineExceeded, ResponderLost
from schemas.service import Price
from tests.gateway.questions import ask

PRICE = Price(input_per_mtok=1, output_per_mtok=2)
"""Of the doubles' service `cheap`."""
CALL_USD = most_usd(PRICE, ask()) or 0.0
POOR = "poor"
BUDGETS = Budgets(keys={POOR: Budget(usd=100 * CALL_USD)})
"""What pays for a hundred calls of that key."""
SWEEP_S = 0.3
SOME = 5


class Provider:
    def __init__(self, instance: str, victim: Path) -> None:
        self._instance, self._victim, self._chance = instance, victim, random.Random(instance)
        self._answered = self._under_way = 0

    async def complete(self, attempt: Attempt, heard: Heard) -> Served:
        poor = attempt.messages == ask().messages
        self._under_way += poor
        await asyncio.sleep(self._chance.choice([0.0, 0.2, 0.5]))
        self._under_way -= poor
        self._answered += poor
        if min(self._answered, self._under_way) >= SOME:
            self._die()
        served = Served("An answer.", "", "stop", 20, self._chance.randint(1, attempt.max_tokens))
        heard.whole(served)
        return served

    def _die(self) -> None:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self._victim, os.O_CREAT | os.O_EXCL))
            self._victim.write_text(self._instance)
            os.kill(os.getpid(), signal.SIGKILL)

    async def embed(self, attempt: EmbedAttempt) -> Embedded:
        raise NotImplementedError


async def run(url: str, instance: str, catalogue: str, victim: str) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    bus = await Bus(url, instance).connect()
    provider, store = Provider(instance, Path(victim)), PurseStream(bus, patience_s=60)
    purse = Purse(instance, BUDGETS, store)

    async def asked(other: str, key: str) -> Alive | None:
        try:
            return await bus.request(GatewayAlive(other), Alive(key=key), Alive, timeout_s=3)
        except (ResponderLost, DeadlineExceeded):
            return None

    async def works(other: str, key: str) -> bool:
        answer = await asked(other, key)
        return answer is not None and answer.working

    async def lives(other: str) -> bool:
        return await asked(other, "") is not None

    surroundings = Surroundings(
        catalogue=load(Path(catalogue)),
        environ={},
        journal=Journal(bus),
        provider_of=lambda _: provider,
        works=works,
        purse=purse,
        steadiness=Steadiness(instance, gateways=2),
        cache=Cache(bus),
        recordings=Recordings(bus),
        vectors=Vectors(bus),
        keep=bus.keep,
    )
    gateway = Gateway(instance, surroundings)

    async def alive(question: Alive) -> Alive:
        return Alive(key=question.key, working=gateway.works_on(question.key))

    async def sweep() -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await purse.sweep(lives, gateway.outcome_of)
            except BusUnavailable:
                continue

    sweeping = asyncio.create_task(sweep())
    endpoints = [
        Endpoint("complete", ModelsComplete.pattern(), Complete, gateway.complete, concurrency=4096),
        Endpoint("alive", str(GatewayAlive(instance)), Alive, alive),
    ]
    await bus.serve(instance, endpoints, "", {})
    await asyncio.to_thread(sys.stdin.readline)
    while await store.opened():  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.1)
    sweeping.cancel()
    await purse.drain()
    await bus.close(grace_s=1)


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:5]))
