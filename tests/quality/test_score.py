"""The five metrics and the overall score."""

import asyncio
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.quality import METRICS, assess, assess_task, compare, wordllama_embed
from actors.quality.judge import Judge
from bench.damage import KINDS
from schemas.quality import Quality, unmeasured
from schemas.task import Input, TaskRequest

PROMPT = "Explain how photosynthesis works in plants."
ANSWER = (
    "Photosynthesis is how plants turn light into food. Leaves hold chlorophyll, which catches the light. "
    "With that energy the plant joins water from its roots and carbon dioxide from the air to make sugar. "
    "Oxygen is left over, and it leaves through small openings in the leaf."
)
OTHER = (
    "To reset the router, hold the small button on its back for ten seconds. The lamps go out and come on again. "
    "Then open the settings page and choose a new password for your network."
)
EMBED = wordllama_embed()


def metrics(quality: Quality) -> list[float | None]:
    return [quality.overall, *(getattr(quality, metric) for metric in METRICS)]


@given(st.text(max_size=400), st.text(max_size=400))
@settings(max_examples=150, deadline=None)
def test_every_score_is_a_fraction_or_null_with_its_reason(prompt: str, answer: str) -> None:
    quality = assess(prompt, (), answer)
    assert all(value is None or 0 <= value <= 1 for value in metrics(quality))
    for metric in METRICS:
        assert (getattr(quality, metric) is None) == (metric in quality.reasons)
        assert (getattr(quality, metric) is not None) == (metric in quality.means)
        assert all(one.severity is None or 0 < one.severity <= 1 for one in quality.evidence.get(metric, ()))


@given(st.text(alphabet='0123456789+-*/=()., x%$^\n"`{}[]:#|_', max_size=300))
@settings(max_examples=150, deadline=None)
def test_signs_and_numbers_of_any_kind_are_handled(text: str) -> None:
    assert all(value is None or 0 <= value <= 1 for value in metrics(assess(text, (text,), text)))


@pytest.mark.parametrize(
    "unit",
    ["a", "word ", ".", "1 + ", "1+1=2 ", "9", "(", "[", '{"a":', '"', "```\n", " ", "的", "😀", "\0", "a, ", "1. a\n",
     "_", "|", "~~~", "I am sorry ", "def f(", "1,", "\t", "- ", "= "],
)  # fmt: skip
def test_a_megabyte_of_anything_is_judged_in_bounded_time(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    started = time.process_time()
    quality = assess(PROMPT, (), text, embed=EMBED)
    assert time.process_time() - started < 1.5  # some 0.1 s on a machine that does nothing else
    assert all(value is None or 0 <= value <= 1 for value in metrics(quality))


def test_what_is_not_read_of_a_long_answer_is_said() -> None:
    quality = assess(PROMPT, (), f"{ANSWER} " * 1000)
    assert "read in part" in {one.check for one in quality.evidence["clarity"]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("embedded", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_damage_of_every_kind_lowers_the_score(kind, embedded: bool, seed: int) -> None:  # type: ignore[no-untyped-def]
    pair = kind(PROMPT, ANSWER, OTHER, random.Random(seed))
    sound, damaged = (
        assess(pair.prompt, (), text, embed=EMBED if embedded else None).overall for text in (pair.sound, pair.damaged)
    )
    assert sound is not None
    assert damaged is not None
    assert damaged < sound


def test_a_clean_answer_has_no_fault() -> None:
    quality = assess(PROMPT, (), ANSWER, embed=EMBED)
    assert [one for found in quality.evidence.values() for one in found if one.severity is not None] == []
    assert quality.overall is not None
    assert quality.overall > 0.7


def test_what_nothing_was_said_of_is_null_with_its_reason() -> None:
    quality = assess(PROMPT, (), "Plants use light.")
    assert (quality.accuracy, quality.innovation) == (None, None)
    assert set(quality.reasons) == {"accuracy", "innovation", "means"}


def test_every_score_says_by_which_means() -> None:
    assert assess(PROMPT, (), ANSWER, embed=EMBED).means["relevance"] == ("checks", "embeddings")
    without = assess(PROMPT, (), ANSWER)
    assert without.means["relevance"] == ("checks",)
    assert "embeddings" in without.reasons["means"]


def test_a_fault_lies_in_the_metric_that_it_touches() -> None:
    quality = assess(PROMPT, (), f"{ANSWER} In numbers, 6 + 6 = 13.", embed=EMBED)
    (fault,) = [one for one in quality.evidence["accuracy"] if one.severity is not None]
    assert fault.check == "arithmetic"
    assert fault.quote == "6 + 6 = 13"
    assert quality.accuracy is not None
    assert quality.accuracy < 0.2
    assert quality.clarity == assess(PROMPT, (), f"{ANSWER} In numbers, 6 + 6 = 12.", embed=EMBED).clarity


def test_the_answer_to_the_question_beats_the_answer_to_another() -> None:
    assert compare(PROMPT, ANSWER, OTHER, embed=EMBED).better == "a"
    assert compare(PROMPT, OTHER, ANSWER, embed=EMBED).better == "b"
    assert compare(PROMPT, ANSWER, ANSWER, embed=EMBED).better is None


def test_saying_more_of_the_same_subject_is_not_better_for_its_length() -> None:
    longer = f"{ANSWER} {OTHER} {OTHER.replace('router', 'printer')}"
    assert compare(PROMPT, ANSWER, longer, embed=EMBED).better == "a"


def test_vectors_that_are_no_use_do_no_harm() -> None:
    for value in (0.0, float("nan"), float("inf")):
        quality = assess(PROMPT, (), ANSWER, embed=lambda texts, value=value: [[value] * 3 for _ in texts])
        assert all(one is None or 0 <= one <= 1 for one in metrics(quality))


def test_a_task_is_assessed_with_its_inputs_and_its_bar() -> None:
    part = Input(kind="text", name="notes", text="The harvest was poor in the north.")
    request = TaskRequest(prompt="What do the notes say of the harvest?", inputs=(part,), min_quality=0.99)
    quality = assess_task(request, 'The notes: the document says "the harvest was rich in the south".')
    assert quality.met is False
    assert quality.accuracy is not None
    assert assess_task(request, None) == unmeasured("there is no answer")


def test_older_events_without_evidence_are_still_read() -> None:
    assert Quality.model_validate({"overall": 0.5, "reasons": {}}).evidence == {}


def test_a_judge_can_be_filled_in() -> None:
    class Kind:
        async def judge(self, prompt: str, inputs: object, answer: str, checked: Quality) -> Quality:
            return checked.model_copy(update={"overall": 1.0})

    judge: Judge = Kind()
    assert asyncio.run(judge.judge(PROMPT, (), ANSWER, assess(PROMPT, (), ANSWER))).overall == 1.0
