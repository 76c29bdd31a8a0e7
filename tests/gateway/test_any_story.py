"""Whatever providers do and whoever gives up: no limit is passed, nothing leaks, and every attempt is accounted for."""

import asyncio
import dataclasses
import tempfile
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.catalogue import Catalogue
from actors.gateway.charges import most_tokens, most_usd
from actors.gateway.providers import Attempt, Heard, Served
from actors.gateway.scopes import nano
from schemas.budget import Budget, Budgets, Unit
from schemas.completion import ChatMessage, Complete, Completion
from schemas.errors import UpstreamError
from schemas.receipt import Call
from tests.gateway import virtual
from tests.gateway.acts import entry_of
from tests.gateway.doubles import Bench, Script, ask, catalogue_of, served

SERVICES = ("cheap", "dear", "free")
TREE_USD = 0.004


@dataclass(frozen=True)
class Act:
    """What a provider does with one attempt, and after how many seconds."""

    does: str
    after_s: float
    again: bool


@dataclass(frozen=True)
class Asked:
    """One question: when it comes, and when whoever asked it gives up, in seconds; None: never."""

    order: tuple[str, ...]
    at_s: float
    gives_up_s: float | None
    stream: bool
    limited: bool


@dataclass(frozen=True)
class Story:
    acts: dict[str, list[Act]]
    asked: list[Asked]
    budgets: Budgets
    hedge: bool


ACTS = st.builds(
    Act,
    st.sampled_from(["answers", "counts nothing", "overruns", "refuses", "breaks", "breaks off", "hangs"]),
    st.sampled_from([0.0, 0.4, 1.5, 4.0]),
    st.booleans(),
)
ASKED = st.builds(
    Asked,
    st.lists(st.sampled_from(SERVICES), min_size=1, max_size=3, unique=True).map(tuple),
    st.sampled_from([0.0, 0.0, 0.4, 3.0]),
    st.sampled_from([None, None, None, 0.0, 0.001, 0.4, 1.5]),
    st.booleans(),
    st.booleans(),
)
USD = st.sampled_from([0.0, 0.0003, 0.001, 0.01, 1.0])
BUDGETS = st.builds(
    Budgets,
    day=st.none() | st.builds(Budget, usd=USD, tokens=st.none() | st.sampled_from([100, 400, 2000])),
    services=st.dictionaries(st.sampled_from(SERVICES), st.builds(Budget, usd=USD), max_size=2),
)
STORIES = st.builds(
    Story,
    st.fixed_dictionaries({name: st.lists(ACTS, min_size=1, max_size=5) for name in SERVICES}),
    st.lists(ASKED, min_size=1, max_size=4),
    BUDGETS,
    st.booleans(),
)


class Player(Script):
    """Plays a service's acts, the last one for ever, and keeps account of what was asked of it."""

    def __init__(self, name: str, acts: list[Act]) -> None:
        super().__init__()
        self._name, self._acts = name, list(acts)
        self.inside = 0
        self.asked: Counter[str] = Counter()
        """Attempts by question."""
        self.refusals: dict[str, list[str]] = {}
        """What cost nothing, by question; each has words of its own."""

    async def complete(self, attempt: Attempt, heard: Heard) -> Served:
        question = attempt.messages[0].content
        self.asked[question] += 1
        act = self._acts.pop(0) if len(self._acts) > 1 else self._acts[0]
        self.inside += 1
        try:
            return await self._play(act, question, heard)
        finally:
            self.inside -= 1

    async def _play(self, act: Act, question: str, heard: Heard) -> Served:
        if act.does == "breaks off":
            heard.say("Once upon a ")
        await asyncio.sleep(3600 if act.does == "hangs" else act.after_s)
        match act.does:
            case "answers":
                return served()
            case "counts nothing":
                return served(prompt_tokens=None, completion_tokens=None)
            case "overruns":
                return served(completion_tokens=1000)
            case "refuses":
                reason = f"no-{self._name}-{sum(self.asked.values())}-"
                self.refusals.setdefault(question, []).append(reason)
                raise UpstreamError("sim", reason, act.again, 0.1, spent=False)
        raise UpstreamError("sim", "it broke", act.again, 0.1, spent=None)


@dataclass
class Told:
    """How a story went."""

    bench: Bench
    players: dict[str, Player]
    questions: list[Complete]
    completions: list[Completion | None]
    in_flight: int
    """When all is over."""


