"""Findings, fulfilments and likeness put together into five metrics and one overall score."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from actors.quality import arithmetic, citation, form, language, puzzle, repetition, sense, talk, truncation
from actors.quality.features import of_likeness, of_words
from actors.quality.finding import METRICS, Finding, Metric
from actors.quality.fulfilment import Fulfilment, fulfilments
from actors.quality.novelty import FEWEST_WORDS, novelty
from actors.quality.relevance import Embed, Likeness, coverage, likeness, stray, subject_of
from actors.quality.requirements import Requirement, extract
from actors.quality.text import READ, Reading
from actors.quality.weights import WITH_EMBEDDINGS, WITHOUT_EMBEDDINGS
from schemas.quality import Evidence, Means, Quality, unmeasured
from schemas.task import TaskRequest

MOST_EVIDENCE = 12
FAULTS = 3.0
"""How much the logarithm of what faults leave counts beside merit: half the worth lost takes 2 from the logit."""
LEAST_SOUND = 0.005
_NO_EMBEDDINGS = "no embeddings were given; judged by words alone"


@dataclass(frozen=True)
class Examination:
    """All that was seen of one answer."""

    prompt: Reading
    reading: Reading
    requirements: tuple[Requirement, ...]
    kept: list[Fulfilment]
    findings: list[Finding]
    checked: int
    """How many statements and forms of the answer could be looked at for truth."""
    like: Likeness | None
    embedded: bool
    new: float | None
    """Its novelty."""
    features: dict[str, float] = field(default_factory=dict)

    @property
    def sound(self) -> float:
        """A fraction: what its faults leave of its worth. Each takes its share of what the others left."""
        left = 1.0
        worst: dict[str, float] = {}
        for finding in self.findings:
            if finding.check == "requirement":
                left *= 1 - 0.5 * finding.severity
            else:
                worst[finding.check] = max(worst.get(finding.check, 0.0), finding.severity)
        for severity in worst.values():
            left *= 1 - 0.8 * severity
        return left


def examine(
    prompt: str,
    inputs: Sequence[str],
    answer: str,
    json_schema: Mapping[str, Any] | None = None,
    embed: Embed | None = None,
) -> Examination:
    """Look at an answer with every check.

    Args:
        inputs: the text of each input beside the prompt.
        embed: vectors for texts; left out, nearness is judged by words alone.
    """
    asked, reading = Reading(prompt), Reading(answer)
    requirements = extract(prompt, json_schema)
    json_asked = any(r.kind == "format" and r.values == ("json",) for r in requirements)
    kept = fulfilments(reading, asked, requirements)
    sources = (prompt, *inputs)
    findings = [
        *talk.wrong(reading, asked.shown),
        *form.wrong(reading, json_schema, json_asked),
        *arithmetic.wrong(reading, asked.shown),
        *citation.wrong(reading, sources),
        *language.wrong(reading, asked.shown),
        *repetition.wrong(reading, repetition.repetition_asked(asked.shown)),
        *truncation.wrong(reading),
        *sense.wrong(reading, asked.shown),
        *puzzle.wrong(reading, asked.shown),
        *(one.finding for one in kept if one.finding is not None),
    ]
    checked = (
        arithmetic.checked(reading, asked.shown)
        + form.parsed(reading, json_schema, json_asked)
        + citation.cited(reading, sources)
    )
    like = likeness(prompt, reading, embed) if embed is not None else None
    findings += stray(subject_of(prompt), reading, like)
    new = novelty(reading, asked)
    features = of_words(asked, reading, new) | (of_likeness(like, reading) if like else {})
    return Examination(asked, reading, requirements, kept, findings, checked, like, embed is not None, new, features)


def assess(
    prompt: str,
    inputs: Sequence[str],
    answer: str,
    json_schema: Mapping[str, Any] | None = None,
    embed: Embed | None = None,
) -> Quality:
    """How good an answer is, by checks and, where `embed` is given, by embeddings. No model is asked.

    Args:
        inputs: the text of each input beside the prompt.
        embed: vectors for texts; left out, nearness is judged by words alone, and `reasons` says so.
    """
    seen = examine(prompt, inputs, answer, json_schema, embed)
    values: dict[Metric, float | None] = {
        "relevance": _relevance(seen),
        "accuracy": _accuracy(seen),
        "completeness": _completeness(seen),
        "innovation": seen.new,
        "clarity": _clarity(seen),
    }
    reasons: dict[str, str] = {}
    if values["accuracy"] is None:
        reasons["accuracy"] = "the answer states nothing that a rule could look up or do again"
    if values["innovation"] is None:
        reasons["innovation"] = f"fewer than {FEWEST_WORDS} words show no variety"
    if not seen.embedded:
        reasons["means"] = _NO_EMBEDDINGS
    means: dict[str, tuple[Means, ...]] = {metric: ("checks",) for metric in METRICS if values[metric] is not None}
    if seen.like is not None:
        means["relevance"] = ("checks", "embeddings")
    means["overall"] = means["relevance"]
    evidence = {metric: _evidence(seen, metric) for metric in METRICS}
    return Quality(
        overall=_round(overall(seen)),
        **{metric: None if value is None else _round(value) for metric, value in values.items()},
        reasons=reasons,
        evidence={metric: found for metric, found in evidence.items() if found},
        means=means,
    )


def assess_task(request: TaskRequest, answer: str | None, embed: Embed | None = None) -> Quality:
    """The quality of a task's answer, `met` included.

    Some 5 ms of CPU for an ordinary answer and 0.1 s for the largest: call it off the event loop.

    Args:
        answer: `None` where there is none, which nothing can be said of.
    """
    if answer is None:
        return unmeasured("there is no answer")
    texts = [part.text_content() for part in request.inputs if part.kind != "image"]
    found = assess(request.prompt, texts, answer, request.json_schema, embed)
    if request.min_quality is None or found.overall is None:
        return found
    return found.model_copy(update={"met": found.overall >= request.min_quality})


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two answers to one prompt."""

    a: float
    b: float

    @property
    def better(self) -> str | None:
        """`a` or `b`; `None` where nothing tells them apart."""
        return None if self.a == self.b else "a" if self.a > self.b else "b"


