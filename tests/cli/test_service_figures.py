"""`devskyy services` shows how a service is doing where a gateway says so, and no empty column where none does."""

from schemas.figures import ServiceFigures
from tests.cli.conftest import Command
from tests.simulators.platform import PlatformSimulator

FIGURES = ServiceFigures(
    service="groq",
    model="groq/openai/gpt-oss-20b",
    window_s=600,
    calls=120,
    errors=6,
    limited=2,
    p50_ms=310.0,
    p95_ms=2140.0,
    waiting=3,
    breaker="open",
    breaker_reason="HTTP 503",
    retry_after_s=4.2,
)


def test_how_a_service_is_doing_is_shown(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a service that a gateway leaves alone
    platform.services = tuple(
        s.model_copy(update={"breaker": "open", "figures": FIGURES}) if s.name == "groq" else s
        for s in platform.services
    )
    # When services are listed
    ran = devskyy("services")
    # Then why, for how long and how it did is there
    assert ran.code == 0
    said = " ".join(ran.out.split())
    for part in ("Lately", "left alone", "again in 4.2 s", "95 %", "6 of 120 calls failed", "3 wait"):
        assert part in said
    # And programs get all of it
    groq = next(s for s in devskyy("services", "--json").document["services"] if s["name"] == "groq")
    assert groq["figures"]["p95_ms"] == 2140.0
    assert groq["breaker"] == "open"


def test_before_anything_was_asked_there_is_no_such_column(devskyy: Command, platform: PlatformSimulator) -> None:
    assert "Lately" not in devskyy("services").out
