"""`devskyy run --record` and `--replay`."""

import io
import json
import sys
from pathlib import Path

import pytest

from schemas.quality import Quality
from schemas.recording import MAX_RECORDING_BYTES, Recording
from tests.cli.conftest import Command
from tests.simulators.platform import PlatformSimulator, Refusal, Script


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


@pytest.fixture
def recorded(devskyy: Command, platform: PlatformSimulator, file: Path) -> Path:
    """A run that was recorded; the platform has forgotten what it saw."""
    assert devskyy("run", "hello", "--tier", "simple", "--max-cost-usd", "0.5", "--record", str(file)).code == 0
    platform.seen.clear()
    return file


# Recording


def test_a_run_is_recorded_once_it_has_ended(devskyy: Command, platform: PlatformSimulator, file: Path) -> None:
    # Given a platform, When a run is recorded for a program
    ran = devskyy("run", "hello", "--record", str(file), "--json")
    # Then there is one document on stdout, and the recording of that task in the file
    assert (ran.code, ran.document["answer"]) == (0, "A fine answer.")
    recording = Recording.parse(file.read_bytes())
    assert recording.task_id == ran.document["task_id"]
    assert [event["event"] for event in recording.events] == ["accepted", "claimed", "completed"]


def test_a_run_that_failed_is_recorded_too(devskyy: Command, platform: PlatformSimulator, file: Path) -> None:
    platform.scripts["hello"] = Script(ends="failed")
    assert devskyy("run", "hello", "--record", str(file)).code == 1
    assert Recording.parse(file.read_bytes()).events[-1]["event"] == "failed"


def test_an_earlier_recording_is_replaced(devskyy: Command, platform: PlatformSimulator, recorded: Path) -> None:
    assert devskyy("run", "other words", "--record", str(recorded)).code == 0
    assert Recording.parse(recorded.read_bytes()).request.prompt == "other words"


@pytest.mark.parametrize("place", ["/nowhere/run.jsonl", "/proc/self/run.jsonl"])
def test_a_place_that_cannot_be_written_is_refused_before_anything_starts(
    devskyy: Command, platform: PlatformSimulator, place: str
) -> None:
    ran = devskyy("run", "hello", "--record", place, "--json")
    assert (ran.code, ran.document["errors"][0]["field"]) == (2, "--record")
    assert f"{place} cannot be written" in ran.document["detail"]
    assert platform.seen == []


def test_a_folder_is_no_place_for_a_recording(devskyy: Command, platform: PlatformSimulator, tmp_path: Path) -> None:
    assert devskyy("run", "hello", "--record", str(tmp_path)).code == 2
    assert platform.seen == []


def test_a_run_that_could_not_be_recorded_still_shows_its_answer(
    devskyy: Command, platform: PlatformSimulator, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a platform that ends before it gives out the recording
    async def gone(self: object, task_id: str) -> str:
        from devskyy.errors import PlatformNotRunning

        raise PlatformNotRunning("http://127.0.0.1:9")

    monkeypatch.setattr("devskyy.client.AsyncClient.recording", gone)
    # When a run is recorded
    ran = devskyy("run", "hello", "--record", str(file), "--json")
    # Then its answer is not lost, the exit code and stderr tell of the recording, and no empty file is left
    assert (ran.code, ran.document["answer"]) == (1, "A fine answer.")
    assert "no platform answers" in ran.err
    assert not file.exists()


def test_a_task_that_was_not_started_leaves_no_file(devskyy: Command, platform: PlatformSimulator, file: Path) -> None:
    assert devskyy("run", "hello", "--tier", "mega", "--record", str(file)).code == 2
    assert not file.exists()


# Replaying


def test_a_recorded_run_is_handed_in_and_asked_for_again(
    devskyy: Command, platform: PlatformSimulator, recorded: Path
) -> None:
    # Given a recorded run, When it is replayed without another word
    ran = devskyy("run", "--replay", str(recorded), "--json")
    # Then the recording is handed in, and the same task asked for with its name
    assert (ran.code, ran.document["answer"]) == (0, "A fine answer.")
    upload, task = platform.made("POST")
    assert (upload.path, upload.body) == ("/api/v1/recordings", recorded.read_text())
    name = task.body.pop("replay")
    assert len(name) == 64
    assert task.body == {"prompt": "hello", "tier": "simple", "max_cost_usd": 0.5}


def test_the_same_prompt_and_options_may_be_given_again(
    devskyy: Command, platform: PlatformSimulator, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"hello")))
    assert devskyy("run", "hello", "--tier", "simple", "--replay", str(recorded)).code == 0
    assert devskyy("run", "-", "--max-cost-usd", "0.5", "--replay", str(recorded)).code == 0


