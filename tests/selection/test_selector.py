"""When there is a choice for a task, and what the task looks like to it."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from actors.catalogue import Catalogue, load
from actors.selection import Choice, Features, Prediction, PriorPredictor, Selector
from schemas.figures import ServiceFigures
from schemas.service import ServiceSpec
from schemas.task import TaskRequest
from tests.selection.doubles import seen

OURS = load()
KEYS = {"CEREBRAS_API_KEY": "a", "GROQ_API_KEY": "b", "GEMINI_API_KEY": "c", "SCALEWAY_API_KEY": "d"}
PIXEL = {"kind": "image", "name": "p.png", "media_type": "image/png", "base64": base64.b64encode(b"pixel").decode()}

Overlaid = Callable[[str], Catalogue]


@pytest.fixture
def overlaid(tmp_path: Path) -> Overlaid:
    def with_text(text: str) -> Catalogue:
        overlay = tmp_path / "my.yaml"
        overlay.write_text(text, encoding="utf-8")
        return load(overlay)

    return with_text


@dataclass
class Noted:
    """The priors, keeping what they were asked for."""

    asked: list[Features] = field(default_factory=list)

    def predict(
        self, features: Features, service: str, spec: ServiceSpec, figures: ServiceFigures | None
    ) -> Prediction:
        self.asked.append(features)
        return PriorPredictor(OURS.profiles).predict(features, service, spec, figures)


def choose(
    catalogue: Catalogue = OURS,
    environ: dict[str, str] | None = None,
    agent: str = "groq-lightning",
    figures: dict[str, ServiceFigures] | None = None,
    **request: Any,
) -> Choice | None:
    selector = Selector(catalogue, KEYS if environ is None else environ, lambda: figures or {})
    return selector.choose(TaskRequest.model_validate({"prompt": "Hi.", **request}), 0.1, ("writing",), agent)


# -- whether there is a choice ---------------------------------------------------------------------------------------


def test_a_built_in_order_is_chosen_from() -> None:
    choice = choose()
    assert choice is not None
    assert set(choice.order) == set(OURS.agents["groq-lightning"].services)
    assert choice.order[-1] == "local"


def test_without_any_key_there_is_nothing_to_choose() -> None:
    assert choose(environ={}) is None


def test_a_service_that_its_caller_named_is_not_chosen_over() -> None:
    assert choose(service="gemini-flash") is None


@pytest.mark.parametrize(
    ("overlay", "kept"),
    [
        ("routing: {services: [gemini-flash, groq]}", "routing.services states it"),
        ("routing: {adaptive: false}", "routing.adaptive is false"),
        ("agents: {groq-lightning: {services: [gemini-flash, groq]}}", "agents.groq-lightning.services states it"),
        ("agents: {groq-lightning: {temperature: 0.1}}", None),
        ("routing: {services: [gemini-flash, groq], adaptive: true}", None),
        ("agents: {groq-lightning: {services: [gemini-flash, groq]}}\nrouting: {adaptive: true}", None),
    ],
)
def test_an_order_that_somebody_states_is_kept_unless_they_ask_otherwise(
    overlaid: Overlaid, overlay: str, kept: str | None
) -> None:
    # Given an overlay, When a service is chosen under it
    catalogue = overlaid(overlay)
    # Then a stated order is kept, and it is known why
    assert catalogue.kept_because("groq-lightning") == kept
    assert (choose(catalogue) is None) == (kept is not None)


def test_an_order_of_another_agent_in_the_overlay_changes_nothing(overlaid: Overlaid) -> None:
    catalogue = overlaid("agents: {poet: {role: Poet, prompt: Verse., services: [gemini-flash, groq]}}")
    assert choose(catalogue, agent="poet") is None
    assert choose(catalogue) is not None


def test_what_routing_forbids_is_no_candidate(overlaid: Overlaid) -> None:
    choice = choose(overlaid("routing: {services: [gemini-flash, groq], adaptive: true}"))
    assert choice is not None
    assert sorted(choice.order) == ["gemini-flash", "groq"]


def test_what_the_gateways_see_now_counts() -> None:
    # Given the service that would be chosen, When its circuit opens
    first = choose()
    assert first is not None
    assert first.chosen is not None
    later = choose(figures={first.chosen: seen(first.chosen, breaker="open")})
    # Then another one serves
    assert later is not None
    assert later.chosen == first.ranked[1].name


# -- what the task looks like ----------------------------------------------------------------------------------------


def features_of(domains: tuple[str, ...] = (), **request: Any) -> Features:
    noted = Noted()
    selector = Selector(OURS, KEYS, dict, noted)
    task = TaskRequest.model_validate({"prompt": "Hi.", **request})
    assert selector.choose(task, 0.25, domains, "groq-lightning") is not None
    return noted.asked[0]


@pytest.mark.parametrize("profile", OURS.profiles)
def test_a_profile_that_is_wanted_by_name_is_the_kind_of_work(profile: str) -> None:
    assert features_of(("security",), capabilities=[f" {profile.upper()} "]).profile == profile


def test_a_profile_of_ones_own_is_found_however_it_is_written(overlaid: Overlaid) -> None:
    catalogue = overlaid("""
profiles:
  Poetry: {why: Few words., capabilities: {poetry: 1.0}, weighs: {quality: 1.0, cost: 0.0, latency: 0.0}}
""")
    choice = choose(catalogue, capabilities=["poetry"])
    assert choice is not None
    assert choice.features.profile == "Poetry"


def test_all_that_is_sent_counts_as_the_prompt() -> None:
    # Given a task with a conversation, a text, a picture and a schema
    found = features_of(
        prompt="Zoë",
        history=[{"role": "user", "content": "12345"}],
        inputs=[{"kind": "text", "name": "a.txt", "text": "1234567890"}, PIXEL],
        json_schema={"type": "object"},
        max_tokens=99,
    )
    # Then the agent's own prompt and they are counted in bytes, the picture by itself
    ours = len(OURS.agents["groq-lightning"].prompt.encode())
    assert found.prompt_bytes == ours + 4 + 5 + 10 + len('{"type": "object"}')
    assert found.prompt == "Zoë"
    assert (found.messages, found.images, found.inputs) == (3, 1, ("text", "image"))
    assert (found.json_schema, found.max_tokens, found.difficulty) == (True, 99, 0.25)


def test_an_answer_may_be_as_long_as_its_agent_says() -> None:
    assert features_of().max_tokens == OURS.agents["groq-lightning"].max_tokens


@pytest.mark.parametrize(
    ("domains", "request_fields", "profile"),
    [
        ((), {}, "writing"),
        (("medicine", "code"), {}, "reasoning"),
        (("code",), {"inputs": [PIXEL]}, "vision"),
        (("code",), {"inputs": [PIXEL], "capabilities": ["Security"]}, "security"),
        (("code",), {"capabilities": ["gdpr"]}, "code"),
    ],
)
def test_the_kind_of_work_is_what_is_wanted_then_what_is_there_to_see_then_the_trade(
    domains: tuple[str, ...], request_fields: dict[str, Any], profile: str
) -> None:
    assert features_of(domains, **request_fields).profile == profile