def compare(prompt: str, a: str, b: str, inputs: Sequence[str] = (), embed: Embed | None = None) -> Comparison:
    """Two answers by their overall scores; either's score is what it would be alone."""
    return Comparison(*(overall(examine(prompt, inputs, answer, None, embed)) for answer in (a, b)))


def overall(seen: Examination) -> float:
    """A fraction that orders answers to one prompt: the fitted merit of its features, less what its faults take."""
    weights = WITH_EMBEDDINGS if seen.like is not None else WITHOUT_EMBEDDINGS
    total = weights.bias + sum(weight * seen.features[name] for name, weight in weights.of.items())
    total += FAULTS * math.log(max(LEAST_SOUND, seen.sound))
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, total))))


def _relevance(seen: Examination) -> float:
    named = coverage(subject_of(seen.prompt.text), seen.reading)
    words = 0.5 if named is None else named
    # A cosine of 0.6 is as near as a good answer commonly comes with these vectors, and 0 is a stranger's.
    near = words if seen.like is None else min(1.0, max(0.0, max(seen.like.whole, seen.like.best) / 0.6))
    return (0.4 * words + 0.6 * near) * _left(seen, "relevance")


def _accuracy(seen: Examination) -> float | None:
    found = [finding for finding in seen.findings if finding.metric == "accuracy"]
    return None if not seen.checked and not found else _left(seen, "accuracy")


def _completeness(seen: Examination) -> float:
    weight = sum(one.weight for one in seen.kept)
    kept = sum(one.weight * one.share for one in seen.kept) / weight if weight else 1.0
    return (0.3 + 0.7 * kept) * _left(seen, "completeness", without="requirement")


def _clarity(seen: Examination) -> float:
    lengths = [len(s.text.split()) for s in seen.reading.sentences]
    longest = sum(lengths) / len(lengths) if lengths else 0.0
    # Sentences of 25 words read well; of 75 they do not.
    easy = 1 - 0.5 * min(1.0, max(0.0, longest - 25) / 50)
    return easy * (1 - 0.3 * talk.filler_share(seen.reading)) * _left(seen, "clarity")


def _left(seen: Examination, metric: Metric, without: str = "") -> float:
    left = 1.0
    for finding in seen.findings:
        if (finding.metric == metric or finding.check == "empty") and finding.check != without:
            left *= 1 - finding.severity
    return left


def _evidence(seen: Examination, metric: Metric) -> tuple[Evidence, ...]:
    found = [
        Evidence(
            check=one.check,
            text=one.message,
            severity=one.severity,
            quote=one.place.quote if one.place else None,
            start=one.place.start if one.place else None,
            end=one.place.end if one.place else None,
            proposal=one.proposal,
        )
        for one in sorted((f for f in seen.findings if f.metric == metric), key=lambda f: -f.severity)[:MOST_EVIDENCE]
    ]
    return (*found, *_measures(seen, metric))


def _measures(seen: Examination, metric: Metric) -> list[Evidence]:
    found = []
    match metric:
        case "relevance":
            named = coverage(subject_of(seen.prompt.text), seen.reading)
            if named is not None:
                found.append(Evidence(check="coverage", text=f"it names {named:.0%} of the prompt's subject"))
            if seen.like is not None:
                found.append(
                    Evidence(
                        check="likeness",
                        text=f"cosine {seen.like.whole:.2f} to the prompt, {seen.like.best:.2f} at its best sentence",
                    )
                )
        case "accuracy":
            if seen.checked:
                found.append(
                    Evidence(check="checked", text=f"{seen.checked} of its statements and forms could be looked at")
                )
        case "completeness":
            whole = [one for one in seen.kept if one.finding is None]
            found.append(
                Evidence(
                    check="requirements",
                    text=f"{len(whole)} of {len(seen.kept)} requirements that a rule can judge are kept",
                )
            )
        case "innovation":
            if seen.new is not None:
                found.append(
                    Evidence(
                        check="lexical novelty",
                        text=f"variety of its words, and what is not the prompt's: {seen.new:.2f}",
                    )
                )
        case "clarity":
            if not seen.reading.whole:
                found.append(
                    Evidence(
                        check="read in part",
                        text=f"of {len(seen.reading.text):,} characters {READ:,} were read: the beginning and the end",
                    )
                )
    return found


def _round(value: float) -> float:
    return round(min(1.0, max(0.0, value)), 4)
