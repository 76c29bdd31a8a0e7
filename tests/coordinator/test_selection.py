"""The choice of services in a task's life: recorded with its reasons, and asked for."""

from actors.catalogue import Catalogue
from actors.coordinator.life import Lives
from actors.selection import Selector
from bus.tasklog import TaskLog
from schemas.event import Claimed
from tests.coordinator.doubles import CATALOGUE, Agents, Coordinator, Gateway, Spent, accept, answered, run, story

KEYS = {"GROQ_API_KEY": "a", "GEMINI_API_KEY": "b"}


def coordinator(tasks: TaskLog, environ: dict[str, str], catalogue: Catalogue = CATALOGUE) -> Coordinator:
    agents, spent, gateway, aborted = Agents(answered()), Spent(()), Gateway(), list[str]()

    async def abort(work: str) -> None:
        aborted.append(work)

    selector = Selector(catalogue, environ, dict)
    lives = Lives("coordinator-a", tasks, catalogue, agents, abort, spent, gateway, selector=selector)
    return Coordinator(lives, agents, spent, gateway, aborted)


async def test_the_services_chosen_are_asked_for_and_recorded_with_the_reasons(tasks: TaskLog) -> None:
    # Given two services with keys, and a task
    work, hired = await accept(tasks, prompt="Write a poem.", agent="cerebras-ultra"), coordinator(tasks, KEYS)
    # When it is carried
    await run(hired, work)
    # Then its agent is asked in the order that was chosen, whoever has no key where it stood
    ((_, ask),) = hired.agents.asked
    assert ask.services == ("cerebras", "groq", "gemini-flash", "scaleway", "local")
    # And the claim says which, out of what, and why
    events, task = await story(tasks, work)
    claimed = events[1]
    assert isinstance(claimed, Claimed)
    recorded = claimed.features["selection"]
    assert (recorded["chosen"], tuple(recorded["order"])) == ("groq", ask.services)
    assert set(recorded["predicted"]) == {"groq", "gemini-flash", "local"}
    assert any("'groq' serves, of 3 that can" in reason for reason in claimed.reasons)
    assert task.reasons == claimed.reasons


async def test_where_there_is_nothing_to_choose_the_agent_keeps_its_order(tasks: TaskLog) -> None:
    # Given no key at all, When a task is carried
    work, hired = await accept(tasks), coordinator(tasks, {})
    await run(hired, work)
    # Then nothing is said of services
    ((_, ask),) = hired.agents.asked
    assert ask.services == ()
    events, _ = await story(tasks, work)
    assert isinstance(events[1], Claimed)
    assert "selection" not in events[1].features


async def test_a_service_that_its_caller_named_serves_whatever_is_foreseen(tasks: TaskLog) -> None:
    work, hired = await accept(tasks, service="gemini-flash"), coordinator(tasks, KEYS)
    await run(hired, work)
    (asked,) = hired.gateway.asked
    assert asked.services == ("gemini-flash",)