async def _tell(story: Story, catalogue: Catalogue) -> Told:
    bench = Bench(catalogue, budgets=story.budgets, clock=virtual.clock)
    players = {name: Player(name, acts) for name, acts in story.acts.items()}
    bench.plays(**players)
    lane = bench.surroundings.steadiness.lane("cheap", catalogue.services["cheap"])
    for _ in range(20):  # a second is usual
        with await lane.enter() as visit:
            await asyncio.sleep(1)
            visit.answered(1, 1)
    questions = [
        ask(
            *each.order,
            task_id=f"t{n}",
            root="tree",
            messages=(ChatMessage(role="user", content=f"Question {n}."),),
            stream=each.stream,
            max_cost_usd=TREE_USD if each.limited else None,
        )
        for n, each in enumerate(story.asked)
    ]

    async def one(each: Asked, question: Complete) -> Completion | None:
        await asyncio.sleep(each.at_s)
        asked = asyncio.create_task(bench.gateway.complete(question))
        if each.gives_up_s is None:
            await asyncio.wait({asked}, timeout=100)
        elif each.gives_up_s == 0:
            await asyncio.sleep(0)
        else:
            await asyncio.wait({asked}, timeout=each.gives_up_s)
        asked.cancel()  # nobody waits for a provider that hangs
        await asyncio.wait({asked})
        return None if asked.cancelled() else asked.result()

    completions = await asyncio.gather(*map(one, story.asked, questions))
    await bench.recorded()
    in_flight = sum(each.in_flight for each in bench.surroundings.steadiness.figures().services)
    return Told(bench, players, questions, list(completions), in_flight)


@cache
def _catalogue(hedge: bool) -> Catalogue:
    """Read once; whether `cheap` is hedged is for the story to say."""
    with tempfile.TemporaryDirectory() as folder:
        catalogue = catalogue_of(Path(folder))
    cheap = catalogue.services["cheap"].model_copy(update={"hedge": hedge})
    return dataclasses.replace(catalogue, services=catalogue.services | {"cheap": cheap})


@settings(max_examples=300)
@given(story=STORIES)
def test_whatever_happens_no_limit_is_passed_nothing_leaks_and_every_attempt_is_accounted_for(
    story: Story,
) -> None:
    told = virtual.run(_tell(story, _catalogue(story.hedge)))
    _no_call_was_granted_beyond_a_limit(told, story)
    _counters_stand_at_what_the_calls_came_to(told, story)
    _every_attempt_is_accounted_for(told)
    # And nobody is left inside, and nothing open
    assert [player.inside for player in told.players.values()] == [0, 0, 0]
    assert (told.in_flight, told.bench.shelf.records) == (0, {})


def _limits(story: Story) -> dict[tuple[str, str, Unit], int]:
    """By scope, name and unit."""
    found: dict[tuple[str, str, Unit], int] = {("tree", "tree", "usd"): nano(TREE_USD)}
    named = [("day", "all", story.budgets.day), *(("service", n, b) for n, b in story.budgets.services.items())]
    for scope, name, budget in named:
        if budget is not None and budget.usd is not None:
            found[scope, name, "usd"] = nano(budget.usd)
        if budget is not None and budget.tokens is not None:
            found[scope, name, "tokens"] = budget.tokens
    return found


def _which(counter: str) -> tuple[str, str, Unit]:
    scope, _, name, unit = counter.removeprefix("devskyy.v1.purse.").split(".")
    return scope, name, "usd" if unit == "usd" else "tokens"


def _no_call_was_granted_beyond_a_limit(told: Told, story: Story) -> None:
    granted = {id_ for entry in told.bench.journal.written for id_ in entry.held}
    stands: Counter[str] = Counter()
    limits = _limits(story)
    for change in told.bench.shelf.changes:
        if change.reservation in granted:
            stands[change.counter] += change.amount
            # A provider may overrun what it was granted; nothing is granted after that.
            if change.name.endswith(".take"):
                assert stands[change.counter] <= limits[_which(change.counter)]


def _counters_stand_at_what_the_calls_came_to(told: Told, story: Story) -> None:
    expected: Counter[tuple[str, str, Unit]] = Counter()
    for question in told.questions:
        for call in entry_of(told.bench, question).calls:
            price = told.bench.catalogue.services[call.service].price
            usd = most_usd(price, question) if call.cost_usd is None else call.cost_usd
            assert usd is not None
            for scope, name, unit in _limits(story):
                tree = scope == "tree" and question.max_cost_usd is not None
                if tree or scope == "day" or (scope == "service" and name == call.service):
                    expected[scope, name, unit] += nano(usd) if unit == "usd" else _tokens(call, question)
    stands = Counter({_which(counter): value for counter, value in told.bench.shelf.counters.items()})
    assert +stands == +expected
    assert min(stands.values(), default=0) >= 0


def _tokens(call: Call, question: Complete) -> int:
    if call.prompt_tokens is None or call.completion_tokens is None:
        return most_tokens(question)
    return call.prompt_tokens + call.completion_tokens


def _every_attempt_is_accounted_for(told: Told) -> None:
    for question, completion in zip(told.questions, told.completions, strict=True):
        entry = entry_of(told.bench, question)
        assert (entry.state, entry.open) == ("ended", ())
        assert completion is None or (completion.calls, completion) == (entry.calls, entry.completion)
        text = question.messages[0].content
        for name, player in told.players.items():
            refusals = player.refusals.get(text, [])
            charged = [call for call in entry.calls if call.service == name]
            assert len(charged) == player.asked[text] - len(refusals)
            problem = entry.completion.problem if entry.completion else None
            if problem is None or problem.code != "cancelled":
                said = [words for call in entry.calls for words in (*call.retries, *call.fallback_from)]
                said.append(problem.detail if problem else "")
                assert all(any(refusal in words for words in said) for refusal in refusals)
