"""A model of the running platform, asked through its OpenAI-compatible door."""

import asyncio
import secrets
from typing import Any

import httpx

from devskyy import wire
from devskyy.errors import BadReply, api_error
from devskyy.wire import Retries, Verb
from schemas.completion import Complete, Completion
from schemas.problem import Problem, urn
from schemas.receipt import Receipt

_STOPS = frozenset({401, 403, 404, 405, 413})
"""Statuses after which every further question would be refused too."""


class Door:
    """Asks the first service of each question, as it is; keeps what the answers cost. Use it as a context."""

    def __init__(self, at_once: int, timeout_s: float) -> None:
        """
        Args:
            at_once: questions under way at the same time.
            timeout_s: how long one answer may take.
        """
        self.url = wire.platform_url(None)
        self._timeout_s = timeout_s
        self._lane = asyncio.Semaphore(at_once)
        self._http = httpx.AsyncClient(**wire.connection_options(self.url, None, timeout_s))
        self.costs: list[float | None] = []
        """US dollars of each question that was answered; `None`: unknown."""

    async def __aenter__(self) -> "Door":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def complete(self, question: Complete) -> Completion:
        """
        Raises:
            PlatformNotRunning: nobody answers.
            BadReply: somebody answers who speaks another language.
            ApiError: whatever else is asked, it would be refused: no such service, no right to ask.
        """
        verb = Verb("POST", "/v1/chat/completions", {200: self._read}, headers=_key(), body=_body(question))
        async with self._lane:
            outcome = await self._send(verb)
        if isinstance(outcome, httpx.Response) and outcome.status_code != 200:
            problem = _problem(outcome)
            if outcome.status_code in _STOPS:
                raise api_error(problem)
            return Completion(problem=problem)
        return verb.result(outcome, self.url)

    async def _send(self, verb: Verb[Completion]) -> httpx.Response | httpx.TransportError:
        retries = Retries(4)
        while True:
            try:
                outcome: httpx.Response | httpx.TransportError = await self._http.request(
                    **verb.arguments(self._timeout_s)
                )
            except httpx.TransportError as error:
                outcome = error
            if (delay_s := retries.delay_s(outcome, verb)) is None:
                return outcome
            await asyncio.sleep(delay_s)

    def _read(self, reply: httpx.Response) -> Completion:
        try:
            document = reply.json()
            choice = document["choices"][0]
            text, finish_reason = choice["message"]["content"], choice.get("finish_reason")
            told = (document.get("devskyy") or {}).get("receipt")
            receipt = None if told is None else Receipt.model_validate(told)
            completion = Completion(text=text, finish_reason=finish_reason, calls=receipt.calls if receipt else ())
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise BadReply(str(reply.request.url), f"no chat completion: {error}") from None
        self.costs.append(receipt.cost_usd if receipt else None)
        return completion


def _key() -> dict[str, str]:
    return {"idempotency-key": secrets.token_hex(16)}


def _body(question: Complete) -> bytes:
    import json

    body: dict[str, Any] = {
        "model": f"service/{question.services[0]}",
        "messages": [{"role": turn.role, "content": turn.content} for turn in question.messages],
        "temperature": question.temperature,
        "max_tokens": question.max_tokens,
    }
    if question.json_schema is not None:
        form = {"name": "judgement", "schema": question.json_schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    return json.dumps(body).encode()


def _problem(reply: httpx.Response) -> Problem:
    """What was refused, from OpenAI's shape of errors."""
    try:
        error = reply.json()["error"]
        code, said = str(error.get("code") or f"http_{reply.status_code}"), str(error["message"])
    except (ValueError, LookupError, TypeError, AttributeError):
        code, said = f"http_{reply.status_code}", f"HTTP {reply.status_code} from {reply.request.url}"
    return Problem(type=urn(code), title="The question was refused", status=reply.status_code, detail=said)
