"""How a judge's view and what rules found become one."""

from actors.quality.finding import METRICS
from schemas.quality import Evidence, Means, Quality

HARD = frozenset(["arithmetic", "citation", "code", "empty", "json", "language", "repetition", "schema"])
"""Checks whose findings anybody can look up or do again: no judge talks them away."""
OF_THE_WHOLE = 0.8
"""How much of its severity a hard finding takes from `overall`; as in the score without a judge."""


def combine(checked: Quality, judged: Quality) -> Quality:
    """A judge's metrics with the checks' beside them.

    Where the judge has a score it holds, for it reads what no rule can, but no higher than the hard findings of the
    checks leave it; where it has none, the checks' holds. `means` names both, `evidence` holds both. `met` is left
    open, for whoever knows what was asked.
    """
    values: dict[str, float | None] = {}
    means: dict[str, tuple[Means, ...]] = {}
    reasons = {key: reason for key, reason in checked.reasons.items() if key not in (*METRICS, "overall")}
    for name in (*METRICS, "overall"):
        ours, theirs = getattr(checked, name), getattr(judged, name)
        if theirs is None:
            values[name], means[name] = ours, checked.means.get(name, ())
            if ours is None:
                told = (one.reasons.get(name) for one in (checked, judged))
                reasons[name] = "; ".join(dict.fromkeys(reason for reason in told if reason)) or "nobody measured it"
            continue
        values[name] = round(min(theirs, _left(checked, name)), 4)
        means[name] = (*checked.means.get(name, ()), *judged.means.get(name, ("judge",)))
    if judged.overall is None and "overall" in judged.reasons:
        reasons["judge"] = judged.reasons["overall"]
    evidence = {name: _both(checked, judged, name) for name in (*METRICS, "overall")}
    return Quality(
        **values,
        reasons=reasons,
        evidence={name: found for name, found in evidence.items() if found},
        means={name: by for name, by in means.items() if by},
    )


def _left(checked: Quality, name: str) -> float:
    """A fraction: what the hard findings leave of a metric, or of the whole."""
    if name != "overall":
        return min((1 - severity for check, severity in _hard(checked.evidence.get(name, ()))), default=1.0)
    worst: dict[str, float] = {}
    for found in checked.evidence.values():
        for check, severity in _hard(found):
            worst[check] = max(worst.get(check, 0.0), severity)
    left = 1.0
    for severity in worst.values():
        left *= 1 - OF_THE_WHOLE * severity
    return left


def _hard(found: tuple[Evidence, ...]) -> list[tuple[str, float]]:
    return [(each.check, each.severity) for each in found if each.check in HARD and each.severity is not None]


def _both(checked: Quality, judged: Quality, name: str) -> tuple[Evidence, ...]:
    """The worst first, then what the judge says, then what only measures."""
    ours, theirs = checked.evidence.get(name, ()), judged.evidence.get(name, ())
    bad = sorted((each for each in ours if each.severity is not None), key=lambda each: -(each.severity or 0.0))
    return (*bad, *theirs, *(each for each in ours if each.severity is None))
