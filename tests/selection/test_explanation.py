"""The choice told in full."""

from typing import Any

from actors.catalogue import Catalogue, load
from actors.selection import Selector, explain
from schemas.figures import ServiceFigures
from schemas.selection import CandidateService, Explanation
from schemas.task import TaskRequest
from tests.selection.doubles import seen
from tests.selection.test_selector import KEYS, OURS, Overlaid, overlaid

__all__ = ["overlaid"]


def explained(
    catalogue: Catalogue = OURS,
    environ: dict[str, str] | None = None,
    figures: dict[str, ServiceFigures] | None = None,
    down: dict[str, str] | None = None,
    **request: Any,
) -> Explanation:
    task = TaskRequest.model_validate({"prompt": "Hi.", **request})
    keys = KEYS if environ is None else environ
    because = ("it is the first general one",)
    return explain(task, 0.1, ("writing",), "groq-lightning", because, catalogue, keys, figures or {}, down or {})


def row(found: Explanation, service: str) -> CandidateService:
    (only,) = [each for each in found.candidates if each.service == service]
    return only


def test_an_explanation_tells_what_a_coordinator_would_choose() -> None:
    # Given a task
    choice = Selector(OURS, KEYS, dict).choose(TaskRequest(prompt="Hi."), 0.1, ("writing",), "groq-lightning")
    found = explained()
    # Then the explanation is of that very choice
    assert choice is not None
    assert (found.chosen, *found.runners_up) == tuple(each.name for each in choice.ranked)
    assert found.order == choice.order
    assert (found.adaptive, found.kept_because, found.reasons) == (True, None, choice.reasons)
    # And names the profile with its weights, the features, and what the figures rest on
    assert (found.profile.name, found.profile.why) == ("writing", "the prompt touches writing")
    assert found.profile.weighs == {"quality": 0.45, "cost": 0.35, "latency": 0.2}
    assert found.features.prompt_tokens > 100
    assert len(found.assumptions) == 2


def test_each_candidate_has_its_figures_and_what_is_unknown_says_why() -> None:
    # Given one service that was seen, and the others that were not
    found = explained(figures={"groq": seen("groq", calls=4, errors=1, p50_ms=300.0)})
    # Then the one has its latency and the others say why not
    assert [each.service for each in found.candidates] == list(OURS.agents["groq-lightning"].services)
    assert (row(found, "groq").latency_ms, row(found, "groq").success) == (300.0, 0.875)
    assert row(found, "cerebras").latency_unknown_reason == "the gateways have said nothing of it yet"
    assert found.figures_unknown_reason is None
    ranks = [each.rank for each in found.candidates]
    assert sorted(rank for rank in ranks if rank) == [1, 2, 3, 4, 5]
    assert row(found, found.chosen or "").rank == 1


def test_without_live_figures_that_is_said() -> None:
    assert explained().figures_unknown_reason == "no gateway has said lately how the services are doing"


def test_a_service_that_cannot_serve_says_why() -> None:
    # Given two services without keys, one that is down, and a limit that another may pass
    found = explained(
        environ={"CEREBRAS_API_KEY": "a", "GROQ_API_KEY": "b"},
        down={"local": "its actor does not answer"},
        max_cost_usd=0.001,
    )
    # Then each has its reason and no rank, and unavailable is told from excluded
    assert (row(found, "gemini-flash").state, row(found, "gemini-flash").rank) == ("unavailable", None)
    assert row(found, "gemini-flash").reason == "no key: set GEMINI_API_KEY"
    assert row(found, "local").reason == "its actor does not answer"
    assert row(found, "cerebras").state == "excluded"
    assert "over the limit of $0.001000" in (row(found, "cerebras").reason or "")
    assert (found.chosen, found.runners_up) == ("groq", ())


def test_an_order_that_is_kept_is_explained_as_such(overlaid: Overlaid) -> None:
    # Given an order that the overlay states, the worst service first
    catalogue = overlaid("routing: {services: [local, gemini-flash, scaleway]}")
    found = explained(catalogue, {"SCALEWAY_API_KEY": "d"})
    # Then it stands, whatever is foreseen
    assert (found.adaptive, found.kept_because) == (False, "routing.services states it")
    assert (found.chosen, found.runners_up, found.order) == (
        "local",
        ("scaleway",),
        ("local", "gemini-flash", "scaleway"),
    )
    assert found.reasons[1] == "'local' is the first of it that can serve"
    assert found.not_routed == ("groq: not in routing.services", "cerebras: not in routing.services")


def test_a_service_that_its_caller_named_is_the_only_candidate() -> None:
    found = explained(service="claude-opus", environ={})
    assert [each.service for each in found.candidates] == ["claude-opus"]
    assert (found.adaptive, found.kept_because) == (False, "its caller named the service")
    assert (found.chosen, found.reasons[1]) == (None, "none of its services can serve now")


def test_an_explanation_is_plain_json() -> None:
    found = explained(load())
    assert Explanation.model_validate_json(found.model_dump_json()) == found
