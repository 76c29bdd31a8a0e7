"""How hard prompts look: in the right order, surely enough, the same however they are typed, and fast."""

import time
from collections.abc import Callable
from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.coordinator.classifier import DOMAINS, THRESHOLDS, Classification, classify, classify_text
from actors.coordinator.classifier.model import pieces, weights
from actors.coordinator.classifier.parameters import fitted, token_key
from actors.coordinator.classifier.tiers import LEVELS, confidence, tier_of
from devskyy.cli.bench.complexity import spearman
from schemas.task import TIERS, Input, TaskRequest

# Written for this test, in the order in which people would put them.
GRADED: dict[int, tuple[str, ...]] = {
    1: (
        "Say hi to my friend Anna.",
        "What colour do you get when you mix blue and yellow?",
        "My dog is called Rex. What is his name?",
        "Tell me a joke about cats.",
        "Which one is bigger, a mouse or an elephant?",
        "She was happy. Is this sentence positive or negative?",
    ),
    2: (
        "Give me some tips for sleeping better at night.",
        "Write a birthday message for my grandmother.",
        "Suggest three places to visit in Rome with kids.",
        "What should I pack for a weekend at the beach?",
        "Rewrite this sentence so that it sounds friendlier: send me the file.",
    ),
    3: (
        "Write a Python function that counts the vowels of a string.",
        "Explain how inflation affects people who have savings.",
        "Find the derivative of x^2 + 3x.",
        "Describe the main causes of the French Revolution.",
        "What is the difference between a virus and a bacterium?",
    ),
    4: (
        "Implement an LRU cache in Java with constant time operations and analyse its memory use.",
        "Compare the economic consequences of quantitative easing and fiscal stimulus.",
        "Explain how the Krebs cycle produces energy, including the role of each enzyme.",
        "Evaluate the legal implications of using copyrighted images in a commercial advertisement.",
    ),
    5: (
        "Prove that every bounded monotone sequence of real numbers converges, and derive the rate for contractions.",
        "Design a consensus protocol that tolerates Byzantine faults and analyse its complexity in the worst case.",
        "Derive the Navier-Stokes equations from conservation of momentum and discuss their open questions.",
        "Evaluate the differential diagnosis of hyponatremia with concurrent renal tubular acidosis.",
    ),
}
CLAIMED = 0.6
TEXT = st.text(min_size=0, max_size=200)
ASKS = st.sampled_from(
    [
        "Write a poem.",
        "- a list of colours",
        "2) Say hello.",
        "What is your name?",
        "Then draft an email and three posts.",
        "Prove it.",
    ]
)
WORDS = """
Prove the theorem of . Design a distributed database ? write poems , my dog and then compare - 1. 7 = json
must enzyme law because ```
"""
PROMPTS = st.lists(st.sampled_from([*WORDS.split(), "\n"]), max_size=25).map(" ".join)


def see(prompt: str, *inputs: Input) -> Classification:
    return classify(TaskRequest(prompt=prompt, inputs=inputs))


# -- the order -----------------------------------------------------------------------------------------------------


def test_prompts_come_in_the_order_of_their_difficulty() -> None:
    # Given prompts that nothing was learned from, and how hard people would call them
    labelled = [(prompt, label) for label, prompts in GRADED.items() for prompt in prompts]
    # When each is classified
    ours = [classify_text(prompt).difficulty for prompt, _ in labelled]
    # Then the order agrees at least as well as is claimed of unseen prompts, and better than that of their lengths
    labels = [label for _, label in labelled]
    agreement, by_length = spearman(ours, labels), spearman([len(prompt) for prompt, _ in labelled], labels)
    assert agreement is not None
    assert by_length is not None
    assert agreement >= max(CLAIMED, by_length)


@pytest.mark.parametrize("prompt", [prompt for label in (1, 2) for prompt in GRADED[label]])
def test_everyday_questions_stay_simple(prompt: str) -> None:
    assert classify_text(prompt).tier == "simple"


@given(PROMPTS, st.lists(ASKS, min_size=1, max_size=6))
def test_more_that_is_asked_for_never_makes_a_task_noticeably_easier(prompt: str, more: list[str]) -> None:
    # Given a prompt that asks for something, and what is asked for beside it
    prompt = f"{prompt.replace('```', '')}\nExplain it."
    before = classify_text(prompt).difficulty
    # When all of that follows, each on a line of its own, Then the difficulty is at most 0.05 lower
    assert classify_text("\n".join([prompt, *more])).difficulty >= before - 0.05 - 1e-4


def test_many_deliverables_raise_the_tier_of_an_easy_task() -> None:
    one, many = "Write a friendly email.", "\n".join(f"- Write a friendly email to team {n}." for n in range(40))
    assert see(one).tier == "simple"
    assert TIERS.index(see(many).tier) > TIERS.index(see(one).tier)


def test_the_size_of_what_comes_along_raises_the_tier() -> None:
    # Given a task that is simple by its prompt
    prompt = "Summarise these reports."
    alone = see(prompt)
    # When it comes with twelve megabytes, in two kinds
    big = Input(kind="text", name="a.txt", text="x" * 6_000_000)
    data = Input(kind="data", name="b.csv", text="x" * 6_000_000)
    full = see(prompt, big, data)
    # Then more is deserved, and a reason says why
    assert TIERS.index(full.tier) > TIERS.index(alone.tier)
    assert any("brings 2 inputs (data, text)" in reason for reason in full.reasons)


