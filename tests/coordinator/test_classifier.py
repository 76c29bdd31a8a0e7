"""What the classifier sees in a prompt, and which tier is then run."""

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.coordinator.classifier import DOMAINS, THRESHOLDS, Classification, choose, classify
from schemas.task import TEAM_SIZES, TIERS, Input, TaskRequest, Tier

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: bool(text.strip()))
PIECES = """
write a three poems and then compare , . ? - 1. ``` ~~~ prove must at most exactly json design the data
model security 5 slogans you should please ; : 2 ! \u2026 \u00e9 \u6771\u4eac
"""
LIKE_PROMPTS = st.lists(st.sampled_from([*PIECES.split(), "\n"]), min_size=1).map(" ".join)
PROMPTS = (TEXT | LIKE_PROMPTS).filter(lambda text: bool(text.strip()))


def see(prompt: str, *inputs: Input) -> Classification:
    return classify(TaskRequest(prompt=prompt, inputs=inputs))


# -- properties ----------------------------------------------------------------------------------------------------


@given(PROMPTS)
def test_any_prompt_is_classified(prompt: str) -> None:
    seen = see(prompt)
    assert 0 <= seen.difficulty <= 1
    assert seen.tier in TIERS
    assert set(seen.domains) <= set(DOMAINS)
    assert seen.features["deliverables"] >= 1  # type: ignore[operator]
    assert all(seen.reasons)


@given(PROMPTS)
def test_the_same_prompt_is_seen_the_same_way(prompt: str) -> None:
    assert see(prompt) == see(prompt)


@given(PROMPTS, st.sampled_from(["- a summary", "2) Write an essay.", "Write a poem", "Why?", "and then report it"]))
def test_one_more_line_never_lowers_what_is_asked_for(prompt: str, line: str) -> None:
    before, after = see(prompt).features["deliverables"], see(f"{prompt}\n{line}").features["deliverables"]
    assert after >= before  # type: ignore[operator]


@given(PROMPTS)
def test_a_tier_lies_within_its_bounds(prompt: str) -> None:
    seen = see(prompt)
    larger = TIERS[TIERS.index(seen.tier) + 1 :]
    assert THRESHOLDS[seen.tier] <= seen.difficulty
    assert all(seen.difficulty < THRESHOLDS[tier] for tier in larger)


@pytest.mark.parametrize(
    "piece", [".", " ", "\n", "a", "- ", "1. ", "```", "a,", "'a", "write a poem and ", "?!", "two ", "trade "]
)
def test_a_hostile_prompt_takes_no_longer_than_any_other(piece: str) -> None:
    prompt = piece * (250_000 // len(piece)) + "x"
    began = time.process_time()
    see(prompt)
    assert time.process_time() - began < 3  # some 0.2 s; anything quadratic takes minutes


# -- what is asked for ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "count"),
    [
        ("Say hello.", 1),
        ("What is the capital of France?", 1),
        ("Write a haiku and then translate it into French.", 2),
        ("Write a slogan, an email and three posts.", 5),
        ("Please suggest five names for a cat.", 5),
        ("Could you summarise this text and list its weaknesses?", 2),
        ("1. Draw the data model.\n2. Write the code.\n3. Review it.", 3),
        ("Prepare the following:\n- a budget\n- a schedule\n* a list of risks", 4),
        ("Write a summary in three sentences.", 1),
        ("Write a report of at most 300 words on 2019.", 1),
        ("Write a thousand slogans: 900 slogans.", 1),
        ("Give me 900 slogans.", 20),
        ("Luke ate 2 hot dogs. Thomas ate three times more hot dogs than Luke.", 1),
        ("Explain this:\n```\nwrite a file\nwrite a line\n- x\n```\n", 1),
        ("Wer hat das geschrieben? Und wann war das?", 2),
    ],
)
def test_deliverables(prompt: str, count: int) -> None:
    assert see(prompt).features["deliverables"] == count


@pytest.mark.parametrize(
    ("prompt", "domain"),
    [
        ("Propose a scalable architecture for a chat backend.", "architecture"),
        ("Fix the bug in this Python function.", "code"),
        ("Is this C++ or C#? c++ c#", "code"),
        ("Find vulnerabilities in this login form: passwords are stored in plain text.", "security"),
        ("Does this form comply with the GDPR?", "privacy"),
        ("Clean this dataset and plot the correlation.", "data"),
        ("Prove that the matrix has a positive eigenvalue.", "mathematics"),
        ("How do plants use photosynthesis?", "science"),
        ("Check this contract for liability clauses.", "legal"),
        ("Draft a budget and forecast revenue.", "finance"),
        ("Plan a campaign on social media for our brand.", "marketing"),
        ("Sketch a wireframe of the settings page.", "design"),
        ("Write a README for this library.", "documentation"),
        ("Write a short story about a lighthouse.", "writing"),
    ],
)
def test_domains(prompt: str, domain: str) -> None:
    assert domain in see(prompt).domains


