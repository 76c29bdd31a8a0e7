"""What happens to a task and its team, in words: a line of an event, the state of a seat, counts and costs."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from devskyy.cli.render import cost, line
from schemas.event import Answered, Decided, Dispatched
from schemas.progress import Counts, Seat, Spent
from schemas.receipt import Call
from schemas.team import Contribution, Decision

MOST_NAMES = 6
"""Named one by one in a line; beyond it they are counted."""
MOST_SAID = 3
"""Contributions of one event that are told one by one."""
MOST_IN_AN_EVENT = 1000
"""Characters of the line that tells an event."""
MOST_REASON = 160
"""Characters of a reason where several are told."""


def event_line(event: Mapping[str, Any]) -> str:
    """One event in words. Those of a later version say what they can."""
    try:
        match event.get("event"):
            case "accepted":
                return f"accepted as {event.get('task_id')}; waiting for a coordinator"
            case "claimed":
                team = named(list(map(str, event.get("agents") or ()))) or "nobody yet"
                return f"running: {event.get('tier')}, {event.get('shape')}: {team}"
            case "dispatched":
                return _dispatched(Dispatched.model_validate(event))
            case "answered":
                return _answered(Answered.model_validate(event).contributions)
            case "decided":
                return "; ".join(map(decision, Decided.model_validate(event).decisions))
            case "completed" | "failed" | "cancelled" as name:
                return str(name)
            case _:
                pass
    except ValidationError:
        pass
    told = [str(event[key]) for key in ("phase", "step", "agent", "service") if event.get(key)]
    return f"{event.get('event')}: {', '.join(told)}" if told else str(event.get("event"))


def _dispatched(event: Dispatched) -> str:
    agents = [step.agent for step in event.steps]
    return f"{event.phase}: {named(agents)} {'is' if len(agents) == 1 else 'are'} asked"


def _answered(contributions: Sequence[Contribution]) -> str:
    if len(contributions) <= MOST_SAID:
        return "; ".join(map(_said, contributions))
    kinds = Counter(each.kind for each in contributions)
    whys = [_why(each) for each in contributions if not each.usable]
    what = " and ".join(f"{count:,} {kind}" for kind, count in kinds.items())
    told = f"{len(contributions):,} steps ended ({what}): {len(contributions) - len(whys):,} with an answer"
    return f"{told}, {len(whys):,} without: {_one_of(whys)}" if whys else told


def _said(said: Contribution) -> str:
    place = f"{said.kind} of {said.part}" if said.part else said.kind
    if said.usable:
        return f"{said.agent} answered: {', '.join([place, *facts(said), paid(said.calls), *marks(said)])}"
    return f"{said.agent} did not answer: {place}: {_why(said)}"


def _why(said: Contribution) -> str:
    return said.problem.detail if said.problem is not None else "it answered nothing"


def decision(decision: Decision) -> str:
    """What was decided and why, the kind of change first."""
    reasons = "; ".join(decision.reasons)
    return f"{change(decision)}: {reasons}"


def change(decision: Decision) -> str:
    return "decided" if decision.change is None else decision.change.replace("_", " ")


def facts(said: Contribution) -> list[str]:
    """Quality, and who served."""
    told = [] if said.quality is None else [f"quality {said.quality:.2f}"]
    served = [call for call in said.calls if call.outcome == "answered"]
    return [*told, *dict.fromkeys(_service(call) for call in served)]


def marks(said: Contribution) -> list[str]:
    return [f"suspicious: it {mark}" for mark in said.marks]


def _service(call: Call) -> str:
    marks = [mark for mark in ("cached", "replayed") if getattr(call, mark)]
    return f"{call.service} ({', '.join(marks)})" if marks else call.service


def paid(calls: Sequence[Call]) -> str:
    """What calls of one step came to."""
    if not calls:
        return "not asked anew"
    return spent(Spent.of(calls))


def spent(spent: Spent) -> str:
    """The known sum, and of how many calls nobody knows it."""
    if spent.unknown == spent.calls:
        return "unknown cost" if spent.calls else "$0.00"
    unknown = f" and {plural(spent.unknown, 'call')} of unknown cost" if spent.unknown else ""
    return cost(spent.usd, None, spent.estimated) + unknown


def counts(counts: Counts, what: str = "") -> str:
    """`3 of 4 answered, 1 left out`."""
    told = [f"{counts.answered:,} of {counts.asked:,} {what}answered"]
    told += [f"{counts.failed:,} failed"] if counts.failed else []
    told += [f"{counts.left_out:,} left out"] if counts.left_out else []
    return ", ".join(told)


def reasons(seats: Iterable[Seat], most: int = 3) -> list[str]:
    """Why seats have no answer, the commonest kind of reason first, each with how often and one of its kind."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for seat in seats:
        if seat.state in ("failed", "left out"):
            problem = seat.said.problem if seat.said is not None else None
            kinds.setdefault((seat.state, problem.code if problem is not None else seat.why), []).append(seat.why)
    often = sorted(kinds.items(), key=lambda kind: -len(kind[1]))
    lines = [f"{state}: {_one_of(whys)}" for (state, _), whys in often[:most]]
    more = len(often) - len(lines)
    return [*lines, f"and {plural(more, 'other reason')}"] if more else lines


def _one_of(whys: Sequence[str]) -> str:
    """The commonest of reasons that are alike, and how often such a one was given."""
    ((why, times),) = Counter(whys).most_common(1)
    if len(whys) == 1:
        return why
    return f"{line(why, MOST_REASON)} ({len(whys):,} times{'' if times == len(whys) else ', or the like'})"


def named(names: Sequence[str]) -> str:
    """The names, or how many they are."""
    return ", ".join(names) if len(names) <= MOST_NAMES else f"{len(names):,} agents"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
