import io
import sys

import pytest

from schemas.selection import Explanation
from schemas.service import Price, PriceTier
from tests.cli.conftest import Command
from tests.simulators.platform import EXPLANATION, PlatformSimulator


def test_services_alone_are_the_table(devskyy: Command, platform: PlatformSimulator) -> None:
    ran = devskyy("services")
    assert ran.code == 0
    assert "no key: set GROQ_API_KEY" in ran.out
    assert "Service  Kind  Model" in ran.out
    assert "groq     chat  groq/openai/gpt-oss-20b" in ran.out
    assert "unknown (not in the table)" in ran.out


def test_a_price_is_shown_with_what_long_prompts_cost(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a service that is dearer for long prompts
    tier = PriceTier(tokens=200_000, input_per_mtok=4, output_per_mtok=12)
    price = Price(input_per_mtok=2, output_per_mtok=6, above=(tier,))
    platform.services = (platform.services[0].model_copy(update={"price": price}),)
    # When services are listed, for a person and for a program
    shown, handed = devskyy("services"), devskyy("services", "--json")
    # Then both see it
    assert "2 / 6" in shown.out
    assert "over 200,000: 4 / 12" in shown.out
    (service,) = handed.document["services"]
    assert service["price"]["above"] == [{"tokens": 200_000, "input_per_mtok": 4.0, "output_per_mtok": 12.0}]
    assert (service["capabilities_from"], service["images"], service["context_tokens"]) == ("prior", None, None)


def test_an_explanation_shows_each_candidate_and_what_decided(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a platform, When the choice for a task is to be explained
    ran = devskyy("services", "explain", "Write a haiku.")
    # Then those that can serve come first, each with what is foreseen, and whoever cannot says why
    assert ran.code == 0
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert lines[0] == "Service State Quality Cost Latency Worth Why"
    assert lines[1] == "1 mistral can serve 0.80 learned unknown 1.2 s 0.125 2 of 4 calls failed lately"
    assert lines[2] == "2 local can serve 0.13 prior $0.00 80 ms 0.050"
    assert lines[3] == "groq unavailable 0.62 prior $0.000200 unknown no key: set GROQ_API_KEY"
    # And agent, profile, reasons, assumptions and what is unknown are told
    assert "profile writing: the prompt shows no trade. Most models write well enough." in lines
    assert "weighs quality 0.5, cost 0.3, latency 0.2" in lines
    assert "because 'mistral' serves, of 2 that can" in lines
    assert "assumed an answer has 512 tokens" in lines
    assert "unknown mistral's cost: not in the table" in lines


def test_an_explanation_is_one_document_for_a_program(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a platform, When a program asks why
    wishes = ("--capability", "translation", "--capability", "gdpr")
    ran = devskyy("services", "explain", "Hi.", "--agent", "writing", "--max-cost-usd", "0.5", *wishes, "--json")
    # Then all of it is there, and what was said arrived as it was said
    assert ran.code == 0
    assert Explanation.model_validate(ran.document) == EXPLANATION
    (sent,) = platform.made("POST", "/api/v1/services/explain")
    assert sent.body == {
        "prompt": "Hi.",
        "agent": "writing",
        "max_cost_usd": 0.5,
        "capabilities": ["translation", "gdpr"],
    }


def test_json_may_be_said_before_the_verb_too(devskyy: Command, platform: PlatformSimulator) -> None:
    assert devskyy("services", "--json", "explain", "Hi.").document["chosen"] == "mistral"


def test_the_prompt_may_come_from_stdin(
    devskyy: Command, platform: PlatformSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"From a pipe.")))
    assert devskyy("services", "explain", "-", "--json").code == 0
    assert platform.made("POST")[0].body == {"prompt": "From a pipe."}


def test_without_a_platform_that_is_said(devskyy: Command) -> None:
    assert devskyy("services", "explain", "Hi.").code == 4


@pytest.mark.parametrize("words", [(), ("Hi.", "--max-cost-usd", "-1"), ("  ",)])
def test_a_task_that_cannot_be_is_a_usage_error(
    devskyy: Command, platform: PlatformSimulator, words: tuple[str, ...]
) -> None:
    assert devskyy("services", "explain", *words, "--json").code == 2
    assert platform.seen == []
