"""The exact cache: what a service answered to a question, for whoever asks it the same again soon enough.

Off unless a request or a service asks for it. It may lose anything at any time: what cannot be read is a miss, and
what cannot be stored is forgotten.
"""

import hashlib
import math
from datetime import timedelta
from typing import Self

import nats.errors
import structlog
from nats.js.errors import APIError, NotFoundError

from bus.client import Bus
from bus.codec import decode, encode
from bus.streams import CACHE, KEEP_S
from bus.subjects import CachedAnswer
from schemas.completion import Complete, Completion, ToolCall
from schemas.errors import BusUnavailable, DecodeError
from schemas.message import Message, Moment, now
from schemas.receipt import Call

PATIENCE_S = 1.0
"""How long a question waits for the cache before it is asked anew."""

log = structlog.get_logger()


class Cached(Message):
    """An answer as it was first given."""

    text: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    model: str
    """The model that answered, as its provider named it."""
    region: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    stored_at: Moment

    @classmethod
    def of(cls, completion: Completion) -> Self | None:
        """What is worth keeping of a completion; None when nobody answered."""
        if completion.problem is not None or not completion.calls:
            return None
        served = completion.calls[-1]
        return cls(
            text=completion.text,
            tool_calls=completion.tool_calls,
            finish_reason=completion.finish_reason,
            model=served.model,
            region=served.region,
            prompt_tokens=served.prompt_tokens,
            completion_tokens=served.completion_tokens,
            stored_at=now(),
        )

    def completion(self, calls: tuple[Call, ...]) -> Completion:
        """The answer, with what was tried before it was found and `call_of` as the last of `calls`."""
        return Completion(text=self.text, tool_calls=self.tool_calls, finish_reason=self.finish_reason, calls=calls)


def call_of(
    cached: Cached, ask: Complete, service: str, passed: tuple[str, ...] = (), latency_ms: float | None = None
) -> Call:
    """The receipt's line for a question that the cache answered.

    It cost nothing. Its tokens are the question's and the answer's, as counted when it was first given; none were
    spent now, so budgets do not count them.

    Args:
        passed: `service: reason` for every service that was tried or passed over before.
        latency_ms: how long the answer took to be found.
    """
    return Call(
        step=ask.step,
        agent=ask.agent,
        service=service,
        model=cached.model,
        region=cached.region,
        fallback_from=passed,
        cached=True,
        prompt_tokens=cached.prompt_tokens,
        completion_tokens=cached.completion_tokens,
        cost_usd=0.0,
        latency_ms=latency_ms,
    )


class Cache:
    """Answers by tenant, service, model and question, in a stream that forgets them when their time is over."""

    def __init__(self, bus: Bus, patience_s: float = PATIENCE_S) -> None:
        self._bus, self._patience_s = bus, patience_s

    async def get(self, tenant: str, service: str, model: str, question: str, max_age_s: float) -> Cached | None:
        """The service's last answer to the question, if it is no older than `max_age_s`; else, or unknown: None.

        Args:
            model: what answers, as `ServiceSpec.identity` says it: another model, or another server, answers otherwise.
            question: see `journal.question_of`.
        """
        subject = str(_subject(tenant, service, model, question))
        try:
            js = self._bus.client.jetstream(timeout=self._patience_s)
            msg = await js.get_last_msg(CACHE, subject, direct=True)
            cached = decode(await self._bus.blobs.unwrap(msg.data or b"", msg.headers), Cached)
        except NotFoundError:
            return None
        except (nats.errors.Error, APIError, TimeoutError, BusUnavailable, DecodeError) as error:
            log.info("the cache was not read", service=service, error=repr(error))
            return None
        return cached if now() - cached.stored_at <= timedelta(seconds=max_age_s) else None

    async def put(self, tenant: str, service: str, model: str, question: str, cached: Cached, keep_s: float) -> None:
        """Keep the answer for `keep_s` seconds, in place of an earlier one; see `get`."""
        headers = {"Nats-TTL": str(math.ceil(min(keep_s, KEEP_S)))}  # in whole seconds; the reader counts exactly
        try:
            body = await self._bus.blobs.offload(encode(cached), headers)
            subject = str(_subject(tenant, service, model, question))
            await self._bus.js.publish(subject, body, headers=headers, timeout=self._patience_s)
        except (nats.errors.Error, APIError, TimeoutError, BusUnavailable) as error:
            log.info("an answer was not cached", service=service, error=repr(error))


def _subject(tenant: str, service: str, model: str, question: str) -> CachedAnswer:
    digest = hashlib.sha256(f"{model}\n{question}".encode()).hexdigest()[:32]
    return CachedAnswer(tenant, service, digest)
