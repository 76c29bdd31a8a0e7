"""One question is asked once: repeated, shared, cancelled, taken over, overtaken."""

import asyncio
from pathlib import Path

import pytest

from actors.gateway.charges import most_usd
from bus.journal import Entry, key_of
from bus.subjects import CallJournal
from schemas.completion import Complete, Completion
from schemas.errors import DeadlineExceeded
from schemas.message import now
from schemas.receipt import Call
from tests.broker import until
from tests.gateway.doubles import LONG_S, Bench, Script, ask, broken, catalogue_of, served


def reserved(bench: Bench, question: Complete, service: str = "cheap") -> float:
    price = bench.catalogue.services[service].price
    amount = most_usd(price, question)
    assert amount is not None
    return amount


def begun(bench: Bench, question: Complete, gateway: str, calls: tuple[Call, ...] = ()) -> Entry:
    """What a gateway writes before it calls."""
    attempt = Call(
        step=question.step,
        agent=question.agent,
        service="cheap",
        model="cheap-1",
        outcome="failed",
        cost_usd=reserved(bench, question),
        cost_estimated=True,
    )
    return Entry(state="begun", gateway=gateway, began_at=now(), open=attempt, calls=calls)


def ended(gateway: str, text: str) -> Entry:
    return Entry(state="ended", gateway=gateway, began_at=now(), completion=Completion(text=text))


# -- repeated and shared -------------------------------------------------------------------------------------------


async def test_a_repeated_question_gets_the_recorded_answer_without_a_second_call(bench: Bench) -> None:
    # Given a question that was answered
    script = Script(served("First."), served("Second."))
    bench.plays(cheap=script)
    first = await bench.gateway.complete(ask())
    # When it is asked again, with other bounds
    again = await bench.gateway.complete(ask(timeout_s=5, max_cost_usd=0.0))
    # Then it gets the same answer and the same account
    assert again == first
    assert again.text == "First."
    assert len(script.attempts) == 1


async def test_another_gateway_gives_the_recorded_answer_too(bench: Bench, tmp_path: Path) -> None:
    first = await bench.plays(cheap=Script(served())).gateway.complete(ask())
    other = Bench(catalogue_of(tmp_path), bench.journal, "gateway-b").plays(cheap=Script(served("Another.")))
    assert await other.gateway.complete(ask()) == first
    assert other.scripts["cheap"].attempts == []


async def test_a_question_asked_of_others_too_gets_the_answer_that_was_paid_for(bench: Bench) -> None:
    # Given an answered question
    bench.plays(cheap=Script(served("First.")))
    first = await bench.gateway.complete(ask())
    # When a new owner of the task asks it, of other services
    again = await bench.gateway.complete(ask(services=("dear", "cheap")))
    # Then nobody is called
    assert again == first


@pytest.mark.parametrize("changed", [{"step": "review"}, {"task_id": "t2"}, {"temperature": 1.0}, {"max_tokens": 7}])
async def test_another_question_is_another_call(bench: Bench, changed: dict[str, object]) -> None:
    bench.plays(cheap=Script(served("First."), served("Second.")))
    await bench.gateway.complete(ask())
    assert (await bench.gateway.complete(ask(**changed))).text == "Second."


async def test_two_identical_questions_at_once_make_one_call_and_both_get_its_answer(bench: Bench) -> None:
    script = Script()
    bench.plays(cheap=script)
    # Given two who ask the same at once
    asked = [asyncio.create_task(bench.gateway.complete(ask())) for _ in range(2)]
    await script.started.wait()
    # When the provider answers
    script.go_on.set()
    first, second = await asyncio.gather(*asked)
    # Then both have the answer of the one call
    assert first == second
    assert first.text == "An answer."
    assert len(script.attempts) == 1


# -- cancelled -----------------------------------------------------------------------------------------------------


async def test_cancelling_one_of_two_who_wait_does_not_stop_the_call(bench: Bench) -> None:
    script = Script()
    bench.plays(cheap=script)
    leaver, stayer = (asyncio.create_task(bench.gateway.complete(ask())) for _ in range(2))
    await script.started.wait()
    # When one of the two goes away
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    script.go_on.set()
    # Then the other still gets the answer
    assert (await stayer).text == "An answer."
    assert not script.cancelled.is_set()


