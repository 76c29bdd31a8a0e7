"""A language model as judge: by a rubric, and between two answers. What it does not say is not made up."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeVar

from actors.quality import prompts
from actors.quality.form import NotJson, json_of
from actors.quality.steering import steering
from schemas.budget import Budget
from schemas.completion import ChatMessage, Complete, Completion
from schemas.quality import Evidence, Quality, unmeasured
from schemas.receipt import JUDGE, Call

T = TypeVar("T")
Completes = Callable[[Complete], Awaitable[Completion]]
Side = Literal["a", "b"]
MAX_TOKENS = 1024
"""Of one judgement, which is some 300 long; the rest is for models that think before they speak."""


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """For which task a judge is asked, who may be it, and within which limits; each as in `Complete`."""

    tenant: str
    task_id: str
    step: str
    """Of the judgement; its second tries and its other order have names of their own, made from this one."""
    services: tuple[str, ...]
    deadline_at: datetime
    root: str | None = None
    key: str | None = None
    key_budget: Budget | None = None
    workflow: str | None = None
    workflow_budget: Budget | None = None
    max_cost_usd: float | None = None
    max_total_tokens: int | None = None
    cache_s: float | None = None
    replay: str | None = None


@dataclass(frozen=True, slots=True)
class Preference:
    """Which of two answers is the better one."""

    better: Side | None
    """`None`: neither, or the judge chose by the order in which it saw them, or there was no judgement."""
    reasons: tuple[str, ...]
    judged: bool = True
    """Whether both orders were judged."""


class _Unusable(Exception):
    """Why what a judge said is no judgement."""


class ModelJudge:
    """One judgement's worth of questions to a model, as the agent `judge`; implements `Judge`."""

    def __init__(self, complete: Completes, circumstances: Circumstances) -> None:
        self._complete, self._asked = complete, circumstances
        self._calls: list[Call] = []

    @property
    def calls(self) -> tuple[Call, ...]:
        """What its questions took so far, for the receipt."""
        return tuple(self._calls)

    async def judge(self, prompt: str, inputs: Sequence[str], answer: str, checked: Quality) -> Quality:
        """The five metrics and `overall` as the model sees them; all `null` with the reason where it gave no judgement.

        Args:
            inputs: the text of each input beside the prompt.
            checked: what rules found, which the model is shown.
        """
        marks = steering(answer, prompt)
        messages = prompts.rubric(prompt, inputs, answer, checked, marks)
        try:
            scores = await self._judgement(self._asked.step, messages, prompts.RUBRIC_SCHEMA, _scores)
        except _Unusable as error:
            return unmeasured(f"no judgement: {error}")
        steers = tuple(Evidence(check="steering", text=f"it tries to steer its reader: {mark}") for mark in marks)
        evidence = {
            name: (_evidence(answer, said, quote), *(steers if name == "overall" else ()))
            for name, (_, said, quote) in scores.items()
        }
        return Quality(
            **{name: score for name, (score, _, _) in scores.items()},
            evidence=evidence,
            means=dict.fromkeys(scores, ("judge",)),
        )

    async def prefer(self, prompt: str, a: str, b: str, inputs: Sequence[str] = ()) -> Preference:
        """Which of two answers serves better, asked in both orders at once. Who goes by the order has chosen none."""
        forth, back = await asyncio.gather(
            self._first_or_second(f"{self._asked.step}-ab", prompt, inputs, a, b),
            self._first_or_second(f"{self._asked.step}-ba", prompt, inputs, b, a),
        )
        if isinstance(forth, _Unusable) or isinstance(back, _Unusable):
            failed = tuple(f"no judgement: {one}" for one in (forth, back) if isinstance(one, _Unusable))
            return Preference(None, failed, judged=False)
        sides: Mapping[str, Side] = {"first": "a", "second": "b"}
        other_way: Mapping[str, Side] = {"first": "b", "second": "a"}
        one, other = sides.get(forth[0]), other_way.get(back[0])
        reasons = (forth[1], back[1])
        if one == other:
            return Preference(one, reasons)
        return Preference(None, (f"with a first it is {one or 'neither'}, with b first {other or 'neither'}", *reasons))

    async def _first_or_second(
        self, step: str, prompt: str, inputs: Sequence[str], first: str, second: str
    ) -> tuple[str, str] | _Unusable:
        messages = prompts.preference(prompt, inputs, first, second)
        try:
            return await self._judgement(step, messages, prompts.PREFERENCE_SCHEMA, _better)
        except _Unusable as error:
            return error

    async def _judgement(
        self, step: str, messages: tuple[ChatMessage, ...], schema: dict[str, Any], read: Callable[[Any], T]
    ) -> T:
        """What the model says, read; asked once more where it cannot be.

        Raises:
            _Unusable: nobody answered, or it cannot be read the second time either.
        """
        text = await self._ask(step, messages, schema)
        try:
            return read(_json(text))
        except _Unusable as error:
            again = prompts.repair(messages, text, str(error))
            return read(_json(await self._ask(f"{step}-again", again, schema)))

    async def _ask(self, step: str, messages: tuple[ChatMessage, ...], schema: dict[str, Any]) -> str:
        asked = self._asked
        found = await self._complete(
            Complete(
                tenant=asked.tenant,
                task_id=asked.task_id,
                step=step,
                agent=JUDGE,
                services=asked.services,
                messages=messages,
                temperature=0.0,
                max_tokens=MAX_TOKENS,
                json_schema=schema,
                root=asked.root,
                key=asked.key,
                key_budget=asked.key_budget,
                workflow=asked.workflow,
                workflow_budget=asked.workflow_budget,
                max_cost_usd=asked.max_cost_usd,
                max_total_tokens=asked.max_total_tokens,
                cache_s=asked.cache_s,
                replay=asked.replay,
                deadline_at=asked.deadline_at,
            )
        )
        self._calls += found.calls
        if found.problem is not None:
            raise _Unusable(found.problem.detail or found.problem.title)
        return found.text or ""


def _json(text: str) -> Any:
    try:
        return json_of(text)
    except NotJson as error:
        raise _Unusable(f"it is no JSON: {error}") from None


def _scores(value: Any) -> dict[str, tuple[float, str, str]]:
    """By metric the score, what it rests on, and the words it quotes."""
    if not isinstance(value, dict):
        raise _Unusable("it is no JSON object")
    found = {}
    for name in prompts.JUDGED:
        match value.get(name):
            case {"score": int() | float() as score, "evidence": str(said)} if not isinstance(score, bool):
                quote = value[name].get("quote")
            case _:
                raise _Unusable(f"{name} has no score with its evidence")
        if not math.isfinite(score) or not 0 <= score <= 1:
            raise _Unusable(f"the score of {name} is {score:g}, not between 0 and 1")
        if not said.strip():
            raise _Unusable(f"{name} has no evidence")
        found[name] = (float(score), said.strip(), quote if isinstance(quote, str) else "")
    return found


def _better(value: Any) -> tuple[str, str]:
    match value:
        case {"better": "first" | "second" | "neither" as better, "reason": str(reason)} if reason.strip():
            return better, reason.strip()
    raise _Unusable('it does not say which is better ("first", "second" or "neither"), and why')


def _evidence(answer: str, said: str, quote: str) -> Evidence:
    """With the place that it quotes, if that stands in the answer."""
    start = answer.find(quote) if quote.strip() else -1
    place = {"quote": quote[:400], "start": start, "end": start + len(quote)} if start >= 0 else {}
    return Evidence(check="judge", text=said[:1000], **place)
