import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from devskyy import (
    ApiError,
    AsyncClient,
    BadReply,
    Client,
    InvalidTask,
    KeyReused,
    NoSuchTask,
    PlatformNotRunning,
    ServerFailed,
    StillRunning,
    TaskCancelled,
    TaskFailed,
)
from devskyy.supervisor.state import write_state
from schemas.errors import ConfigError, InvalidRequest
from schemas.health import Check, Health
from schemas.quality import QualityList, QualityRow
from schemas.task import Input
from tests.simulators.platform import PlatformSimulator, Refusal, Script, recorded

NOBODY = "http://127.0.0.1:9"
"""The discard port: nobody listens there."""


# Handing in


def test_a_task_that_is_handed_in_is_accepted_with_its_links(client: Client, platform: PlatformSimulator) -> None:
    # Given a platform
    # When a task is handed in
    accepted = client.submit("hello", tier="simple", max_cost_usd=0.5, inputs=[Input(kind="text", name="n", text="t")])
    # Then it has an id and links, and what was said arrived as it was said
    (seen,) = platform.made("POST")
    assert accepted.task_id in platform.tasks
    assert accepted.links.events == f"/api/v1/tasks/{accepted.task_id}/events"
    assert seen.body == {
        "prompt": "hello",
        "tier": "simple",
        "max_cost_usd": 0.5,
        "inputs": [{"kind": "text", "name": "n", "text": "t"}],
    }


def test_every_task_carries_an_idempotency_key_of_its_own(client: Client, platform: PlatformSimulator) -> None:
    # Given two tasks with the same words
    # When both are handed in
    ids = {client.submit("hello").task_id for _ in range(2)}
    # Then they are two
    keys = {seen.key for seen in platform.made("POST")}
    assert len(ids) == len(keys) == 2
    assert None not in keys


def test_a_key_of_ones_own_makes_a_repeat_return_the_first_task(client: Client) -> None:
    # Given a task handed in under a key
    first = client.submit("hello", idempotency_key="order-7")
    # When the same is handed in again, and then another body
    again = client.submit("hello", idempotency_key="order-7")
    # Then the first is the same, and the other is refused
    assert again.task_id == first.task_id
    with pytest.raises(KeyReused, match="order-7"):
        client.submit("something else", idempotency_key="order-7")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_platform_that_says_not_now_is_asked_again_with_the_same_key(
    client: Client, platform: PlatformSimulator, status: int
) -> None:
    # Given a platform that refuses twice
    platform.refuse(Refusal(status, retry_after_s=0.01), times=2)
    # When a task is handed in
    accepted = client.submit("hello")
    # Then it was asked three times for one task
    seen = platform.made("POST")
    assert len(seen) == 3
    assert len({request.key for request in seen}) == 1
    assert list(platform.tasks) == [accepted.task_id]


def test_retry_after_is_waited_for(client: Client, platform: PlatformSimulator) -> None:
    # Given a platform that asks for half a second
    platform.refuse(Refusal(503, retry_after_s=0.5), times=1)
    # When a task is handed in
    began = time.monotonic()
    client.submit("hello")
    # Then it took that long
    assert time.monotonic() - began >= 0.5


def test_asking_again_has_an_end(platform: PlatformSimulator) -> None:
    # Given a platform that keeps refusing
    platform.refuse(Refusal(503, retry_after_s=0.01), times=10)
    # When a task is handed in with two repeats
    with Client(platform.url, retries=2) as client, pytest.raises(ServerFailed, match="come back later") as caught:
        client.submit("hello")
    # Then the platform's own problem comes out after three tries
    assert caught.value.http_status == 503
    assert len(platform.made("POST")) == 3


def test_a_long_retry_after_is_told_at_once(client: Client, platform: PlatformSimulator) -> None:
    # Given a platform that wants an hour
    platform.refuse(Refusal(429, retry_after_s=3600), times=1)
    # When a task is handed in
    # Then the caller decides what to do with that
    with pytest.raises(ApiError) as caught:
        client.submit("hello")
    assert caught.value.http_status == 429
    assert len(platform.made("POST")) == 1


