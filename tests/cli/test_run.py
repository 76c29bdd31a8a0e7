import io
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from devskyy.cli import run as run_module
from schemas.quality import Quality
from schemas.receipt import Receipt
from schemas.task import Status, Task, Tier
from tests.cli.conftest import Command
from tests.simulators.platform import CALL, PlatformSimulator, Script

Program = Callable[..., "subprocess.Popen[str]"]


# What is printed


def test_a_task_is_answered_with_its_receipt(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a platform
    # When a task is run
    ran = devskyy("run", "hello", "--tier", "simple", "--max-cost-usd", "0.5", "--timeout", "30", "--agents", "1")
    # Then the answer stands first, and the receipt tells who served, what it cost, and what was passed over and why
    assert ran.code == 0
    assert ran.out.startswith("A fine answer.\n")
    for fact in ("local", "smollm2-135m-instruct", "12 in, 30 out", "$0.00", "1.5 s"):
        assert fact in ran.out
    for reason in CALL.fallback_from:
        assert reason in ran.out
    assert "$0.00243 for one call of claude-opus" in ran.out
    assert "saved" in ran.out
    # And the options arrived
    body = platform.made("POST")[0].body
    assert body == {"prompt": "hello", "tier": "simple", "max_cost_usd": 0.5, "timeout_s": 30.0, "agents": 1}


def test_json_is_one_document_with_the_whole_task(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a platform
    # When a task is run for a program
    ran = devskyy("run", "hello", "--json")
    # Then stdout is the task and nothing else, and progress went to stderr
    assert ran.code == 0
    assert Task.model_validate(ran.document).answer == "A fine answer."
    assert ran.out.count("\n") == 1
    assert "waiting for a coordinator" in ran.err
    assert "running: simple, direct: writing" in ran.err


def test_what_went_wrong_on_the_way_stands_in_the_receipt(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a call that failed and may have cost, and one that served after a free failure, dearer than allowed
    failed = CALL.model_copy(update={"outcome": "failed", "reason": "the connection broke"})
    served = CALL.model_copy(update={"retries": ("HTTP 503",), "overrun": True})
    platform.scripts["hello"] = Script(receipt=Receipt.of((failed, served), wall_ms=1))
    # When the task is shown
    out = devskyy("run", "hello").out
    # Then it tells both, and the overrun
    assert "local: HTTP 503" in out
    assert "local: the connection broke" in out
    assert "overrun" in out


def test_unknown_is_said_with_its_reason(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a service whose price nobody knows
    call = CALL.model_copy(
        update={"cost_usd": None, "cost_unknown_reason": "price not in the table", "completion_tokens": None}
    )
    receipt = Receipt.of((call,), wall_ms=1, premium_unknown_reason="no premium service is priced")
    platform.scripts["hello"] = Script(receipt=receipt)
    # When a task is run on it
    ran = devskyy("run", "hello")
    # Then nothing is taken for zero
    assert "unknown (local: price not in the table)" in ran.out
    assert "unknown (no premium service is priced)" in ran.out
    assert "12 in, unknown out" in ran.out


def test_a_replay_says_that_nothing_was_spent(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a task that a recording answers
    receipt = Receipt.of((CALL.model_copy(update={"replayed": True, "cost_usd": 0.25}),), wall_ms=1)
    platform.scripts["hello"] = Script(receipt=receipt)
    # When it is run, Then its cost is not taken for money spent
    shown = devskyy("run", "hello").out
    assert "local (replayed)" in shown
    assert "those of the recorded run; nothing was spent now" in shown


def test_what_a_model_says_cannot_command_the_terminal(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a model that speaks in escape sequences, and in rich's markup
    platform.scripts["hello"] = Script(answer="\x1b[2Jgone [bold]not markup[/bold]\ttab")
    # When its answer is shown, and when it is handed on
    shown, handed = devskyy("run", "hello"), devskyy("run", "hello", "--json")
    # Then the terminal gets plain text, and a program every character
    assert "\x1b" not in shown.out
    assert "gone [bold]not markup[/bold]" in shown.out
    assert handed.document["answer"] == "\x1b[2Jgone [bold]not markup[/bold]\ttab"


def test_a_task_that_failed_says_why_and_what_it_cost(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a task that fails
    platform.scripts["hello"] = Script(ends="failed")
    # When it is run
    shown, handed = devskyy("run", "hello"), devskyy("run", "hello", "--json")
    # Then the reason stands on stderr, the receipt is there, and the exit code says it
    assert (shown.code, handed.code) == (1, 1)
    assert "not finished within 1 s" in shown.err
    assert "smollm2-135m-instruct" in shown.out
    assert handed.document["error"]["detail"] == "the task was not finished within 1 s"


@pytest.mark.parametrize(
    ("quality", "code", "words"),
    [
        (Quality(overall=0.9, met=True), 0, "0.90; 0.8 was asked for: met"),
        (Quality(overall=0.5, met=False), 5, "0.50; 0.8 was asked for: not met"),
        (Quality(reasons={"overall": "no judge"}), 5, "unknown (no judge); 0.8 was asked for: not known to be met"),
        (None, 5, "unknown; 0.8 was asked for"),
    ],
)
def test_an_answer_under_the_quality_asked_for_is_told_by_the_exit_code(
    devskyy: Command, platform: PlatformSimulator, quality: Quality | None, code: int, words: str
) -> None:
    # Given an answer of some quality
    platform.scripts["hello"] = Script(quality=quality)
    # When 0.8 was asked for
    ran = devskyy("run", "hello", "--min-quality", "0.8")
    # Then the answer is there, and the exit code and the receipt tell whether that was met
    assert ran.code == code
    assert "A fine answer." in ran.out
    assert words in ran.out
    # And whoever asked for nothing gets 0
    assert devskyy("run", "hello").code == 0


# What goes in


def test_a_prompt_may_come_from_stdin(
    devskyy: Command, platform: PlatformSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a prompt on stdin
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("größer\nals eine Zeile".encode())))
    # When it is run
    ran = devskyy("run", "-", "--json")
    # Then that is the task
    assert ran.code == 0
    assert platform.made("POST")[0].body["prompt"] == "größer\nals eine Zeile"


def test_files_go_along_as_inputs(devskyy: Command, platform: PlatformSimulator, tmp_path: Path) -> None:
    # Given a picture and a program
    (tmp_path / "a.png").write_bytes(b"\x89PNG\0")
    (tmp_path / "b.py").write_text("print(1)\n")
    # When they go along
    ran = devskyy("run", "hello", "--file", str(tmp_path / "a.png"), "--file", str(tmp_path / "b.py"), "--json")
    # Then each arrives as what it is
    assert ran.code == 0
    assert platform.made("POST")[0].body["inputs"] == [
        {"kind": "image", "name": "a.png", "media_type": "image/png", "base64": "iVBORwA="},
        {"kind": "code", "name": "b.py", "media_type": "text/x-python", "text": "print(1)\n"},
    ]


def test_wishes_go_along(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a task of a kind that its words do not show
    # When it is said to be one
    assert devskyy("run", "hello", "--capability", "translation", "--capability", "gdpr").code == 0
    # Then that arrives
    assert platform.made("POST")[0].body["capabilities"] == ["translation", "gdpr"]


# Mistakes


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--tier", "huge"), "'simple', 'moderate', 'complex', 'mega'"),
        (("--min-quality", "1.5"), "less than or equal to 1"),
        (("--agents", "0"), "greater than or equal to 1"),
        (("--file", "/no/such/file"), "/no/such/file"),
        (("--timeout", "0"), "--timeout"),
        (("--cache", "0"), "--cache"),
        (("--cache", "-1"), "--cache"),
        (("--colour", "red"), "--colour"),
    ],
)
def test_a_mistake_in_the_command_is_a_usage_error(
    devskyy: Command, platform: PlatformSimulator, words: tuple[str, ...], named: str
) -> None:
    # Given a command with a mistake
    # When it is run for a person and for a program
    shown, handed = devskyy("run", "hello", *words), devskyy("run", "hello", *words, "--json")
    # Then both learn what is allowed, and nothing was started
    assert (shown.code, handed.code) == (2, 2)
    assert shown.out == ""
    assert named in shown.err
    assert named in handed.document["detail"]
    assert platform.seen == []


def test_a_prompt_that_is_missing_or_empty_is_a_usage_error(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given no prompt, or one without words
    # When it is run
    missing, blank = devskyy("run", "--json"), devskyy("run", " ", "--json")
    # Then that is said
    assert (missing.code, blank.code) == (2, 2)
    assert "Missing argument" in missing.document["detail"]
    assert blank.document["errors"] == [{"field": "prompt", "message": "is empty; say what is to be done"}]


def test_what_the_platform_refuses_is_named_field_by_field(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a tier that this platform cannot run
    # When a task asks for it
    shown, handed = devskyy("run", "hello", "--tier", "mega"), devskyy("run", "hello", "--tier", "mega", "--json")
    # Then the field is named
    assert (shown.code, handed.code) == (2, 2)
    assert "tier: 'mega' cannot be run by this version" in shown.err
    assert handed.document["errors"][0]["field"] == "tier"
    assert handed.document["status"] == 422


def test_a_platform_that_does_not_run_is_told_with_the_remedy(
    devskyy: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an address where nobody listens
    monkeypatch.setenv("DEVSKYY_URL", "http://127.0.0.1:9")
    # When a task is run
    shown, handed = devskyy("run", "hello"), devskyy("run", "hello", "--json")
    # Then the exit code says it, and the remedy is named
    assert (shown.code, handed.code) == (4, 4)
    assert "devskyy up" in shown.err
    assert handed.document["type"] == "urn:devskyy:problem:not-running"


def test_an_address_that_is_none_is_a_usage_error(devskyy: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given nonsense in the environment
    monkeypatch.setenv("DEVSKYY_URL", "localhost:8000")
    # When a task is run
    ran = devskyy("run", "hello")
    # Then the variable and its rule are named
    assert ran.code == 2
    assert "DEVSKYY_URL: an address starts with http://" in ran.err


def test_the_choices_are_those_of_the_schemas() -> None:
    # Given the words that the command line takes, spelled there so that it starts fast
    from devskyy.cli.tasks import StatusName

    # When they are compared with the schemas
    # Then they are the same
    assert get_args(run_module.TierName) == get_args(Tier)
    assert get_args(StatusName) == get_args(Status)


# Ctrl-C


@pytest.fixture
def interrupted(program: list[str], platform: PlatformSimulator) -> Callable[..., tuple[int, str, str, float]]:
    """Run a task in a process of its own, press Ctrl-C when it runs, and again after each of the words on stderr."""

    def run(*options: str, again_after: str | None = None) -> tuple[int, str, str, float]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen([*program, "run", "slow", *options], **pipes) as process:  # type: ignore[call-overload]
            try:
                said = read_until(process.stderr, "running:")
                began = time.monotonic()
                process.send_signal(signal.SIGINT)
                if again_after is not None:
                    said += read_until(process.stderr, again_after)
                    process.send_signal(signal.SIGINT)
                out, rest = process.communicate(timeout=20)
            finally:
                process.kill()
        return process.returncode, out, said + rest, time.monotonic() - began

    return run


def read_until(stream: io.TextIOBase, words: str) -> str:
    said = ""
    while words not in said:
        line = stream.readline()
        assert line, f"stderr ended without {words!r}: {said}"
        said += str(line)
    return said


Interrupted = Callable[..., tuple[int, str, str, float]]


def test_ctrl_c_cancels_the_task_and_shows_what_was_spent(
    interrupted: Interrupted, platform: PlatformSimulator
) -> None:
    # Given a task that goes on
    platform.scripts["slow"] = Script(held=True)
    # When Ctrl-C is pressed
    code, out, err, _ = interrupted()
    # Then the task is cancelled, and its receipt is shown
    assert code == 3
    (running,) = platform.tasks.values()
    assert running.task.status == "cancelled"
    assert len(platform.made("DELETE")) == 1
    assert "smollm2-135m-instruct" in out
    assert "cancelled" in err


def test_ctrl_c_with_json_prints_the_cancelled_task(interrupted: Interrupted, platform: PlatformSimulator) -> None:
    # Given a task that goes on
    platform.scripts["slow"] = Script(held=True)
    # When Ctrl-C is pressed
    code, out, _, _ = interrupted("--json")
    # Then stdout is the cancelled task and nothing else
    assert code == 3
    assert json.loads(out)["status"] == "cancelled"


def test_a_second_ctrl_c_leaves_at_once(interrupted: Interrupted, platform: PlatformSimulator) -> None:
    # Given a task that does not end when it is asked to
    platform.scripts["slow"] = Script(held=True, deaf=True)
    # When Ctrl-C is pressed twice
    code, out, _, took_s = interrupted("--json", again_after="cancelling")
    # Then the command does not wait for it, and says so
    assert code == 3
    assert json.loads(out)["type"] == "urn:devskyy:problem:cancelled"
    assert took_s < run_module.CANCEL_S


def test_a_cancel_that_is_not_confirmed_in_time_says_so(
    devskyy: Command, platform: PlatformSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a task that does not end when it is asked to, and little patience
    platform.scripts["slow"] = Script(held=True, deaf=True)
    monkeypatch.setattr(run_module, "CANCEL_S", 0.2)

    def interrupt() -> None:
        platform.wait_until(lambda: len(platform.made("GET")) == 1)  # the command follows: its handler is in place
        os.kill(os.getpid(), signal.SIGINT)

    # When Ctrl-C is pressed
    thread = threading.Thread(target=interrupt)
    thread.start()
    ran = devskyy("run", "slow", "--json")
    thread.join()
    # Then the task comes out as it stands, with a hint where to look
    assert ran.code == 3
    assert ran.document["status"] == "running"
    assert f"devskyy tasks show {ran.document['task_id']}" in ran.err