@given(PROMPTS, st.integers(0, 2_000_000), st.integers(0, 2_000_000))
def test_larger_inputs_never_make_it_easier(prompt: str, small: int, more: int) -> None:
    def with_bytes(size: int) -> float:
        return classify_text(prompt, [Input(kind="text", name="a", text="x" * size)]).difficulty

    assert with_bytes(small // 100 + more // 100) >= with_bytes(small // 100)


# -- how it is typed -----------------------------------------------------------------------------------------------


def louder(prompt: str) -> str:
    return prompt.upper()


def wider(prompt: str) -> str:
    return f"  {prompt.replace(' ', '   ')}  \n\n"


@pytest.mark.parametrize("typed", [louder, wider])
def test_how_a_prompt_is_typed_hardly_matters(typed: Callable[[str], str]) -> None:
    # Capitals speak of names, which is all that may change; spaces change the size by some bytes
    allowed = 0.08 if typed is louder else 0.001
    for prompt in (prompt for prompts in GRADED.values() for prompt in prompts):
        assert abs(classify_text(typed(prompt)).difficulty - classify_text(prompt).difficulty) <= allowed


@given(TEXT)
def test_any_text_is_classified(text: str) -> None:
    seen = classify_text(text)
    assert 0 <= seen.difficulty <= 1
    assert 0 <= seen.confidence <= 1
    assert seen.reasons


@pytest.mark.parametrize("text", ["", " \n\t", "\ud800", "\0", "e\u0301\u200d\U0001f600", "\u6771\u4eac\u306f\uff1f"])
def test_odd_texts_are_simple(text: str) -> None:
    assert classify_text(text).tier == "simple"


@pytest.mark.parametrize(
    "piece", ["x ", "- \n", "- write poem\n", "\u00e9\U0001f600", "\\n", "Why? ", "plan: a, b, c "]
)
def test_a_prompt_of_256_kib_takes_no_time_worth_mentioning(piece: str) -> None:
    prompt = piece * (262_144 // len(piece.encode()))
    began = time.process_time()
    classify_text(prompt)
    assert time.process_time() - began < 3  # some 0.5 s; anything quadratic takes minutes


# -- how sure ------------------------------------------------------------------------------------------------------


@given(st.floats(-5, 15))
def test_the_tiers_share_out_one_whole(level: float) -> None:
    assert sum(confidence(level, tier) for tier in TIERS) == pytest.approx(1)


@given(st.floats(1, 12))
def test_a_larger_tier_is_no_likelier_than_not_and_a_smaller_one_neither(level: float) -> None:
    place = TIERS.index(tier_of(level))
    # Where two tiers meet, the bound that was fitted lies a little beside the round number that is used
    assert sum(confidence(level, tier) for tier in TIERS[:place]) <= 0.52
    assert sum(confidence(level, tier) for tier in TIERS[place + 1 :]) <= 0.52


def test_a_prompt_far_from_the_next_tier_is_surer_than_one_near_it() -> None:
    far, near = see("Say hello."), see("How do chloroplasts and mitochondria differ?")
    assert far.tier == near.tier == "simple"
    assert far.confidence > 0.9 > near.confidence


def test_confidence_is_what_the_fitted_bounds_say() -> None:
    bound = fitted().bounds["moderate"]
    expected = 1 - 1 / (1 + exp(-(3.0 - bound.centre) / bound.spread))
    assert confidence(3.0, "simple") == pytest.approx(expected)
    assert confidence(bound.centre - bound.spread * log(9), "simple") == pytest.approx(0.9)


def test_thresholds_are_the_levels_as_difficulties() -> None:
    assert [THRESHOLDS[tier] for tier in TIERS] == sorted(THRESHOLDS.values())
    assert all(tier_of(LEVELS[tier]) == tier for tier in TIERS)


# -- why -----------------------------------------------------------------------------------------------------------


def test_reasons_begin_with_what_counted_most_and_end_with_the_sum() -> None:
    # Given a prompt whose words are those of demanding tasks
    seen = see("How do chloroplasts and mitochondria differ?")
    # Then that is the first thing said, and the last says what it came to
    assert seen.reasons[0].startswith("is worded as demanding tasks are (")
    assert "mitochondria" in seen.reasons[0]
    assert seen.reasons[-1] == f"difficulty {seen.difficulty:.2f} is at least 0.00, under 0.43: 'simple'"


# -- what was fitted -----------------------------------------------------------------------------------------------


def test_the_parameters_are_words_numbers_and_hashes() -> None:
    known = fitted()
    assert all(" " not in word for word in [*known.meanings, *known.fields])
    assert len(known.tokens) > 1000
    assert set(known.fields.values()) <= set(DOMAINS)


def test_a_word_outside_the_vocabulary_weighs_what_its_pieces_do() -> None:
    known = {"electro": 1.0, "-lyte": 3.0}
    assert list(pieces("electrolyte", known)) == ["electro", "-lyte"]
    assert list(pieces("\u6771", known)) == []
    assert weights("\u6771")[0] == 0


def test_a_word_alone_and_one_that_begins_a_line_are_told_apart() -> None:
    assert token_key("", "write") != token_key("^", "write")
