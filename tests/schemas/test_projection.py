"""A task as its events tell it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.event import TASK_EVENT, Accepted, CancelledEvent, Claimed, Completed, Failed, TaskEvent
from schemas.projection import project
from schemas.quality import unmeasured
from schemas.receipt import Receipt
from schemas.task import Task, TaskRequest

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def fields(seq: int) -> dict[str, Any]:
    return {
        "event_id": f"e{seq}",
        "task_id": "t",
        "tenant": "acme",
        "seq": seq,
        "at": START + timedelta(seconds=seq - 1),
    }


def accepted(**more: Any) -> Accepted:
    request = TaskRequest(prompt="Say hello.", metadata={"order": 7})
    values = {"request": request, "body_sha256": "b", "deadline_at": START + timedelta(minutes=10)}
    return Accepted(**(fields(1) | values | more))


def claimed(seq: int = 2, epoch: int = 1) -> Claimed:
    return Claimed(
        **fields(seq),
        epoch=epoch,
        owner=f"o{epoch}",
        tier="simple",
        shape="direct",
        agents=("a",),
        reasons=("because",),
    )


def ended(kind: type[Completed | Failed | CancelledEvent], events: list[TaskEvent], **changes: Any) -> TaskEvent:
    at = fields(len(events) + 1)
    task = project(events).model_copy(update={"finished_at": at["at"], **changes})
    return kind(**at, epoch=1, task=task)


def test_accepted() -> None:
    task = project([accepted()])
    assert (task.task_id, task.status, task.prompt, task.metadata) == ("t", "accepted", "Say hello.", {"order": 7})
    assert (task.created_at, task.deadline_at) == (START, START + timedelta(minutes=10))
    assert (task.tier, task.shape, task.started_at, task.finished_at, task.answer) == (None,) * 5


def test_claimed() -> None:
    task = project([accepted(), claimed()])
    assert (task.status, task.tier, task.shape, task.reasons) == ("running", "simple", "direct", ("because",))
    assert task.started_at == START + timedelta(seconds=1)


def test_claimed_again_it_has_begun_when_it_first_did() -> None:
    task = project([accepted(), claimed(2, 1), claimed(3, 2)])
    assert (task.status, task.started_at) == ("running", START + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("kind", "status"), [(Completed, "completed"), (Failed, "failed"), (CancelledEvent, "cancelled")]
)
def test_ended(kind: type[Completed], status: str) -> None:
    events: list[TaskEvent] = [accepted(), claimed()]
    receipt = Receipt(cost_usd=0.0, agents=1, wall_ms=5.0)
    events.append(ended(kind, events, status=status, answer="Hello.", receipt=receipt, quality=unmeasured("no judge")))
    task = project(events)
    assert (task.status, task.answer, task.receipt) == (status, "Hello.", receipt)
    assert task.ended
    assert task.finished_at == START + timedelta(seconds=2)
    assert task.quality is not None
    assert set(task.quality.reasons.values()) == {"no judge"}


def test_nothing_follows_the_end() -> None:
    events: list[TaskEvent] = [accepted(), claimed()]
    end = ended(Completed, events, status="completed", answer="Hello.")
    assert project([*events, end, claimed(4, 2)]) == project([*events, end])


def test_a_task_can_end_before_it_was_claimed() -> None:
    task = project([accepted(), ended(CancelledEvent, [accepted()], status="cancelled")])
    assert (task.status, task.started_at) == ("cancelled", None)


def test_the_end_alone_tells_the_whole_task() -> None:
    events: list[TaskEvent] = [accepted(), claimed()]
    end = ended(Completed, events, status="completed", answer="Hello.")
    assert project([claimed(), end]) == project([end]) == project([*events, end])


def test_it_changes_no_event() -> None:
    events: list[TaskEvent] = [accepted(), claimed()]
    before = [event.model_copy(deep=True) for event in events]
    assert isinstance(project(events), Task)
    assert events == before


@pytest.mark.parametrize("events", [[], [claimed()]], ids=["none", "begun in the middle"])
def test_without_its_first_event_there_is_no_task(events: list[TaskEvent]) -> None:
    with pytest.raises(ValueError, match="accepted"):
        project(events)


def test_the_events_that_users_see_are_plain_json() -> None:
    event = accepted()
    assert TASK_EVENT.validate_json(TASK_EVENT.dump_json(event)) == event


def test_the_key_that_asked_stays_with_the_task_to_its_end() -> None:
    events: list[TaskEvent] = [accepted(key="ci-1"), claimed()]
    events.append(ended(Completed, events, status="completed"))
    assert [project(events[:n]).key for n in (1, 2, 3)] == ["ci-1"] * 3
