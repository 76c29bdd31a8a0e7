"""Where the answers to submitted tasks go.

JetStream keeps a message, but not the subject that its sender waits on. So the intake hears each submission twice:
from the stream, where it is safe, and directly, where the reply subject is known. Both carry the same bytes; equal
bytes are interchangeable, so matching them first come, first served gives every sender one answer.
"""

import hashlib
import itertools
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

KEEP_S = 60.0
"""How long a reply subject waits for its answer."""
KEEP_ANSWER_S = 2.0
"""How long an answer waits for its reply subject. The two halves of a submission come within moments of each other; an
answer whose sender wants none must not go to a later sender of the same bytes."""

T = TypeVar("T")


def fingerprint(subject: str, data: bytes) -> bytes:
    """What makes two deliveries of one submission recognisable as such."""
    return hashlib.sha256(b"\0".join([subject.encode(), data])).digest()


class Replies:
    """Matches reply subjects with answers, whichever comes first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._waiting: _Kept[str] = _Kept(KEEP_S, clock)
        self._answers: _Kept[bytes] = _Kept(KEEP_ANSWER_S, clock)

    def __len__(self) -> int:
        """Halves that are kept."""
        return len(self._waiting) + len(self._answers)

    def heard(self, print_: bytes, reply: str) -> bytes | None:
        """A sender waits on `reply`; its answer, if that is there already."""
        answer = self._answers.take(print_)
        if answer is None:
            self._waiting.put(print_, reply)
        return answer

    def answered(self, print_: bytes, answer: bytes) -> str | None:
        """A submission has this answer; the subject that waits for it, if that was heard already."""
        reply = self._waiting.take(print_)
        if reply is None:
            self._answers.put(print_, answer)
        return reply


class _Kept(Generic[T]):
    """Values by fingerprint, each for `keep_s`; the oldest of a fingerprint is taken first."""

    def __init__(self, keep_s: float, clock: Callable[[], float]) -> None:
        self._keep_s, self._clock = keep_s, clock
        self._serials = itertools.count()
        self._entries: OrderedDict[int, tuple[float, bytes, T]] = OrderedDict()
        """By serial, so oldest first."""
        self._groups: dict[bytes, deque[int]] = {}
        """The serials of each fingerprint, oldest first."""

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, print_: bytes, value: T) -> None:
        self._forget()
        serial = next(self._serials)
        self._entries[serial] = (self._clock(), print_, value)
        self._groups.setdefault(print_, deque()).append(serial)

    def take(self, print_: bytes) -> T | None:
        self._forget()
        group = self._groups.get(print_)
        return self._drop(group[0]) if group else None

    def _drop(self, serial: int) -> T:
        """Remove the oldest value of a fingerprint."""
        _, print_, value = self._entries.pop(serial)
        group = self._groups[print_]
        group.popleft()
        if not group:
            del self._groups[print_]
        return value

    def _forget(self) -> None:
        before = self._clock() - self._keep_s
        while self._entries:
            serial, (moment, _, _) = next(iter(self._entries.items()))
            if moment >= before:
                return
            self._drop(serial)
