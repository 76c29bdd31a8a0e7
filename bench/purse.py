"""What a budget costs: reserving and settling one call, by how many budgets limit it, against a broker of its own.

python -m bench.purse [--calls 500]
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import structlog

from actors.gateway.purse import Purse
from bus.client import Bus
from bus.purse import PurseStream
from schemas.budget import Budget, Budgets
from schemas.completion import Complete
from tests.broker import Broker
from tests.gateway.doubles import ask

PLENTY = Budget(usd=1_000_000)
LIMITED: dict[str, tuple[Budgets, Complete]] = {
    "none": (Budgets(), ask()),
    "day": (Budgets(day=PLENTY), ask()),
    "day, service, key, tree": (
        Budgets(day=PLENTY, services={"cheap": PLENTY}, keys={"k1": PLENTY}),
        ask(key="k1", max_cost_usd=1_000_000),
    ),
}


async def one(purse: Purse, asked: Complete) -> tuple[float, float]:
    """Milliseconds to reserve and to settle."""
    began = time.perf_counter()
    reservation = await purse.reserve(asked, "cheap", 0.01, 1000, "key", 1)
    reserved = time.perf_counter()
    await purse.settle(reservation, 0.004, 400)
    return (reserved - began) * 1e3, (time.perf_counter() - reserved) * 1e3


async def measure(bus: Bus, calls: int) -> None:
    print(f"{'limited by':<26}{'reserve ms':>12}{'settle ms':>12}{'p99 both ms':>13}{'calls/s, 32 at once':>21}")
    for name, (budgets, asked) in LIMITED.items():
        purse = Purse("bench", budgets, PurseStream(bus))
        await one(purse, asked)
        times = [await one(purse, asked) for _ in range(calls)]
        await purse.drain()

        async def some(purse: Purse = purse, asked: Complete = asked) -> None:
            for _ in range(calls // 32):
                await one(purse, asked)

        began = time.perf_counter()
        await asyncio.gather(*(some() for _ in range(32)))
        await purse.drain()
        rate = calls // 32 * 32 / (time.perf_counter() - began)
        both = sorted(a + b for a, b in times)[int(len(times) * 0.99)]
        reserve, settle = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"{name:<26}{reserve:>12.3f}{settle:>12.3f}{both:>13.3f}{rate:>21,.0f}")


async def main(calls: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder) / "home").start()
        try:
            bus = await broker.connect("bench", make_streams=True)
            await measure(bus, calls)
            await bus.close(grace_s=0.2)
        finally:
            broker.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=500)
    asyncio.run(main(parser.parse_args().calls))
