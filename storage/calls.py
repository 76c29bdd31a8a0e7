"""The ledger: every call of a model that was or may have been charged, from the receipts of the tasks that ended, and
from the journal where a call belongs to no task."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, date
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Double,
    Select,
    Subquery,
    and_,
    bindparam,
    case,
    cast,
    delete,
    func,
    null,
    select,
    union_all,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from bus.journal import Entry, in_doubt
from bus.subjects import CallJournal
from schemas.completion import NO_TASK
from schemas.costs import CostKey, Costs
from schemas.errors import InvalidRequest
from schemas.receipt import Call
from schemas.task import Task
from storage.database import Database
from storage.erasure import ERASED, is_erased
from storage.tables import CALLS, TASKS

MAX_ROWS = 1000
"""Rows in one answer; its sums are over all that there is."""


class CallLedger:
    """What has ended is entered once and never changes. Every method raises `Unavailable` when the database cannot be
    used."""

    def __init__(self, database: Database) -> None:
        self._database = database
        insert: Any = postgresql.insert if database.dialect == "postgresql" else sqlite.insert
        self._enter = insert(CALLS).on_conflict_do_nothing()
        known = insert(CALLS)
        columns = {column.name: known.excluded[column.name] for column in CALLS.columns if not column.primary_key}
        self._correct = known.on_conflict_do_update(
            index_elements=list(CALLS.primary_key.columns), set_=columns, where=CALLS.c.in_doubt
        )

    async def record(self, tenant: str, task: Task) -> None:
        """Enter the calls of a task that has ended; again, it changes nothing."""
        async with self._database.begin() as connection:
            await self.record_all([(tenant, task)], connection)

    async def record_all(self, tasks: Sequence[tuple[str, Task]], within: AsyncConnection) -> None:
        """As `record`, for several tasks, as part of a transaction."""
        if entries := [entry for tenant, task in tasks for entry in _entries(tenant, task)]:
            await within.execute(self._enter, entries)

    async def stand(self, entries: Sequence[tuple[CallJournal, Entry]]) -> None:
        """Enter calls that belong to no task as their journal entries, one version of each, tell them.

        A call under way stands in doubt at its reservation. How it ended takes the place of that; where its gateway
        died, nothing does.
        """
        begun = [row for key, entry in entries if entry.state == "begun" for row in _standing(key, entry)]
        ended = [row for key, entry in entries if entry.state == "ended" for row in _standing(key, entry)]
        ends = [
            {"its_tenant": key.tenant, "its_id": _id_of(key), "count": len(entry.calls)}
            for key, entry in entries
            if entry.state == "ended"
        ]
        async with self._database.begin() as connection:
            if begun:
                await connection.execute(self._enter, begun)
            if ended:
                await connection.execute(self._correct, ended)
            if ends:  # what was under way and then cost nothing
                await connection.execute(_GONE, ends)

    async def costs(self, tenant: str, by: CostKey, since: date | None = None, until: date | None = None) -> Costs:
        """What was spent from the day `since` to the day `until`, both included, in UTC: on the tasks that ended, and
        on calls that belong to none.

        Raises:
            InvalidRequest: `until` lies before `since`.
        """
        if since is not None and until is not None and until < since:
            raise InvalidRequest("until", f"{until} lies before since, {since}")
        facts = _facts(tenant, since, until)
        sums = _sums(facts)
        # Two queries, one moment: the rows add up to the sums while tasks end.
        async with self._database.snapshot() as connection:
            total = (await connection.execute(select(*sums))).mappings().one()
            rows = (await connection.execute(_rows(facts, sums, by))).mappings().all()
        keys = rows[0]["keys"] if rows else 0
        if by == "day":
            rows = rows[::-1]
        of_tasks = by in ("day", "task")
        found = [{**row, "key": str(row["key"])} for row in rows]
        if not of_tasks:
            found = [
                {**row, "premium_cost_usd": None, "saved_usd": None, "tasks_without_premium": None} for row in found
            ]
        return Costs.model_validate(
            {**total, "by": by, "since": since, "until": until, "rows": found, "rows_left_out": keys - len(rows)}
        )


def day_of(task: Task) -> date:
    """The day on which a task that has ended did so, in UTC."""
    return (task.finished_at or task.created_at).astimezone(UTC).date()


def _entries(tenant: str, task: Task) -> list[dict[str, Any]]:
    at = task.finished_at or task.created_at
    of_task = {"tenant": tenant, "task_id": task.task_id, "at": at, "day": day_of(task), "key": task.key}
    return [of_task | _row(number, call) for number, call in enumerate(task.receipt.calls if task.receipt else ())]


def _standing(key: CallJournal, entry: Entry) -> list[dict[str, Any]]:
    at = entry.began_at
    common = {"tenant": key.tenant, "task_id": _id_of(key), "at": at, "day": at.astimezone(UTC).date()}
    calls = (*entry.calls, *map(in_doubt, entry.open))
    return [common | {"key": entry.key} | _row(number, call) for number, call in enumerate(calls)]


def _id_of(key: CallJournal) -> str:
    """What stands in place of a task's id. No task has one with a dot."""
    return f"{NO_TASK}.{hashlib.sha256(str(key).encode()).hexdigest()[:32]}"


_GONE = delete(CALLS).where(
    CALLS.c.tenant == bindparam("its_tenant"),
    CALLS.c.task_id == bindparam("its_id"),
    CALLS.c.number >= bindparam("count"),
    CALLS.c.in_doubt,
)