def test_a_platform_that_comes_back_in_time_gets_the_task(platform: PlatformSimulator) -> None:
    # Given a platform that is away
    platform.stop()
    # When a task is handed in while it comes back
    with ThreadPoolExecutor(1) as pool, Client(platform.url, retries=8) as client:
        accepted = pool.submit(client.submit, "hello")
        platform.start()
        # Then it gets it
        assert accepted.result(timeout=20).task_id in platform.tasks


def test_a_field_that_breaks_a_rule_is_named_before_anything_is_sent(
    client: Client, platform: PlatformSimulator
) -> None:
    # Given a task with two mistakes
    # When it is handed in
    with pytest.raises(InvalidTask) as caught:
        client.submit(" ", min_quality=7)
    # Then both are named, and nothing was sent
    assert {error.field for error in caught.value.problem.errors} == {"prompt", "min_quality"}
    assert platform.seen == []


def test_what_the_platform_refuses_comes_back_as_its_problem(client: Client) -> None:
    # Given a tier that this platform cannot run
    # When a task asks for it
    with pytest.raises(InvalidTask) as caught:
        client.submit("hello", tier="mega")
    # Then its problem names the field
    (error,) = caught.value.problem.errors
    assert (error.field, caught.value.code) == ("tier", "invalid_request")


# Waiting


def test_run_returns_the_task_with_its_answer_and_receipt(client: Client, platform: PlatformSimulator) -> None:
    # Given a platform that answers at once
    # When a task is run
    task = client.run("hello")
    # Then it is there whole, and one request was enough
    assert (task.status, task.answer) == ("completed", "A fine answer.")
    assert task.receipt is not None
    assert task.receipt.premium_service == "claude-opus"
    assert [(seen.method, seen.headers["prefer"]) for seen in platform.seen] == [("POST", "wait=20")]


def test_a_run_that_outlasts_the_held_request_follows_the_events(platform: PlatformSimulator) -> None:
    # Given a task that takes longer than the one second that the request is held for so little patience
    platform.scripts["slow"] = Script(held=True)
    with ThreadPoolExecutor(1) as pool, Client(platform.url) as client:
        running = pool.submit(client.run, "slow", patience_s=1.9)
        platform.wait_until(lambda: len(platform.made("GET")) == 1)
        # When it ends
        (task_id,) = platform.tasks
        platform.finish(task_id)
        # Then it is there
        assert running.result(timeout=10).task_id == task_id


def test_a_task_that_failed_is_raised_with_all_that_is_known(client: Client, platform: PlatformSimulator) -> None:
    # Given a task that fails
    platform.scripts["fail"] = Script(ends="failed")
    # When it is run
    with pytest.raises(TaskFailed, match="not finished within 1 s") as caught:
        client.run("fail")
    # Then the error carries the task, and what was spent
    assert caught.value.task.receipt is not None
    assert caught.value.task.error is not None
    # And without the check the task itself comes back
    assert client.run("fail", check=False).status == "failed"


def test_wait_returns_a_task_however_it_ended(client: Client, platform: PlatformSimulator) -> None:
    # Given a task that fails
    platform.scripts["fail"] = Script(ends="failed")
    accepted = client.submit("fail")
    # When it is waited for
    # Then it is returned
    assert client.wait(accepted.task_id).status == "failed"


@pytest.mark.parametrize("heartbeat_s", [0.05, 10.0])
def test_a_wait_ends_when_its_time_is_up(client: Client, platform: PlatformSimulator, heartbeat_s: float) -> None:
    # Given a task that goes on, on a platform whose stream is lively or silent
    platform.heartbeat_s = heartbeat_s
    platform.scripts["slow"] = Script(held=True)
    accepted = client.submit("slow")
    # When it is waited for half a second
    began = time.monotonic()
    with pytest.raises(StillRunning, match=r"after 0\.5 s"):
        client.wait(accepted.task_id, timeout_s=0.5)
    # Then that is how long it took
    assert 0.5 <= time.monotonic() - began < 1.5


def test_a_task_that_has_ended_is_returned_to_one_without_any_time(client: Client) -> None:
    # Given a task that has ended
    accepted = client.submit("hello")
    # When somebody has no time to wait
    # Then there is nothing to wait for
    assert client.wait(accepted.task_id, timeout_s=0).status == "completed"


# Events


