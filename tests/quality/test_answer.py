"""Final answers of closed questions, and how far answers agree."""

import random
import time
from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.quality.answer import agreement, final_answer
from actors.quality.quantity import quantity_of
from actors.quality.relevance import Embed
from actors.quality.vectors import wordllama_embed

CHOICES = "Which planet is the largest?\nA. Mars\nB. Jupiter\nC. Venus\nD. The Moon\nAnswer:"
EGGS = "Janet's ducks lay 16 eggs a day. How much in dollars does she make every day?"
OPEN = "Explain why the sky is blue."
BLUE = (
    "Sunlight holds all colours. Air scatters short waves far more than long ones, so blue light reaches us from every "
    "part of the sky, while red light goes straight on."
)
RED = "At dusk the light has a long way through the air. Most blue is lost on it, and what is left looks red."


@cache
def embed() -> Embed:
    return wordllama_embed()


@pytest.mark.parametrize(
    ("prompt", "text", "answer"),
    [
        (CHOICES, "B", "B"),
        (CHOICES, "(B)", "B"),
        (CHOICES, "B. Jupiter", "B"),
        (CHOICES, "**B**", "B"),
        (CHOICES, "Jupiter", "B"),
        (CHOICES, "Mars is small, so option A is wrong. The correct answer is B.", "B"),
        (CHOICES, "Let us see.\nThe answer is **B) Jupiter**", "B"),
        (CHOICES, "Thus \\boxed{B}.", "B"),
        (CHOICES, "The answer is Jupiter.", "B"),
        (CHOICES, "A. Mars is small.\nB. Jupiter is large.\nC. Venus is small.\nD. The Moon is none.", None),
        (CHOICES, "A. Mars is small.\nB. Jupiter is large.\nSo the answer is B.", "B"),
        (CHOICES, "Either could be meant.", None),
        (EGGS, "$18", "18 usd"),
        (EGGS, "18 dollars.", "18 usd"),
        (EGGS, "She sells 16 - 3 - 4 = 9 eggs.\nSo she makes 9 * 2 = $18 every day.", "18 usd"),
        (EGGS, "She sells nine.\n#### 18", "18"),
        (EGGS, "**Answer:** 18 dollars a day", "18 usd"),
        (EGGS, "The answer is $18, because she sells nine.", "18 usd"),
        (EGGS, "Thus the final answer is \\(\\boxed{\\$18.00}\\).", "18 usd"),
        (EGGS, "She sells some eggs, between 3 and 9.", None),
        ("How many eggs are left?", "12 eggs", "12"),
        ("How many eggs are left?", "There are 1,200 eggs left.", "1200"),
        ("Is 17 a prime number?", "Yes, it has no divisors.", "yes"),
        ("Is 17 a prime number?", "The answer is no.", "no"),
        ("Is 17 a prime number?", "It depends on what you mean.", None),
        ("True or false: the sun is a star.", "True", "true"),
        ("What is the capital of France?", "Paris", "paris"),
        ("What is the capital of France?", "The answer is **Paris**.", "paris"),
        ("What is the capital of France?", "It is Paris.", "paris"),
        ("Give the counts as JSON.", '{"b": 2.0, "a": [1]}', '{"a":[1],"b":2}'),
        ("Give the counts as JSON.", 'Here it is:\n```json\n{"a": [1], "b": 2}\n```', '{"a":[1],"b":2}'),
        ("Give a summary as JSON.", '{"summary": "' + "word " * 30 + '"}', None),
        (OPEN, BLUE, None),
        ("Write a title for my essay.", "The Blue Sky", None),
        (OPEN, "", None),
    ],
)
def test_the_final_answer_is_found_and_written_in_one_way(prompt: str, text: str, answer: str | None) -> None:
    assert final_answer(prompt, text) == answer


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5 km", "5,000 metres"),
        ("2 hours", "120 min"),
        ("$3 million", "3,000,000 dollars"),
        ("1/2", "0.5"),
        ("\\frac{1}{2}", ".5"),
        ("50%", "50 percent"),
        ("eighteen", "18"),
        ("5 m^2", "5 square meters"),
        ("1.5 \u00d7 10^3", "1500"),
    ],
)
def test_a_quantity_written_in_two_ways_is_one(one: str, other: str) -> None:
    first, second = quantity_of(one), quantity_of(other)
    assert first is not None
    assert second is not None
    assert first.key == second.key


@pytest.mark.parametrize(
    ("one", "other"), [("5 km", "5 miles"), ("4 July", "4 June"), ("5 m", "5 m^2"), ("3", "-3"), ("18 usd", "18 eur")]
)
def test_different_quantities_stay_different(one: str, other: str) -> None:
    first, second = quantity_of(one), quantity_of(other)
    assert first is not None
    assert second is not None
    assert first.key != second.key


@pytest.mark.parametrize("text", ["12 and 13", "x = 5", "4 July 1776", "5:30", "2nd", "", "1/0"])
def test_what_is_more_than_a_number_is_no_quantity(text: str) -> None:
    assert quantity_of(text) is None


