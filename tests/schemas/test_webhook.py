"""What may be said of a webhook."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.webhook import EVENTS, NewWebhook, WebhookChange


def refused(said: object, model: type[NewWebhook] | type[WebhookChange] = NewWebhook) -> str:
    with pytest.raises(ValidationError) as error:
        model.model_validate(said)
    return str(error.value)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        *(("", "at least 1"), ("nowhere", "no address"), ("ftp://a.example", "no address"), ("https://", "no address")),
        *(
            ("https:///path", "no address"),
            ("https://a.example:port/", "no URL"),
            ("https://a.example:99999", "no URL"),
        ),
        *(("https://a.example:0/", "no address"), ("https://ann:secret@a.example/", "user or password")),
        *(
            ("https://a.example/#top", "fragment"),
            ("https://a.exämple/", "punycode"),
            ("https://a. example/", "percent"),
        ),
        *(
            ("https://a.example/\n", "percent"),
            ("https://[::1/", "no URL"),
            ("https://a.example/" + "x" * 2048, "2048"),
        ),
    ],
)
def test_an_address_that_cannot_be_is_refused_with_the_reason(url: str, why: str) -> None:
    assert why in refused({"url": url})


@given(st.text(max_size=100))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    with contextlib.suppress(ValidationError):
        assert NewWebhook(url=text).url == text


@pytest.mark.parametrize(
    ("event", "hint"),
    [
        ("task.complete", "did you mean 'task.completed'?"),
        ("workflow.canceled", "did you mean 'workflow.cancelled'?"),
        ("xyzzy", "there are task.completed, task.failed"),
        (7, "unknown event '7'"),
    ],
)
def test_an_unknown_event_is_refused_and_the_nearest_named(event: object, hint: str) -> None:
    assert hint in refused({"url": "https://a.example", "events": [event]})


@given(st.lists(st.sampled_from(EVENTS), min_size=1))
def test_events_are_kept_once_and_in_one_order(events: list[str]) -> None:
    kept = NewWebhook.model_validate({"url": "https://a.example", "events": events}).events
    assert kept == tuple(event for event in EVENTS if event in events)


def test_no_events_at_all_are_none_to_be_told() -> None:
    assert "at least 1" in refused({"url": "https://a.example", "events": []})
    assert NewWebhook(url="https://a.example").events is None


def test_a_change_changes_something_and_takes_away_no_address() -> None:
    assert "changes nothing" in refused({}, WebhookChange)
    assert "url" in refused({"url": None}, WebhookChange)
    assert WebhookChange(events=None).model_fields_set == {"events"}
