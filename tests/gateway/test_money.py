"""What a call costs: reserved before, settled after, limited, and unknown where nobody can know."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.catalogue import cost_usd
from actors.catalogue.tokens import MESSAGE_TOKENS
from actors.gateway.charges import most_usd
from schemas.completion import ChatMessage, Complete
from schemas.service import Price, PriceTier
from tests.gateway.doubles import Bench, Script, ask, broken, refused, served

PRICE = Price(input_per_mtok=3, output_per_mtok=15)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def reserved(bench: Bench, question: Complete, service: str = "cheap") -> float:
    amount = most_usd(bench.catalogue.services[service].price, question)
    assert amount is not None
    return amount


# -- reserved ------------------------------------------------------------------------------------------------------


def test_a_reservation_is_all_that_the_call_can_cost() -> None:
    question = ask(messages=(ChatMessage(role="user", content="twelve bytes"),), max_tokens=1000)
    prompt = 12 + MESSAGE_TOKENS
    assert most_usd(PRICE, question) == pytest.approx((prompt * 3 + 1000 * 15) / 1_000_000)


def test_a_reservation_counts_bytes_not_characters() -> None:
    plain, wide = (ask(messages=(ChatMessage(role="user", content=text),)) for text in ("aa", "é"))
    assert most_usd(PRICE, wide) == most_usd(PRICE, plain)


def test_a_reservation_is_at_the_dearest_price_that_the_prompt_can_reach() -> None:
    # Given a price that is ten times as high over 100 tokens, and twice as high over 200
    dear = PriceTier(tokens=100, input_per_mtok=30, output_per_mtok=150)
    price = PRICE.model_copy(update={"above": (dear, PriceTier(tokens=200, input_per_mtok=6, output_per_mtok=30))})

    def most(size: int) -> float | None:
        return most_usd(price, ask(messages=(ChatMessage(role="user", content="x" * size),), max_tokens=1000))

    # Then what can be no longer than 100 tokens is reserved at the low one, and whatever can be at the high one
    assert most(100 - MESSAGE_TOKENS) == pytest.approx((100 * 3 + 1000 * 15) / 1e6)
    assert most(101 - MESSAGE_TOKENS) == pytest.approx((101 * 30 + 1000 * 150) / 1e6)
    assert most(400) == pytest.approx((200 * 30 + 1000 * 150) / 1e6)


def test_without_a_price_there_is_no_reservation() -> None:
    assert most_usd(None, ask()) is None


@given(st.lists(TEXT, min_size=1, max_size=4), st.integers(1, 4096), st.data())
def test_a_token_is_never_shorter_than_a_byte_so_no_answer_costs_more(
    texts: list[str], max_tokens: int, data: st.DataObject
) -> None:
    question = ask(messages=tuple(ChatMessage(role="user", content=t) for t in texts), max_tokens=max_tokens)
    prompt = data.draw(st.integers(0, sum(len(t.encode()) for t in texts)))
    amount = most_usd(PRICE, question)
    assert amount is not None
    assert amount >= cost_usd(PRICE, prompt, data.draw(st.integers(0, max_tokens)))


# -- settled -------------------------------------------------------------------------------------------------------


async def test_an_answer_costs_what_the_provider_counted(bench: Bench) -> None:
    bench.plays(cheap=Script(served(prompt_tokens=1000, completion_tokens=200)))
    (call,) = (await bench.gateway.complete(ask())).calls
    assert (call.prompt_tokens, call.completion_tokens) == (1000, 200)
    assert call.cost_usd == pytest.approx((1000 * 1 + 200 * 2) / 1_000_000)
    assert (call.cost_estimated, call.cost_unknown_reason) == (False, None)


@pytest.mark.parametrize(("prompt", "completion"), [(None, None), (100, None), (None, 50)])
async def test_without_usage_the_cost_is_unknown_and_says_why(
    bench: Bench, prompt: int | None, completion: int | None
) -> None:
    bench.plays(cheap=Script(served(prompt_tokens=prompt, completion_tokens=completion)))
    (call,) = (await bench.gateway.complete(ask())).calls
    assert call.cost_usd is None
    assert call.cost_unknown_reason == "the provider reported no usage"
    assert (call.prompt_tokens, call.completion_tokens) == (prompt, completion)


@pytest.mark.parametrize(("prompt", "usd"), [(1000, 1000 * 1 + 50 * 2), (1001, 1001 * 5 + 50 * 10)])
async def test_an_answer_to_a_long_prompt_costs_what_the_tier_costs(bench: Bench, prompt: int, usd: float) -> None:
    # Given a service that is dearer for prompts over 1,000 tokens
    spec = bench.catalogue.services["cheap"]
    price = Price(
        input_per_mtok=1, output_per_mtok=2, above=(PriceTier(tokens=1000, input_per_mtok=5, output_per_mtok=10),)
    )
    bench.catalogue.services["cheap"] = spec.model_copy(update={"price": price})
    # When it answers a prompt on, or over, the line
    bench.plays(cheap=Script(served(prompt_tokens=prompt)))
    question = ask(messages=(ChatMessage(role="user", content="x" * 2000),))
    (call,) = (await bench.gateway.complete(question)).calls
    # Then all of its tokens are charged at that tier's price, and no more than was reserved
    assert call.cost_usd == pytest.approx(usd / 1e6)
    assert call.cost_usd is not None and call.cost_usd <= reserved(bench, question)
    assert not call.overrun


async def test_a_service_that_costs_nothing_but_for_long_prompts_is_not_free(bench: Bench) -> None:
    # Given a price of zero with a tier that is none, When the provider reports no usage
    price = Price(
        input_per_mtok=0, output_per_mtok=0, above=(PriceTier(tokens=9, input_per_mtok=1, output_per_mtok=1),)
    )
    bench.catalogue.services["free"] = bench.catalogue.services["free"].model_copy(update={"price": price})
    bench.plays(free=Script(served(prompt_tokens=None, completion_tokens=None)))
    (call,) = (await bench.gateway.complete(ask("free"))).calls
    # Then nobody knows what it cost
    assert (call.cost_usd, call.cost_unknown_reason) == (None, "the provider reported no usage")


async def test_a_service_that_is_free_costs_nothing_even_without_usage(bench: Bench) -> None:
    bench.plays(free=Script(served(prompt_tokens=None, completion_tokens=None)))
    (call,) = (await bench.gateway.complete(ask("free"))).calls
    assert (call.cost_usd, call.cost_unknown_reason) == (0.0, None)


async def test_a_service_without_a_price_serves_at_an_unknown_cost(bench: Bench) -> None:
    bench.plays(unpriced=Script(served()))
    (call,) = (await bench.gateway.complete(ask("unpriced"))).calls
    assert call.cost_usd is None
    assert "no price is stated" in (call.cost_unknown_reason or "")
    assert (call.prompt_tokens, call.completion_tokens) == (100, 50)


async def test_a_failure_of_which_nobody_knows_whether_it_cost_is_charged(bench: Bench) -> None:
    bench.plays(cheap=Script(broken()), dear=Script(served()))
    failed, answered = (await bench.gateway.complete(ask("cheap", "dear"))).calls
    assert (failed.service, failed.outcome) == ("cheap", "failed")
    assert (failed.cost_usd, failed.cost_estimated) == (reserved(bench, ask("cheap", "dear")), True)
    assert (answered.service, answered.cost_estimated) == ("dear", False)


async def test_a_failure_of_unknown_cost_at_an_unknown_price_is_unknown(bench: Bench) -> None:
    bench.plays(unpriced=Script(broken()), cheap=Script(served()))
    failed, _ = (await bench.gateway.complete(ask("unpriced", "cheap"))).calls
    assert (failed.cost_usd, failed.cost_estimated) == (None, False)
    assert failed.cost_unknown_reason is not None


async def test_what_was_refused_with_a_status_is_not_charged(bench: Bench) -> None:
    bench.plays(cheap=Script(refused("HTTP 401")), dear=Script(served()))
    answer = await bench.gateway.complete(ask("cheap", "dear"))
    assert [call.service for call in answer.calls] == ["dear"]


# -- limited -------------------------------------------------------------------------------------------------------


async def test_under_a_limit_a_service_without_a_price_is_passed_over_with_the_reason(bench: Bench) -> None:
    bench.plays(unpriced=Script(served()), cheap=Script(served()))
    (call,) = (await bench.gateway.complete(ask("unpriced", "cheap", max_cost_usd=1.0))).calls
    (reason,) = call.fallback_from
    assert reason.startswith("unpriced: its price is unknown, so the task's budget cannot be kept (no price is stated")


async def test_a_service_that_may_cost_more_than_is_left_is_passed_over_with_both_amounts(bench: Bench) -> None:
    bench.plays(dear=Script(served()), cheap=Script(served()))
    order = ("dear", "cheap")
    limit = reserved(bench, ask(*order), "cheap") * 2
    (call,) = (await bench.gateway.complete(ask(*order, max_cost_usd=limit))).calls
    may = reserved(bench, ask(*order), "dear")
    assert call.service == "cheap"
    assert call.fallback_from == (f"dear: may cost ${may:.6g}, ${limit:.6g} is left of the task's budget",)


async def test_a_limit_that_is_just_enough_is_enough(bench: Bench) -> None:
    bench.plays(cheap=Script(served()))
    answer = await bench.gateway.complete(ask(max_cost_usd=reserved(bench, ask())))
    assert answer.text == "An answer."


async def test_under_a_limit_of_nothing_what_is_free_still_serves(bench: Bench) -> None:
    bench.plays(free=Script(served()))
    answer = await bench.gateway.complete(ask("cheap", "free", max_cost_usd=0.0))
    assert answer.calls[0].service == "free"


async def test_what_a_failed_call_may_have_cost_counts_against_the_limit(bench: Bench) -> None:
    bench.plays(dear=Script(broken()), cheap=Script(served()))
    # Given a limit that is enough for either service and not for both
    order = ("dear", "cheap")
    may = reserved(bench, ask(*order), "dear")
    # When the first fails and may have cost
    answer = await bench.gateway.complete(ask(*order, max_cost_usd=may))
    # Then the second is not called any more
    assert answer.problem is not None
    assert "cheap: may cost" in answer.problem.detail
    assert bench.scripts["cheap"].attempts == []


async def test_a_retry_that_the_limit_does_not_cover_is_not_made(bench: Bench) -> None:
    # Given a limit that is enough for one attempt, and one that may have been charged
    script = Script(broken(again=True), served())
    limit = reserved(bench, ask()) * 1.5
    # When the provider could be tried again
    answer = await bench.plays(cheap=script).gateway.complete(ask(max_cost_usd=limit))
    # Then it is not, for that might cost more than is allowed
    assert len(script.attempts) == 1
    assert sum(call.cost_usd or 0 for call in answer.calls) <= limit
    assert answer.problem is not None
    assert "may cost" in answer.problem.detail
