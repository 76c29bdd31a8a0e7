"""Each check: what it must see, and what it must leave alone."""

import json

import pytest

from actors.quality import citation, form, language, puzzle, repetition, sense, talk, truncation
from actors.quality.arithmetic import asked_result, calculations
from actors.quality.arithmetic import wrong as miscalculated
from actors.quality.text import Reading

PROSE = (
    "Photosynthesis turns light into sugar. Leaves take in water and carbon dioxide, and the sun's energy joins them. "
    "Oxygen is what is left over, and the plant lets it go."
)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("So 12 \u00d7 7 = 94.", 84),
        ("12 plus 7 equals 21", 19),
        ("We pay 3 * $1,100 = $3,500.", 3300),
        ("- 2 + 2 = 5", 4),
        ("1. 2 + 2 = 5", 4),
        ("**2 + 2 = 5**", 4),
        ("in all (3 \u00d7 20 = 70)", 60),
        ("3 apples + 4 apples = 8 apples", 7),
        ("The sum of 3 and 4 is 8", 7),
        ("30% of 50 is 10", 15),
        ("2^3 = 9", 8),
        ("100 / 4 = 24", 25),
        ("5 - (-15) - 1 = 20", 19),
    ],
)
def test_a_wrong_calculation_is_found_and_done_again(text: str, right: float) -> None:
    (found,) = calculations(Reading(text))
    assert (found.holds, found.right) == (False, right)
    assert found.place.quote in text


@pytest.mark.parametrize(
    "text",
    [
        "12 * 7 = 84",
        "10 / 3 = 3.33",
        "2/3 is about 0.7",
        "2 + 3 = 5 + 1 = 6",
        "2x + 3 = 7",
        "f(2) + 3 = 9",
        "a^2 + 3 = 4",
        "E = mc^2 + 3 = 4",
        "1 km + 500 m = 1500 m",
        "5! = 120",
        "|x + 5| < 10, so -10 < x + 5 < 10",
        "It is not true that 2 + 2 = 5.",
        "In 2020-2021 things were = good",
        "7 + 5 = 2 x",
        "17 is a prime number, 9 is odd and 8 is not odd",
        "20% of 50 is 10",
    ],
)
def test_what_holds_or_cannot_be_done_again_is_left_alone(text: str) -> None:
    assert not miscalculated(Reading(text), "Explain.")


def test_the_base_that_a_prompt_names_is_calculated_in() -> None:
    prompt = "Assuming that all numbers are in base-9, what is 86+16?"
    assert not miscalculated(Reading("6+6=13, so the result is \\boxed{113}."), prompt)
    assert miscalculated(Reading("6+6=12, so the result is \\boxed{102}."), prompt)


def test_the_result_that_a_prompt_asks_for_must_be_in_the_answer() -> None:
    assert asked_result("What is 77 + 84?") == 161
    assert miscalculated(Reading("It is 160."), "What is 77 + 84?")
    assert not miscalculated(Reading("It is 161."), "What is 77 + 84?")
    assert asked_result("solve x + 5 = 7") is None


@pytest.mark.parametrize("text", ["17 is not a prime number.", "9 is prime.", "8 is odd."])
def test_a_false_word_about_a_number_is_found(text: str) -> None:
    assert miscalculated(Reading(text), "Is it?")


@pytest.mark.parametrize(
    "text", ['{"a": 1', "{'a': 1}", '{"a": 1,}', '{"a" 1}', '```json\n{"a": 1\n```', '{"a": NaN}', "[" * 100_000]
)
def test_json_that_cannot_be_read_is_found(text: str) -> None:
    assert form.wrong(Reading(text), json_asked=True)


@pytest.mark.parametrize(
    "text", ['{"a": 1}', '```json\n{"a": [1, 2]}\n```', 'Here it is:\n```\n{"a": 1}\n```', "[1, 2]"]
)
def test_json_that_can_be_read_is_left_alone(text: str) -> None:
    assert not form.wrong(Reading(text), json_asked=True)


def test_json_must_fit_its_schema() -> None:
    schema = {"type": "object", "required": ["age"], "properties": {"age": {"type": "integer"}}}
    assert form.wrong(Reading('{"age": "old"}'), schema)
    assert not form.wrong(Reading('{"age": 3}'), schema)


