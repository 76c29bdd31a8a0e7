"""Where the answers to submitted tasks go.

JetStream keeps a message, but not the subject that its sender waits on. So the intake hears each submission twice:
from the stream, where it is safe, and directly, where the reply subject is known. Both carry the same bytes; equal
bytes are interchangeable, so matching them first come, first served gives every sender one answer.
"""

import hashlib
import time
from collections import OrderedDict, deque
from typing import TypeVar

KEEP_S = 60.0

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")


def fingerprint(subject: str, data: bytes) -> bytes:
    """What makes two deliveries of one submission recognisable as such."""
    return hashlib.sha256(b"\0".join([subject.encode(), data])).digest()


class Replies:
    """Matches reply subjects with answers, whichever comes first."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[bytes, deque[tuple[float, str]]] = OrderedDict()
        self._answers: OrderedDict[bytes, deque[tuple[float, bytes]]] = OrderedDict()

    def heard(self, print_: bytes, reply: str) -> bytes | None:
        """A sender waits on `reply`; its answer, if that is there already."""
        return self._match(self._answers, self._waiting, print_, reply)

    def answered(self, print_: bytes, answer: bytes) -> str | None:
        """A submission has this answer; the subject that waits for it, if that was heard already."""
        return self._match(self._waiting, self._answers, print_, answer)

    @staticmethod
    def _match(
        there: "OrderedDict[bytes, deque[tuple[float, T]]]",
        wanting: "OrderedDict[bytes, deque[tuple[float, U]]]",
        print_: bytes,
        value: U,
    ) -> T | None:
        moment = time.monotonic()
        _forget(there, moment - KEEP_S)
        _forget(wanting, moment - KEEP_S)
        group = there.get(print_)
        if group:
            _, found = group.popleft()
            if not group:
                del there[print_]
            return found
        wanting.setdefault(print_, deque()).append((moment, value))
        return None


def _forget(table: "OrderedDict[bytes, deque[tuple[float, V]]]", before: float) -> None:
    while table:
        oldest = next(iter(table.values()))
        if oldest[-1][0] >= before:
            return
        table.popitem(last=False)
