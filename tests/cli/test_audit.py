"""`devskyy audit`."""

from datetime import UTC, datetime, timedelta

import pytest

from schemas.audit import AuditEntry
from schemas.message import now
from tests.cli.conftest import Command
from tests.simulators.platform import PlatformSimulator

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
MADE = AuditEntry(
    id="e1",
    at=NOON,
    tenant="default",
    key="operator",
    method="POST",
    route="/api/v1/keys",
    target="ci-1234",
    status=201,
    address="127.0.0.1",
)
REFUSED = AuditEntry(id="e2", at=NOON, method="GET", status=401, address="10.0.0.7", count=12_000)


def test_who_changed_what_and_who_was_refused_is_told(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a change, and many refusals
    platform.audit = (REFUSED, MADE)
    # When the log is read
    head, refused, made = devskyy("audit").out.splitlines()
    # Then each is a line
    assert head.split()[:2] == ["At", "Who"]
    assert all(word in refused for word in ("unknown", "GET no such door", "refused (401)", "10.0.0.7", "12,000"))
    assert all(word in made for word in ("operator", "POST /api/v1/keys", "ci-1234", "done (201)", "127.0.0.1"))


def test_nothing_is_said_to_be_nothing(devskyy: Command, platform: PlatformSimulator) -> None:
    assert "nothing was changed or refused" in devskyy("audit").out
    assert devskyy("audit", "--json").document == {"entries": [], "next": None}


def test_what_is_asked_for_is_read_page_by_page(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given more than a page holds
    platform.audit = tuple(MADE.model_copy(update={"id": f"e{number}"}) for number in range(2500))
    # When a part of it is asked for
    found = devskyy("audit", "--since", "2h", "--outcome", "done", "--limit", "2300", "--json").document
    # Then it is all there, with where to go on
    assert [entry["id"] for entry in found["entries"]] == [f"e{number}" for number in range(2300)]
    assert (found["next"], found["entries"][0]["outcome"]) == ("2300", "done")
    asked = [seen.query for seen in platform.seen]
    assert [each["limit"] for each in asked] == ["1000", "1000", "300"]
    assert {each["outcome"] for each in asked} == {"done"}
    since = datetime.fromisoformat(asked[0]["since"])
    assert abs(now() - timedelta(hours=2) - since) < timedelta(minutes=5)


@pytest.mark.parametrize("words", [("--since", "soon"), ("--outcome", "odd"), ("--limit", "0")])
def test_what_is_wrong_is_named(devskyy: Command, platform: PlatformSimulator, words: tuple[str, str]) -> None:
    ran = devskyy("audit", *words)
    assert (ran.code, words[0] in ran.err) == (2, True)
