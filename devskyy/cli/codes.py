"""Exit codes; scripts rely on them."""

from enum import IntEnum

from schemas.errors import DevSkyyError

_CALLERS_MISTAKES = frozenset({400, 401, 403, 404, 413, 422})


class ExitCode(IntEnum):
    DONE = 0
    FAILED = 1
    USAGE = 2
    CANCELLED = 3
    NOT_RUNNING = 4
    UNDER_QUALITY = 5


def of_error(error: DevSkyyError) -> ExitCode:
    match error.code:
        case "not_running":
            return ExitCode.NOT_RUNNING
        case "cancelled":
            return ExitCode.CANCELLED
        case _:
            return ExitCode.USAGE if error.http_status in _CALLERS_MISTAKES else ExitCode.FAILED
