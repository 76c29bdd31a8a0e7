"""`devskyy workflows` against the platform's own doors and engine: in this process, in a pipe, on a terminal."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from devskyy import Client
from tests.cli.conftest import Command, Ran
from tests.cli.terminal import LONG_S, on_a_terminal
from tests.served import Served, served, serving

__all__ = ["served", "serving"]

LAUNCH: dict[str, Any] = {
    "name": "launch",
    "inputs": {"brand": {"type": "string", "default": "Noir"}, "copies": {"type": "integer", "default": 2}},
    "tasks": {
        "assets": {
            "title": "Draw a logo",
            "function": "say",
            "inputs": {"text": "logo of ${inputs.brand}"},
            "compensation": {"function": "undo", "inputs": {"what": "the logo"}},
        },
        "site": {"function": "say", "inputs": {"text": "site with ${tasks.assets.output}"}},
        "posts": {"function": "say", "map": {"over": "['a', 'b']"}, "inputs": {"text": "${tasks.assets.output}"}},
        "done": {"function": "say", "inputs": {"text": "${inputs.copies} copies"}, "depends_on": ["site", "posts"]},
    },
    "output": {"site": "${tasks.site.output}", "posts": "${tasks.posts.output}"},
}


def adding(**tasks: Any) -> dict[str, Any]:
    """The launch, with tasks that follow the logo."""
    more = {name: {"depends_on": ["assets"], **task} for name, task in tasks.items()}
    return {**LAUNCH, "tasks": {"assets": LAUNCH["tasks"]["assets"], **more}, "output": None}


ASKS = adding(review={"approval": "Publish the site of ${inputs.brand}?"})
BREAKS = adding(pay={"function": "breaks", "retry": {"attempts": 1}})


def holds(name: str) -> dict[str, Any]:
    return adding(hold={"function": "hold", "inputs": {"name": name}})


@pytest.fixture(autouse=True)
def _at_the_platform(home: Path, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVSKYY_URL", served.url)


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(definition: dict[str, Any], name: str = "launch.yaml") -> str:
        """The path of a file with the workflow in it."""
        file = tmp_path / name
        file.write_text(yaml.safe_dump(definition, sort_keys=False))
        return str(file)

    return write


def id_in(text: str) -> str:
    found = re.search(r"\b[0-9a-f]{32}\b", text)
    assert found is not None, text
    return found[0]


def detached(devskyy: Command, file: str) -> str:
    """The id of a workflow that runs."""
    return id_in(devskyy("workflows", "run", file, "--detach").out)


def ended(served: Served, workflow_id: str) -> str:
    """How it ended."""
    with Client(served.url) as client:
        return client.wait_workflow(workflow_id, timeout_s=LONG_S).status


@contextmanager
def in_a_pipe(words: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """A command that runs until the end of the block at the latest."""
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def until_it_says(process: "subprocess.Popen[str]", phrase: str) -> None:
    assert process.stderr is not None
    said = []
    while phrase not in (line := process.stderr.readline()):
        assert line, said
        said.append(line)


# -- run ---------------------------------------------------------------------------------------------------------------


def test_the_output_goes_to_stdout_and_what_happens_to_stderr(devskyy: Command, write: Any) -> None:
    # When a workflow is run in a pipe
    ran = devskyy("workflows", "run", write(LAUNCH), "--input", "brand=Élégance")
    # Then its output is laid out, with what it came to below
    assert ran.code == 0
    assert ran.out.startswith("site: site with logo of Élégance\nposts:\n- logo of Élégance\n- logo of Élégance\n\n")
    assert re.search(r"workflow +[0-9a-f]{32} \(launch\) completed", ran.out)
    assert re.search(r"tasks +4 of 4 completed", ran.out)
    assert re.search(r"cost +\$0\.00", ran.out)
    # And each event has a line, without anything that moves a cursor
    told = ran.err.splitlines()
    assert told[0].startswith("created as ")
    assert told[1] == "started; assets running"
    assert told[-1].endswith("completed")
    assert "\x1b" not in ran.err + ran.out


def test_a_program_gets_one_document(devskyy: Command, write: Any) -> None:
    ran = devskyy("workflows", "run", write(LAUNCH), "--json")
    assert (ran.code, ran.document["status"]) == (0, "completed")
    assert ran.document["output"]["site"] == "site with logo of Noir"


def test_a_text_is_printed_as_it_is(devskyy: Command, write: Any) -> None:
    ran = devskyy("workflows", "run", write({**LAUNCH, "output": "two\n  lines"}))
    assert ran.out.startswith("two\n  lines\n\n")


def test_a_failure_says_what_failed_what_was_undone_and_how_to_go_on(devskyy: Command, write: Any) -> None:
    # When a workflow fails
    ran = devskyy("workflows", "run", write(BREAKS))
    # Then the reason is on stderr, and what it came to on stdout
    assert ran.code == 1
    assert "pay: the till is locked" in ran.err.splitlines()[-1]
    assert re.search(r"failed +pay: the till is locked", ran.out)
    assert re.search(r"undone +assets", ran.out)
    assert f"devskyy workflows retry {id_in(ran.out)}" in ran.out


def test_what_still_stands_after_a_failed_undoing_is_said(devskyy: Command, write: Any) -> None:
    undo = {"function": "breaks", "retry": {"attempts": 1}}
    broken = {**BREAKS, "tasks": {**BREAKS["tasks"], "assets": {**LAUNCH["tasks"]["assets"], "compensation": undo}}}
    ran = devskyy("workflows", "run", write(broken))
    assert re.search(r"not undone +assets: what they did still stands", ran.out)
    assert re.search(r"failed +assets: the till is locked", ran.out)


def test_inputs_are_text_or_json_as_they_are_declared(devskyy: Command, write: Any, tmp_path: Path) -> None:
    # Given inputs in a file, and others on the command line: a number for a text, one for a number
    more = tmp_path / "inputs.json"
    more.write_text('{"brand": "from the file", "copies": 5}')
    words = ("--inputs", str(more), "--input", "brand=2026")
    # When a workflow is run with them, Then the command line counts before the file
    ran = devskyy("workflows", "run", write(LAUNCH), *words, "--json")
    assert ran.document["inputs"] == {"brand": "2026", "copies": 5}
    # And what is no input, or none of that type, is said with its name
    wrong = devskyy("workflows", "run", write(LAUNCH), "--input", "copies=many", "--input", "brnd=x")
    assert wrong.code == 2
    assert "brnd: there is no such input; did you mean 'brand'?" in wrong.err
    assert "inputs.copies: " in wrong.err
    assert devskyy("workflows", "run", write(LAUNCH), "--input", "brand").code == 2
    twice = devskyy("workflows", "run", write(LAUNCH), "--input", "brand=a", "--input", "brand=b")
    assert "brand is given twice" in twice.err


def test_an_input_of_a_template_is_text_where_it_is_declared_so(devskyy: Command) -> None:
    words = ("--input", "brand_name=1984", "--input", 'inventory_params={"initial_products": 5}')
    ran = devskyy("workflows", "create", "fashion_brand_launch", *words)
    assert ran.code == 0
    status = devskyy("workflows", "status", id_in(ran.out), "--json").document
    assert status["inputs"]["brand_name"] == "1984"
    assert status["inputs"]["inventory_params"]["initial_products"] == 5


def test_limits_of_the_command_line_count_before_those_of_the_file(devskyy: Command, write: Any) -> None:
    words = ("--max-parallel", "1", "--max-cost-usd", "0.5", "--timeout", "60")
    workflow_id = id_in(devskyy("workflows", "create", write(LAUNCH), *words).out)
    (created,) = devskyy("workflows", "events", workflow_id, "--json").document["events"]
    told = [created["definition"][name] for name in ("max_parallel_tasks", "max_cost_usd", "timeout_s")]
    assert told == [1, 0.5, 60]


def test_detached_it_is_left_running(devskyy: Command, write: Any, served: Served) -> None:
    # When a workflow is run detached
    ran = devskyy("workflows", "run", write(holds("detached")), "--detach")
    # Then its id alone is on stdout, and it goes on
    assert re.fullmatch(r"[0-9a-f]{32}\n", ran.out)
    assert f"devskyy workflows watch {ran.out.strip()}" in ran.err
    served.wait_until(lambda: "hold detached" in served.calls)
    served.release("detached")
    watched = devskyy("workflows", "watch", ran.out.strip())
    assert watched.code == 0
    assert "hold: detached is done" in watched.out
    assert devskyy("workflows", "run", write(LAUNCH), "--detach", "--json").document["name"] == "launch"


def test_created_it_waits_to_be_started(devskyy: Command, write: Any, served: Served) -> None:
    ran = devskyy("workflows", "create", write(LAUNCH))
    workflow_id = id_in(ran.out)
    assert f"devskyy workflows start {workflow_id}" in ran.err
    status = devskyy("workflows", "status", workflow_id).out
    assert "launch: not started" in status
    assert f"next      devskyy workflows start {workflow_id}" in status
    assert devskyy("workflows", "start", workflow_id).out.startswith("launch: ")
    assert ended(served, workflow_id) == "completed"
    again = devskyy("workflows", "start", workflow_id)
    assert (again.code, "it was started already" in again.err) == (1, True)


# -- run, interrupted --------------------------------------------------------------------------------------------------


def test_ctrl_c_cancels_the_workflow_which_is_undone(program: list[str], write: Any, served: Served) -> None:
    # Given a workflow that runs in a pipe
    words = [*program, "workflows", "run", write(holds("interrupted"))]
    with in_a_pipe(words) as process:
        served.wait_until(lambda: "hold interrupted" in served.calls)
        # When somebody presses Ctrl-C, and what runs comes to its end
        process.send_signal(signal.SIGINT)
        until_it_says(process, "cancelling: what was done is undone; Ctrl-C again leaves at once")
        until_it_says(process, "being cancelled: Ctrl-C")
        served.release("interrupted")
        out, _ = process.communicate(timeout=LONG_S)
    # Then it is cancelled, and what was done is undone
    assert process.returncode == 3
    assert re.search(r"undone +assets", out)
    assert served.calls[-1] == "undo the logo"


def test_a_second_ctrl_c_leaves_at_once(program: list[str], write: Any, served: Served) -> None:
    # Given a workflow that is being cancelled, in which something still runs
    words = [*program, "workflows", "run", write(holds("deaf"))]
    with in_a_pipe(words) as process:
        served.wait_until(lambda: "hold deaf" in served.calls)
        process.send_signal(signal.SIGINT)
        until_it_says(process, "being cancelled: Ctrl-C")
        # When somebody presses Ctrl-C again
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LONG_S)
    # Then the command ends, and says that the workflow may not have
    assert process.returncode == 3
    assert "see `devskyy workflows list`" in err
    served.release("deaf")


def test_whoever_watches_leaves_it_running(program: list[str], devskyy: Command, write: Any, served: Served) -> None:
    # Given somebody who watches a workflow
    workflow_id = detached(devskyy, write(holds("watched")))
    words = [*program, "workflows", "watch", workflow_id]
    with in_a_pipe(words) as process:
        until_it_says(process, "hold running")
        # When they have seen enough
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LONG_S)
    # Then the workflow goes on
    assert (process.returncode, "the workflow goes on" in err) == (3, True)
    served.release("watched")
    assert ended(served, workflow_id) == "completed"


# -- run, on a terminal ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [60, 140])
def test_on_a_terminal_its_graph_is_watched_and_stays(
    program: list[str], write: Any, served: Served, columns: int
) -> None:
    # Given a workflow that waits for a person
    with on_a_terminal([*program, "workflows", "run", write(ASKS)], columns) as (process, screen):
        # When somebody looks
        screen.wait_for("review  waiting, for an approval")
        # Then they see how far it is, what is asked, and how to answer
        screen.wait_for("review asks: Publish the site of Noir?")
        assert "launch: waiting, 1 of 2 tasks completed" in screen.text
        assert "╌ 50 %" in screen.text
        assert "assets  completed" in screen.text
        joined = screen.text.replace("\n", "")
        workflow_id = id_in(joined)
        assert re.search(rf"devskyy workflows signal {workflow_id} *review --approve", joined)
        # And when it is answered, the graph stays, and what it came to goes to stdout
        with Client(served.url) as client:
            client.signal_workflow(workflow_id, "review", {"approved": True})
        out = process.stdout.read() if process.stdout else ""
        assert process.wait(LONG_S) == 0
        screen.end()
    last = screen.text[screen.text.rindex("launch: completed") :]
    assert "review  completed" in last
    assert max(map(len, last.splitlines())) <= columns
    assert f"{workflow_id} (launch) completed" in out


def test_a_terminal_that_cannot_be_drawn_on_gets_plain_lines(program: list[str], write: Any) -> None:
    # Given a dumb terminal
    with on_a_terminal([*program, "workflows", "run", write(LAUNCH)], term="dumb") as (process, screen):
        # When a workflow is run on it
        assert process.wait(LONG_S) == 0
        screen.end()
    # Then each event is a line, and nothing colours or moves anything
    assert "started; assets running" in screen.text
    assert "\x1b" not in screen.raw


def test_without_colour_the_graph_is_drawn_all_the_same(
    program: list[str], write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with on_a_terminal([*program, "workflows", "run", write(LAUNCH)]) as (process, screen):
        assert process.wait(LONG_S) == 0
        screen.end()
    assert re.search(r"done +completed", screen.text)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", screen.raw)


def test_a_stream_that_breaks_off_is_taken_up_again(devskyy: Command, write: Any, served: Served) -> None:
    served.cut_streams(after=1, times=2)
    ran = devskyy("workflows", "run", write(LAUNCH))
    assert ran.code == 0
    assert len(ran.err.splitlines()) == len(set(ran.err.splitlines()))


# -- to look at --------------------------------------------------------------------------------------------------------


def test_status_tells_what_it_waits_for_and_how_to_answer(devskyy: Command, write: Any, served: Served) -> None:
    workflow_id = detached(devskyy, write(ASKS))
    while "launch: waiting" not in (told := devskyy("workflows", "status", workflow_id).out):
        pass
    # When somebody asks how it stands, Then the commands that end the wait can be copied
    assert (
        f"review asks: Publish the site of Noir?\n  devskyy workflows signal {workflow_id} review --approve\n" in told
    )
    # And when they say no, it is told why it failed
    devskyy("workflows", "signal", workflow_id, "review", "--reject", "--comment", "the logo is crooked")
    assert ended(served, workflow_id) == "failed"
    assert "review: the logo is crooked" in devskyy("workflows", "status", workflow_id).out


def test_events_are_told_in_order_in_words_or_as_documents(devskyy: Command, write: Any) -> None:
    workflow_id = id_in(devskyy("workflows", "run", write(LAUNCH)).out)
    told = devskyy("workflows", "events", workflow_id).out.splitlines()
    assert [int(line.split()[0]) for line in told] == list(range(1, len(told) + 1))
    assert told[-1].endswith("completed")
    followed = devskyy("workflows", "events", workflow_id, "--follow", "--json").out.splitlines()
    assert [json.loads(line)["seq"] for line in followed] == list(range(1, len(told) + 1))
    assert devskyy("workflows", "events", workflow_id, "--follow").out.splitlines() == told
    assert len(devskyy("workflows", "events", workflow_id, "--json").document["events"]) == len(told)


def test_outputs_are_printed_whole(devskyy: Command, write: Any) -> None:
    # Given an output that is too large to be shown with the workflow
    large = {**adding(big={"function": "big"}), "output": "${tasks.big.output}"}
    ran = devskyy("workflows", "run", write(large))
    workflow_id = id_in(ran.out)
    assert f"too large to be shown here: devskyy workflows output {workflow_id}" in ran.out
    # When it is asked for, Then it is whole, and so is that of a task or an item
    assert devskyy("workflows", "output", workflow_id).out == "x" * 100_000 + "\n"
    assert devskyy("workflows", "output", workflow_id, "assets", "--json").document == "logo of Noir"
    other = id_in(devskyy("workflows", "run", write(LAUNCH)).out)
    assert devskyy("workflows", "output", other, "posts", "--item", "1").out == "logo of Noir\n"
    assert devskyy("workflows", "output", other, "--item", "1").code == 2
    assert devskyy("workflows", "output", other, "nothing").code == 2


def test_workflows_are_listed_with_how_far_they_are(devskyy: Command, write: Any, served: Served) -> None:
    named = {**LAUNCH, "name": "listed"}
    assert devskyy("workflows", "run", write(named)).code == 0

    def listed() -> Ran:
        return devskyy("workflows", "list", "--name", "listed", "--status", "completed", "--limit", "1")

    while "listed" not in (ran := listed()).out:  # the list may be a moment behind
        pass
    assert re.search(r"[0-9a-f]{32} +listed +completed +100 %", ran.out)
    assert devskyy("workflows", "run", write(named)).code == 0
    while "more: devskyy workflows list --cursor" not in (ran := listed()).out:
        pass
    cursor = ran.out.rsplit(maxsplit=1)[-1]
    page = devskyy("workflows", "list", "--name", "listed", "--cursor", cursor, "--json").document
    assert [each["name"] for each in page["workflows"]] == ["listed"]
    assert devskyy("workflows", "list", "--name", "nothing").out == "no workflows\n"


def test_templates_are_listed_and_told_in_full(devskyy: Command) -> None:
    assert "product_launch" in devskyy("workflows", "templates").out
    told = devskyy("workflows", "templates", "fashion_brand_launch").out
    assert re.search(r"brand_name +string +must be given", told)
    assert re.search(r"  website +Build brand website, after visual_assets", told)
    document = devskyy("workflows", "templates", "fashion_brand_launch", "--json").document
    assert document["name"] == "fashion_brand_launch"
    assert {each["name"] for each in devskyy("workflows", "templates", "--json").document["templates"]}
    assert devskyy("workflows", "templates", "nothing").code == 2


# -- what is wrong -----------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_yaml_is_refused_with_the_line(devskyy: Command, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("name: bad\ntasks:\n  a: {function: say\n  b: [\n")
    ran = devskyy("workflows", "run", str(file))
    assert ran.code == 2
    assert f"{file}: line 4, column 4" in ran.err
    assert "there is no such file" in devskyy("workflows", "validate", str(tmp_path / "nothing.yaml")).err


BAD = """\
name: bad
tasks:
  a: {function: sya}
  b:
    function: say
    inputs: {text: "${inputs.brnd}"}
    depends_on:
      - a
      - c
