"""Free ports, asked of the kernel."""

import socket
from contextlib import ExitStack, closing

from schemas.errors import StartError


def free(count: int) -> list[int]:
    """That many different free TCP ports. Another process may take one before it is used; a start then fails and
    is tried again with others."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def free_range(length: int) -> int:
    """First of `length` free ports in a row.

    Raises:
        StartError: a hundred tries found none.
    """
    for _ in range(100):
        (first,) = free(1)
        if first + length <= 65_535 and all(not busy(port) for port in range(first, first + length)):
            return first
    raise StartError(f"no {length} free ports in a row", "end programs that hold many ports, then try again")


def busy(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody listens on a port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False