def test_events_come_in_order_and_end_with_the_task(client: Client) -> None:
    # Given a task that has ended
    accepted = client.submit("hello")
    # When its events are read
    events = list(client.events(accepted.task_id))
    # Then they are all there, and the last carries the task
    assert [(event["seq"], event["event"]) for event in events] == [(1, "accepted"), (2, "claimed"), (3, "completed")]
    assert events[-1]["task"]["answer"] == "A fine answer."


def test_events_can_be_read_from_the_middle(client: Client, platform: PlatformSimulator) -> None:
    # Given a task that has ended
    accepted = client.submit("hello")
    # When its events after the first are read
    events = list(client.events(accepted.task_id, after=1))
    # Then only those come, because only those were asked for
    assert [event["seq"] for event in events] == [2, 3]
    assert platform.made("GET")[0].headers["last-event-id"] == "1"


def test_events_after_the_last_one_are_none(client: Client) -> None:
    # Given a task that has ended
    accepted = client.submit("hello")
    # When what came after its last event is asked for
    # Then there is nothing, and that is soon known
    assert list(client.events(accepted.task_id, after=3)) == []


def test_a_cut_connection_is_taken_up_where_it_was(client: Client, platform: PlatformSimulator) -> None:
    # Given a platform whose streams break off after one event, in the middle of the next, twice
    platform.cut_streams(after=1, times=2)
    accepted = client.submit("hello")
    # When the events are read
    events = list(client.events(accepted.task_id))
    # Then each comes once, over three connections
    assert [event["seq"] for event in events] == [1, 2, 3]
    asked = [seen.headers.get("last-event-id") for seen in platform.made("GET")]
    assert asked == [None, "1", "2"]


def test_a_platform_that_is_killed_and_comes_back_loses_no_event(platform: PlatformSimulator) -> None:
    # Given somebody who follows a task
    platform.scripts["slow"] = Script(held=True)
    with Client(platform.url) as client:
        accepted = client.submit("slow")
        events = client.events(accepted.task_id)
        seen = [next(events), next(events)]
        # When the platform dies, comes back, and the task ends
        platform.stop()
        platform.start()
        platform.finish(accepted.task_id)
        # Then the rest comes
        seen += events
    assert [event["event"] for event in seen] == ["accepted", "claimed", "completed"]


def test_a_platform_that_does_not_come_back_is_given_up(platform: PlatformSimulator) -> None:
    # Given somebody who follows a task with little patience for outages
    platform.scripts["slow"] = Script(held=True)
    with Client(platform.url, outage_s=0.3) as client:
        accepted = client.submit("slow")
        events = client.events(accepted.task_id)
        next(events)
        # When the platform dies for good
        platform.stop()
        # Then that is what the follower is told
        with pytest.raises(PlatformNotRunning, match="devskyy up"):
            list(events)


def test_events_of_a_later_version_are_passed_on(client: Client, platform: PlatformSimulator) -> None:
    # Given a task to which something happens that this version does not know
    platform.scripts["slow"] = Script(held=True)
    accepted = client.submit("slow")
    platform.happen(accepted.task_id, "consensus", round=2, text="line one\u2028line two")
    platform.finish(accepted.task_id)
    # When its events are read
    events = list(client.events(accepted.task_id))
    # Then it is among them, with all it says
    assert [event["event"] for event in events] == ["accepted", "claimed", "consensus", "completed"]
    assert events[2]["text"] == "line one\u2028line two"


def test_the_events_so_far_come_at_once_however_long_the_task_goes_on(
    client: Client, platform: PlatformSimulator
) -> None:
    # Given a task that goes on, on a platform that is not there at first
    platform.scripts["slow"] = Script(held=True)
    accepted = client.submit("slow")
    platform.refuse(Refusal(503, retry_after_s=0.01), times=1)
    # When its events so far are asked for, all and those after the first
    events, later = client.history(accepted.task_id), client.history(accepted.task_id, after=1)
    # Then they are there, and nobody waited for more
    assert [event["event"] for event in events] == ["accepted", "claimed"]
    assert [event["seq"] for event in later] == [2]


async def test_async_code_gets_the_events_so_far_too(async_client: AsyncClient, platform: PlatformSimulator) -> None:
    accepted = await async_client.submit("hello")
    events = await async_client.history(accepted.task_id)
    assert [event["event"] for event in events] == ["accepted", "claimed", "completed"]


