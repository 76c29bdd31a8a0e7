"""W3C trace context, carried through every message and every log line."""

import re
import secrets
from contextvars import ContextVar

HEADER = "traceparent"
# A later version may add fields behind a dash; version ff, and ids of zeros only, are invalid.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_current: ContextVar[str | None] = ContextVar("traceparent", default=None)


def current() -> str | None:
    """`traceparent` of the work that runs now."""
    return _current.get()


def start(parent: str | None = None) -> str:
    """Begin a span of the work that runs now: under `parent` where it is well formed, else of a new trace.

    Source: W3C Trace Context, section 3.2 (version 00).
    """
    trace_id = _trace_id(parent) or secrets.token_hex(16)
    value = f"00-{trace_id}-{secrets.token_hex(8)}-01"
    _current.set(value)
    return value


def trace_id() -> str | None:
    """The 32 hex digits that all spans of one trace share."""
    return _trace_id(_current.get())


def _trace_id(traceparent: str | None) -> str | None:
    match = _TRACEPARENT.fullmatch(traceparent or "")
    return match[1] if match else None