@pytest.mark.parametrize("prompt", ["The barcode lawn", "A strategic romp", "He contracted it", "encode a brandy"])
def test_a_term_inside_another_word_is_none(prompt: str) -> None:
    assert not {"code", "architecture", "marketing", "security"} & set(see(prompt).domains)


def test_the_trade_with_most_terms_comes_first() -> None:
    seen = see("Audit the security of this API: authentication, passwords, encryption.")
    assert seen.domains[0] == "security"


def test_inputs_count_by_kind_and_size() -> None:
    code = Input(kind="code", name="a.py", text="print(1)")
    picture = Input(kind="image", name="a.png", media_type="image/png", base64=base64.b64encode(b"x" * 5000).decode())
    plain, full = see("Say what this is."), see("Say what this is.", code, picture)
    assert full.features["kinds"] == ["code", "image"]
    assert full.features["bytes"] == plain.features["bytes"] + 8 + 5000  # type: ignore[operator]
    assert full.domains == ("code",)
    assert full.difficulty > plain.difficulty


def test_cues_are_kept_as_they_were_written() -> None:
    seen = see("Compare both plans, explain the trade-offs step by step, and answer in JSON with at most 50 words.")
    assert seen.features["reasoning"] == ["compare", "plans", "explain", "trade offs", "step by step"]
    assert seen.features["constraints"] == ["json", "at most"]
    assert "demands reasoning (compare, plans, explain, trade offs, step by step)" in seen.reasons


# -- difficulty ----------------------------------------------------------------------------------------------------

EASY = "Say hello."
MIDDLING = (
    "Compare PostgreSQL, MySQL and SQLite for a small web shop. Evaluate latency, cost and backups, explain the "
    "trade-offs, and recommend one."
)
HARD = """Design the backend architecture for a checkout service and then implement it.
1. Draw the data model and the API.
2. Write the Python code for the endpoints, with unit tests.
3. Review the security: authentication, injection, and how credentials are stored.
4. Based on the review, write a migration plan.
It must handle 500 requests per second with at most 200 ms latency. Explain the trade-offs."""
HUGE = """Plan and prepare the launch of our luxury handbag collection in three markets.
- Research the competitors in each market and evaluate their pricing.
- Derive a brand positioning from this analysis, and justify it.
- Write the product descriptions for 12 items, consistent with the positioning.
- Design a landing page and a mood board.
- Plan the marketing campaign: audience, channels, budget, schedule.
- Forecast revenue and compare three scenarios.
- Check the claims against advertising law in the EU, and list the legal risks.
- Set up the data pipeline that measures conversion, in SQL, with a dashboard.
- Then prioritise the work, assess the risks, and write a step by step plan with deadlines.
The texts must be in English and French, at most 80 words each, without superlatives, as JSON."""


def test_tiers_of_four_tasks_that_people_would_order_so() -> None:
    assert [see(prompt).tier for prompt in (EASY, MIDDLING, HARD, HUGE)] == list(TIERS)


def test_length_alone_decides_nothing() -> None:
    long = "Fix the spelling.\n" + "the cat sat on teh mat " * 10_000
    assert see(long).tier == "simple"
    assert see(MIDDLING).difficulty > see(long).difficulty


@pytest.mark.parametrize("more", ["Prove why.", "It must be exactly right.", "Then write an essay based on it."])
def test_more_demands_make_it_harder(more: str) -> None:
    assert see(f"{MIDDLING} {more}").difficulty > see(MIDDLING).difficulty


# -- the tier to run -----------------------------------------------------------------------------------------------


def deserving(tier: Tier) -> Classification:
    return Classification(tier, THRESHOLDS[tier], (), {}, ("because",))


def test_the_tier_asked_for_is_run() -> None:
    assert choose(deserving("mega"), "simple", None) == ("simple", ("'simple' was asked for",))


@pytest.mark.parametrize("tier", TIERS)
def test_where_nothing_is_asked_for_the_deserved_tier_is_run(tier: Tier) -> None:
    assert choose(deserving(tier), None, None) == (tier, ("because",))


@pytest.mark.parametrize(
    ("deserved", "agents", "runs"),
    [("simple", 3, "moderate"), ("mega", 1, "simple"), ("mega", 4, "complex"), ("complex", 13, "mega")],
)
def test_a_size_that_the_deserved_tier_cannot_have_takes_the_nearest_that_can(
    deserved: Tier, agents: int, runs: Tier
) -> None:
    tier, reasons = choose(deserving(deserved), None, agents)
    assert tier == runs
    assert reasons == ("because", f"deserves {deserved!r}; {runs!r} is the nearest shape for {agents} agents")


@given(deserved=st.sampled_from(TIERS), agents=st.integers(1, 10_000))
def test_every_size_has_a_tier_that_can_have_it(deserved: Tier, agents: int) -> None:
    tier, _ = choose(deserving(deserved), None, agents)
    fewest, most = TEAM_SIZES[tier]
    assert fewest <= agents <= most
