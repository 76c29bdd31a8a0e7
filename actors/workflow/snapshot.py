"""A state as bytes, so that whoever takes a workflow over need not read all of its history."""

import hashlib
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgpack

from actors.workflow import state as fold
from actors.workflow.state import State, Unit, Whole
from schemas.problem import Problem
from schemas.workflow_event import Created

CODE = hashlib.sha256(b"".join(Path(each).read_bytes() for each in (fold.__file__, __file__))).hexdigest()[:16]
"""Names the version of the fold: a snapshot of another is not read, and the history is."""


def dump(state: State) -> bytes:
    """All of it but the event that created it, for `load`."""
    told = {name: getattr(state, name) for name in _KEPT}
    told["problem"] = None if state.problem is None else state.problem.model_dump(exclude_none=True)
    told["units"] = {name: _row(whole) for name, whole in state.units.items()}
    told["items"] = {
        name: {number: _row(item) for number, item in whole.items.items()}
        for name, whole in state.units.items()
        if whole.items
    }
    packed: bytes = msgpack.packb(told, datetime=False, default=_plain)
    return packed


def load(created: Created, data: bytes) -> State:
    """What `dump` wrote, of the workflow that this event created.

    Raises:
        ValueError, KeyError, TypeError, IndexError: it is something else.
    """
    told = msgpack.unpackb(data, strict_map_key=False)
    state = State(created)
    for name in _KEPT:
        setattr(state, name, _moment(told[name]) if name in _MOMENTS else told[name])
    state.problem = None if told["problem"] is None else Problem.model_validate(told["problem"])
    state.signals = [(name, payload) for name, payload in told["signals"]]
    for name, row in told["units"].items():
        _read(state.units[name], row, _WHOLE)
    for name, rows in told["items"].items():
        items = state.units[name].items
        for number, row in rows.items():
            _read(unit := Unit(), row, _UNIT)
            items[number] = unit
    state.reindex()
    return state


_KEPT = (
    "seq", "stream_seq", "owner", "claims", "started_at", "deadline_at", "finished_at", "ended", "paused", "cancelled",
    "compensates", "output", "blob", "bytes", "signals", "commands", "compensated", "undone", "order", "cost_usd",
    "cost_unknown",
)  # fmt: skip
_UNIT = tuple(each.name for each in fields(Unit))
_WHOLE = tuple(each.name for each in fields(Whole) if each.name != "items")
_MOMENTS = frozenset({"due_at", "started_at", "finished_at", "deadline_at"})
_VALUES = {Unit: attrgetter(*_UNIT), Whole: attrgetter(*_WHOLE)}
_NEW = {kind: values(kind()) for kind, values in _VALUES.items()}


def _row(unit: Unit) -> dict[int, Any]:
    """What differs from a new one, by the place of its name."""
    values, new = _VALUES[type(unit)](unit), _NEW[type(unit)]
    if values == new:
        return {}
    return {number: value for number, value in enumerate(values) if value != new[number]}


def _read(unit: Unit, row: dict[int, Any], names: tuple[str, ...]) -> None:
    for number, value in row.items():
        name = names[number]
        read = _moment if name in _MOMENTS else Problem.model_validate if name == "problem" else None
        setattr(unit, name, value if read is None else read(value))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return (value - _EPOCH) // _MICROSECOND
    if isinstance(value, Problem):
        return value.model_dump(exclude_none=True)
    raise TypeError(f"{type(value).__name__} cannot be kept")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _moment(value: Any) -> datetime | None:
    return None if value is None else _EPOCH + value * _MICROSECOND