# The rest


def test_a_cancelled_task_ends_as_such(client: Client, platform: PlatformSimulator) -> None:
    # Given a task that goes on
    platform.scripts["slow"] = Script(held=True)
    accepted = client.submit("slow")
    # When it is cancelled
    asked = client.cancel(accepted.task_id)
    ended = client.wait(accepted.task_id)
    # Then it was running when that was asked, and ends with its receipt
    assert (asked.status, ended.status) == ("running", "cancelled")
    assert ended.receipt is not None
    # And cancelling it again changes nothing
    assert client.cancel(accepted.task_id) == ended


def test_a_cancelled_run_is_raised(client: Client, platform: PlatformSimulator) -> None:
    # Given a run that goes on
    platform.scripts["slow"] = Script(held=True)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.run, "slow")
        platform.wait_until(lambda: len(platform.tasks) == 1)
        # When somebody else cancels its task
        client.cancel(next(iter(platform.tasks)))
        # Then the run says so
        with pytest.raises(TaskCancelled):
            running.result(timeout=10)


def test_tasks_are_listed_page_by_page(client: Client, platform: PlatformSimulator) -> None:
    # Given three tasks, one of which runs
    platform.scripts["slow"] = Script(held=True)
    ids = [client.submit(prompt).task_id for prompt in ("one", "slow", "two")]
    # When they are listed two at a time
    first = client.tasks(limit=2)
    second = client.tasks(limit=2, cursor=first.next)
    # Then the newest comes first, and the last page says so
    assert [task.task_id for task in (*first.tasks, *second.tasks)] == ids[::-1]
    assert second.next is None
    # And a status can be asked for
    assert [task.task_id for task in client.tasks(status="running").tasks] == [ids[1]]


def test_an_unknown_task_is_no_such_task(client: Client) -> None:
    # Given no task
    # When one is asked for
    # Then there is none
    for verb in (client.task, client.cancel, client.wait):
        with pytest.raises(NoSuchTask, match="nowhere"):
            verb("nowhere")


def test_a_task_without_an_id_is_not_asked_for(client: Client, platform: PlatformSimulator) -> None:
    # Given no id
    # When it is asked for
    # Then that is the caller's mistake, and no list of tasks
    with pytest.raises(InvalidRequest, match="task_id"):
        client.task("")
    assert platform.seen == []


def test_the_platform_tells_who_is_there(client: Client) -> None:
    # Given a platform with agents and services
    # When it is asked
    # Then they come with their state, and why
    assert [(agent.name, agent.state) for agent in client.agents()] == [("writing", "up"), ("code", "degraded")]
    assert client.services()[1].reason == "no key: set GROQ_API_KEY"


def test_not_being_ready_is_an_answer(client: Client, platform: PlatformSimulator) -> None:
    # Given a platform that waits for a part of itself
    platform.health = Health(status="not_ready", checks=(Check(name="nats", ok=False, detail="not connected"),))
    # When its health is asked for
    health = client.health()
    # Then it says which, once
    assert (health.status, health.checks[0].detail) == ("not_ready", "not connected")
    assert len(platform.seen) == 1


def test_health_of_a_platform_behind_a_proxy_without_replicas_is_an_error(
    platform: PlatformSimulator,
) -> None:
    # Given a proxy that has nobody to ask
    platform.refuse(Refusal(503, html=True), times=1)
    platform.refuse(Refusal(503), times=1)
    # When health is asked for
    # Then its page and its problem are both told for what they are
    with Client(platform.url, retries=0) as client:
        with pytest.raises(PlatformNotRunning, match="HTTP 503"):
            client.health()
        with pytest.raises(ServerFailed, match="come back later"):
            client.health()


def test_nobody_at_the_address_is_a_platform_that_does_not_run() -> None:
    # Given an address where nobody listens
    # When a task is handed in
    # Then the error names the address and the remedy
    with Client(NOBODY, retries=1) as client, pytest.raises(PlatformNotRunning, match="devskyy up") as caught:
        client.submit("hello")
    assert caught.value.url == NOBODY


def test_somebody_elses_server_is_a_bad_reply(client: Client, platform: PlatformSimulator) -> None:
    # Given a server that answers with pages
    platform.refuse(Refusal(404, html=True), times=1)
    # When a task is asked for
    # Then it is told apart from a task that is not there
    with pytest.raises(BadReply, match="HTTP 404 with text/html"):
        client.task("x")