async def test_cancelling_all_who_wait_stops_the_call_and_charges_it_at_its_reservation(bench: Bench) -> None:
    script = Script()
    bench.plays(cheap=script)
    asked = [asyncio.create_task(bench.gateway.complete(ask())) for _ in range(2)]
    await script.started.wait()
    # When both go away
    for waiter in asked:
        waiter.cancel()
    await asyncio.wait(asked, timeout=LONG_S)
    # Then the provider is told
    assert script.cancelled.is_set()
    # And the journal says so, at the most that it can have cost
    entry = bench.journal.entry(key_of(ask()))
    assert entry.state == "ended"
    assert entry.completion is not None
    assert entry.completion.problem is not None
    assert entry.completion.problem.code == "cancelled"
    (call,) = entry.calls
    assert (call.outcome, call.cost_usd, call.cost_estimated) == ("cancelled", reserved(bench, ask()), True)


async def test_a_call_cancelled_before_it_left_is_never_made_and_costs_nothing(bench: Bench) -> None:
    script = Script(served())
    bench.plays(cheap=script)
    # Given a journal that has stored the intention and not yet said so
    bench.journal.acknowledge.clear()
    asked = asyncio.create_task(bench.gateway.complete(ask()))
    await bench.journal.stored.wait()
    # When nobody waits any more
    asked.cancel()
    await asyncio.sleep(0)
    bench.journal.acknowledge.set()
    await asyncio.wait({asked}, timeout=LONG_S)
    # Then the provider never hears of it
    assert script.attempts == []
    entry = bench.journal.entry(key_of(ask()))
    assert (entry.state, entry.calls) == ("ended", ())


async def test_a_call_that_was_aborted_is_no_answer_to_whoever_asks_again(bench: Bench) -> None:
    # Given a call that ended with the process of whoever asked, not with the task
    script = Script()
    asked = asyncio.create_task(bench.plays(cheap=script).gateway.complete(ask()))
    await script.started.wait()
    asked.cancel()
    await asyncio.wait({asked}, timeout=LONG_S)
    # When the task goes on and asks again
    script.go_on.set()
    answer = await bench.gateway.complete(ask())
    # Then it gets an answer, and the account of both
    assert (answer.text, answer.problem) == ("An answer.", None)
    assert [call.outcome for call in answer.calls] == ["cancelled", "answered"]


async def test_a_wait_between_two_attempts_can_be_cancelled(bench: Bench) -> None:
    script = Script(broken(again=True))
    bench.plays(cheap=script)
    waited = asyncio.create_task(bench.gateway.complete(ask()))
    await until(lambda: len(script.attempts) == 1)
    waited.cancel()
    await asyncio.wait({waited}, timeout=LONG_S)
    entry = bench.journal.entry(key_of(ask()))
    assert entry.completion is not None
    assert entry.completion.problem is not None
    assert entry.completion.problem.code == "cancelled"
    assert len(entry.calls) == len(script.attempts)


# -- taken over ----------------------------------------------------------------------------------------------------


async def test_what_a_dead_gateway_began_is_in_doubt_charged_and_then_called_again(bench: Bench) -> None:
    script = Script(served())
    bench.plays(cheap=script)
    # Given a call that a gateway began before it died
    key = key_of(ask())
    bench.journal.put(key, begun(bench, ask(), "gateway-dead"), 0)
    # When the question comes again
    answer = await bench.gateway.complete(ask())
    # Then it is called again, and the doubtful call is charged beside it
    assert answer.text == "An answer."
    assert len(script.attempts) == 1
    doubtful, call = answer.calls
    assert (doubtful.in_doubt, doubtful.outcome) == (True, "in_doubt")
    assert (doubtful.cost_usd, doubtful.cost_estimated) == (reserved(bench, ask()), True)
    assert (call.in_doubt, call.outcome, call.cost_estimated) == (False, "answered", False)


async def test_the_doubtful_call_is_on_record_before_the_next_one_leaves(bench: Bench) -> None:
    bench.plays(cheap=Script())
    key = key_of(ask())
    bench.journal.put(key, begun(bench, ask(), "gateway-dead"), 0)
    asked = asyncio.create_task(bench.gateway.complete(ask()))
    await bench.scripts["cheap"].started.wait()
    # Then a third gateway, were this one to die too, would find both
    entry = bench.journal.entry(key)
    assert [call.outcome for call in entry.calls] == ["in_doubt"]
    assert entry.open is not None
    bench.scripts["cheap"].go_on.set()
    await asked