def test_a_schema_that_refers_to_another_document_fetches_nothing() -> None:
    (found,) = form.wrong(Reading("3"), {"$ref": "http://127.0.0.1:9/schema"})
    assert (found.check, found.severity) == ("schema", 0.01)


@pytest.mark.parametrize(
    ("language_", "code", "sound"),
    [
        ("python", "def f(x):\n    return x\n", True),
        ("python", "def f(x:\n    return x\n", False),
        ("python", ">>> f(1)\n2\n", True),
        ("js", 'const a = (x) => { return "{"; };\n', True),
        ("js", "const a = (x) => { return 1;\n", False),
        ("json", '{"a": 1}\n', True),
        ("json", '{"a": }\n', False),
        ("xml", "<a><b/></a>\n", True),
        ("xml", "<a><b></a>\n", False),
        ("csv", "a,b\n1,2\n", True),
        ("csv", "a,b\n1,2,3\n", False),
    ],
)
def test_a_block_of_code_is_read(language_: str, code: str, sound: bool) -> None:
    assert (not form.wrong(Reading(f"See:\n```{language_}\n{code}```\n"))) is sound


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (PROSE, "en"),
        ("Das ist eine Frage, die man auf verschiedene Weise beantworten kann und soll.", "de"),
        ("C'est une question à laquelle on peut répondre de plusieurs façons dans le temps.", "fr"),
        ("Esta es una pregunta que se puede responder de varias maneras por la gente.", "es"),
        ("Это вопрос, на который можно ответить", "ru"),
        ("这个问题可以用不同的方式来回答", "zh"),
        ("この質問にはいろいろな答えがあります", "ja"),
        ("qz wvx", None),
        ("", None),
    ],
)
def test_a_language_is_told(text: str, code: str | None) -> None:
    assert language.language_of(text)[0] == code


def test_an_answer_in_another_language_than_the_question_is_found() -> None:
    german = Reading("Das ist eine Frage, die man auf verschiedene Weise beantworten kann und soll.")
    assert language.wrong(german, "How does photosynthesis work?")
    assert not language.wrong(german, "How do plants live? Answer in German.")
    assert not language.wrong(german, "Translate this sentence for me into another language.")
    assert language.wrong(Reading(PROSE), "How do plants live? Answer in German.")


@pytest.mark.parametrize(
    "text", [f"{PROSE} {PROSE}", f"{PROSE}\n\n{PROSE}\n\n{PROSE}", "Yes. " * 40, "very " * 30, "1. a\n2. b\n1. a\n2. b"]
)
def test_repetition_is_found(text: str) -> None:
    assert repetition.wrong(Reading(text))


@pytest.mark.parametrize("text", [PROSE, "Ha ha!", "1. red\n2. green\n3. blue", "No, no. I mean it."])
def test_what_is_said_once_is_no_repetition(text: str) -> None:
    assert not repetition.wrong(Reading(text))


def test_a_repetition_that_was_asked_for_is_none() -> None:
    assert repetition.repetition_asked("Repeat the word yes 40 times.")


@pytest.mark.parametrize(
    "text",
    [
        PROSE[:-40],
        "Here are the steps:",
        "1. Wash it.\n2. Cook it.\n3. Serve it with a little of the",
        "```python\ndef f():\n    return",
        "It is good. It is also",
        "They sell many things (bread, milk",
        "1. One is here.\n2.",
    ],
)
def test_an_answer_that_stops_early_is_found(text: str) -> None:
    assert truncation.wrong(Reading(text))


@pytest.mark.parametrize(
    "text",
    [
        PROSE, "Paris", "1. red\n2. green\n3. blue", "Dear Sir,\n\nI am well. Thanks.\n\nSincerely,\nJohn Smith",
        "See:\n```python\nx = 1\n```", "2, 3, 5, 7, 11, 13, 17, 19, 23, 29", "It is done! 🎉", "The answer is 42",
        '{"a": 1}', "", "Good. The answer is: Yes",
    ],
)  # fmt: skip
def test_an_answer_that_ends_is_left_alone(text: str) -> None:
    assert not truncation.wrong(Reading(text))


