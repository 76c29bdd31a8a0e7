"""`devskyy quality`, and the quality of agents."""

from datetime import UTC, datetime

import pytest

from schemas.agent import AgentQuality
from schemas.quality import QualityList, QualityRow
from tests.cli.conftest import Command
from tests.simulators.platform import PlatformSimulator

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
ROWS = (
    QualityRow(agent="writing", kind="marketing", n=1200, mean=0.8125, last_at=NOON),
    QualityRow(agent="code", kind=None, n=1, mean=0.5, last_at=NOON),
)


def test_the_quality_of_agents_and_kinds_of_work_is_a_table(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a platform that has measured answers, of which one's kind of work nobody said
    platform.qualities = QualityList(rows=ROWS)
    # When they are shown
    ran = devskyy("quality")
    # Then each has its line, and what is not known is said
    assert ran.code == 0
    head, first, second = [line.split() for line in ran.out.splitlines() if line.strip()]
    assert head == ["Agent", "Kind", "of", "work", "Answers", "Quality", "Last", "(UTC)"]
    assert first == ["writing", "marketing", "1,200", "0.81", "2026-05-04", "12:00"]
    assert second[:4] == ["code", "unknown", "1", "0.50"]


@pytest.mark.parametrize(("by", "head"), [("agent", "Agent"), ("kind", "Kind")])
def test_rows_are_of_what_was_asked_for(devskyy: Command, platform: PlatformSimulator, by: str, head: str) -> None:
    platform.qualities = QualityList(rows=ROWS[:1])
    ran = devskyy("quality", "--by", by, "--since", "2026-05-01")
    assert ran.out.split()[0] == head
    (seen,) = platform.made("GET", "/api/v1/quality")
    assert seen.query == {"by": by, "since": "2026-05-01"}


def test_the_quality_is_one_document_for_a_program(devskyy: Command, platform: PlatformSimulator) -> None:
    platform.qualities = QualityList(rows=ROWS)
    ran = devskyy("quality", "--json")
    assert (ran.document["by"], [row["mean"] for row in ran.document["rows"]]) == (None, [0.8125, 0.5])


def test_nothing_measured_is_said(devskyy: Command, platform: PlatformSimulator) -> None:
    assert "no answer was measured yet" in devskyy("quality").out


def test_agents_have_the_quality_of_their_answers_where_it_is_known(
    devskyy: Command, platform: PlatformSimulator
) -> None:
    # Given two agents, of whom one's answers were measured
    first, second = platform.agents
    platform.agents = (first.model_copy(update={"quality": AgentQuality(overall=0.8125, n=12)}), second)
    # When they are shown, Then the other's quality is unknown, not zero
    lines = devskyy("agents").out.splitlines()
    assert any("writing" in line and "0.81 of 12" in line for line in lines)
    assert any("code" in line and "unknown" in line for line in lines)
