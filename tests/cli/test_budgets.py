from schemas.budget import BudgetLeft
from tests.cli.conftest import Command
from tests.simulators.platform import PlatformSimulator


def test_budgets_are_a_table_of_what_is_used_and_left(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a platform with a budget in dollars and one in tokens
    platform.budgets = (
        BudgetLeft(scope="day", name="2026-05-04", unit="usd", limit=20, used=2.5, left=17.5),
        BudgetLeft(scope="service", name="groq", unit="tokens", limit=5000, used=5000, left=0),
    )
    # When they are shown
    ran = devskyy("budgets")
    # Then each is a line in its own unit
    head, day, groq = ran.out.splitlines()
    assert (ran.code, head.split()) == (0, ["Of", "Name", "Used", "Left", "Limit"])
    assert day.split() == ["day", "2026-05-04", "$2.50", "$17.50", "$20.00"]
    assert groq.split() == ["service", "groq", "5,000", "tokens", "0", "tokens", "5,000", "tokens"]


def test_budgets_are_one_document_for_a_program(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a budget, When a program asks
    platform.budgets = (BudgetLeft(scope="day", name="2026-05-04", unit="usd", limit=20, used=2.5, left=17.5),)
    # Then all of it is there
    (budget,) = devskyy("budgets", "--json").document["budgets"]
    assert (budget["limit"], budget["used"], budget["left"]) == (20, 2.5, 17.5)


def test_without_budgets_the_way_to_them_is_told(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given no budget, When they are shown, Then it says where to read of them
    assert "no budget is set; see docs/budgets.md" in devskyy("budgets").out
