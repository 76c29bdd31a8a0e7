"""Workflows through the SDK, against the platform's own doors and engine."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from devskyy import (
    AsyncClient,
    Client,
    Conflict,
    InvalidTask,
    NoSuchTask,
    StillRunning,
    WorkflowBuilder,
    WorkflowCancelled,
    WorkflowFailed,
)
from devskyy.errors import PlatformNotRunning
from schemas.workflow import WorkflowDefinition, WorkflowRequest
from tests.served import Served, served, serving
from tests.simulators.platform import Refusal

__all__ = ["served", "serving"]

DOOR = "/api/v1/workflows"
GREETS = {
    "name": "greets",
    "inputs": {"who": {"type": "string", "default": "world"}},
    "tasks": {"greet": {"function": "say", "inputs": {"text": "hello ${inputs.who}"}}},
    "output": "${tasks.greet.output}",
}
ASKS = {
    "name": "asks",
    "tasks": {
        "draft": {"function": "say", "inputs": {"text": "a draft"}},
        "review": {"approval": "Publish ${tasks.draft.output}?"},
        "publish": {"function": "say", "inputs": {"text": "published"}, "depends_on": ["review"]},
    },
}
BREAKS = {
    "name": "breaks",
    "tasks": {
        "book": {
            "function": "say",
            "inputs": {"text": "booked"},
            "compensation": {"function": "undo", "inputs": {"what": "the booking"}},
        },
        "pay": {"function": "breaks", "depends_on": ["book"], "retry": {"attempts": 1}},
    },
    "output": "${tasks.pay.output}",
}


def holds(name: str) -> dict[str, Any]:
    """Runs until `release(name)`."""
    return {"name": "holds", "tasks": {"hold": {"function": "hold", "inputs": {"name": name}}}}


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.url, timeout_s=10, outage_s=10) as client:
        yield client


@pytest.fixture
async def async_client(served: Served) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(served.url, timeout_s=10, outage_s=10) as client:
        yield client


def _waits(event: dict[str, Any]) -> bool:
    return any(change["to"] == "waiting" for change in event["changes"])


def keys(served: Served, path: str) -> list[str | None]:
    return [seen.key for seen in served.made("POST", path)]


# -- to have one -------------------------------------------------------------------------------------------------------


def test_a_workflow_is_run_to_its_end(client: Client) -> None:
    # When one is run with an input, Then it comes back whole
    workflow = client.run_workflow(GREETS, {"who": "Noir"}, metadata={"for": "tests"})
    assert (workflow.status, workflow.output, workflow.inputs) == ("completed", "hello Noir", {"who": "Noir"})
    assert workflow.metadata == {"for": "tests"}
    assert client.workflow(workflow.workflow_id) == workflow


def test_a_workflow_is_whatever_can_be_one(client: Client, tmp_path: Path) -> None:
    # Given the same workflow as a file, a definition, a request and a builder
    builder = WorkflowBuilder("greets", inputs={"who": {"type": "string", "default": "world"}})
    builder.output(builder.function("greet", "say", {"text": f"hello {builder.input('who')}"}).output())
    file = tmp_path / "greets.yaml"
    file.write_text(builder.to_yaml())
    definition = WorkflowDefinition.model_validate(GREETS)
    request = WorkflowRequest(definition=definition, inputs={"who": "you"})
    # When each is run, Then each is understood; inputs beside those of a request count before them
    for source in (file, definition, builder, {"definition": GREETS}):
        assert client.run_workflow(source).output == "hello world"
    assert client.run_workflow(request).output == "hello you"
    assert client.run_workflow(request, {"who": "them"}).output == "hello them"


def test_what_is_wrong_is_named_before_anything_is_sent_or_by_the_platform(client: Client, served: Served) -> None:
    # When a workflow breaks a rule of form
    with pytest.raises(InvalidTask) as form:
        client.create_workflow({"name": "odd", "tasks": {"a": {"function": "say", "promt": "x"}}})
    # Then its place is named, and nothing was sent
    assert form.value.problem.errors[0].field == "tasks.a.promt"
    assert not served.seen
    # And so it is where the platform finds what is wrong
    with pytest.raises(InvalidTask) as known:
        client.create_workflow({"name": "odd", "tasks": {"a": {"function": "sya"}}})
    assert "did you mean 'say'" in known.value.problem.errors[0].message
    with pytest.raises(InvalidTask, match="fashion_brand_launch"):
        client.create_workflow("fashion_brand_lunch", {"brand_name": "Noir"})


def test_a_created_workflow_is_one_although_the_answer_was_lost(client: Client, served: Served) -> None:
    # Given a platform that refuses once, and whose next answer gets lost
    served.refuse(Refusal(503), times=1)
    served.lose_answers(times=1)
    # When one is created
    accepted = client.create_workflow(GREETS)
    # Then all tries had one key, and it was run once
    assert client.wait_workflow(accepted.workflow_id).output == "hello world"
    assert len(sent := keys(served, DOOR)) == 3
    assert len(set(sent)) == 1
    assert served.calls == ["say hello world"]


def test_a_key_of_ones_own_gives_the_same_workflow_again(client: Client) -> None:
    first = client.create_workflow(GREETS, idempotency_key="order 66")
    assert client.wait_workflow(first.workflow_id).ended
    assert client.create_workflow(GREETS, idempotency_key="order 66").workflow_id == first.workflow_id
    assert client.run_workflow(GREETS, idempotency_key="order 66").workflow_id == first.workflow_id


def test_one_that_was_created_only_is_started_later_once(client: Client, served: Served) -> None:
    # Given one that waits to be started
    accepted = client.create_workflow(GREETS, start=False)
    assert client.workflow(accepted.workflow_id).status == "pending"
    # When it is started, and the answer gets lost
    served.lose_answers(times=1)
    started = client.start_workflow(accepted.workflow_id)
    # Then it runs; to start it once more is a conflict
    assert started.workflow_id == accepted.workflow_id
    assert client.wait_workflow(accepted.workflow_id).output == "hello world"
    with pytest.raises(Conflict, match="started already"):
        client.start_workflow(accepted.workflow_id)
    assert served.calls == ["say hello world"]


def test_how_a_workflow_would_run_is_told_without_running_it(client: Client, served: Served) -> None:
    checked = client.validate_workflow(ASKS)
    assert (checked.order, checked.tasks["publish"]) == (("draft", "review", "publish"), ("review",))
    assert not served.calls


def test_templates_are_listed_and_read(client: Client) -> None:
    names = [each.name for each in client.workflow_templates()]
    assert "product_launch" in names
    definition = client.workflow_template("product_launch")
    assert definition.name == "product_launch"
    assert client.validate_workflow(definition, {"brand_name": "Noir", "product_name": "Scarf"}).valid
    with pytest.raises(NoSuchTask, match="no template"):
        client.workflow_template("nothing")


# -- to see how it is --------------------------------------------------------------------------------------------------


def test_a_failed_workflow_is_an_error_that_carries_it(client: Client, served: Served) -> None:
    with pytest.raises(WorkflowFailed, match="the till is locked") as caught:
        client.run_workflow(BREAKS)
    assert caught.value.workflow.compensated == ("book",)
    assert served.calls == ["say booked", "break", "undo the booking"]
    assert client.run_workflow(BREAKS, check=False).status == "failed"


def test_events_come_each_once_although_the_stream_is_cut(client: Client, served: Served) -> None:
    # Given a workflow that waits, and streams that break off
    accepted = client.create_workflow(ASKS)
    served.cut_streams(after=1, times=2)
    # When its events are followed
    numbers: list[int] = []
    for event in client.workflow_events(accepted.workflow_id):
        numbers.append(event["seq"])
        if _waits(event):
            client.signal_workflow(accepted.workflow_id, "review", {"approved": True})
    # Then each comes once and in order, and the last ends it
    assert numbers == list(range(1, len(numbers) + 1))
    assert event["event"] == "completed"
    assert [each["seq"] for each in client.workflow_history(accepted.workflow_id, after=2)] == numbers[2:]
    resumed = served.made("GET", f"{DOOR}/{accepted.workflow_id}/events")
    assert [seen.headers.get("last-event-id") for seen in resumed[:3]] == [None, "1", "2"]


def test_a_wait_ends_when_its_time_is_up_and_the_workflow_goes_on(client: Client, served: Served) -> None:
    accepted = client.create_workflow(holds("patience"))
    with pytest.raises(StillRunning, match=r"workflow .* had not ended after 0.2 s"):
        client.wait_workflow(accepted.workflow_id, timeout_s=0.2)
    with pytest.raises(StillRunning):
        list(client.workflow_events(accepted.workflow_id, timeout_s=0.2))
    served.release("patience")
    assert client.wait_workflow(accepted.workflow_id, timeout_s=20).output == {"hold": "patience is done"}


def test_outputs_are_whole_however_large(client: Client) -> None:
    # Given outputs that are too large to be shown, and a mapped task
    workflow = client.run_workflow(
        {
            "name": "large",
            "tasks": {
                "big": {"function": "big"},
                "each": {"function": "say", "map": {"over": "['a', 'b']"}, "inputs": {"text": "${item}"}},
            },
            "output": "${tasks.big.output}",
        }
    )
    assert workflow.tasks["big"].output is None
    # When they are asked for, Then they are whole
    assert len(client.workflow_output(workflow.workflow_id)) == 100_000
    assert len(client.workflow_output(workflow.workflow_id, "big")) == 100_000
    assert client.workflow_output(workflow.workflow_id, "each") == ["a", "b"]
    assert client.workflow_output(workflow.workflow_id, "each", 1) == "b"
    with pytest.raises(NoSuchTask):
        client.workflow_output(workflow.workflow_id, "other")


def test_workflows_are_listed_page_by_page(client: Client) -> None:
    # Given two workflows of a name of their own
    listed = {**GREETS, "name": "listed"}
    ids = {client.run_workflow(listed).workflow_id for _ in range(2)}
    # When they are listed one by one, Then each is there once
    found: set[str] = set()
    cursor = None
    while len(found) < 2:
        page = client.workflows(limit=1, cursor=cursor, status="completed", name="listed")
        found |= {each.workflow_id for each in page.workflows}
        cursor = page.next
    assert found == ids
    assert client.workflows(name="no such").workflows == ()


# -- to have a say in it -----------------------------------------------------------------------------------------------


def test_a_signal_whose_answer_was_lost_is_heard_once(client: Client, served: Served) -> None:
    # Given a workflow that asks a person
    accepted = client.create_workflow(ASKS)
    # When the answer to the signal gets lost, so that it is sent again
    served.lose_answers(times=1)
    workflow = client.signal_workflow(accepted.workflow_id, "review", {"approved": True}, wait_s=5)
    # Then the workflow has heard it once
    assert workflow.tasks["review"].status in ("waiting", "completed")
    assert client.wait_workflow(accepted.workflow_id).status == "completed"
    events = client.workflow_history(accepted.workflow_id)
    assert [each["event"] for each in events].count("signalled") == 1
    assert len(set(keys(served, f"{DOOR}/{accepted.workflow_id}/signals/review"))) == 1


def test_a_signal_that_nothing_waits_for_is_refused(client: Client) -> None:
    accepted = client.create_workflow(ASKS)
    with pytest.raises(InvalidTask, match="did you mean 'review'"):
        client.signal_workflow(accepted.workflow_id, "reveiw", {"approved": True})
    with pytest.raises(InvalidTask, match="approved"):
        client.signal_workflow(accepted.workflow_id, "review", "yes")
    client.cancel_workflow(accepted.workflow_id)
    client.wait_workflow(accepted.workflow_id)
    with pytest.raises(Conflict, match="cancelled"):
        client.signal_workflow(accepted.workflow_id, "review", {"approved": True})


def test_a_workflow_is_paused_and_resumed(client: Client, served: Served) -> None:
    accepted = client.create_workflow(holds("pause"))
    served.wait_until(lambda: served.calls == ["hold pause"])
    assert client.pause_workflow(accepted.workflow_id, wait_s=10).paused
    with pytest.raises(Conflict, match="paused"):
        client.pause_workflow(accepted.workflow_id)
    assert not client.resume_workflow(accepted.workflow_id, wait_s=10).paused
    served.release("pause")
    assert client.wait_workflow(accepted.workflow_id).status == "completed"


@pytest.mark.parametrize("compensate", [True, False])
def test_a_cancelled_workflow_is_undone_unless_it_is_not_to_be(
    client: Client, served: Served, compensate: bool
) -> None:
    # Given a workflow that has booked and waits
    waits = {"name": "w", "tasks": {"book": BREAKS["tasks"]["book"], "go": {"signal": "go", "depends_on": ["book"]}}}  # type: ignore[index]
    accepted = client.create_workflow(waits)
    served.wait_until(lambda: served.calls == ["say booked"])
    # When it is cancelled
    client.cancel_workflow(accepted.workflow_id, "too dear", compensate=compensate)
    # Then it ends so, with the reason
    workflow = client.wait_workflow(accepted.workflow_id)
    assert workflow.error is not None
    assert (workflow.status, workflow.error.detail) == ("cancelled", "too dear")
    assert served.calls[1:] == (["undo the booking"] if compensate else [])


def test_a_workflow_that_was_retried_is_followed_past_its_first_end(client: Client, served: Served) -> None:
    # Given one that has failed
    failed = client.run_workflow(BREAKS, check=False)
    # When it is mended and goes on, and the answer gets lost
    served.broken = False
    served.lose_answers(times=1)
    client.retry_workflow(failed.workflow_id)
    workflow = client.wait_workflow(failed.workflow_id)
    # Then it ends well, and whoever follows it from the start sees both ends
    assert (workflow.status, workflow.output) == ("completed", "open")
    told = [event["event"] for event in client.workflow_events(failed.workflow_id)]
    assert (told.count("failed"), told.count("retried"), told[-1]) == (1, 1, "completed")


def test_a_workflow_is_retried_from_a_task_on(client: Client, served: Served) -> None:
    failed = client.run_workflow({**BREAKS, "compensate": False}, check=False)
    served.broken = False
    client.retry_workflow(failed.workflow_id, "book")
    assert client.wait_workflow(failed.workflow_id).status == "completed"
    assert served.calls == ["say booked", "break", "say booked", "break"]


def test_a_fork_begins_where_another_stood(client: Client, served: Served) -> None:
    # Given a workflow that asked, and was refused
    accepted = client.create_workflow(ASKS)
    for event in client.workflow_events(accepted.workflow_id):
        if _waits(event):
            asked = event["seq"]
            client.signal_workflow(accepted.workflow_id, "review", {"approved": False, "comment": "no"})
    assert client.workflow(accepted.workflow_id).status == "failed"
    # When another is made of how it stood when it asked, and the answer gets lost
    served.lose_answers(times=1)
    fork = client.fork_workflow(accepted.workflow_id, after=asked)
    client.signal_workflow(fork.workflow_id, "review", {"approved": True})
    # Then that one ends well, and the draft was made once
    workflow = client.wait_workflow(fork.workflow_id)
    assert workflow.forked_from is not None
    assert (workflow.status, workflow.forked_from.workflow_id) == ("completed", accepted.workflow_id)
    assert served.calls == ["say a draft", "say published"]
    # And what is no fork is refused
    with pytest.raises(InvalidTask, match="last event"):
        client.fork_workflow(accepted.workflow_id, after=99)
    with pytest.raises(InvalidTask):
        client.fork_workflow(accepted.workflow_id, after=0)


def test_there_is_no_other(client: Client) -> None:
    for ask in (client.workflow, client.wait_workflow, client.pause_workflow, client.workflow_history):
        with pytest.raises(NoSuchTask, match="there is no workflow 'nothing'"):
            ask("nothing")  # type: ignore[operator]


def test_nobody_answers_where_no_platform_is() -> None:
    with Client("http://127.0.0.1:9", retries=0) as client, pytest.raises(PlatformNotRunning):
        client.create_workflow(GREETS)


# -- async -------------------------------------------------------------------------------------------------------------


async def test_the_async_client_does_the_same(async_client: AsyncClient, served: Served) -> None:
    # Given an async client, a platform whose answers get lost, and streams that break off
    served.lose_answers(times=1)
    accepted = await async_client.create_workflow(ASKS, start=False)
    await async_client.start_workflow(accepted.workflow_id, wait_s=10)
    served.cut_streams(after=1, times=1)
    # When it is followed and steered
    told = []
    async for event in async_client.workflow_events(accepted.workflow_id):
        told.append(event["event"])
        if _waits(event):
            await async_client.pause_workflow(accepted.workflow_id, wait_s=10)
            await async_client.resume_workflow(accepted.workflow_id, wait_s=10)
            await async_client.signal_workflow(accepted.workflow_id, "review", {"approved": True})
    # Then it goes as it is told
    workflow = await async_client.workflow(accepted.workflow_id)
    assert (workflow.status, told[-1]) == ("completed", "completed")
    assert {"paused", "resumed", "signalled"} <= set(told)
    assert len(await async_client.workflow_history(accepted.workflow_id)) == len(told)
    assert await async_client.workflow_output(accepted.workflow_id, "draft") == "a draft"
    fork = await async_client.fork_workflow(accepted.workflow_id, after=len(told))
    assert (await async_client.wait_workflow(fork.workflow_id)).status == "completed"


async def test_the_async_client_raises_what_a_workflow_ended_as(async_client: AsyncClient, served: Served) -> None:
    with pytest.raises(WorkflowFailed) as failed:
        await async_client.run_workflow(BREAKS)
    served.broken = False
    await async_client.retry_workflow(failed.value.workflow.workflow_id)
    assert (await async_client.wait_workflow(failed.value.workflow.workflow_id)).output == "open"
    running = asyncio.create_task(async_client.run_workflow(holds("cancelled"), idempotency_key="cancelled"))
    await asyncio.to_thread(served.wait_until, lambda: "hold cancelled" in served.calls)
    accepted = await async_client.create_workflow(holds("cancelled"), idempotency_key="cancelled")
    await async_client.cancel_workflow(accepted.workflow_id)
    served.release("cancelled")
    with pytest.raises(WorkflowCancelled):
        await running


async def test_the_async_client_asks_what_there_is(async_client: AsyncClient) -> None:
    assert (await async_client.validate_workflow(GREETS)).order == ("greet",)
    assert [each.name for each in await async_client.workflow_templates()]
    assert (await async_client.workflow_template("product_launch")).tasks
    with pytest.raises(StillRunning):
        accepted = await async_client.create_workflow(ASKS)
        await async_client.wait_workflow(accepted.workflow_id, timeout_s=0.2)
