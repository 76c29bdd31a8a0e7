"""What tasks that ended tell of the quality of answers, in SQL."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.projector import TaskProjection
from schemas.event import TASK_EVENT, TaskEvent
from schemas.projection import profile_of, project
from schemas.quality import Quality, unmeasured
from schemas.receipt import JUDGE, Call, Receipt
from schemas.task import Shape, Tier
from schemas.team import Contribution
from storage import Database, QualityHistory, TaskRepository
from tests.projector.test_projection import Log

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
SELECTED: dict[str, Any] = {"selection": {"profile": "marketing", "chosen": "groq"}}


def call(step: str, agent: str, **fields: Any) -> Call:
    return Call.model_validate({"step": step, "agent": agent, "service": "s", "model": "m", **fields})


def said(step: str, agent: str, quality: float | None, *calls: Call) -> Contribution:
    return Contribution(step=step, agent=agent, kind="draft", text="x", quality=quality, calls=calls)


def story(
    *calls: Call,
    answers: tuple[Contribution, ...] = (),
    quality: Quality | None = None,
    tier: Tier = "simple",
    shape: Shape = "direct",
    end: str = "completed",
    task_id: str = "t1",
    features: dict[str, Any] = SELECTED,
) -> list[TaskEvent]:
    """A task's events: accepted, claimed, answered step by step, ended with these calls and this quality."""
    events: list[TaskEvent] = []

    def add(event: str, **fields: Any) -> None:
        head = {"event_id": str(len(events)), "task_id": task_id, "tenant": "acme", "seq": len(events) + 1}
        at = NOON + timedelta(seconds=len(events))
        events.append(TASK_EVENT.validate_python({"event": event, **head, "at": at, **fields}))

    add("accepted", body_sha256="0" * 64, deadline_at=NOON + timedelta(hours=1), request={"prompt": "p"})
    add("claimed", epoch=1, owner="c", tier=tier, shape=shape, agents=("writing",), features=features)
    for answer in answers:
        add("answered", epoch=1, contributions=(answer,))
    task = project(events).model_copy(
        update={"status": end, "quality": quality, "receipt": Receipt.of(calls, 1.0), "finished_at": NOON}
    )
    add(end, epoch=1, task=task)
    return events


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def projection(database: Database, log: Log) -> TaskProjection:
    return TaskProjection(TaskRepository(database), log.read)


async def figures(database: Database) -> list[tuple[str | None, str | None, int, float]]:
    rows = await QualityHistory(database).history("acme")
    return sorted((row.agent, row.kind, row.n, round(row.mean, 6)) for row in rows)


async def test_one_agents_answer_is_told_by_the_last_event_alone(
    projection: TaskProjection, database: Database, log: Log
) -> None:
    # Given the last event of a task that one agent did, whose answer a judge has seen too
    events = story(call("direct", "writing"), call("judge", JUDGE), quality=Quality(overall=0.75))
    # When it comes, and comes again
    await projection.apply(events[-1])
    await projection.apply(events[-1])
    # Then the answer is the agent's, and the stream was left alone
    assert await figures(database) == [("writing", "marketing", 1, 0.75)]
    assert log.reads == 0


async def test_a_teams_answers_are_told_by_its_events(projection: TaskProjection, database: Database, log: Log) -> None:
    # Given a team whose members' answers were measured, one twice, and one's not
    answers = (
        said("draft-1", "writing", 0.5, call("draft-1", "writing")),
        said("draft-2", "writing-2", 0.7),
        said("review", "code", None),
        said("draft-1", "writing", 0.6),
    )
    events = story(
        call("draft-1", "writing"), call("draft-2", "writing-2"), answers=answers, tier="moderate", shape="parallel"
    )
    log.write(events)
    # When the last event comes
    await projection.apply_all(events[-1:])
    # Then each measured step is there once
    assert await figures(database) == [("writing", "marketing", 1, 0.6), ("writing-2", "marketing", 1, 0.7)]