def test_answers_agree_by_what_they_come_to_not_by_their_words() -> None:
    # Given three ways to 18 dollars, one without the unit, and one to 20
    texts = ["$18", "She sells nine.\n#### 18", "So she makes 9 * 2 = 18 dollars.", "She makes 20 dollars."]
    # When they are compared
    found = agreement(EGGS, texts, [1, 1, 1, 3])
    # Then the first three are one group, and the weight decides which is the heaviest
    assert found.by == "answer"
    assert found.clusters == ((0, 1, 2), (3,))
    assert found.share == 0.5
    assert found.similarity == 0.5


def test_a_bare_number_joins_no_unit_where_two_would_do() -> None:
    found = agreement("How far is it?", ["5", "5 km", "5 miles"])
    assert [len(cluster) for cluster in found.clusters] == [1, 1, 1]


def test_an_answer_that_cannot_be_told_stands_alone() -> None:
    found = agreement(CHOICES, ["B", "Jupiter", "Either could be meant."])
    assert found.clusters == ((0, 1), (2,))


@pytest.mark.parametrize("vectors", [True, False])
def test_open_answers_agree_by_content(vectors: bool) -> None:
    # Given an answer, the same with its sentences turned round, and another
    turned = " ".join(reversed(BLUE.split(". ")))
    # When they are compared
    found = agreement(OPEN, [BLUE, RED, turned], None, embed() if vectors else None)
    # Then the two that say the same are together
    assert (found.by, found.clusters) == ("content", ((0, 2), (1,)))
    assert found.share == pytest.approx(2 / 3)
    assert 0 < found.similarity < 1


def test_answers_alike_in_words_but_not_in_numbers_do_not_agree() -> None:
    one = "The bridge was opened in 1890 and spans 521 metres between its towers over the firth."
    other = "The bridge was opened in 1964 and spans 1006 metres between its towers over the firth."
    assert len(agreement("Describe the bridge.", [one, other], None, embed()).clusters) == 2


def test_one_text_agrees_with_itself() -> None:
    found = agreement(OPEN, [BLUE])
    assert (found.clusters, found.share, found.similarity) == (((0,),), 1.0, 1.0)


@pytest.mark.parametrize(
    ("texts", "weights"), [([], None), (["a"], [1, 2]), (["a"], [-1]), (["a"], [float("nan")]), (["a"], [float("inf")])]
)
def test_what_cannot_be_compared_is_refused(texts: list[str], weights: list[float] | None) -> None:
    with pytest.raises(ValueError, match=r"texts|weight"):
        agreement(OPEN, texts, weights)


TEXTS = st.lists(
    st.sampled_from(
        [
            "18",
            "$18",
            "18 dollars",
            "19",
            "18 eur",
            "yes",
            "Yes.",
            "no",
            "A",
            "(B)",
            '{"a":1}',
            BLUE,
            RED,
            "",
            BLUE + " Yes.",
        ]
    )
    | st.text(max_size=40),
    min_size=1,
    max_size=8,
)
PROMPTS = st.sampled_from([OPEN, EGGS, CHOICES, "Is it so?", "What is it?"])


@given(PROMPTS, TEXTS, st.data())
def test_groups_part_the_texts_and_their_order_does_not_matter(
    prompt: str, texts: list[str], data: st.DataObject
) -> None:
    weights = data.draw(st.lists(st.integers(0, 9), min_size=len(texts), max_size=len(texts)))
    order = data.draw(st.permutations(range(len(texts))))
    found = agreement(prompt, texts, weights)
    # Each index is in one group
    assert sorted(index for cluster in found.clusters for index in cluster) == list(range(len(texts)))
    assert 0 < found.share <= 1
    assert 0 <= found.similarity <= 1
    # The same texts in another order fall into the same groups
    moved = agreement(prompt, [texts[at] for at in order], [weights[at] for at in order])
    assert {frozenset(order[index] for index in cluster) for cluster in moved.clusters} == {
        frozenset(cluster) for cluster in found.clusters
    }
    assert (moved.share, moved.by) == (found.share, found.by)
    assert moved.similarity == pytest.approx(found.similarity)


@given(PROMPTS, TEXTS)
def test_duplicates_agree(prompt: str, texts: list[str]) -> None:
    found = agreement(prompt, [*texts, *texts])
    group = {index: cluster for cluster in found.clusters for index in cluster}
    same = [text for text in range(len(texts)) if text + len(texts) in group[text]]
    told = [at for at, text in enumerate(texts) if found.by == "content" or final_answer(prompt, text) is not None]
    assert set(told) <= set(same)


@given(PROMPTS, st.text(max_size=400))
def test_any_text_can_be_read_and_what_was_found_is_found_in_itself(prompt: str, text: str) -> None:
    answer = final_answer(prompt, text)
    assert answer is None or answer.strip() == answer != ""


def test_a_long_text_is_read_in_time() -> None:
    started = time.process_time()
    chance = random.Random(1)
    pieces: Sequence[str] = ["answer is ", "**", "\\boxed{", "$", "18 ", "(A) ", "final answer", "{", "\n", "= ", "B. "]
    text = "".join(chance.choice(pieces) for _ in range(40_000))
    for prompt in (OPEN, EGGS, CHOICES, "Is it so?"):
        final_answer(prompt, text)
        final_answer(prompt, "A. " * 300_000)
    assert time.process_time() - started < 10  # some 1 s on a machine that does nothing else
