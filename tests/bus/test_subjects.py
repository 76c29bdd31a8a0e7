"""Subjects are spelled and read back in one place, and no token can change what they mean."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bus.subjects
from bus.subjects import (
    Abort,
    AgentAsk,
    AlertSubject,
    CallJournal,
    DeadLetterSubject,
    GatewayAlive,
    ModelsComplete,
    ModelsEmbed,
    Submit,
    TaskCommand,
    TaskEvents,
    TaskLogEntry,
    WorkflowDue,
    WorkflowEvents,
    WorkflowLogEntry,
    WorkflowSnapshot,
    WorkflowTimer,
    WorkflowWake,
    token,
)

KINDS = [
    kind
    for kind in vars(bus.subjects).values()
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__module__ == "bus.subjects"
]
TOKENS = st.from_regex(r"[A-Za-z0-9_-]{1,128}", fullmatch=True)


@pytest.mark.parametrize(
    ("subject", "spelling"),
    [
        (Submit("acme"), "devskyy.v1.submit.acme"),
        (TaskEvents("acme", "t1", "accepted"), "devskyy.v1.tasks.acme.t1.accepted"),
        (TaskLogEntry("acme", "t1", "accepted"), "devskyy.v1.log.acme.t1.accepted"),
        (TaskCommand("acme", "t1"), "devskyy.v1.commands.acme.t1"),
        (AgentAsk("writing"), "devskyy.v1.agents.writing.ask"),
        (ModelsComplete("writing"), "devskyy.v1.models.writing.complete"),
        (ModelsEmbed("writing"), "devskyy.v1.models.writing.embed"),
        (GatewayAlive("g1"), "devskyy.v1.gateways.g1.alive"),
        (CallJournal("acme", "t1", "draft", "ab12"), "devskyy.v1.calls.acme.t1.draft.ab12"),
        (Abort("http", "r1"), "devskyy.v1.aborts.http.r1"),
        (Abort.of_task("t1"), "devskyy.v1.aborts.tasks.t1"),
        (AlertSubject("2"), "devskyy.v1.alerts.2"),
        (DeadLetterSubject("intake"), "devskyy.v1.dead.intake"),
        (WorkflowEvents("acme", "w1", "created"), "devskyy.v1.workflows.acme.w1.created"),
        (WorkflowLogEntry("acme", "w1", "created"), "devskyy.v1.flow.acme.w1.created"),
        (WorkflowSnapshot("acme", "w1"), "devskyy.v1.snapshots.acme.w1"),
        (WorkflowWake("acme", "w1"), "devskyy.v1.wakes.acme.w1"),
        (WorkflowTimer("acme", "w1"), "devskyy.v1.timers.acme.w1"),
        (WorkflowDue("acme", "w1"), "devskyy.v1.due.acme.w1"),
    ],
)
def test_spelling(subject: object, spelling: str) -> None:
    assert str(subject) == spelling
    assert type(subject).parse(spelling) == subject  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_a_subject_is_read_back_as_itself_and_as_no_other(kind: type, data: st.DataObject) -> None:
    subject = kind(*(data.draw(TOKENS) for _ in dataclasses.fields(kind)))
    assert kind.parse(str(subject)) == subject  # type: ignore[attr-defined]
    for other in KINDS:
        if other is not kind:
            with pytest.raises(ValueError, match=f"is no {other.__name__}"):
                other.parse(str(subject))


@given(st.text())
def test_a_token_is_letters_digits_underscores_and_dashes(text: str) -> None:
    good = 0 < len(text) <= 128 and text.isascii() and all(c.isalnum() or c in "_-" for c in text)
    try:
        assert token(text) == text
    except ValueError:
        assert not good
    else:
        assert good


@pytest.mark.parametrize("bad", ["", ".", "*", ">", "a.b", "a b", "a\n", "\n", "a\r", "\0", "é", "１", "x" * 129])  # noqa: RUF001
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_would_change_the_meaning_is_refused(kind: type, bad: str) -> None:
    places = len(dataclasses.fields(kind))
    for place in range(places):
        with pytest.raises(ValueError, match="no subject token"):
            kind(*(bad if i == place else "good" for i in range(places)))


@pytest.mark.parametrize(
    "bad",
    ["", "devskyy.v1", "devskyy.v1.submit", "devskyy.v1.submit.a.b", "devskyy.v2.submit.a", "x.devskyy.v1.submit.a"],
)
def test_another_subject_is_not_read(bad: str) -> None:
    with pytest.raises(ValueError, match="is no Submit"):
        Submit.parse(bad)


@pytest.mark.parametrize("bad", ["devskyy.v1.submit.*", "devskyy.v1.submit.>", "devskyy.v1.submit."])
def test_a_pattern_is_no_subject(bad: str) -> None:
    with pytest.raises(ValueError, match="no subject token"):
        Submit.parse(bad)


def test_patterns() -> None:
    assert TaskEvents.pattern() == "devskyy.v1.tasks.*.*.*"
    assert TaskEvents.pattern(event="accepted") == "devskyy.v1.tasks.*.*.accepted"
    assert TaskCommand.pattern(tenant="acme") == "devskyy.v1.commands.acme.*"
    assert TaskEvents.of_task("acme", "t1") == "devskyy.v1.tasks.acme.t1.>"
    assert TaskEvents.of_tenant("acme") == "devskyy.v1.tasks.acme.>"
    assert WorkflowEvents.of_workflow("acme", "w1") == "devskyy.v1.workflows.acme.w1.>"
    assert WorkflowEvents.of_tenant("acme") == "devskyy.v1.workflows.acme.>"
    assert CallJournal.of_task("acme", "t1") == "devskyy.v1.calls.acme.t1.>"
    with pytest.raises(ValueError, match="no subject token"):
        TaskCommand.pattern(tenant="*")
    with pytest.raises(ValueError, match="no subject token"):
        TaskEvents.of_task("acme", "t1.>")


def test_a_subject_is_a_value() -> None:
    assert {Submit("a"), Submit("a")} == {Submit("a")}
    with pytest.raises(dataclasses.FrozenInstanceError):
        Submit("a").tenant = "b"  # type: ignore[misc]
