"""What is signed here, the specification's own library verifies; anything else it does not."""

import base64
import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from actors.webhooks.signature import headers
from schemas.message import now
from schemas.webhook import delivery_id, key_of, new_secret


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")) | st.integers()))
def test_any_body_is_verified_with_its_secret(said: dict[str, object]) -> None:
    secret, body = new_secret(), json.dumps(said, ensure_ascii=False).encode()
    assert Webhook(secret).verify(body, headers("msg_1", now(), body, [secret])) == said


@pytest.mark.parametrize("wrong", ["body", "webhook-id", "webhook-timestamp", "secret"])
def test_whatever_is_changed_is_noticed(wrong: str) -> None:
    # Given something signed
    secret, body = new_secret(), b'{"a": 1}'
    sent = headers("msg_1", now(), body, [secret])
    # When one thing about it is other
    if wrong in sent:
        sent[wrong] = "msg_2" if wrong == "webhook-id" else str(int(sent[wrong]) + 1)
    verifier = Webhook(new_secret() if wrong == "secret" else secret)
    # Then it is not believed
    with pytest.raises(WebhookVerificationError):
        verifier.verify(b'{"a": 2}' if wrong == "body" else body, sent)


def test_with_two_secrets_either_verifies() -> None:
    secrets = [new_secret(), new_secret()]
    sent = headers("msg_1", now(), b"{}", secrets)
    assert len(sent["webhook-signature"].split(" ")) == 2
    for secret in secrets:
        assert Webhook(secret).verify(b"{}", sent) == {}


def test_an_old_moment_is_not_believed() -> None:
    secret = new_secret()
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(secret).verify(b"{}", headers("msg_1", now() - timedelta(minutes=6), b"{}", [secret]))


def test_secrets_are_as_the_specification_wants_them() -> None:
    secret = new_secret()
    assert secret.startswith("whsec_")
    assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"))) <= 64
    assert len(key_of(secret)) == 32
    assert new_secret() != secret


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=4))
def test_a_delivery_has_one_id_and_another_has_another(what: list[str]) -> None:
    name = delivery_id("wh_1", *what)
    assert name == delivery_id("wh_1", *what)
    assert name not in (delivery_id("wh_2", *what), delivery_id("wh_1", *what, "more"))
    assert len(name) <= 64 and name.isascii()
