"""What reviewers, specialists and voters say, read from their JSON. Nonsense is no finding, and never an error."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from actors.quality.form import NotJson, json_of
from schemas.team import Remark, Severity

MOST_KEPT = 16
"""Remarks of one reviewer."""
MOST_TEXT = 600
"""Characters that are kept of each thing a remark says."""


@dataclass(frozen=True)
class Review:
    """What one reviewer says of others' answers."""

    remarks: dict[str, tuple[Remark, ...]]
    """By the name of whose answer it is about; without those about whom it was not shown."""
    best: str | None = None


def review_of(text: str | None, names: Sequence[str], most: int) -> Review | None:
    """A review, or None where nothing of it can be used.

    Args:
        names: whose answers were shown.
        most: remarks that are read.
    """
    said = _object(text)
    if said is None:
        return None
    remarks: dict[str, list[Remark]] = {}
    for item in _items(said, most):
        name, remark = _name(item.get("answer"), names), remark_of(item)
        if name is not None and remark is not None:
            remarks.setdefault(name, []).append(remark)
    best = _name(said.get("best"), names)
    if not remarks and best is None and said.get("remarks") != []:
        return None
    return Review({name: tuple(found) for name, found in remarks.items()}, best)


def said_of(text: str | None, names: Sequence[str]) -> tuple[Remark, ...]:
    """All remarks of a reviewer or specialist as the story keeps them, each with whose answer it is about.

    Args:
        names: whose answers were shown; none: one answer, which needs no name.
    """
    if not names:
        return remarks_of(text, MOST_KEPT) or ()
    review = review_of(text, names, MOST_KEPT)
    found = review.remarks.items() if review else ()
    return tuple(remark.model_copy(update={"about": name}) for name, remarks in found for remark in remarks)


def remarks_of(text: str | None, most: int) -> tuple[Remark, ...] | None:
    """The remarks of a specialist, or None where the text is no list of any."""
    said = _object(text)
    if said is None or not isinstance(said.get("remarks"), list):
        return None
    return tuple(remark for item in _items(said, most) if (remark := remark_of(item)) is not None)


def choice_of(text: str | None, names: Sequence[str]) -> tuple[str, str] | None:
    """The position that a voter chose, and why; None where it chose none that there is."""
    said = _object(text)
    name = None if said is None else _name(said.get("choice"), names)
    return None if said is None or name is None else (name, _text(said.get("why")))


def remark_of(item: dict[str, Any]) -> Remark | None:
    problem = _text(item.get("problem"))
    if not problem:
        return None
    severity = str(item.get("severity", "")).strip().casefold()
    return Remark(
        severity=severity if severity in get_args(Severity) else "low",
        place=_text(item.get("place")),
        problem=problem,
        proposal=_text(item.get("proposal")),
    )


def _items(said: dict[str, Any], most: int) -> list[dict[str, Any]]:
    found = said.get("remarks")
    return [item for item in found[:most] if isinstance(item, dict)] if isinstance(found, list) else []


def _object(text: str | None) -> dict[str, Any] | None:
    try:
        said = json_of(text or "")
    except NotJson:
        return None
    return said if isinstance(said, dict) else None


def _name(value: Any, names: Sequence[str]) -> str | None:
    wanted = str(value).strip().casefold() if isinstance(value, str) else ""
    return next((name for name in names if name.casefold() == wanted), None)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    # Half of a surrogate pair, which JSON can spell, would make the event unwritable.
    return value.strip()[:MOST_TEXT].encode("utf-8", "replace").decode()
