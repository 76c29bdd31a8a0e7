import pytest

from schemas.costs import CostRow, Costs
from tests.cli.conftest import Command
from tests.simulators.platform import PlatformSimulator


def test_costs_are_a_table_with_a_total_and_what_it_leaves_out(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a platform that has spent, some of it estimated, some of it unknown
    # When its costs are shown
    ran = devskyy("costs")
    # Then each day and the total are there, unknown is never zero, and what the sums leave out is said
    assert ran.code == 0
    head, first, second, total, *notes = [line.strip() for line in ran.out.splitlines()]
    assert head.split() == ["Day", "Calls", "Tokens", "in", "/", "out", "Spent", "Premium", "Saved"]
    assert first.split()[:2] == ["2026-05-04", "2"]
    assert "$0.250, $0.0500 of it estimated" in first
    assert first.split()[-2:] == ["$1.50", "$1.25"]
    assert "1 call of unknown cost" in second
    assert second.split()[-2:] == ["unknown", "unknown"]
    assert "1,200 / 300" in total
    assert "1 call of unknown cost" in total
    assert "spent leaves out 1 call of unknown cost" in notes
    assert "premium leaves out 1 task whose premium cost is unknown" in notes
    assert "saved $1.25 over the tasks whose both costs are known" in notes


def test_costs_are_one_document_for_a_program(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a platform, When the costs of some days are asked for by service
    ran = devskyy("costs", "--by", "service", "--since", "2026-05-01", "--until", "2026-05-31", "--json")
    # Then all of it is there, and what was said arrived as it was said
    assert (ran.code, ran.document["by"], ran.document["spent_usd"]) == (0, "service", 0.25)
    (seen,) = platform.made("GET", "/api/v1/costs")
    assert seen.query == {"by": "service", "since": "2026-05-01", "until": "2026-05-31"}


def test_costs_by_agent_show_no_premium(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given agents of whom one is not shown
    platform.costs = Costs(
        by="agent", calls=7, spent_usd=2.0, rows=(CostRow(key="writing", calls=5, spent_usd=1.5),), rows_left_out=1
    )
    # When their costs are shown
    ran = devskyy("costs", "--by", "agent")
    # Then there is no column for what they do not have, and what is missing is said
    assert ran.out.split()[0] == "Agent"
    assert "Premium" not in ran.out
    assert "1 more row not shown; the total holds them" in ran.out
    assert "saved is unknown" in ran.out


def test_calls_that_needed_no_service_are_told(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given calls of which the cache and recordings have answered some
    platform.costs = Costs(
        by="day", calls=9, cached_calls=2, replayed_calls=1, rows=(CostRow(key="2026-05-04", calls=9),)
    )
    # When their costs are shown, Then how many is said
    shown = devskyy("costs").out
    assert "2 calls answered from the cache, at no cost" in shown
    assert "1 call answered from a recording, which is in no other sum" in shown


def test_nothing_spent_is_said(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a ledger with nothing in it, When it is shown, Then that is said
    platform.costs = Costs(by="day")
    assert devskyy("costs").out == "nothing was spent\n"


@pytest.mark.parametrize("words", [("--by", "hour"), ("--since", "yesterday"), ("--until", "2026-02-30")])
def test_costs_of_what_cannot_be_are_a_usage_error(
    devskyy: Command, platform: PlatformSimulator, words: tuple[str, ...]
) -> None:
    # Given a value that breaks a rule, When costs are asked for with it, Then nothing is sent
    ran = devskyy("costs", *words, "--json")
    assert ran.code == 2
    assert words[0] in ran.document["detail"]
    assert platform.seen == []


def test_days_in_the_wrong_order_are_named(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given two days in the wrong order, When costs are asked for, Then the platform's problem names the field
    ran = devskyy("costs", "--since", "2026-05-02", "--until", "2026-05-01", "--json")
    assert (ran.code, ran.document["errors"][0]["field"]) == (2, "until")
