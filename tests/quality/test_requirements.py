"""What prompts ask for, and whether answers keep to it."""

import pytest

from actors.quality.fulfilment import fulfilments
from actors.quality.requirements import extract
from actors.quality.text import Reading


def share(prompt: str, answer: str) -> float:
    kept = fulfilments(Reading(answer), Reading(prompt), extract(prompt))
    return min((one.share for one in kept), default=1.0)


CASES = [
    ("Write exactly 3 sentences about bees.", "Bees fly. Bees hum. Bees work.", "Bees fly. Bees hum."),
    ("Describe bees in at most 5 words.", "Bees fly and hum.", "Bees fly and hum and work all day long."),
    ("Describe bees. Use at least 6 words.", "Bees fly and hum all day.", "Bees fly."),
    ("List three colours of the rainbow.", "1. red\n2. green\n3. blue", "1. red\n2. green"),
    ("Give me 5 ideas for dinner.", "rice, soup, bread, fish, pie", "rice, soup"),
    ("Generate two names for a cat.", "Tom, Kit", "Tom, Kit, Max, Leo"),
    ('Write about bees. Include the words "honey" and "wax".', "Honey and wax come from bees.", "Bees make honey."),
    ('Write about bees. Do not use the word "honey".', "Bees make wax.", "Bees make honey."),
    ("Write about bees without using the letter 'z'.", "Bees hum.", "Bees buzz."),
    ('Start your answer with the words "In spring".', "In spring bees fly.", "Well, in spring bees fly."),
    ('End your answer with the word "bees".', "I like bees.", "Bees are what I like."),
    ("Give the answer as JSON.", '{"a": 1}', "a is 1"),
    ("Answer as a bulleted list.", "- a bee\n- a wasp", "A bee and a wasp."),
    ("Show it in a table.", "| a | b |\n|---|---|\n| 1 | 2 |", "a is 1 and b is 2"),
    ("Write a Python function that adds two numbers.", "def add(a, b):\n    return a + b", "You add one to the other."),
    ("Say hello. Answer in French.", "Bonjour à vous, je suis dans la maison avec un chat.",
     "Hello to you, I am in the house with a cat."),
    ("Describe the habitat, diet and lifespan of bees.", "Habitat: a hive. Diet: nectar. Lifespan: weeks.",
     "They live in hives."),
    ("Write a poem about bees.", "Bees hum\nall day\nin May", "Bees are insects that hum all day in May."),
    ("Write an equation with one unknown.", "x + 4 = 9", "Take a number and add four."),
    ("Take the 2nd, 4th words to be 'bee', 'fly' respectively.", "The bee can fly", "A wasp can sting"),
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "good", "bad"), CASES)
def test_what_is_asked_is_seen_to_be_kept_or_not(prompt: str, good: str, bad: str) -> None:
    assert share(prompt, good) == 1.0
    assert share(prompt, bad) < 1.0


@pytest.mark.parametrize(("prompt", "good", "bad"), CASES)
def test_a_requirement_is_quoted_where_it_stands_in_the_prompt(prompt: str, good: str, bad: str) -> None:
    for requirement in extract(prompt):
        if requirement.place is not None:
            place = requirement.place
            assert " ".join(prompt[place.start : place.end].split()).startswith(place.quote[:100])


@pytest.mark.parametrize("prompt", ["How do bees live?", "Tell me about bees.", "Bees", "", "?!", "bees " * 10_000])
def test_a_prompt_without_rules_sets_none_that_an_answer_breaks(prompt: str) -> None:
    assert share(prompt, "Bees live in hives, and they hum all day.") == 1.0


def test_code_in_a_prompt_gives_no_orders() -> None:
    prompt = "Explain this:\n```\n# write exactly 3 sentences\n```"
    assert not [r for r in extract(prompt) if r.kind == "count"]
