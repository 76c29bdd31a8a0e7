"""How good an answer is, in words: the overall figure, five metrics and how each was measured, the findings."""

from collections.abc import Iterable, Sequence

from schemas.quality import Evidence, Quality

METRICS = ("relevance", "accuracy", "completeness", "innovation", "clarity")
MOST_FINDINGS = 3
"""Of a metric, told unless all are wanted."""
MOST_QUOTED = 160
"""Characters of a place in an answer."""


def overall(found: Quality | None, min_quality: float | None) -> str | None:
    """The overall figure, and whether it is what was asked for; None: nothing was measured, and nothing asked for."""
    if found is None:
        return None if min_quality is None else f"unknown; {min_quality:g} was asked for"
    reason = found.reasons.get("overall")
    said = f"unknown ({reason or 'no reason was given'})" if found.overall is None else f"{found.overall:.2f}"
    if min_quality is not None:
        verdict = {True: "met", False: "not met", None: "not known to be met"}[found.met]
        return f"{said}; {min_quality:g} was asked for: {verdict}"
    return said if found.met is None else f"{said}; what was asked for is {'met' if found.met else 'not met'}"


def metrics(found: Quality | None) -> str | None:
    """Each metric with its means; None where none was measured."""
    if found is None or all(getattr(found, name) is None for name in METRICS):
        return None
    return ", ".join(_metric(found, name) for name in METRICS)


def _metric(found: Quality, name: str) -> str:
    value: float | None = getattr(found, name)
    if value is None:
        return f"{name} unknown ({found.reasons.get(name) or 'no reason was given'})"
    means = " + ".join(found.means.get(name, ()))
    return f"{name} {value:.2f}" + (f" ({means})" if means else "")


def findings(found: Quality, *, full: bool) -> Iterable[tuple[str, Sequence[str]]]:
    """By metric the worst that was found, each with its place and what would mend it; with `full` all that it rests on.

    Yields:
        A heading, and the lines under it.
    """
    for name in (*METRICS, *(name for name in found.evidence if name not in METRICS)):
        evidence = found.evidence.get(name, ())
        bad = sorted((each for each in evidence if each.severity), key=lambda each: -(each.severity or 0.0))
        told = [*bad, *(each for each in evidence if not each.severity)] if full else bad[:MOST_FINDINGS]
        if not told:
            continue
        lines = list(map(_finding, told))
        if not full and len(bad) > len(told):
            lines.append(f"and {len(bad) - len(told):,} more; --full tells all")
        yield _metric(found, name) if name in METRICS else name, lines


def _finding(each: Evidence) -> str:
    severity = f"{each.severity:.1f} " if each.severity else "+ "
    place = ""
    if each.quote:
        quote = " ".join(each.quote.split())
        place = f', at "{quote if len(quote) <= MOST_QUOTED else quote[:MOST_QUOTED] + "…"}"'
    elif each.start is not None:
        place = f", at character {each.start:,}"
    return f"{severity}{each.text}{place}" + (f": {each.proposal}" if each.proposal else "")
