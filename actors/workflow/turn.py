"""What happens next: a pure function of a workflow's state, of what became known, and of the moment."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from actors.workflow.commands import answer, begin_anew
from actors.workflow.expressions import ExpressionError, evaluate, references, resolve, truth
from actors.workflow.seen import Blobs, blobs_of, context, needed_to_begin, output_of
from actors.workflow.state import SIGNAL, Place, State, Unit, in_order, label
from actors.workflow.work import Assignment, Outcome, problem, ref_of
from schemas.message import now
from schemas.problem import Problem
from schemas.workflow import ITEMS_WITHOUT_LIMIT, MAX_ITEMS, RETRY_WITHIN_S, YEAR_S, UnitStatus, Work
from schemas.workflow_event import (
    Advanced,
    Cancelled,
    Change,
    Completed,
    Failed,
    Failing,
    Retried,
    WorkflowCommand,
    WorkflowEvent,
)

CLAIMS_IN_VAIN = 20
"""So many engines in a row that did not get on with it, and it is given up."""


class Turn:
    """Changes the state, and says by which event; what that tells to begin is begun once it is written."""

    def __init__(
        self,
        state: State,
        at: datetime,
        draw: Callable[[], float],
        blobs: Blobs,
        owner: str,
        event_id: str,
        retry_within_s: float = RETRY_WITHIN_S,
    ) -> None:
        """`draw` gives a number from 0 to 1, as often as it is asked."""
        self._state, self._at, self._draw, self._blobs, self._owner = state, at, draw, blobs, owner
        self._event_id, self._retry_within_s = event_id, retry_within_s
        self._changes: list[Change] = []
        self._draft: WorkflowEvent | None = None
        self.begun: list[Assignment] = []
        self.missing: set[str] = set()
        """Large outputs that have to be at hand before it can go on."""

    def take(self, outcomes: Iterable[Outcome] = (), command: WorkflowCommand | None = None) -> WorkflowEvent | None:
        """The event to write; None: nothing has happened."""
        state = self._state
        if command is not None:
            self._draft = answer(state, command, self._at, self._event, self._owner, self._retry_within_s)
            if self._draft is not None:
                state.begin(self._draft)
                if isinstance(self._draft, Retried):
                    begin_anew(state, command.task, self._change)
        if state.ended is None and state.started_at is not None:
            for outcome in outcomes:
                self._settle(outcome)
            self._due()
            self._signals()
            self._fail_if_it_must()
            if state.problem is not None:
                self._wind_down()
            elif not state.paused:
                self._begin()
            self._end_if_it_can()
        if self._draft is None and not self._changes:
            return None
        return self._told()

    def _told(self) -> WorkflowEvent:
        state, changes = self._state, tuple(self._changes)
        event = self._draft or self._event(Advanced, changes=changes)
        state.finish(event)
        if self._draft is not None:
            update = {"changes": changes, "status": state.status, "percentage": state.percentage}
            event = event.model_copy(update=update)
        return event

    def _event(self, kind: type[Any], **said: Any) -> Any:
        """An event as it stands; whose changes are still to come, what it comes to is said last."""
        state = self._state
        return kind(
            event_id=self._event_id,
            workflow_id=state.created.workflow_id,
            tenant=state.created.tenant,
            seq=state.seq + 1,
            at=self._at,
            status=state.status,
            percentage=state.percentage,
            **said,
        )

    # -- what became known -------------------------------------------------------------------------------------

    def _change(self, task: str, item: int | None, to: UnitStatus, **said: Any) -> None:
        change = Change(task=task, item=item, to=to, **said)
        self._state.apply(change, self._at)
        self._changes.append(change)

    def _settle(self, outcome: Outcome) -> None:
        work = outcome.assignment
        (name, item), state = work.place, self._state
        unit = state.unit(name, item)
        if unit.status != ("compensating" if work.undoes else "running") or unit.serial != work.serial:
            return  # it is not awaited any more
        said: dict[str, Any] = {
            "cost_usd": outcome.cost_usd,
            "unpriced": outcome.unpriced or None,
            "served_by": outcome.served_by,
            "once": outcome.once,
        }
        if outcome.problem is None:
            if work.undoes:
                self._change(name, item, "compensated", **said)
            else:
                output = {"output": outcome.output, "blob": outcome.blob, "bytes": outcome.bytes}
                self._change(name, item, "completed", **output, **said)
            return
        said |= {"problem": outcome.problem, "unsure": outcome.unsure or None}
        due_at = self._again_at(work, unit, outcome)
        if work.undoes:
            self._change(name, item, "compensating" if due_at else "undo_failed", due_at=due_at, **said)
        elif outcome.cancelled and state.problem is not None:
            self._change(name, item, "cancelled", **said)
        else:
            self._change(name, item, "retrying" if due_at else "failed", due_at=due_at, **said)

    def _again_at(self, work: Assignment, unit: Unit, outcome: Outcome) -> datetime | None:
        """When it is tried again; None: it is not.

        Exponential backoff, drawn from around it so that many do not come at once.
        """
        assert outcome.problem is not None
        definition = self._definition(work)
        retry, found = definition.retry, outcome.problem
        if outcome.cancelled or unit.attempt >= retry.attempts or (self._state.problem is not None and not work.undoes):
            return None
        match retry.on:
            case "any":
                wanted = True
            case "retryable":
                wanted = found.retryable
            case codes:
                wanted = found.code in codes
        if not wanted:
            return None
        delay = min(retry.max_delay_s, retry.delay_s * retry.factor ** (unit.attempt - 1))
        spread = 1 + retry.jitter * (2 * self._draw() - 1)
        return self._at + timedelta(seconds=min(YEAR_S, max(delay * spread, found.retry_after_s or 0.0)))

    def _definition(self, work: Assignment) -> Work:
        task = self._state.task(work.place[0])
        return task.compensation if work.undoes and task.compensation is not None else task

    def _due(self) -> None:
        for name, item in sorted(self._state.waiting, key=in_order):
            unit = self._state.unit(name, item)
            if unit.due_at is None or unit.due_at > self._at:
                continue
            if self._state.task(name).kind in ("signal", "approval"):
                detail = f"no signal came for {label((name, item))} within its time"
                self._change(
                    name, item, "failed", problem=problem("deadline_exceeded", "Out of time", detail, status=504)
                )
            else:
                self._change(name, item, "completed", output={"at": self._at.isoformat()}, served_by="timer")

    def _signals(self) -> None:
        state = self._state
        if not state.signals or not state.waiting:
            return
        for name, item in sorted(state.waiting, key=in_order):
            wanted = state.signal_of(name)
            for said, payload in state.signals:
                if said != wanted:
                    continue
                if state.task(name).kind == "approval" and not payload["approved"]:
                    detail = str(payload.get("comment") or f"{label((name, item))} was not approved")
                    refusal = problem("rejected", "It was not approved", detail, status=409)
                    self._change(name, item, "failed", problem=refusal, served_by=SIGNAL)
                else:
                    self._change(name, item, "completed", output=payload, served_by=SIGNAL)
                break

    # -- failing -----------------------------------------------------------------------------------------------

    def _fail_if_it_must(self) -> None:
        state = self._state
        if state.problem is not None or self._draft is not None:
            return
        found = self._why_not()
        if found is not None:
            self._draft = self._event(Failing, problem=found)
            state.begin(self._draft)

    def _why_not(self) -> Problem | None:
        """Why it cannot be completed, if it cannot."""
        state = self._state
        if state.broken:
            name = min(state.broken, key=lambda each: state.units[each].finished_at or self._at)
            cause = state.units[name].problem
            assert cause is not None
            return cause.model_copy(update={"detail": f"{name}: {cause.detail}", "instance": None})
        if state.deadline_at is not None and state.deadline_at <= self._at:
            detail = f"it was not done within its {state.definition.timeout_s:g} s"
            return problem("deadline_exceeded", "Out of time", detail, status=504)
        if state.claims > CLAIMS_IN_VAIN:
            return problem("given_up", "It was given up", f"{state.claims} engines in a row did not get on with it")
        return None

    def _wind_down(self) -> None:
        """Nothing new begins; what waits is let go; and once nothing runs, what was done is undone, the last first."""
        state = self._state
        for name, item in sorted(state.waiting | state.retrying, key=in_order):
            self._change(name, item, "cancelled")
        if state.running:
            return
        for place in sorted(state.undoing, key=in_order):
            unit = state.unit(*place)
            if unit.due_at is not None and unit.due_at <= self._at:
                self._undo(place, unit)
        if not state.undoing and state.compensates and (last := next_to_undo(state)) is not None:
            self._undo(last, state.unit(*last))

    def _undo(self, place: Place, unit: Unit) -> None:
        again = unit.status == "compensating"
        attempt = unit.attempt + 1 if again else 1
        serial = unit.serial if again and unit.unsure else unit.serial + 1
        self._change(*place, "compensating", attempt=attempt, serial=serial, unsure=False)
        self.begun.append(Assignment(place, attempt, serial, undoes=True))

    def _end_if_it_can(self) -> None:
        state = self._state
        if self._draft is not None:
            return
        if state.problem is not None:
            if not state.running and not state.undoing and not (state.compensates and next_to_undo(state)):
                said = self._sums() | {"problem": state.problem}
                self._draft = self._event(Cancelled if state.cancelled else Failed, **said)
        elif state.settled == len(state.units):
            self._complete()

    def _complete(self) -> None:
        state = self._state
        needed = references(state.definition.output).tasks if state.definition.output is not None else state.units
        if self._lacks(needed):
            return
        try:
            if state.definition.output is None:
                output: Any = {name: output_of(state, name, self._blobs) for name in state.units}
            else:
                output = resolve(state.definition.output, context(state, needed, self._blobs))
        except (ExpressionError, ValueError) as error:
            self._draft = self._event(Failing, problem=_unresolved("output", error))
            state.begin(self._draft)
            return
        self._draft = self._event(Completed, output=output, **self._sums())

    def _sums(self) -> dict[str, Any]:
        state = self._state
        cost = None if state.cost_unknown else state.cost_usd
        return {"compensated": tuple(state.compensated), "undone": tuple(state.undone), "cost_usd": cost}

    # -- beginning ---------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        state = self._state
        for place in sorted(state.retrying, key=in_order):
            unit = state.unit(*place)
            if self._room <= 0:
                break
            if unit.due_at is not None and unit.due_at <= self._at:
                self._start(place, unit)
        for name in sorted(state.open_maps):
            self._begin_items(name)
        tried = set[str]()
        while (name := next((each for each in state.ready if each not in tried), "")) != "":
            tried.add(name)
            self._begin_task(name)

    @property
    def _room(self) -> int:
        return self._state.definition.max_parallel_tasks - self._state.busy

    def _begin_task(self, name: str) -> None:
        state, task = self._state, self._state.task(name)
        works = task.kind in ("prompt", "actor", "function", "workflow")
        if works and task.when is None and task.map is None and self._room <= 0:
            return
        needed = needed_to_begin(state, name)
        if needed and self._lacks(needed):
            return
        try:
            known = context(state, needed, self._blobs)
            if task.when is not None and not truth(task.when, known):
                self._change(name, None, "skipped")
            elif task.map is not None:
                self._expand(name, evaluate(task.map.over, known))
            elif works:
                if self._room > 0:
                    self._start((name, None), state.units[name])
            else:
                self._wait(name, known)
        except (ExpressionError, ValueError) as error:
            self._change(name, None, "failed", problem=_unresolved(name, error))

    def _wait(self, name: str, known: dict[str, Any]) -> None:
        task = self._state.task(name)
        due_at = self._at + timedelta(seconds=task.timeout_s) if task.timeout_s is not None else None
        if task.wait_s is not None:
            seconds = resolve(task.wait_s, known)
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= 10**9:
                raise ValueError(f"wait_s is {seconds!r}, which is no number of seconds")
            due_at = self._at + timedelta(seconds=seconds)
        elif task.wait_until is not None:
            due_at = _moment(resolve(task.wait_until, known))
        self._change(name, None, "waiting", due_at=due_at)
        self._due()
        self._signals()

    def _expand(self, name: str, over: Any) -> None:
        state, limit = self._state, self._state.task(name).map
        assert limit is not None
        if not isinstance(over, list):
            raise ValueError(f"its map is over {_kind(over)}, and that is no list")  # noqa: TRY004
        if len(over) > MAX_ITEMS:
            raise ValueError(f"its map is over {len(over):,} items; the most are {MAX_ITEMS:,}")
        if len(over) > ITEMS_WITHOUT_LIMIT and limit.limit is None:
            raise ValueError(
                f"its map is over {len(over):,} items; over more than {ITEMS_WITHOUT_LIMIT:,} it needs a `limit`, "
                "the number of items at once"
            )
        if not over:
            self._change(name, None, "completed", size=0)
            return
        state.lists[name] = over
        self._change(name, None, "running", size=len(over))
        self._begin_items(name)

    def _begin_items(self, name: str) -> None:
        state, whole, task = self._state, self._state.units[name], self._state.task(name)
        assert task.map is not None and whole.size is not None
        most = task.map.limit or whole.size
        while self._room > 0 and whole.begun - len(whole.again) - whole.settled < most:
            if whole.again:
                number = whole.again[0]
            elif whole.begun < whole.size:
                number = whole.begun
            else:
                return
            self._start((name, number), state.unit(name, number))

    def _start(self, place: Place, unit: Unit) -> None:
        attempt = unit.attempt + 1
        serial = unit.serial if unit.unsure and unit.serial else unit.serial + 1
        work = Assignment(place, attempt, serial)
        ref = None
        if self._state.task(place[0]).kind in ("prompt", "workflow"):
            ref = ref_of(self._state.created.workflow_id, work)
        self._change(*place, "running", attempt=attempt, serial=serial, ref=ref)
        self.begun.append(work)

    def _lacks(self, names: Iterable[str]) -> bool:
        """Whether large outputs of these tasks are not at hand; they are noted then."""
        lacking = blobs_of(self._state, names) - self._blobs.keys()
        self.missing |= lacking
        return bool(lacking)


def next_due(state: State) -> datetime | None:
    """When something happens by itself; None: never."""
    if state.ended is not None or state.started_at is None:
        return None
    dues = [state.unit(*place).due_at for place in (*state.waiting, *state.undoing)]
    if not state.paused:
        dues += [state.unit(*place).due_at for place in state.retrying]
    if state.problem is None:
        dues.append(state.deadline_at)
    return min((due for due in dues if due is not None), default=None)


def next_to_undo(state: State) -> Place | None:
    """The unit that was done last, of those that can be undone, are not, and may have had an effect.

    What a fork was given as done has no beginning there, and is for the workflow to undo that did it.
    """
    found: tuple[int, Place] | None = None
    for name, task in state.definition.tasks.items():
        if task.compensation is None and task.kind != "workflow":
            continue
        whole = state.units[name]
        for item, unit in whole.items.items() if task.map is not None else ((None, whole),):
            stopped = unit.status in ("failed", "cancelled") and unit.unsure
            done = unit.status == "completed" or (stopped and task.compensation is not None)
            if done and unit.started_at is not None and (found is None or unit.order > found[0]):
                found = unit.order, (name, item)
    return None if found is None else found[1]


def _unresolved(name: str, error: Exception) -> Problem:
    return problem("unresolved", "A value could not be found", f"{name}: {error}", status=422)


def _moment(value: Any) -> datetime:
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"wait_until is {value!r}, which is no moment such as 2026-03-01T09:00:00+01:00") from None
    if at.tzinfo is None:
        raise ValueError(f"wait_until is {value!r}, which names no time zone")
    try:
        return at.astimezone(now().tzinfo)
    except OverflowError:
        raise ValueError(f"wait_until is {value!r}, which lies outside the years 1 to 9999 in UTC") from None


def _kind(value: Any) -> str:
    names = {
        dict: "an object",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        type(None): "null",
    }
    return names.get(type(value), type(value).__name__)
