"""A host of specialists in a process of its own, which a test may kill: the actor as Ray would run it.

python -m tests.agents.host_process NAME HOME URL

It prints a line once it answers.
"""

import asyncio
import sys
from pathlib import Path

from actors.agents.specialists import SpecialistsActor
from schemas.settings import Settings


async def run(name: str, home: str, url: str) -> None:
    actor = SpecialistsActor(name, Settings(home=Path(home), nats_url=url).dump())
    print(await actor.ready(), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:4]))