async def test_what_a_living_gateway_began_is_waited_for(bench: Bench) -> None:
    bench.plays(cheap=Script(served("Mine.")))
    # Given a call under way in another gateway
    key = key_of(ask())
    place = bench.journal.put(key, begun(bench, ask(), "gateway-b"), 0)
    bench.alive.add("gateway-b")
    asked = asyncio.create_task(bench.gateway.complete(ask()))
    # When that one has answered
    bench.journal.put(key, ended("gateway-b", "Theirs."), place)
    # Then its answer is given, and nothing is called here
    assert (await asyncio.wait_for(asked, LONG_S)).text == "Theirs."
    assert bench.scripts["cheap"].attempts == []


async def test_whoever_waits_for_another_gateway_waits_no_longer_than_its_deadline(bench: Bench) -> None:
    bench.journal.put(key_of(ask()), begun(bench, ask(), "gateway-b"), 0)
    bench.alive.add("gateway-b")
    with pytest.raises(DeadlineExceeded):
        await asyncio.wait_for(bench.gateway.complete(ask(timeout_s=0.3)), LONG_S)


# -- overtaken -----------------------------------------------------------------------------------------------------


async def test_an_entry_overtaken_before_the_call_is_read_again_and_never_called_twice(bench: Bench) -> None:
    bench.plays(cheap=Script(served("Mine.")))

    async def overtake(key: CallJournal, entry: Entry) -> None:
        bench.journal.before_write = None
        bench.journal.put(key, ended("gateway-b", "Theirs."), 0)

    # Given another gateway that begins and ends the call between our look and our write
    bench.journal.before_write = overtake
    # When the question is asked
    answer = await bench.gateway.complete(ask())
    # Then the other's answer is given, and nothing is called here
    assert answer.text == "Theirs."
    assert bench.scripts["cheap"].attempts == []


async def test_an_answer_that_was_overtaken_does_not_replace_the_one_on_record(bench: Bench) -> None:
    bench.plays(cheap=Script(served("Mine.")))

    async def overtake(key: CallJournal, entry: Entry) -> None:
        if entry.state == "ended":
            bench.journal.before_write = None
            doubtful = begun(bench, ask(), "gateway-b", calls=entry.calls)
            place = bench.journal.put(key, doubtful, bench.journal.seq(key))
            bench.journal.put(key, ended("gateway-b", "Theirs."), place)

    # Given another gateway that took this one for dead while it called
    bench.journal.before_write = overtake
    # When both have answered
    await bench.gateway.complete(ask())
    await bench.recorded()
    # Then whoever asks again gets the other's answer, and this one called once
    assert (await bench.gateway.complete(ask())).text == "Theirs."
    assert len(bench.scripts["cheap"].attempts) == 1
    assert [entry.gateway for entry in bench.journal.written] == ["gateway-a", "gateway-b", "gateway-b"]


async def test_a_question_repeated_while_its_answer_is_recorded_is_answered_at_once(bench: Bench) -> None:
    bench.plays(cheap=Script(served("First.")))
    # Given an answer that was given and whose record is not acknowledged yet
    held = asyncio.Event()

    async def hold(key: CallJournal, entry: Entry) -> None:
        if entry.state == "ended":
            bench.journal.acknowledge.clear()
            held.set()

    bench.journal.before_write = hold
    first = await bench.gateway.complete(ask())
    await held.wait()
    # When it is asked again
    again = await bench.gateway.complete(ask())
    # Then it is the same, and nobody was called for it
    assert again == first
    assert len(bench.scripts["cheap"].attempts) == 1
    bench.journal.acknowledge.set()
    await bench.recorded()


async def test_two_gateways_at_once_make_one_call(bench: Bench, tmp_path: Path) -> None:
    other = Bench(catalogue_of(tmp_path), bench.journal, "gateway-b")
    for each in (bench, other):
        each.alive |= {"gateway-a", "gateway-b"}
        each.plays(cheap=Script(served(f"By {each.gateway._instance}.")))
    answers = await asyncio.gather(bench.gateway.complete(ask()), other.gateway.complete(ask()))
    assert answers[0] == answers[1]
    assert len(bench.scripts["cheap"].attempts) + len(other.scripts["cheap"].attempts) == 1