def test_a_key_is_sent_and_never_shown(platform: PlatformSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a key in the environment
    monkeypatch.setenv("DEVSKYY_API_KEY", "s3cret")
    # When the platform is asked
    with Client(platform.url) as client:
        client.health()
    # Then it came along, and is not in what may be printed
    assert platform.seen[0].headers["authorization"] == "Bearer s3cret"
    assert "s3cret" not in repr(client)


# Where the platform is


def test_the_address_may_come_from_the_environment(
    platform: PlatformSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an address in the environment, with a slash too many
    monkeypatch.setenv("DEVSKYY_URL", f"{platform.url}/")
    # When a client is made without one
    # Then it asks there
    with Client() as client:
        assert client.health().status == "ready"


def test_the_address_may_come_from_the_platform_that_runs_in_this_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a home without a platform
    monkeypatch.delenv("DEVSKYY_URL", raising=False)
    monkeypatch.setenv("DEVSKYY_HOME", str(tmp_path))
    with Client() as client:
        assert client.base_url == "http://127.0.0.1:8000"
    # When one runs there
    write_state(tmp_path, recorded("http://127.0.0.1:8123"))
    # Then it is asked
    with Client() as client:
        assert client.base_url == "http://127.0.0.1:8123"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of one's own, and nothing else said in the environment."""
    for name in ("DEVSKYY_URL", "DEVSKYY_HTTP_HOST", "DEVSKYY_HTTP_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DEVSKYY_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("host", "url"),
    [
        (None, "http://127.0.0.1:8456"),
        ("localhost", "http://localhost:8456"),
        ("10.0.0.7", "http://10.0.0.7:8456"),
        ("0.0.0.0", "http://127.0.0.1:8456"),
        ("::", "http://[::1]:8456"),
    ],
)
@pytest.mark.usefixtures("home")
def test_a_platform_that_is_down_is_asked_where_its_environment_puts_it(
    monkeypatch: pytest.MonkeyPatch, host: str | None, url: str
) -> None:
    # Given the environment of a second platform, which is down
    monkeypatch.setenv("DEVSKYY_HTTP_PORT", "8456")
    if host is not None:
        monkeypatch.setenv("DEVSKYY_HTTP_HOST", host)
    # When a client is made
    # Then it asks there, and not the first one at the usual port
    with Client() as client:
        assert client.base_url == url


def test_the_platform_of_this_home_counts_before_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a platform that runs in this home, and a port in the environment for the next one
    monkeypatch.setenv("DEVSKYY_HTTP_PORT", "8456")
    write_state(home, recorded("http://127.0.0.1:8123"))
    # When a client is made, Then it asks the one that runs
    with Client() as client:
        assert client.base_url == "http://127.0.0.1:8123"


def test_a_platform_that_died_is_missed_where_it_was(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a home whose platform went without a word
    write_state(home, recorded("http://127.0.0.1:8123", pid_started=1.0))
    # When a client is made, Then it asks there, and nobody else at the usual port
    with Client() as client:
        assert client.base_url == "http://127.0.0.1:8123"
    # When the environment names another port, Then that counts
    monkeypatch.setenv("DEVSKYY_HTTP_PORT", "8456")
    with Client() as client:
        assert client.base_url == "http://127.0.0.1:8456"


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://somewhere", "http://", "http://x:port"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    # Given something that is no HTTP address
    # When a client is made for it
    # Then the mistake is named
    with pytest.raises(ConfigError, match="base_url"):
        Client(url)


# The other client


async def test_the_async_client_has_the_same_verbs(async_client: AsyncClient, platform: PlatformSimulator) -> None:
    # Given a platform
    platform.scripts["slow"] = Script(held=True)
    # When each verb is used
    task = await async_client.run("hello", tier="simple")
    slow = await async_client.submit("slow")
    asked = await async_client.cancel(slow.task_id)
    ended = await async_client.wait(slow.task_id)
    events = [event["event"] async for event in async_client.events(task.task_id, after=1)]
    # Then each does what its twin does
    assert (task.status, asked.status, ended.status) == ("completed", "running", "cancelled")
    assert events == ["claimed", "completed"]
    assert await async_client.task(task.task_id) == task
    assert len((await async_client.tasks()).tasks) == 2
    assert len(await async_client.agents()) == len(await async_client.services()) == 2
    assert (await async_client.health()).status == "ready"


async def test_costs_are_asked_for_by_key_and_day(
    client: Client, async_client: AsyncClient, platform: PlatformSimulator
) -> None:
    # Given both clients
    # When each asks for costs, one with everything said, one with nothing
    first = client.costs(by="task", since=date(2026, 5, 1), until=date(2026, 5, 31))
    second = await async_client.costs()
    # Then what was said arrived, and what is unknown stayed unknown
    assert [seen.query for seen in platform.made("GET", "/api/v1/costs")] == [
        {"by": "task", "since": "2026-05-01", "until": "2026-05-31"},
        {"by": "day"},
    ]
    assert (first.by, second) == ("task", platform.costs)
    assert second.rows[1].premium_cost_usd is None
    # And days in the wrong order are refused with the field
    with pytest.raises(InvalidTask) as caught:
        client.costs(since=date(2026, 5, 2), until=date(2026, 5, 1))
    assert caught.value.problem.errors[0].field == "until"


async def test_qualities_are_asked_for_by_agent_or_kind_and_day(
    client: Client, async_client: AsyncClient, platform: PlatformSimulator
) -> None:
    # Given a platform that has measured answers
    row = QualityRow(agent="writing", n=3, mean=0.75, last_at=datetime(2026, 5, 4, tzinfo=UTC))
    platform.qualities = QualityList(rows=(row,))
    # When both clients ask how good they were, Then what was said arrived, and what was measured came back
    assert client.quality(by="agent", since=date(2026, 5, 1)) == QualityList(by="agent", rows=(row,))
    assert (await async_client.quality()).rows == (row,)
    assert [seen.query for seen in platform.made("GET", "/api/v1/quality")] == [
        {"by": "agent", "since": "2026-05-01"},
        {},
    ]


def test_both_clients_have_the_same_public_verbs() -> None:
    # Given both clients
    # When their verbs are compared
    # Then only closing has another name
    def verbs(client: type) -> set[str]:
        return {name for name in dir(client) if not name.startswith("_")}

    assert verbs(Client) - {"close"} == verbs(AsyncClient) - {"aclose"}


async def test_the_async_client_takes_up_cut_streams_and_asks_again(
    async_client: AsyncClient, platform: PlatformSimulator
) -> None:
    # Given a platform that refuses once and whose next two streams break off
    platform.refuse(Refusal(503, retry_after_s=0.01), times=1)
    accepted = await async_client.submit("hello")
    platform.cut_streams(after=1, times=2)
    # When the events are read
    events = [event["seq"] async for event in async_client.events(accepted.task_id)]
    # Then each comes once, and the task is one
    assert events == [1, 2, 3]
    assert len(platform.tasks) == 1
    assert len({seen.key for seen in platform.made("POST")}) == 1


async def test_an_async_wait_ends_when_its_time_is_up(async_client: AsyncClient, platform: PlatformSimulator) -> None:
    # Given a task that goes on
    platform.scripts["slow"] = Script(held=True)
    accepted = await async_client.submit("slow")
    # When it is waited for a moment
    # Then the wait ends, and the task does not
    with pytest.raises(StillRunning):
        await async_client.wait(accepted.task_id, timeout_s=0.2)
    assert (await async_client.task(accepted.task_id)).status == "running"


async def test_an_async_client_raises_what_the_other_raises(
    async_client: AsyncClient, platform: PlatformSimulator
) -> None:
    # Given a task that fails, and none of another id
    platform.scripts["fail"] = Script(ends="failed")
    # When they are asked for
    # Then the errors are the same
    with pytest.raises(TaskFailed):
        await async_client.run("fail")
    with pytest.raises(NoSuchTask):
        await async_client.wait("nowhere")


def test_one_client_serves_several_threads(client: Client) -> None:
    # Given one client
    # When eight threads use it
    with ThreadPoolExecutor(8) as pool:
        tasks = list(pool.map(client.run, [f"task {n}" for n in range(24)]))
    # Then each has its own task
    assert len({task.task_id for task in tasks}) == 24
    assert threading.active_count() < 20