"""


def test_each_mistake_is_told_with_its_line(devskyy: Command, tmp_path: Path, served: Served) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(BAD)
    # When such a file is looked through, Then each mistake has its line
    ran = devskyy("workflows", "validate", str(file))
    assert ran.code == 2
    assert f"{file} cannot be used" in ran.err
    assert "line 3: tasks.a.function: there is no function 'sya'; did you mean 'say'?" in ran.err
    assert "line 6: tasks.b.inputs.text: there is no input 'brnd'" in ran.err
    assert "line 7: tasks.b.depends_on: there is no task 'c'" in ran.err
    # And so it has where it is run, or breaks a rule of form; a program gets the plain places
    assert "line 3: " in devskyy("workflows", "run", str(file)).err
    document = devskyy("workflows", "validate", str(file), "--json").document
    assert document["errors"][0]["field"] == "definition.tasks.a.function"
    file.write_text("definition:\n  name: bad\n  tasks:\n    a:\n      promt: x\n")
    assert "line 5: definition.tasks.a.promt: there is no such field" in devskyy("workflows", "run", str(file)).err
    assert not served.calls


def test_what_could_run_is_told_in_the_order_in_which_it_would(devskyy: Command, write: Any) -> None:
    ran = devskyy("workflows", "validate", write(LAUNCH))
    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines()] == ["launch", "assets", "site", "posts", "done"]
    assert re.search(r"  site +after assets", ran.out)
    assert devskyy("workflows", "validate", write(LAUNCH), "--json").document["order"][0] == "assets"


def test_without_a_platform_a_file_is_looked_through_as_far_as_that_goes(
    devskyy: Command, tmp_path: Path, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given no platform
    monkeypatch.setenv("DEVSKYY_URL", "http://127.0.0.1:9")
    file = tmp_path / "bad.yaml"
    file.write_text(BAD)
    # When files are looked through, Then what can be found is, and what was not looked up is said
    wrong = devskyy("workflows", "validate", str(file))
    assert (wrong.code, "line 7: tasks.b.depends_on" in wrong.err) == (2, True)
    right = devskyy("workflows", "validate", write(LAUNCH))
    assert (right.code, "no platform runs" in right.err) == (0, True)
    assert devskyy("workflows", "validate", "fashion_brand_launch", "--input", "brand_name=Noir").code == 0
    # And one cannot be run
    ran = devskyy("workflows", "run", write(LAUNCH))
    assert (ran.code, "DevSkyy is not running" in ran.err) == (4, True)


@pytest.mark.parametrize(
    "words",
    [
        ("status", "nothing"),
        ("watch", "nothing"),
        ("events", "nothing"),
        ("pause", "nothing"),
        ("signal", "nothing", "go"),
        ("fork", "nothing", "--after", "1"),
        ("run", "no_such_template"),
        ("run", "no such name"),
    ],
)
def test_what_is_not_there_is_said(devskyy: Command, words: tuple[str, ...]) -> None:
    ran = devskyy("workflows", *words)
    assert ran.code == 2
    assert ran.err


@pytest.mark.parametrize(
    "words",
    [
        ("--payload", "{"),
        ("--payload", "1", "--approve"),
        ("--approve", "--reject"),
        ("--comment", "alone"),
        ("--payload", '{"approved": "yes"}'),
    ],
)
def test_a_signal_that_says_nothing_of_use_is_refused(devskyy: Command, write: Any, words: tuple[str, ...]) -> None:
    workflow_id = detached(devskyy, write(ASKS))
    assert devskyy("workflows", "signal", workflow_id, "review", *words).code == 2
    assert devskyy("workflows", "cancel", workflow_id, "--no-compensation").code == 0


# -- to steer ----------------------------------------------------------------------------------------------------------


def test_a_workflow_is_paused_resumed_and_cancelled(devskyy: Command, write: Any, served: Served) -> None:
    workflow_id = detached(devskyy, write(adding(go={"signal": "go"})))
    served.wait_until(lambda: "say logo of Noir" in served.calls)
    assert devskyy("workflows", "pause", workflow_id).out.startswith("launch: paused, ")
    assert f"devskyy workflows resume {workflow_id}" in devskyy("workflows", "status", workflow_id).out
    assert devskyy("workflows", "pause", workflow_id).code == 1
    assert devskyy("workflows", "resume", workflow_id, "--json").document["paused"] is False
    assert devskyy("workflows", "cancel", workflow_id, "--reason", "too dear").code == 0
    assert ended(served, workflow_id) == "cancelled"
    assert served.calls[-1] == "undo the logo"
    assert "too dear" in devskyy("workflows", "watch", workflow_id).err


def test_a_signal_may_carry_anything(devskyy: Command, write: Any, served: Served) -> None:
    waits = {**adding(go={"signal": "go"}), "output": "${tasks.go.output.colour}"}
    workflow_id = detached(devskyy, write(waits))
    assert devskyy("workflows", "signal", workflow_id, "go", "--payload", '{"colour": "noir"}').code == 0
    assert devskyy("workflows", "watch", workflow_id).out.startswith("noir\n")


def test_a_failed_workflow_is_retried_and_forked(devskyy: Command, write: Any, served: Served) -> None:
    # Given a workflow that failed
    workflow_id = id_in(devskyy("workflows", "run", write({**BREAKS, "compensate": False})).out)
    # When it is mended and retried
    served.broken = False
    assert devskyy("workflows", "retry", workflow_id).code == 0
    # Then it goes on from what failed; from a task on, that is done anew
    assert ended(served, workflow_id) == "completed"
    assert served.calls == ["say logo of Noir", "break", "break"]
    assert devskyy("workflows", "retry", workflow_id, "--from", "pay").code == 1
    # And a fork begins after an event, with another input
    fork = devskyy("workflows", "fork", workflow_id, "--after", "1", "--input", "brand=2026", "--no-start")
    forked = id_in(fork.out)
    assert devskyy("workflows", "status", forked, "--json").document["inputs"]["brand"] == "2026"
    assert devskyy("workflows", "start", forked).code == 0
    assert ended(served, forked) == "completed"
    assert served.calls[-2:] == ["say logo of 2026", "break"]
    assert devskyy("workflows", "fork", workflow_id, "--after", "99", "--json").code == 2
