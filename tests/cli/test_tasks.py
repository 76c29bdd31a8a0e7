import json
import subprocess
from concurrent.futures import ThreadPoolExecutor

from devskyy.client import Client
from schemas.receipt import Receipt
from tests.cli.conftest import Command
from tests.simulators.platform import CALL, PlatformSimulator, Script


def submit(platform: PlatformSimulator, *prompts: str) -> list[str]:
    with Client(platform.url) as client:
        return [client.submit(prompt).task_id for prompt in prompts]


def test_tasks_are_listed_and_the_next_page_is_named(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given three tasks
    first, *_, last = submit(platform, "one", "two", "three")
    # When two are listed, for a person and for a program
    shown, handed = devskyy("tasks", "list", "--limit", "2"), devskyy("tasks", "list", "--limit", "2", "--json")
    # Then the newest are there, and how to go on
    assert (shown.code, handed.code) == (0, 0)
    assert last in shown.out
    assert first not in shown.out
    assert "devskyy tasks list --cursor 2" in shown.out
    assert [task["prompt"] for task in handed.document["tasks"]] == ["three", "two"]
    assert devskyy("tasks", "list", "--cursor", "2", "--json").document["next"] is None


def test_a_task_that_a_recording_answered_is_marked_in_the_list(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a task, and one that a recording answered
    replayed = Receipt.of((CALL.model_copy(update={"replayed": True, "cost_usd": 0.25}),), wall_ms=1.0)
    platform.scripts["two"] = Script(receipt=replayed)
    submit(platform, "one", "two")
    # When they are listed, Then it is plain which cost was not spent
    second, first = devskyy("tasks", "list").out.splitlines()[1:]
    assert "$0.250 (replayed)" in second
    assert "replayed" not in first


def test_no_tasks_are_said_to_be_none(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given tasks, none of which failed
    submit(platform, "one")
    # When those that failed are listed
    # Then there are none
    assert devskyy("tasks", "list", "--status", "failed").out == "no tasks\n"


def test_a_task_is_shown_with_answer_and_receipt(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a task that has ended
    (task_id,) = submit(platform, "one")
    # When it is shown
    shown, handed = devskyy("tasks", "show", task_id), devskyy("tasks", "show", task_id, "--json")
    # Then all of it is there
    assert (shown.code, handed.code) == (0, 0)
    assert "A fine answer." in shown.out
    assert "smollm2-135m-instruct" in shown.out
    assert handed.document["task_id"] == task_id


def test_looking_at_a_failed_task_is_no_failure(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a task that failed
    platform.scripts["one"] = Script(ends="failed")
    (task_id,) = submit(platform, "one")
    # When it is shown
    ran = devskyy("tasks", "show", task_id)
    # Then showing it worked
    assert ran.code == 0
    assert "not finished within 1 s" in ran.err


def test_a_task_that_is_not_there_is_named(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given no task
    # When one is shown, followed, or cancelled
    # Then it is the caller's mistake, in words and in JSON
    for verb in ("show", "events", "cancel"):
        assert "there is no task 'nowhere'" in devskyy("tasks", verb, "nowhere").err
        ran = devskyy("tasks", verb, "nowhere", "--json")
        assert (ran.code, ran.document["status"]) == (2, 404)


def test_the_events_so_far_are_one_document(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a task that goes on
    platform.scripts["slow"] = Script(held=True)
    (task_id,) = submit(platform, "slow")
    # When its events so far are asked for
    shown, handed = devskyy("tasks", "events", task_id), devskyy("tasks", "events", task_id, "--json")
    # Then those are there, and nobody waited for its end
    assert (shown.code, handed.code) == (0, 0)
    assert "running: simple, direct: writing" in shown.out
    assert [event["event"] for event in handed.document["events"]] == ["accepted", "claimed"]
    assert handed.document["task_id"] == task_id


def test_followed_events_are_one_object_a_line_as_they_happen(
    devskyy: Command, platform: PlatformSimulator, program: list[str]
) -> None:
    # Given somebody who follows a task that goes on
    platform.scripts["slow"] = Script(held=True)
    (task_id,) = submit(platform, "slow")
    words = [*program, "tasks", "events", task_id, "--follow", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        # When the first events are read before the task ends, and the rest after
        seen = [json.loads(process.stdout.readline()) for _ in range(2)]
        platform.finish(task_id)
        rest, _ = process.communicate(timeout=20)
    # Then each came when it happened, and the command ended with the task
    seen += map(json.loads, rest.splitlines())
    assert process.returncode == 0
    assert [event["event"] for event in seen] == ["accepted", "claimed", "completed"]


def test_following_survives_a_cut_connection(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a platform whose next stream breaks off
    (task_id,) = submit(platform, "one")
    platform.cut_streams(after=1, times=1)
    # When the task is followed
    ran = devskyy("tasks", "events", task_id, "--follow")
    # Then each event is told once
    assert [line.split()[0] for line in ran.out.splitlines()] == ["1", "2", "3"]


def test_cancel_asks_for_the_end_and_says_what_became_of_it(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a task that goes on
    platform.scripts["slow"] = Script(held=True)
    (task_id,) = submit(platform, "slow")
    # When it is cancelled, and cancelled again
    first, second = devskyy("tasks", "cancel", task_id), devskyy("tasks", "cancel", task_id, "--json")
    # Then it was asked to end, and then it has
    assert (first.code, second.code) == (0, 0)
    assert "was asked to end" in first.out
    assert second.document["status"] == "cancelled"


def test_a_reader_who_has_seen_enough_is_no_error(platform: PlatformSimulator, program: list[str]) -> None:
    # Given somebody who follows a task and closes the pipe after one line
    platform.scripts["slow"] = Script(held=True)
    (task_id,) = submit(platform, "slow")
    words = [*program, "tasks", "events", task_id, "--follow", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.readline()
        process.stdout.close()
        # When more happens
        platform.finish(task_id)
        err = process.stderr.read()
        # Then the command ends without a traceback
        assert process.wait(timeout=20) == 1
    assert err == ""


def test_commands_may_run_side_by_side(platform: PlatformSimulator, program: list[str]) -> None:
    # Given one platform
    # When four commands run at once
    def run(n: int) -> str:
        words = [*program, "run", f"task {n}", "--json"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    with ThreadPoolExecutor(4) as pool:
        documents = [json.loads(out) for out in pool.map(run, range(4))]
    # Then each has its own task
    assert [document["prompt"] for document in documents] == [f"task {n}" for n in range(4)]
