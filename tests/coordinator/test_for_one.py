"""What is for one model alone, carried by the direct shape: tools, turns after the prompt, how words are picked."""

from typing import Any

import pytest

from bus.tasklog import TaskLog
from schemas.completion import Complete, Completion, Sampling, ToolCall
from tests.coordinator.doubles import TENANT, accept, answered, call, coordinator_of, run, story

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
WISH = ToolCall(id="call-1", name="look", arguments='{"place": "here"}')
PIXEL = {"kind": "image", "name": "pixel", "media_type": "image/png", "base64": "iVBORw0KGgo="}
HARD = "Design, compare and justify three architectures for a distributed payment ledger, with proofs. " * 20

CONVERSATION: dict[str, Any] = {
    "prompt": "What is this?",
    "history": [{"role": "user", "content": "Here it is.", "images": [PIXEL]}, {"role": "assistant", "content": "Ah."}],
    "later": [
        {"role": "assistant", "content": "", "tool_calls": [WISH.model_dump()]},
        {"role": "tool", "content": "a bag", "tool_call_id": "call-1"},
    ],
    "tools": [TOOL],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "sampling": {"seed": 7},
}


async def test_whatever_brings_tools_is_done_by_one(tasks: TaskLog) -> None:
    # Given a task that deserves a team, with a tool
    work = await accept(tasks, prompt=HARD, tools=[TOOL])
    # When it is carried
    await run(coordinator_of(tasks, "coordinator-a", answered(), ()), work)
    # Then one agent has done it, and it says why
    _, task = await story(tasks, work)
    assert (task.shape, task.answer) == ("direct", "Hello.")
    assert "tools" in task.reasons[0]
    # And without the tool it would have been a team's
    team = await accept(tasks, prompt=HARD)
    await run(coordinator_of(tasks, "coordinator-a", answered(), ()), team)
    assert (await story(tasks, team))[1].shape != "direct"


async def test_an_agent_is_asked_with_all_of_it(tasks: TaskLog) -> None:
    work = await accept(tasks, **CONVERSATION)
    coordinator = coordinator_of(tasks, "coordinator-a", answered(), ())
    await run(coordinator, work)
    ((_, asked),) = coordinator.agents.asked
    assert [turn.role for turn in asked.later] == ["assistant", "tool"]
    assert (asked.tools, asked.tool_choice, asked.parallel_tool_calls) == ((TOOL,), "auto", False)
    assert asked.sampling == Sampling(seed=7)


async def test_a_service_is_asked_in_the_order_of_the_conversation(tasks: TaskLog) -> None:
    # Given a conversation with an image of an earlier turn, and with what a tool gave
    work = await accept(tasks, **CONVERSATION, service="local")
    coordinator = coordinator_of(tasks, "coordinator-a", None, ())
    # When a service is asked
    await run(coordinator, work)
    # Then each stands where it stood
    (asked,) = coordinator.gateway.asked
    assert [(m.role, m.content, len(m.images)) for m in asked.messages] == [
        ("user", "Here it is.", 1),
        ("assistant", "Ah.", 0),
        ("user", "What is this?", 0),
        ("assistant", "", 0),
        ("tool", "a bag", 0),
    ]
    assert asked.messages[3].tool_calls == (WISH,)
    assert asked.messages[4].tool_call_id == "call-1"
    assert (asked.tools, asked.tool_choice, asked.parallel_tool_calls) == ((TOOL,), "auto", False)
    assert asked.sampling == Sampling(seed=7)


@pytest.mark.parametrize(("said", "answer"), [("", None), ("Let me see.", "Let me see.")])
async def test_a_wish_for_tools_is_no_answer_to_be_measured(tasks: TaskLog, said: str, answer: str | None) -> None:
    # Given an agent that wishes for a tool
    wished = answered(said).model_copy(update={"tool_calls": (WISH,), "finish_reason": "tool_calls"})
    work = await accept(tasks, prompt="What is this?", tools=[TOOL])
    # When its task is carried
    await run(coordinator_of(tasks, "coordinator-a", wished, ()), work)
    # Then the wish is the caller's, and nobody calls an empty text bad
    task = await tasks.task(TENANT, work.event.task_id)
    assert (task.status, task.answer, task.tool_calls) == ("completed", answer, (WISH,))
    assert task.finish_reason == "tool_calls"
    assert task.quality is not None
    assert task.quality.overall is None
    assert any("tools" in reason for reason in task.quality.reasons.values())


async def test_a_wish_of_a_service_comes_back_too(tasks: TaskLog) -> None:
    work = await accept(tasks, prompt="What is this?", tools=[TOOL], service="local")
    coordinator = coordinator_of(tasks, "coordinator-a", None, ())

    async def wishes(_: Complete) -> Completion:
        return Completion(text="", tool_calls=(WISH,), calls=(call(),))

    coordinator.lives._complete = wishes
    await run(coordinator, work)
    assert (await tasks.task(TENANT, work.event.task_id)).tool_calls == (WISH,)
