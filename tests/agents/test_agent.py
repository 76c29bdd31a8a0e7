"""A model agent: what it asks the gateway for, and what it makes of the answer."""

import base64
import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from actors.agents.agent import ModelAgent
from schemas.agent import AgentSpec, Answer, Ask
from schemas.budget import Budget
from schemas.completion import Complete, Completion, ImagePart
from schemas.errors import NoService
from schemas.message import now
from schemas.problem import Problem
from schemas.receipt import Call
from schemas.task import Input, Turn

SPEC = AgentSpec(role="Writer", prompt="You write.", services=("one", "two"), temperature=0.3, max_tokens=77)
PIXEL = base64.b64encode(b"a picture").decode()
CALL = Call(step="direct", agent="writing", service="one", model="m", cost_usd=0.5)


class Gateway:
    """Gives one answer, and keeps what it was asked."""

    def __init__(self, answer: Completion) -> None:
        self._answer = answer
        self.asked: list[Complete] = []

    async def __call__(self, ask: Complete) -> Completion:
        self.asked.append(ask)
        return self._answer


def ask(prompt: str = "Say hello.", *inputs: Input, **changed: Any) -> Ask:
    fields: dict[str, Any] = {
        "tenant": "default",
        "task_id": "t1",
        "step": "direct",
        "prompt": prompt,
        "inputs": inputs,
        "deadline_at": now() + timedelta(seconds=60),
        **changed,
    }
    return Ask(**fields)


async def handle(question: Ask, answer: Completion | None = None) -> tuple[Complete, Answer]:
    """What the agent asked the gateway, and what it answered."""
    gateway = Gateway(answer or Completion(text="Hello."))
    answered = await ModelAgent("writing", SPEC, ("two", "one"), gateway).handle(question)
    (asked,) = gateway.asked
    return asked, answered


async def test_its_own_prompt_comes_first_as_the_system_prompt() -> None:
    asked, _ = await handle(ask("Say hello."))
    assert [(m.role, m.content) for m in asked.messages] == [("system", "You write."), ("user", "Say hello.")]


async def test_services_may_serve_in_the_order_that_it_was_given() -> None:
    asked, _ = await handle(ask())
    assert asked.services == ("two", "one")


async def test_services_that_are_asked_for_go_before_its_own_order() -> None:
    asked, _ = await handle(ask(services=("one",)))
    assert asked.services == ("one",)


async def test_its_settings_go_with_the_question() -> None:
    asked, _ = await handle(ask())
    assert (asked.agent, asked.temperature, asked.max_tokens) == ("writing", 0.3, 77)


async def test_what_the_caller_sets_goes_before_the_agents_own_settings() -> None:
    schema = {"type": "object"}
    asked, _ = await handle(ask(temperature=0.0, max_tokens=5, json_schema=schema))
    assert (asked.temperature, asked.max_tokens, asked.json_schema) == (0.0, 5, schema)


async def test_earlier_turns_stand_between_its_prompt_and_the_question() -> None:
    history = (Turn(role="user", content="Hi."), Turn(role="assistant", content="Hello."))
    asked, _ = await handle(ask("And now?", history=history))
    said = [("system", "You write."), ("user", "Hi."), ("assistant", "Hello."), ("user", "And now?")]
    assert [(m.role, m.content) for m in asked.messages] == said


async def test_the_tasks_bounds_and_names_go_with_the_question() -> None:
    question = ask(max_cost_usd=0.25)
    asked, _ = await handle(question)
    assert (asked.tenant, asked.task_id, asked.step) == ("default", "t1", "direct")
    assert (asked.max_cost_usd, asked.deadline_at) == (0.25, question.deadline_at)


async def test_text_inputs_follow_the_prompt_fenced_under_their_names() -> None:
    asked, _ = await handle(
        ask(
            "Compare them.",
            Input(kind="code", name="a.py", media_type="text/x-python", text="print(1)"),
            Input(kind="data", name="b.csv", media_type="text/csv", base64=base64.b64encode("é;1".encode()).decode()),
        )
    )
    prompt, code, data = asked.messages[1].content.split("\n\n")
    assert prompt == "Compare them."
    fence = r"--- (code|data) input (\w{12}): ([\w.]+) \(([\w/-]+)\) ---\n(.+)\n--- end of \2 ---"
    found = [re.fullmatch(fence, part) for part in (code, data)]
    assert [match and match.group(1, 3, 4, 5) for match in found] == [
        ("code", "a.py", "text/x-python", "print(1)"),
        ("data", "b.csv", "text/csv", "é;1"),
    ]


@given(text=st.text(min_size=1).filter(str.strip), name=st.text(min_size=1, max_size=50).filter(str.strip))
async def test_no_input_can_end_its_own_fence(text: str, name: str) -> None:
    try:
        item = Input(kind="text", name=name, text=text)
    except ValidationError:
        return  # half a surrogate pair; refused before it gets here
    asked, _ = await handle(ask("Read.", item))
    content = asked.messages[1].content
    mark = content.rsplit("--- end of ", 1)[1].removesuffix(" ---")
    assert content.count(f"--- end of {mark} ---") == 1


async def test_images_travel_as_images_and_not_in_the_text() -> None:
    asked, _ = await handle(ask("Look.", Input(kind="image", name="a.png", media_type="image/png", base64=PIXEL)))
    system, user = asked.messages
    assert user.images == (ImagePart(media_type="image/png", base64=PIXEL),)
    assert (user.content, system.images) == ("Look.", ())


async def test_a_question_asked_again_is_the_same_question() -> None:
    question = ask("Look.", Input(kind="text", name="a", text="b"))
    assert (await handle(question))[0] == (await handle(question))[0]


@pytest.mark.parametrize(("text", "answered"), [("  Hello.\n", "Hello."), ("Hello.", "Hello.")])
async def test_the_answer_is_the_models_text_without_blanks_around_it(text: str, answered: str) -> None:
    _, answer = await handle(ask(), Completion(text=text, finish_reason="length", calls=(CALL,)))
    assert answer == Answer(agent="writing", step="direct", text=answered, finish_reason="length", calls=(CALL,))


async def test_a_problem_is_carried_through_with_what_was_spent() -> None:
    # Given a gateway that found nobody to serve, after one call that may have cost
    problem = Problem.of(NoService("none could serve", ("one: HTTP 401",)))
    failed = CALL.model_copy(update={"outcome": "failed", "cost_estimated": True})
    # When the agent is asked
    _, answer = await handle(ask(), Completion(problem=problem, calls=(failed,)))
    # Then its answer is that problem, with the call
    assert answer == Answer(agent="writing", step="direct", text=None, calls=(failed,), problem=problem)


async def test_a_failure_to_reach_the_gateway_is_not_hidden() -> None:
    async def unreachable(_: Complete) -> Completion:
        raise NoService("nobody there")

    with pytest.raises(NoService):
        await ModelAgent("writing", SPEC, ("one",), unreachable).handle(ask())


async def test_the_key_that_asked_and_its_budget_go_with_the_question() -> None:
    asked, _ = await handle(ask(key="ci-1", key_budget=Budget(usd=2)))
    assert (asked.key, asked.key_budget) == ("ci-1", Budget(usd=2))


async def test_in_a_seat_of_a_team_it_asks_and_answers_under_the_seats_name() -> None:
    asked, answer = await handle(ask(seat="writing-3"))
    assert (asked.agent, answer.agent) == ("writing-3", "writing-3")


async def test_without_a_seat_it_answers_under_its_own_name() -> None:
    asked, answer = await handle(ask())
    assert (asked.agent, answer.agent) == ("writing", "writing")
