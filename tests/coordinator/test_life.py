"""The life of a task in its owner's hands, on a real server: claimed, run, ended exactly once."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from actors.coordinator.life import SETTLE_S
from bus.tasklog import TaskLog
from schemas.agent import Answer
from schemas.errors import Cancelled, DevSkyyError, Fenced, NoService, NotFound, Unavailable
from schemas.event import TERMINAL, Accepted, Claimed, Command
from schemas.message import now
from schemas.problem import Problem
from schemas.receipt import Call
from schemas.task import TaskRequest
from tests.broker import until
from tests.coordinator.doubles import (
    CATALOGUE,
    LONG_S,
    TENANT,
    Coordinator,
    accept,
    answered,
    call,
    coordinator_of,
    names,
    run,
    story,
    waiting_agents,
)

Hire = Callable[..., Coordinator]


def an_hour_ago() -> datetime:
    return now() - timedelta(hours=1)


@pytest.fixture
def hire(tasks: TaskLog) -> Hire:
    """Makes a coordinator of that name, with agents of its own."""

    def make(owner: str = "coordinator-a", answer: Answer | DevSkyyError | None = None, *calls: Call) -> Coordinator:
        return coordinator_of(tasks, owner, answer, calls)

    return make


# -- carried to its end --------------------------------------------------------------------------------------------


async def test_a_task_is_claimed_and_completed_with_three_events(tasks: TaskLog, hire: Hire) -> None:
    # Given a task and a coordinator whose agents answer
    work = await accept(tasks, prompt="Fix the bug in this Python function.", metadata={"a": 1})
    coordinator = hire("coordinator-a", answered())
    # When it carries the task
    await run(coordinator, work)
    # Then three events tell all of it
    events, task = await story(tasks, work)
    assert names(events) == ["accepted", "claimed", "completed"]
    claimed = events[1]
    assert isinstance(claimed, Claimed)
    assert (claimed.owner, claimed.epoch, claimed.tier, claimed.shape) == ("coordinator-a", 1, "simple", "direct")
    assert "code" in claimed.features["domains"]
    assert claimed.reasons
    # And the task has its answer, what it took, and who was asked
    assert (coordinator.agents.asked[0][0],) == claimed.agents
    assert (task.status, task.answer, task.error, task.metadata) == ("completed", "Hello.", None, {"a": 1})
    assert task.receipt is not None
    assert (task.receipt.cost_usd, task.receipt.prompt_tokens, task.receipt.agents) == (0.25, 10, 1)
    assert task.receipt.premium_service == CATALOGUE.routing.premium_service


async def test_the_agent_is_asked_what_was_accepted_with_its_bounds(tasks: TaskLog, hire: Hire) -> None:
    inputs = [{"kind": "text", "name": "a.txt", "text": "Some text."}]
    work = await accept(tasks, prompt="Sum up.", inputs=inputs, max_cost_usd=0.5, timeout_s=60)
    coordinator = hire("coordinator-a", answered())
    await run(coordinator, work)
    ((_, ask),) = coordinator.agents.asked
    assert isinstance(work.event, Accepted)
    assert (ask.tenant, ask.task_id, ask.step, ask.prompt) == (TENANT, work.event.task_id, "direct", "Sum up.")
    assert [part.text for part in ask.inputs] == ["Some text."]
    assert (ask.max_cost_usd, ask.deadline_at) == (0.5, work.event.deadline_at)


async def test_the_answer_of_one_agent_is_measured(tasks: TaskLog, hire: Hire) -> None:
    work = await accept(tasks, prompt="Say hello.")
    await run(hire("coordinator-a", answered("Hello.")), work)
    _, task = await story(tasks, work)
    assert task.quality is not None
    assert 0 < (task.quality.overall or 0) <= 1
    assert task.quality.means["overall"] == ("checks", "embeddings")
    assert task.quality.met is None  # nothing was asked for


async def test_a_service_that_was_named_is_passed_on_unmeasured_and_says_so(tasks: TaskLog, hire: Hire) -> None:
    work = await accept(tasks, service="local")
    await run(hire("coordinator-a"), work)
    _, task = await story(tasks, work)
    assert task.quality is not None
    assert task.quality.overall is None
    assert {"overall", "relevance", "clarity"} <= task.quality.reasons.keys()


async def test_a_task_that_nobody_can_staff_is_refused_before_any_agent_is_asked(tasks: TaskLog, hire: Hire) -> None:
    work = await accept(tasks, capabilities=["juggling"])
    coordinator = hire("coordinator-a", answered())
    await run(coordinator, work)
    events, task = await story(tasks, work)
    assert names(events) == ["accepted", "failed"]
    assert task.error is not None
    assert (task.error.code, task.error.errors[0].field) == ("invalid_request", "capabilities")
    assert coordinator.agents.asked == []


async def test_a_service_that_its_caller_named_answers_as_it_is(tasks: TaskLog, hire: Hire) -> None:
    history = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi."}]
    work = await accept(tasks, service="groq", history=history, max_tokens=9, max_cost_usd=0.5)
    coordinator = hire()
    await run(coordinator, work)
    # Then no agent was asked, and the gateway for that service alone, without any prompt of ours
    assert coordinator.agents.asked == []
    (asked,) = coordinator.gateway.asked
    said = [("system", "Be brief."), ("user", "Hi."), ("user", "Say hello.")]
    assert [(message.role, message.content) for message in asked.messages] == said
    assert (asked.services, asked.max_tokens, asked.max_cost_usd) == (("groq",), 9, 0.5)
    _, task = await story(tasks, work)
    assert (task.status, task.answer, task.finish_reason) == ("completed", "From the service.", "length")


async def test_an_agent_that_its_caller_named_is_asked(tasks: TaskLog, hire: Hire) -> None:
    work, coordinator = await accept(tasks, agent="groq-lightning"), hire("coordinator-a", answered())
    await run(coordinator, work)
    assert [agent for agent, _ in coordinator.agents.asked] == ["groq-lightning"]


@pytest.mark.parametrize("target", ["agent", "service"])
async def test_a_name_that_nobody_has_fails_the_task_by_its_field(tasks: TaskLog, hire: Hire, target: str) -> None:
    work, coordinator = await accept(tasks, **{target: "nobody"}), hire("coordinator-a", answered())
    await run(coordinator, work)
    _, task = await story(tasks, work)
    assert task.error is not None
    assert (task.status, task.error.errors[0].field) == ("failed", target)
    assert (coordinator.agents.asked, coordinator.gateway.asked) == ([], [])


# -- delivered again -----------------------------------------------------------------------------------------------


async def test_a_redelivered_task_goes_on_where_it_was(tasks: TaskLog, hire: Hire) -> None:
    # Given a task whose owner died at work
    work = await accept(tasks)
    dead = hire("coordinator-dead")
    dying = run(dead, work)
    await waiting_agents(dead)
    dying.cancel()
    await asyncio.wait({dying})
    # When another coordinator gets it
    heir = hire("coordinator-b", answered())
    await run(heir, work, delivery=2)
    # Then it claims with a higher epoch, asks the same step, and ends it
    events, task = await story(tasks, work)
    assert names(events) == ["accepted", "claimed", "claimed", "completed"]
    assert [(e.owner, e.epoch) for e in events if isinstance(e, Claimed)] == [
        ("coordinator-dead", 1),
        ("coordinator-b", 2),
    ]
    assert heir.agents.asked == dead.agents.asked
    assert task.started_at == events[1].at


async def test_a_task_that_has_ended_is_left_alone(tasks: TaskLog, hire: Hire) -> None:
    work = await accept(tasks)
    await run(hire("coordinator-a", answered()), work)
    before, late = await story(tasks, work), hire("coordinator-b", answered("Another."))
    await run(late, work, delivery=2)
    assert await story(tasks, work) == before
    assert late.agents.asked == []


async def test_a_task_that_nobody_could_carry_is_given_up_as_failed(tasks: TaskLog, hire: Hire) -> None:
    work = await accept(tasks)
    assert isinstance(work.event, Accepted)
    coordinator = hire("coordinator-a", None, call("failed", 0.5))
    await coordinator.lives.give_up(work.event, 20)
    events, task = await story(tasks, work)
    assert names(events) == ["accepted", "failed"]
    assert task.error is not None
    assert "20 coordinators" in task.error.detail
    assert task.receipt is not None
    assert task.receipt.cost_usd == 0.5


async def test_a_task_that_has_ended_is_not_given_up(tasks: TaskLog, hire: Hire) -> None:
    work, coordinator = await accept(tasks), hire("coordinator-a", answered())
    assert isinstance(work.event, Accepted)
    await run(coordinator, work)
    await coordinator.lives.give_up(work.event, 20)
    assert names((await story(tasks, work))[0]) == ["accepted", "claimed", "completed"]


# -- cancelled -----------------------------------------------------------------------------------------------------


async def test_a_cancel_that_nobody_heard_is_obeyed_by_whoever_claims_the_task(tasks: TaskLog, hire: Hire) -> None:
    # Given a command that was kept while no coordinator lived
    work = await accept(tasks)
    await tasks.command(TENANT, work.event.task_id, Command(reason="changed my mind"))
    # When one takes the task
    coordinator = hire("coordinator-a", answered())
    await run(coordinator, work)
    # Then it is cancelled, and no agent was asked
    _, task = await story(tasks, work)
    assert task.status == "cancelled"
    assert task.error is not None
    assert "changed my mind" in task.error.detail
    assert coordinator.agents.asked == []


async def test_a_cancel_that_came_before_the_task_is_obeyed(tasks: TaskLog) -> None:
    # Given a coordinator that has heard every command for an hour, and one for a task that is not accepted yet
    coordinator = coordinator_of(tasks, "coordinator-a", answered(), (), hears_since=an_hour_ago)
    await tasks.command(TENANT, "early", Command(reason="changed my mind"))
    await coordinator.lives.command(TENANT, "early", Command(reason="changed my mind"))
    # When the task comes and is carried
    await tasks.accept(TaskRequest(prompt="Say hello."), TENANT, task_id="early")
    work = (await tasks.read(TENANT, "early"))[0]
    await run(coordinator, work)
    # Then it is cancelled, and no agent was asked
    assert (await tasks.task(TENANT, "early")).status == "cancelled"
    assert coordinator.agents.asked == []


async def test_a_cancel_that_was_not_heard_is_obeyed_after_looking_again(tasks: TaskLog) -> None:
    # Given a task at work, and a cancel that was kept while its coordinator could hear nothing
    coordinator = coordinator_of(tasks, "coordinator-a", None, (), hears_since=an_hour_ago)
    work = await accept(tasks)
    running = run(coordinator, work)
    await waiting_agents(coordinator)
    await tasks.command(TENANT, work.event.task_id, Command(reason="changed my mind"))
    # When the coordinator is back and looks again
    await coordinator.lives.look_again()
    await asyncio.wait_for(running, LONG_S)
    # Then the work is stopped
    assert coordinator.agents.cancelled.is_set()
    assert (await tasks.task(TENANT, work.event.task_id)).status == "cancelled"


async def test_a_call_in_doubt_for_good_is_not_waited_for(tasks: TaskLog) -> None:
    # Given a task that fails, and a call of it that is recorded as in doubt
    problem = Problem.of(NoService("nobody could", ("a: no key",)))
    failed = answered().model_copy(update={"text": None, "problem": problem})
    coordinator = coordinator_of(tasks, "coordinator-a", failed, (call("in_doubt", 0.9, in_doubt=True),))
    coordinator.spent.under_way = 0
    work = await accept(tasks)
    # When it ends
    await asyncio.wait_for(run(coordinator, work), SETTLE_S / 2)
    # Then the receipt has the doubt, and nobody waited for it to go
    assert [c.in_doubt for c in (await story(tasks, work))[1].receipt.calls] == [True]  # type: ignore[union-attr]


async def test_a_cancel_before_anybody_claimed_the_task_ends_it_at_once(tasks: TaskLog, hire: Hire) -> None:
    work = await accept(tasks)
    coordinator = hire("coordinator-a", answered())
    await coordinator.lives.command(TENANT, work.event.task_id, Command(reason="changed my mind"))
    events, task = await story(tasks, work)
    assert names(events) == ["accepted", "cancelled"]
    assert task.receipt is not None
    assert (task.receipt.cost_usd, task.receipt.calls) == (0, ())
    # And whoever was handed it meanwhile is fenced off
    with pytest.raises(Fenced):
        await run(coordinator, work)
    assert coordinator.agents.asked == []


async def test_a_cancel_during_the_run_stops_the_work_and_says_what_was_spent(tasks: TaskLog, hire: Hire) -> None:
    # Given a task at work, of which the journal knows one call
    work = await accept(tasks)
    coordinator = hire("coordinator-a", None, call("cancelled", 0.5, cost_estimated=True))
    running = run(coordinator, work)
    await waiting_agents(coordinator)
    # When it is cancelled
    await coordinator.lives.command(TENANT, work.event.task_id, Command(reason="changed my mind"))
    await asyncio.wait_for(running, LONG_S)
    # Then the agent's work is stopped everywhere
    assert coordinator.agents.cancelled.is_set()
    assert coordinator.aborted == [work.event.task_id]
    # And the task says so, with what it cost
    events, task = await story(tasks, work)
    assert names(events) == ["accepted", "claimed", "cancelled"]
    assert task.error is not None
    assert "changed my mind" in task.error.detail
    assert task.receipt is not None
    assert (task.receipt.cost_usd, task.receipt.cost_estimated) == (0.5, True)


async def test_a_problem_that_comes_of_a_cancel_does_not_hide_it(tasks: TaskLog, hire: Hire) -> None:
    work = await accept(tasks)
    coordinator = hire()
    running = run(coordinator, work)
    await waiting_agents(coordinator)
    coordinator.agents.answer = Answer(agent="w", step="direct", problem=Problem.of(NoService("aborted")))
    await coordinator.lives.command(TENANT, work.event.task_id, Command())
    coordinator.agents.go_on.set()
    await asyncio.wait_for(running, LONG_S)
    assert (await story(tasks, work))[1].status == "cancelled"


async def test_a_cancel_of_a_task_that_is_not_there_writes_nothing(tasks: TaskLog, hire: Hire) -> None:
    await hire().lives.command(TENANT, "nobody-knows-this", Command())
    with pytest.raises(NotFound):
        await tasks.read(TENANT, "nobody-knows-this")


async def test_a_cancel_of_a_task_in_other_hands_is_left_to_its_owner(tasks: TaskLog, hire: Hire) -> None:
    work, owner = await accept(tasks), hire("coordinator-a")
    running = run(owner, work)
    await waiting_agents(owner)
    await hire("coordinator-b").lives.command(TENANT, work.event.task_id, Command())
    assert names((await story(tasks, work))[0]) == ["accepted", "claimed"]
    owner.agents.go_on.set()
    await asyncio.wait_for(running, LONG_S)


# -- failed --------------------------------------------------------------------------------------------------------


async def test_a_task_whose_time_is_over_fails_and_its_work_is_stopped(tasks: TaskLog, hire: Hire) -> None:
    work = await accept(tasks, timeout_s=0.5)
    coordinator = hire("coordinator-a", None, call("cancelled", 0.5))
    await asyncio.wait_for(run(coordinator, work), LONG_S)
    events, task = await story(tasks, work)
    assert names(events) == ["accepted", "claimed", "failed"]
    assert task.error is not None
    assert (task.error.code, task.error.detail) == ("deadline_exceeded", "the task was not finished within 0.5 s")
    assert coordinator.agents.cancelled.is_set()
    assert coordinator.aborted == [work.event.task_id]
    assert task.receipt is not None
    assert task.receipt.cost_usd == 0.5


async def test_a_stopped_task_waits_for_its_open_calls_to_say_what_they_cost(tasks: TaskLog, hire: Hire) -> None:
    # Given a call that is still open when the task is stopped
    work = await accept(tasks, timeout_s=0.3)
    coordinator = hire("coordinator-a", None, call("in_doubt", 0.9, in_doubt=True))
    running = run(coordinator, work)
    await until(lambda: bool(coordinator.aborted))
    # When its end is journalled a moment later
    coordinator.spent.calls = (call("cancelled", 0.5),)
    await asyncio.wait_for(running, LONG_S)
    # Then the receipt has the end, not the doubt
    _, task = await story(tasks, work)
    assert task.receipt is not None
    assert [c.outcome for c in task.receipt.calls] == ["cancelled"]


async def test_an_agents_problem_becomes_the_tasks_with_what_was_spent(tasks: TaskLog, hire: Hire) -> None:
    problem = Problem.of(NoService("none could serve", ("one: HTTP 401",)))
    work = await accept(tasks)
    coordinator = hire("c", Answer(agent="writing", step="direct", problem=problem), call("failed", None))
    await run(coordinator, work)
    events, task = await story(tasks, work)
    assert names(events) == ["accepted", "claimed", "failed"]
    assert task.error == problem
    assert (task.answer, task.quality) == (None, None)
    assert task.receipt is not None
    assert (task.receipt.cost_usd, task.receipt.cost_unknown_reason) == (None, "one: unknown")


async def test_an_agent_that_cannot_be_asked_fails_the_task(tasks: TaskLog, hire: Hire) -> None:
    work = await accept(tasks)
    await run(hire("coordinator-a", NoService("no agent listens")), work)
    task = (await story(tasks, work))[1]
    assert (task.status, task.error and task.error.detail) == ("failed", "no agent listens")


@pytest.mark.parametrize("carried", [True, False], ids=["as a problem", "as an error"])
async def test_work_that_was_stopped_though_nobody_cancelled_the_task_is_done_again(
    tasks: TaskLog, hire: Hire, carried: bool
) -> None:
    # Given an agent that is stopped at work, as one is when its process is asked to end
    stopped = Cancelled("ask", "aborted by its caller")
    problem = Answer(agent="writing", step="direct", problem=Problem.of(stopped))
    work = await accept(tasks)
    # When that is all that comes of the task
    with pytest.raises(Unavailable):
        await run(hire("coordinator-a", problem if carried else Problem.of(stopped).error()), work)
    # Then it has not ended, and whoever is handed it next ends it
    assert names((await story(tasks, work))[0]) == ["accepted", "claimed"]
    await run(hire("coordinator-b", answered()), work, delivery=2)
    assert (await story(tasks, work))[1].status == "completed"


# -- two owners ----------------------------------------------------------------------------------------------------


async def test_a_fenced_owner_writes_nothing(tasks: TaskLog, hire: Hire) -> None:
    # Given an owner whose task was handed to a newer one while it worked
    work = await accept(tasks)
    stale, newer = hire("coordinator-stale"), hire("coordinator-newer")
    old = run(stale, work)
    await waiting_agents(stale)
    new = run(newer, work, delivery=2)
    await waiting_agents(newer)
    # When the stale one has an answer
    stale.agents.go_on.set()
    with pytest.raises(Fenced):
        await asyncio.wait_for(old, LONG_S)
    # Then the task is still the newer one's
    assert names((await story(tasks, work))[0]) == ["accepted", "claimed", "claimed"]
    newer.agents.go_on.set()
    await asyncio.wait_for(new, LONG_S)
    assert names((await story(tasks, work))[0]) == ["accepted", "claimed", "claimed", "completed"]


@pytest.mark.parametrize("deliveries", [(1, 1), (1, 2), (2, 3)])
async def test_two_owners_at_once_end_a_task_exactly_once(
    tasks: TaskLog, hire: Hire, deliveries: tuple[int, int]
) -> None:
    for _ in range(10):
        # Given a task in the hands of two
        work = await accept(tasks)
        owners = [run(hire(f"coordinator-{i}", answered()), work, delivery) for i, delivery in enumerate(deliveries)]
        # When both carry it at once
        results = await asyncio.gather(*owners, return_exceptions=True)
        # Then it ends once, and whoever lost was told so
        events, task = await story(tasks, work)
        assert [e.event for e in events if e.event in TERMINAL] == ["completed"]
        assert all(result is None or isinstance(result, Fenced) for result in results)
        assert None in results
        assert task.answer == "Hello."
