"""The cache of a real platform: by the word of a service, of a request, or of the command line."""

import json
import time

import pytest

from tests.integration.providers import Providers
from tests.simulators.base import Behaviour

pytestmark = pytest.mark.platform


def test_a_service_that_says_so_answers_an_equal_question_from_the_cache(provided: Providers) -> None:
    # Given a service whose answers last
    prompt = f"What lasts? {time.time_ns()}"
    provided.openai.behaviour = Behaviour(answer="This.", prompt_tokens=100, completion_tokens=10)
    first = provided.live.cached(lambda: provided.run("cached", prompt))
    provided.openai.behaviour = Behaviour(fault="500")
    asked = len(provided.openai.calls)
    # When the same is asked again, of whichever gateway, while the provider is away
    again = provided.run("cached", prompt)
    # Then the cache answers: marked, free, with the tokens of the first
    assert (first["status"], again["status"]) == ("completed", "completed"), again["error"]
    (call,) = again["receipt"]["calls"]
    assert (again["answer"], call["cached"], call["cost_usd"]) == ("This.", True, 0)
    assert (call["prompt_tokens"], call["completion_tokens"]) == (100, 10)
    assert first["receipt"]["calls"][0]["cached"] is False
    assert len(provided.openai.calls) == asked


def test_a_cached_answer_needs_no_budget(provided: Providers) -> None:
    prompt = f"What needs no money? {time.time_ns()}"
    assert provided.live.cached(lambda: provided.run("cached", prompt))["status"] == "completed"
    again = provided.run("cached", prompt, max_cost_usd=0)
    assert (again["status"], again["receipt"]["cost_usd"]) == ("completed", 0)


def test_an_answer_that_came_from_the_cache_is_streamed_in_one_piece(provided: Providers) -> None:
    prompt = f"What is quick? {time.time_ns()}"
    provided.openai.behaviour = Behaviour(answer="This is.")
    assert provided.live.cached(lambda: provided.run("cached", prompt))["status"] == "completed"
    again = provided.run("cached", prompt, stream=True)
    assert (again["answer"], again["receipt"]["calls"][0]["cached"]) == ("This is.", True)


def test_another_question_another_temperature_or_another_service_is_asked_anew(provided: Providers) -> None:
    prompt = f"What is new? {time.time_ns()}"
    assert provided.live.cached(lambda: provided.run("cached", prompt))["status"] == "completed"
    asked = len(provided.openai.calls)
    others = [
        provided.run("cached", prompt + "!"),
        provided.run("cached", prompt, temperature=0.3),
        provided.run("sim-openai", prompt, cache_s=600),
    ]
    assert [task["receipt"]["calls"][0]["cached"] for task in others] == [False] * 3
    assert len(provided.openai.calls) == asked + 3


def test_the_command_line_asks_for_the_cache(provided: Providers) -> None:
    # Given a run with a lifetime
    words = ("run", f"Name a bag {time.time_ns()}", "--cache", "600", "--json")
    first = provided.live.cached(lambda: provided.live.cli(*words))
    assert first.returncode == 0, first.stderr
    asked = provided.calls
    # When it is repeated
    again = provided.live.cli(*words)
    # Then nobody is asked, and the receipt says why it was free
    assert again.returncode == 0, again.stderr
    (call,) = json.loads(again.stdout)["receipt"]["calls"]
    assert (call["cached"], call["cost_usd"]) == (True, 0)
    assert json.loads(again.stdout)["answer"] == json.loads(first.stdout)["answer"]
    assert provided.calls == asked