def test_talk_in_place_of_an_answer_is_found() -> None:
    flattery = "What a wonderful question! You are clearly brilliant. I am honoured. Thank you for asking!"
    assert [f.check for f in talk.wrong(Reading(flattery), "How do plants live?")] == ["flattery"]
    assert [f.check for f in talk.wrong(Reading("I'm sorry, but I cannot help with that."), "How?")] == ["refusal"]
    assert [f.severity for f in talk.wrong(Reading("  "), "How?")] == [1.0]
    assert not talk.wrong(Reading(PROSE), "How do plants live?")
    assert not talk.wrong(Reading(f"Great question! {PROSE} {PROSE}"), "How do plants live?")


def test_praise_that_was_asked_for_is_no_flattery() -> None:
    praise = Reading("Your creativity is a gift. You are brilliant, and we all know it.")
    assert not talk.wrong(praise, "Write a compliment for a colleague.")


def test_a_quotation_is_looked_up_in_the_inputs() -> None:
    inputs = ("What does it say?", "The harvest was poor in the north of the country.")
    assert citation.wrong(Reading('The report says "The harvest was rich everywhere".'), inputs)
    assert not citation.wrong(Reading('The report says "the harvest was poor in the north".'), inputs)
    assert citation.wrong(Reading("It was poor [3]."), inputs)
    assert not citation.wrong(Reading("It was poor [1]."), inputs)


@pytest.mark.parametrize(
    ("prompt", "good", "bad"),
    [
        ("Sort these numbers in ascending order: 5, 2, 9, 1", "1, 2, 5, 9", "1, 5, 2, 9"),
        ("Sort in descending order: 5, 2, 9, 1", "9, 5, 2, 1", "1, 2, 5, 9"),
        ("Arrange alphabetically: pear, apple, fig", "apple, fig, pear", "apple, pear"),
        ("Group the items into two groups: cat, oak, dog, elm", "Animals: cat, dog\nTrees: oak, elm", "cat, dog"),
        ('How many words are in "the cat sat down"?', "4", "There are 5 words."),
        ("Find the average of 2, 4 and 9.", "5", "It is 6."),
        ("Convert 10 km to miles.", "6.21 miles", "16.1 miles"),
        ("Convert 100 F to C.", "37.8", "50"),
        ("Give three prime numbers.", "2, 3, 5", "4, 6, 8"),
        ("Give two words that rhyme with moon.", "soon, tune spoon", "cat, dog"),
        ("Paraphrase: The cat sat down quietly.", "Quietly, the cat took a seat.", "The cat sat down quietly."),
    ],
)
def test_a_small_task_is_worked_out(prompt: str, good: str, bad: str) -> None:
    if "rhyme" not in prompt:
        assert not puzzle.wrong(Reading(good), prompt)
    assert puzzle.wrong(Reading(bad), prompt)


def test_a_blank_must_be_filled_in_its_sentence() -> None:
    prompt = 'Complete the sentence: "It was raining, so I put on my ____."'
    assert not sense.wrong(Reading("It was raining, so I put on my raincoat."), prompt)
    assert sense.wrong(Reading("It was raining, so I put on my ____."), prompt)
    assert sense.wrong(Reading("It was raining, so I put on my coat to keep out the rain."), prompt)


def test_a_mood_is_named_as_the_words_are() -> None:
    prompt = "Analyze the sentiment: I am so grateful for this wonderful help."
    assert not sense.wrong(Reading("Positive sentiment."), prompt)
    assert sense.wrong(Reading("Negative sentiment."), prompt)
    assert sense.mood_of("not good") == -1
    assert sense.mood_of("a table") == 0


def test_a_place_lies_where_its_quote_stands() -> None:
    text = f"{PROSE}\nSo 2 + 2 = 5, as {json.dumps(PROSE)} says."
    (found,) = miscalculated(Reading(text), "How?")
    assert found.place is not None
    assert text[found.place.start : found.place.end] == found.place.quote == "2 + 2 = 5"


def test_a_place_in_the_last_part_of_a_long_text_is_right_too() -> None:
    text = f"{PROSE} " * 500 + "So 2 + 2 = 5, it is said."
    places = [f.place for f in miscalculated(Reading(text), "How?")]
    assert [p and text[p.start : p.end] for p in places] == ["2 + 2 = 5"]
