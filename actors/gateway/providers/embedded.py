"""The embedded models, asked over the bus."""

from http import HTTPStatus
from typing import TypeVar

from actors.gateway.providers.provider import Attempt, EmbedAttempt, Embedded, Heard, Served
from bus.client import Bus
from bus.subjects import EmbeddedModel
from schemas.completion import Embed, Embeddings, Generate, Generated
from schemas.errors import DeadlineExceeded, RemoteError, ResponderLost, Unavailable, UpstreamError
from schemas.message import Message
from schemas.service import ServiceSpec

M = TypeVar("M", bound=Message)


class EmbeddedProvider:
    """Costs nothing, whatever becomes of a call."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def complete(self, attempt: Attempt, heard: Heard) -> Served:
        if attempt.tools and attempt.tool_choice not in (None, "auto", "none"):
            raise UpstreamError(attempt.service, "its model calls no tools")
        ask = Generate(
            messages=attempt.messages,
            temperature=attempt.temperature,
            max_tokens=attempt.max_tokens,
            json_schema=attempt.json_schema,
            sampling=attempt.sampling,
            timeout_s=attempt.timeout_s,
        )
        answer = await self._ask(attempt, "complete", ask, Generated)
        if not answer.text.strip():
            raise UpstreamError(attempt.service, "an empty answer", again=True)
        model = _model(attempt.spec)
        served = Served(
            text=answer.text,
            model=model,
            finish_reason=answer.finish_reason,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            dropped=("tools",) if attempt.tools else (),
        )
        heard.whole(served)
        return served

    async def embed(self, attempt: EmbedAttempt) -> Embedded:
        answer = await self._ask(attempt, "embed", Embed(texts=attempt.texts), Embeddings)
        return Embedded(answer.vectors, _model(attempt.spec), answer.prompt_tokens)

    async def _ask(self, attempt: Attempt | EmbedAttempt, verb: str, ask: Message, kind: type[M]) -> M:
        subject = EmbeddedModel(_model(attempt.spec), verb)
        try:
            return await self._bus.request(subject, ask, kind, timeout_s=attempt.timeout_s)
        except ResponderLost:
            raise UpstreamError(attempt.service, "its actor is starting anew", again=True) from None
        except DeadlineExceeded as error:
            raise UpstreamError(attempt.service, str(error)) from None
        except RemoteError as error:
            # What it says of the question itself is told on; any other status tells of the way to it.
            status = error.http_status if error.http_status == HTTPStatus.UNPROCESSABLE_ENTITY else None
            raise UpstreamError(attempt.service, str(error), again=error.retryable, status=status) from None
        except Unavailable as error:
            raise UpstreamError(attempt.service, str(error), again=error.retryable) from None


def _model(spec: ServiceSpec) -> str:
    return spec.model.split("/", 1)[1]