@pytest.mark.parametrize(
    ("words", "field"),
    [(("goodbye",), "prompt"), (("",), "prompt"), (("--tier", "moderate"), "tier"), (("--agents", "3"), "agents")],
)
def test_another_prompt_or_option_than_the_recorded_one_is_refused(
    devskyy: Command, platform: PlatformSimulator, recorded: Path, words: tuple[str, ...], field: str
) -> None:
    ran = devskyy("run", *words, "--replay", str(recorded), "--json")
    assert (ran.code, ran.document["errors"][0]["field"]) == (2, field)
    assert "leave it out, or record anew" in ran.document["detail"]
    assert platform.seen == []


def test_the_quality_that_was_asked_for_counts_again(devskyy: Command, platform: PlatformSimulator, file: Path) -> None:
    platform.scripts["hello"] = Script(quality=Quality(overall=0.5, met=False))
    assert devskyy("run", "hello", "--min-quality", "0.8", "--record", str(file)).code == 5
    assert devskyy("run", "--replay", str(file)).code == 5


def test_a_file_that_is_no_recording_is_named_with_its_line_and_nothing_is_sent(
    devskyy: Command, platform: PlatformSimulator, recorded: Path
) -> None:
    # Given a recording in which a number was changed
    lines = recorded.read_text().splitlines(keepends=True)
    lines[1] = lines[1].replace("0.5", "0.4")
    recorded.write_text("".join(lines))
    # When it is replayed
    shown, handed = devskyy("run", "--replay", str(recorded)), devskyy("run", "--replay", str(recorded), "--json")
    # Then file and line are named
    assert (shown.code, handed.code) == (2, 2)
    assert f"{recorded}: line 2: was changed after it was recorded" in shown.err
    assert handed.document["errors"][0]["field"] == "--replay"
    assert platform.seen == []


def test_a_file_that_is_too_large_or_not_there_is_refused(
    devskyy: Command, platform: PlatformSimulator, file: Path
) -> None:
    with file.open("wb") as large:
        large.truncate(MAX_RECORDING_BYTES + 1)
    assert devskyy("run", "--replay", str(file)).code == 2
    assert devskyy("run", "--replay", str(file) + ".nowhere").code == 2
    assert platform.seen == []


def test_record_and_replay_exclude_each_other(devskyy: Command, platform: PlatformSimulator, recorded: Path) -> None:
    ran = devskyy("run", "--replay", str(recorded), "--record", str(recorded), "--json")
    assert (ran.code, "not both" in ran.document["detail"]) == (2, True)
    assert json.loads(recorded.read_text().splitlines()[0])["devskyy_recording"] == 1


def test_a_platform_that_does_not_take_the_recording_says_why(
    devskyy: Command, platform: PlatformSimulator, recorded: Path
) -> None:
    platform.refuse(Refusal(507), times=1)
    assert devskyy("run", "--replay", str(recorded)).code == 1
    assert [seen.path for seen in platform.made("POST")] == ["/api/v1/recordings"]


# Caching


def test_an_answer_from_the_cache_is_asked_for_by_its_age(devskyy: Command, platform: PlatformSimulator) -> None:
    assert devskyy("run", "hello", "--cache", "60").code == 0
    assert platform.made("POST")[0].body == {"prompt": "hello", "cache_s": 60.0}
    assert devskyy("run", "hello", "--cache", "0").code == 2