@pytest.mark.parametrize("end", ["failed", "cancelled"])
async def test_answers_of_a_team_that_failed_count_too(
    projection: TaskProjection, database: Database, log: Log, end: str
) -> None:
    events = story(answers=(said("draft-1", "writing", 0.5),), tier="moderate", shape="parallel", end=end)
    log.write(events)
    await projection.apply(events[-1])
    assert await figures(database) == [("writing", "marketing", 1, 0.5)]


async def test_a_refined_answer_of_one_agent_is_told_by_its_steps(
    projection: TaskProjection, database: Database, log: Log
) -> None:
    # Given one agent that was asked to do better, so that its task's quality is not the first answer's
    answers = (said("direct", "writing", 0.4), said("refine-1", "writing", 0.8))
    events = story(
        call("direct", "writing"), call("refine-1", "writing"), answers=answers, quality=Quality(overall=0.8)
    )
    log.write(events)
    await projection.apply(events[-1])
    assert await figures(database) == [("writing", "marketing", 2, 0.6)]


@pytest.mark.parametrize(
    "events",
    [
        story(call("direct", "writing"), quality=unmeasured("its caller named the service")),
        story(call("direct", "writing"), quality=None),
        story(quality=Quality(overall=0.5)),
        story(call("direct", "writing", cached=True), quality=Quality(overall=0.5)),
        story(call("direct", "writing", replayed=True), quality=Quality(overall=0.5)),
    ],
    ids=["unmeasured", "none", "nobody answered", "cached", "replayed"],
)
async def test_what_was_not_measured_or_given_before_is_no_answer(
    projection: TaskProjection, database: Database, events: list[TaskEvent]
) -> None:
    await projection.apply(events[-1])
    assert await figures(database) == []


async def test_a_team_that_the_stream_has_forgotten_is_kept_without_its_answers(
    projection: TaskProjection, database: Database
) -> None:
    events = story(answers=(said("d", "writing", 0.5),), tier="moderate", shape="parallel")
    await projection.apply(events[-1])
    assert await figures(database) == []
    assert await TaskRepository(database).get("acme", "t1") is not None


@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_the_order_and_however_often_the_same_events_make_the_same_history(
    data: st.DataObject, projection: TaskProjection, database: Database, log: Log
) -> None:
    # Given a team's events, each delivered at least once, in any order, cut into batches anywhere
    agent = secrets.token_hex(8)
    qualities = data.draw(st.lists(st.none() | st.floats(0, 1), max_size=5))
    answers = tuple(said(f"{agent}-{n}", agent, quality) for n, quality in enumerate(qualities))
    events = story(answers=answers, tier="complex", shape="coordinated", task_id=agent)
    log.write(events)
    deliveries = data.draw(st.permutations(events + data.draw(st.lists(st.sampled_from(events), max_size=4))))
    # When they are applied
    while deliveries:
        size = data.draw(st.integers(1, len(deliveries)))
        await projection.apply_all(deliveries[:size])
        deliveries = deliveries[size:]
    # Then each measured answer is there once
    known = [quality for quality in qualities if quality is not None]
    rows = [row for row in await QualityHistory(database).history("acme") if row.agent == agent]
    assert sum(row.n for row in rows) == len(known)
    assert sum(row.mean * row.n for row in rows) == pytest.approx(sum(known))


@pytest.mark.parametrize(
    ("features", "kind"),
    [
        (SELECTED, "marketing"),
        ({"profile": "code", **SELECTED}, "code"),
        ({"profile": "code"}, "code"),
        ({"domains": ["code"]}, None),
        ({"selection": {"profile": None}}, None),
        ({"selection": "x"}, None),
        ({}, None),
    ],
)
def test_the_kind_of_work_is_what_its_claim_says(features: dict[str, Any], kind: str | None) -> None:
    assert profile_of(features) == kind
    assert project(story(features=features)[:2]).profile == kind
