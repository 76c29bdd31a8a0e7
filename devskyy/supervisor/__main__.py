"""The supervisor as a process of its own: what `devskyy up --detach` leaves running."""

import asyncio
import sys

from devskyy.supervisor.supervisor import Supervisor
from schemas.errors import DevSkyyError
from schemas.settings import Settings


def main() -> int:
    try:
        asyncio.run(Supervisor(Settings.from_environment()).run())
    except DevSkyyError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
