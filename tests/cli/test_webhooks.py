"""`devskyy webhooks`, against the platform's own doors."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from devskyy import Client
from tests.broker import free_port
from tests.cli.conftest import Command
from tests.served import Served, served, serving

__all__ = ["served", "serving"]

URL = "https://hooks.example/devskyy"


@pytest.fixture(autouse=True)
def _at_the_platform(home: Path, served: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DEVSKYY_URL", served.url)
    yield
    with Client(served.url) as client:
        for webhook in client.webhooks():
            client.delete_webhook(webhook.id)


def test_a_webhook_is_made_and_only_its_secret_is_on_stdout(devskyy: Command) -> None:
    words = ("--event", "task.failed", "--event", "task.completed", "--description", "The shop")
    ran = devskyy("webhooks", "create", URL, *words)
    assert (ran.code, ran.out.startswith("whsec_"), len(ran.out.splitlines())) == (0, True, 1)
    assert f"{URL} is told of task.completed, task.failed" in ran.err
    listed = devskyy("webhooks", "list")
    assert [word in listed.out for word in (URL, "The shop", "enabled")] == [True] * 3
    assert "whsec_" not in listed.out


def test_a_webhook_is_shown_changed_tested_rotated_and_deleted(devskyy: Command) -> None:
    # Given a webhook that leads nowhere
    url = f"http://127.0.0.1:{free_port()}/"
    made = devskyy("webhooks", "create", url, "--json").document
    name = made["webhook"]["id"]
    # Then it is shown, and told of everything
    shown = devskyy("webhooks", "show", name)
    assert [word in shown.out for word in (name, url, "told of everything")] == [True] * 3
    assert devskyy("webhooks", "show", name, "--json").document == made["webhook"]
    # When it is changed
    changed = devskyy("webhooks", "update", name, "--event", "workflow.failed", "--disable", "--json").document
    assert (changed["events"], changed["enabled"]) == (["workflow.failed"], False)
    assert "disabled" in devskyy("webhooks", "test", name).err
    assert "enabled" in devskyy("webhooks", "update", name, "--enable", "--event", "all").out
    # And tested
    assert "nothing was to be told there yet" in devskyy("webhooks", "deliveries", name).out
    sent = devskyy("webhooks", "test", name, "--json").document
    told = devskyy("webhooks", "deliveries", name)
    assert [word in told.out for word in (sent["id"], "webhook.test", "pending")] == [True] * 3
    assert devskyy("webhooks", "deliveries", name, "--json").document["deliveries"][0]["id"] == sent["id"]
    # And given another secret
    rotated = devskyy("webhooks", "rotate", name)
    assert rotated.out.startswith("whsec_") and rotated.out.strip() != made["secret"]
    assert "the one before it signs too" in rotated.err
    # And deleted
    assert f"webhook {name} is deleted" in devskyy("webhooks", "delete", name).out
    assert "there is no webhook" in devskyy("webhooks", "list").out
    assert devskyy("webhooks", "list", "--json").document == {"webhooks": []}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("create", "nowhere"), "url"),
        (("create", URL, "--event", "task.complete"), "did you mean 'task.completed'?"),
        (("update", "wh_1"), "--url"),
        (("show", "wh_1"), "there is no webhook 'wh_1'"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(devskyy: Command, words: tuple[str, ...], named: str) -> None:
    ran = devskyy("webhooks", *words)
    assert (ran.code, named in ran.err) == (2, True)
