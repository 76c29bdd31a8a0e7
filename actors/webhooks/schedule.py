"""When a delivery that failed is tried again, and what an answer means.

Source: Standard Webhooks 1.0.0, "Deliverability and reliability" and "Delivery success and failure".
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from schemas.message import now

MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0
SCHEDULE_S = (
    *(5.0, 5 * MINUTE_S, 30 * MINUTE_S),
    *(2 * HOUR_S, 5 * HOUR_S, 10 * HOUR_S, 14 * HOUR_S, 20 * HOUR_S, 24 * HOUR_S),
)
"""Seconds after each attempt; after the tenth there is no other. Three days and four hours in all."""
JITTER = 0.1
"""A wait is longer by up to this fraction, so that what failed together does not come back together."""
LONGEST_WAIT_S = DAY_S
"""Of what a receiver asks for, no more is granted."""
DISABLED_AFTER_S = 5 * DAY_S
"""A webhook to which nothing could be delivered for so long is disabled."""
THROTTLES = frozenset({429, 503})
"""Statuses whose `Retry-After` is kept to."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt."""

    status: int | None = None
    """Null: there was no answer."""
    error: str | None = None
    """Why there was none."""
    retry_after_s: float | None = None

    @property
    def succeeded(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        """Whether the receiver wants nothing more, ever."""
        return self.status == 410

    @property
    def reason(self) -> str | None:
        """Why it failed; null: it did not."""
        if self.succeeded:
            return None
        if self.status is None:
            return self.error
        redirects = "; redirects are not followed, so give the address that it leads to" * (300 <= self.status < 400)
        return f"it answered {self.status}{redirects}"


def wait_s(
    made: int,
    outcome: Outcome,
    schedule_s: Sequence[float] = SCHEDULE_S,
    chance: Callable[[], float] = random.random,
) -> float | None:
    """Seconds until the attempt after this one; None: there is none.

    Args:
        made: attempts so far, this one included.
        chance: in [0, 1).
    """
    if made > len(schedule_s):
        return None
    asked_s = outcome.retry_after_s if outcome.status in THROTTLES else None
    least_s = max(schedule_s[made - 1], min(asked_s or 0.0, LONGEST_WAIT_S))
    return least_s * (1 + JITTER * chance())


def retry_after_s(header: str | None, at: datetime | None = None) -> float | None:
    """Seconds that a `Retry-After` asks for, from either of its forms; None where it says nothing usable.

    Source: RFC 9110, section 10.2.3.
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
        return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - (at or now())).total_seconds())
    except (ValueError, OverflowError):
        return None
