"""Of which endings whose webhooks are to be told."""

from datetime import timedelta
from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st

from actors.webhooks.enqueue import Ending, to_be_told
from schemas.event import TERMINAL
from schemas.message import now
from schemas.webhook import EVENTS, Webhook, WebhookEvent

NOON = now()
TENANTS = st.sampled_from(["acme", "other", "default"])


def webhook(number: int, tenant: str, events: Any = None, age_s: float = 0.0) -> Webhook:
    return Webhook(
        id=f"wh_{number}",
        tenant=tenant,
        url="https://a.example",
        events=events,
        enabled=True,
        private=False,
        created_at=NOON - timedelta(seconds=age_s),
    )


@st.composite
def endings(draw: st.DrawFn) -> list[Ending]:
    kinds, names = st.sampled_from(["task", "workflow"]), st.sampled_from(sorted(TERMINAL))
    count = draw(st.integers(0, 8))
    return [
        Ending(draw(kinds), draw(TENANTS), f"t{number}", draw(names), number + 1, NOON + timedelta(seconds=draw(AGES)))
        for number in range(count)
    ]


AGES = st.sampled_from([-60, 0, 60])
WEBHOOKS = st.lists(
    st.tuples(TENANTS, st.none() | st.lists(st.sampled_from(EVENTS), min_size=1).map(tuple)), max_size=6
).map(lambda found: [webhook(number, *said) for number, said in enumerate(found)])


@given(endings(), WEBHOOKS)
def test_each_is_told_of_its_own_tenants_endings_that_it_wants_and_of_nothing_else(
    found: list[Ending], webhooks: list[Webhook]
) -> None:
    # When endings of several tenants come together
    told = to_be_told(found, webhooks)
    # Then each webhook is told of exactly those of its tenant, of its events, since it is there
    assert {(each.webhook_id, each.target) for each in told} == {
        (hook.id, ending.target)
        for hook in webhooks
        for ending in found
        if hook.tenant == ending.tenant
        and (hook.events is None or f"{ending.kind}.{ending.event}" in hook.events)
        and ending.at >= hook.created_at
    }
    # And under the tenant of both, each by a name of its own
    by_id = {hook.id: hook for hook in webhooks}
    assert all(each.tenant == by_id[each.webhook_id].tenant for each in told)
    assert len({each.id for each in told}) == len(told)


def test_webhooks_know_every_way_in_which_something_ends() -> None:
    assert set(get_args(WebhookEvent)) == {f"{kind}.{event}" for kind in ("task", "workflow") for event in TERMINAL}


def test_several_tenants_in_one_batch_do_not_hear_of_each_other() -> None:
    ours, theirs = (Ending("task", tenant, tenant, "completed", 1, NOON) for tenant in ("acme", "other"))
    told = to_be_told([ours, theirs], [webhook(1, "acme"), webhook(2, "other")])
    assert [(each.webhook_id, each.target) for each in told] == [("wh_1", "acme"), ("wh_2", "other")]
