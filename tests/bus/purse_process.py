"""A gateway's purse in a process of its own, which a test may kill: so many calls at once, each told as it happens.

It begins when it reads a line, so that several begin at once.

python -m tests.bus.purse_process URL INSTANCE REPORT CALLS

The report is what a journal would know. A line is written before what it says: `began ID AMOUNT` once a reservation
is granted, `ended ID AMOUNT` before it is settled at that amount, `refused` for one that was not granted.
"""

import asyncio
import os
import random
import sys

import structlog

from actors.gateway.purse import Purse
from actors.gateway.scopes import nano
from bus.client import Bus
from bus.purse import PurseStream
from schemas.budget import NEVER_BEGAN, Budget, BudgetRefused, Budgets, Outcome, Reservation
from schemas.errors import BusUnavailable
from tests.gateway.doubles import ask

PRICE_USD = 0.01
BUDGETS = Budgets(day=Budget(usd=100 * PRICE_USD), services={"cheap": Budget(usd=100 * PRICE_USD)})
"""What pays for a hundred calls."""


async def everybody_lives(_: str) -> bool:
    return True


async def knows_nothing(_: Reservation) -> Outcome:
    return NEVER_BEGAN


async def run(url: str, instance: str, report: str, calls: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    bus = await Bus(url, instance).connect()
    purse = Purse(instance, BUDGETS, PurseStream(bus, patience_s=60))
    # Unbuffered: what was told is known however the process ends.
    told = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    chance = random.Random(instance)

    def tell(*words: object) -> None:
        os.write(told, (" ".join(map(str, words)) + "\n").encode())

    async def call(n: int) -> None:
        try:
            reservation = await purse.reserve(ask(task_id=f"{instance}-{n}"), "cheap", PRICE_USD, 10, "key", 1)
        except (BudgetRefused, BusUnavailable):
            tell("refused")
            return
        tell("began", reservation.id, nano(PRICE_USD))
        await asyncio.sleep(chance.uniform(0.4, 0.9))
        cost = chance.choice([PRICE_USD, PRICE_USD / 2, PRICE_USD / 3, 0.0])
        tell("ended", reservation.id, nano(cost))
        await purse.settle(reservation, cost, 5)

    tell("up")
    await asyncio.to_thread(sys.stdin.readline)
    await asyncio.gather(*(call(n) for n in range(calls)))
    await purse.drain()
    # What a slow broker did not take at once.
    await purse.sweep(everybody_lives, knows_nothing)
    await purse.drain()
    await bus.close(grace_s=0.1)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
