"""A run that is played back: answered from its recording, spent nothing, journalled like any other."""

from typing import Any

import pytest

from schemas.budget import Budget, Budgets
from schemas.completion import Complete, Completion
from schemas.problem import Problem
from schemas.receipt import Call
from tests.gateway.acts import entry_of
from tests.gateway.doubles import Bench, Script, ask, served
from tests.gateway.purses import Shelf

NAME = "a" * 64


def replay(**changed: Any) -> Complete:
    return ask(replay=NAME, **changed)


def recording(text: str = "As it was.") -> Completion:
    """As the recordings answer."""
    paid = Call(
        step="direct",
        agent="writing",
        service="dear",
        model="dear-1",
        replayed=True,
        prompt_tokens=10,
        completion_tokens=5,
        cost_usd=0.0002,
    )
    return Completion(text=text, finish_reason="stop", calls=(paid,))


@pytest.fixture
def playing(bench: Bench) -> Bench:
    made = Bench(bench.catalogue, budgets=Budgets(day=Budget(usd=0)))
    made.recordings["direct"] = recording()
    return made.plays(cheap=Script(served("Another.")))


async def test_a_recorded_question_is_answered_as_it_was_and_calls_nobody(playing: Bench) -> None:
    # Given a recording, and a budget of nothing
    completion = await playing.gateway.complete(replay())
    await playing.recorded()
    # Then it answers, at the cost that it had, marked
    assert completion == recording()
    assert completion.calls[0].replayed
    assert playing.scripts["cheap"].attempts == []
    assert playing.shelf == Shelf()


async def test_what_was_played_back_is_journalled_and_asked_for_once(playing: Bench) -> None:
    completion = await playing.gateway.complete(replay())
    await playing.recorded()
    entry = entry_of(playing, replay())
    assert (entry.state, entry.completion, entry.calls) == ("ended", completion, completion.calls)
    playing.recordings.clear()
    assert await playing.gateway.complete(replay()) == completion


async def test_a_question_that_was_not_recorded_is_a_problem_and_calls_nobody(playing: Bench) -> None:
    completion = await playing.gateway.complete(replay(step="another"))
    assert completion.problem is not None
    assert (completion.problem.code, completion.problem.status) == ("not_recorded", 422)
    assert "holds no answer for step 'another'" in completion.problem.detail
    assert (completion.text, completion.calls) == (None, ())
    assert playing.scripts["cheap"].attempts == []
    assert entry_of(playing, replay(step="another")).completion == completion


async def test_a_recorded_failure_fails_again(playing: Bench) -> None:
    problem = Problem(type="urn:devskyy:problem:no-service", title="t", status=503, detail="nobody")
    playing.recordings["direct"] = Completion(problem=problem)
    completion = await playing.gateway.complete(replay())
    assert completion.problem == problem


async def test_a_stream_that_is_played_back_is_told_whole(playing: Bench) -> None:
    await playing.gateway.complete(replay(stream=True))
    assert playing.told == [(1, 0, "As it was.")]


async def test_a_replay_needs_no_service_and_no_cache(playing: Bench) -> None:
    completion = await playing.gateway.complete(replay(services=("nobody",), cache_s=60.0))
    assert completion.text == "As it was."
    assert playing.cache.kept == {}