def _row(number: int, call: Call) -> dict[str, Any]:
    return {
        "number": number,
        "step": _storable(call.step),
        "agent": _storable(call.agent),
        "service": _storable(call.service),
        "model": _storable(call.model),
        "region": _storable(call.region),
        "outcome": _storable(call.outcome),
        "in_doubt": call.in_doubt,
        "prompt_tokens": call.prompt_tokens,
        "completion_tokens": call.completion_tokens,
        "cost_usd": call.cost_usd,
        "cost_estimated": call.cost_estimated,
        "cost_unknown_reason": _storable(call.cost_unknown_reason),
        "latency_ms": call.latency_ms,
        "reason": _storable(call.reason),
        "cached": call.cached,
        "replayed": call.replayed,
        "hedged": call.hedged,
        "overrun": call.overrun,
    }


def _storable(text: str | None) -> str | None:
    """PostgreSQL's text cannot hold NUL."""
    return None if text is None else text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _facts(tenant: str, since: date | None, until: date | None) -> Subquery:
    """Calls and ended tasks under each other: what both are keyed by, and what each brings to the sums.

    What was replayed was spent when it was recorded, if ever: it brings nothing but its number. What came from the
    cache took no tokens.
    """
    nothing = cast(null(), Double)
    now = CALLS.c.replayed.is_(False)
    asked = and_(now, CALLS.c.cached.is_(False))
    calls = select(
        CALLS.c.day,
        case(
            (CALLS.c.task_id.startswith(f"{NO_TASK}."), NO_TASK),
            (is_erased(CALLS.c.task_id), ERASED),
            else_=CALLS.c.task_id,
        ).label("task"),
        CALLS.c.agent,
        CALLS.c.service,
        func.coalesce(CALLS.c.key, "").label("key"),
        CALLS.c.number.label("call"),
        case((now, CALLS.c.cost_usd), else_=0.0).label("cost_usd"),
        CALLS.c.cost_estimated,
        case((asked, CALLS.c.prompt_tokens), else_=0).label("prompt_tokens"),
        case((asked, CALLS.c.completion_tokens), else_=0).label("completion_tokens"),
        and_(now, CALLS.c.cached).label("cached"),
        CALLS.c.replayed,
        nothing.label("premium_usd"),
        nothing.label("saved_usd"),
    )
    tasks = select(
        TASKS.c.finished_day,
        case((is_erased(TASKS.c.task_id), ERASED), else_=TASKS.c.task_id),
        cast(null(), CALLS.c.agent.type),
        cast(null(), CALLS.c.service.type),
        cast(null(), CALLS.c.key.type),
        cast(null(), CALLS.c.number.type),
        nothing,
        cast(null(), CALLS.c.cost_estimated.type),
        cast(null(), CALLS.c.prompt_tokens.type),
        cast(null(), CALLS.c.completion_tokens.type),
        cast(null(), CALLS.c.cached.type),
        cast(null(), CALLS.c.replayed.type),
        TASKS.c.premium_cost_usd,
        TASKS.c.premium_cost_usd - TASKS.c.cost_usd,
    )
    return union_all(
        calls.where(CALLS.c.tenant == tenant, *_between(CALLS.c.day, since, until)),
        tasks.where(
            TASKS.c.tenant == tenant,
            TASKS.c.finished_day.is_not(None),
            TASKS.c.replayed.is_(False),
            *_between(TASKS.c.finished_day, since, until),
        ),
    ).subquery("facts")


def _between(day: ColumnElement[date], since: date | None, until: date | None) -> Iterable[ColumnElement[bool]]:
    if since is not None:
        yield day >= since
    if until is not None:
        yield day <= until


def _sums(facts: Subquery) -> list[ColumnElement[Any]]:
    """`CostSums` and what stands beside it, as aggregates over facts."""
    fact = facts.c
    is_call, is_task = fact.call.is_not(None), fact.call.is_(None)
    no_tokens = fact.prompt_tokens.is_(None) | fact.completion_tokens.is_(None)
    return [
        func.count(fact.call).label("calls"),
        func.coalesce(func.sum(fact.cost_usd), 0.0).label("spent_usd"),
        func.coalesce(func.sum(fact.cost_usd).filter(fact.cost_estimated), 0.0).label("estimated_usd"),
        func.count().filter(is_call, fact.cost_usd.is_(None)).label("unknown_calls"),
        func.coalesce(func.sum(fact.prompt_tokens), 0).label("prompt_tokens"),
        func.coalesce(func.sum(fact.completion_tokens), 0).label("completion_tokens"),
        func.count().filter(is_call, no_tokens).label("calls_without_tokens"),
        func.count().filter(fact.cached).label("cached_calls"),
        func.count().filter(fact.replayed).label("replayed_calls"),
        func.sum(fact.premium_usd).label("premium_cost_usd"),
        func.sum(fact.saved_usd).label("saved_usd"),
        func.count().filter(is_task, fact.premium_usd.is_(None)).label("tasks_without_premium"),
    ]


def _rows(facts: Subquery, sums: list[ColumnElement[Any]], by: CostKey) -> Select[Any]:
    """The sums of each key: the newest days, or the dearest of the others; `keys` is how many there are in all."""
    key = facts.c[by]
    # Window functions count before the limit cuts.
    query = select(key.label("key"), func.count().over().label("keys"), *sums).group_by(key).limit(MAX_ROWS)
    if by == "day":
        return query.order_by(key.desc())
    spent = next(column for column in sums if column.name == "spent_usd")
    return query.where(key.is_not(None)).order_by(spent.desc(), key)
