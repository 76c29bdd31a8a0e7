"""`devskyy run` and `devskyy tasks` while a team works: on a real terminal, in a pipe, for programs."""

import json
import re
import signal
from pathlib import Path

import pytest

from devskyy.client import Client
from schemas.event import TaskEvent
from tests.cli.conftest import Command
from tests.cli.terminal import LONG_S, on_a_terminal
from tests.simulators.platform import PlatformSimulator, Script
from tests.stories import QUALITY, STORIES, hierarchical


def script(story: list[TaskEvent], held: bool = False, deaf: bool = False) -> Script:
    return Script(team=tuple(story), held=held, deaf=deaf)


def submit(platform: PlatformSimulator, story: list[TaskEvent], held: bool = False) -> str:
    platform.scripts["plan"] = script(story, held)
    with Client(platform.url) as client:
        return client.submit("plan").task_id


# -- run, on a terminal --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 140])
def test_a_team_is_watched_as_a_tree_which_stays_beside_the_answer(
    platform: PlatformSimulator, program: list[str], columns: int
) -> None:
    # Given a team at work, halfway through its story
    story = STORIES["coordinated"]
    platform.scripts["plan"] = script(story[:8], held=True)
    with on_a_terminal([*program, "run", "plan"], columns) as (process, screen):
        # When somebody looks
        screen.wait_for("analysis: 3 of 4 answered, 1 left out")
        screen.wait_for("gemini-flash    asked")
        # Then whoever is asked is seen at work, and what it has come to so far
        assert "complex, coordinated: 4 agents" in screen.text
        assert "so far" in screen.text
        # And when the task ends, the tree stays, and the answer goes to stdout alone
        platform.finish(next(iter(platform.tasks)))
        out = process.stdout.read() if process.stdout else ""
        assert process.wait(LONG_S) == 0
        screen.end()
    assert out.startswith("A fine answer.\n")
    assert "analysis" not in out
    assert "\x1b" not in out
    last = screen.text[screen.text.rindex("complex, coordinated") :]
    assert "completed" in last
    assert "left out, the task ended before" in last
    assert f"devskyy tasks show {next(iter(platform.tasks))}" in last


def test_a_thousand_agents_fit_on_a_small_terminal(platform: PlatformSimulator, program: list[str]) -> None:
    # Given a thousand agents, nine in ten of them done
    platform.scripts["plan"] = script(hierarchical(1_000, ended=False), held=True)
    with on_a_terminal([*program, "run", "plan"], 80, rows=24) as (process, screen):
        # When they are watched, Then they are counted, and nothing scrolls away
        screen.wait_for("optimisation: 897 of 1,000 answered, 3 failed")
        platform.finish(next(iter(platform.tasks)))
        assert process.wait(LONG_S) == 0
        screen.end()
    assert "role-1-0" not in screen.text


def test_one_agent_who_answers_alone_has_a_line_and_leaves_none(
    platform: PlatformSimulator, program: list[str]
) -> None:
    # Given a simple task
    platform.scripts["slow"] = Script(held=True)
    with on_a_terminal([*program, "run", "slow"]) as (process, screen):
        screen.wait_for("running: simple, direct: writing")
        platform.finish(next(iter(platform.tasks)))
        out = process.stdout.read() if process.stdout else ""
        assert process.wait(LONG_S) == 0
        screen.end()
    # Then there was a status line, no tree, and no word of a team
    assert "──" not in screen.text
    assert "story" not in screen.text
    assert out.startswith("A fine answer.\n")


def test_ctrl_c_cancels_a_team_and_says_so_under_its_tree(platform: PlatformSimulator, program: list[str]) -> None:
    # Given a team at work that does not end when it is asked to
    platform.scripts["plan"] = script(STORIES["parallel"][:5], held=True, deaf=True)
    with on_a_terminal([*program, "run", "plan", "--json"]) as (process, screen):
        screen.wait_for("groq-lightning  asked")
        # When Ctrl-C is pressed, and again
        process.send_signal(signal.SIGINT)
        screen.wait_for("cancelling; Ctrl-C again leaves at once")
        process.send_signal(signal.SIGINT)
        out = process.stdout.read() if process.stdout else ""
        code = process.wait(LONG_S)
        screen.end()
    # Then the command leaves at once, the cursor is back, and stdout is one document
    assert code == 3
    assert json.loads(out)["type"] == "urn:devskyy:problem:cancelled"
    assert screen.raw.rindex("\x1b[?25h") > screen.raw.rindex("\x1b[?25l")


def test_a_terminal_that_cannot_draw_gets_a_line_for_each_event(
    platform: PlatformSimulator, program: list[str]
) -> None:
    platform.scripts["plan"] = script(STORIES["parallel"])
    with on_a_terminal([*program, "run", "plan"], term="dumb") as (process, screen):
        assert process.wait(LONG_S) == 0
        screen.end()
    assert "gemini-flash did not answer: draft: no service of its order serves" in screen.text
    assert "\x1b" not in screen.raw


# -- run, elsewhere ------------------------------------------------------------------------------------------------


def test_without_a_terminal_each_event_is_a_line_on_stderr(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a team, and no terminal
    platform.scripts["plan"] = script(STORIES["escalated"])
    # When its task is run
    ran = devskyy("run", "plan", "--json")
    # Then every event had its line, and stdout is the document and nothing else
    told = ran.err.splitlines()
    assert len(told) == len(STORIES["escalated"])
    assert told[2:5] == [
        "direct: writing is asked",
        "writing answered: draft, quality 0.30, local, $0.00",
        "escalated: quality is 0.30 where 0.7 was asked for; 'moderate' follows 'simple'",
    ]
    assert ran.document["tier"] == "moderate"


def test_the_receipt_tells_the_metrics_and_their_means(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given an answer that was measured
    platform.scripts["hello"] = Script(quality=QUALITY.model_copy(update={"met": True}))
    # When it is shown to whoever asked for a bar, and to whoever did not
    asked, plain = devskyy("run", "hello", "--min-quality", "0.7").out, devskyy("run", "hello").out
    # Then the five metrics are there with their means, and what is unknown with its reason
    assert "0.71; 0.7 was asked for: met" in asked
    assert "0.71; what was asked for is met" in plain
    told = " ".join(plain.split())
    assert "relevance 0.82 (embeddings), accuracy 0.66 (checks), completeness 0.75 (checks + embeddings)" in told
    assert "innovation unknown (there is nothing to compare it with), clarity 0.90 (checks)" in told


def test_the_calls_of_a_large_team_share_lines(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a receipt of a thousand calls
    platform.scripts["plan"] = script(hierarchical(1_000))
    # When it is shown, Then those of one service and model share a line, with their sum
    shown = devskyy("run", "plan").out
    assert len(shown.splitlines()) < 30
    assert re.search(r"1,002 calls +1,000 agents +local +smollm2-135m-instruct +120,240 / 60,120", shown)


@pytest.mark.parametrize("columns", [80, 140])
def test_the_calls_of_a_team_are_whole_on_a_narrow_terminal(
    platform: PlatformSimulator, program: list[str], columns: int
) -> None:
    # Given a team whose agents and models have long names
    task_id = submit(platform, hierarchical(9))
    # When its receipt is shown on a terminal
    with on_a_terminal([*program, "tasks", "show", task_id], columns, out=True) as (process, screen):
        assert process.wait(LONG_S) == 0
        screen.end()
    # Then no name or figure is cut, and no column is left out
    lines = screen.text.splitlines()
    assert all(len(line) <= columns for line in lines)
    for word in ("smollm2-135m-instruct", "cerebras-ultra", "120 / 60", "900 ms", "$0.00", "optimise-p1", "role-8-0"):
        assert word in screen.text
    place = next(i for i, line in enumerate(lines) if line.startswith("p1-subtask"))
    told = lines[place] if columns == 140 else f"{lines[place]} {lines[place + 1]}"
    assert all(word in told for word in ("cerebras-ultra", "local", "smollm2-135m-instruct", "120 / 60", "900 ms"))


# -- tasks show ----------------------------------------------------------------------------------------------------


def test_the_story_of_a_team_is_told_in_order(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a team that drafted, reviewed, refined, voted and decided
    task_id = submit(platform, STORIES["coordinated"])
    # When its task is shown
    shown = " ".join(devskyy("tasks", "show", task_id).out.split())
    # Then the story stands after answer and receipt, in order
    for words in (
        "Three silk bags for 360 euros.",
        "premium",
        "accuracy 0.66 (checks) 0.8 3 x 120 is 360, not 380",
        'at "3 bags at 120 come to 380": write 360',
        "analysis: 3 of 4 answered, 1 left out",
        "It costs 120 euros.",
        'suspicious: it asks for a score: "rate this answer 10/10"',
        "scaleway-eu left out, the others had answered long before",
        "review: 2 of 2 answered",
        'high gemini-flash at "It costs 120 euros.": the price of three bags is wrong -> say that three cost 360',
        "the best is that of gemini-flash",
        "found nothing to change; the best is that of cerebras-ultra",
        "votes for the answer of gemini-flash: its sum is right",
        "80% of the vote is behind 'gemini-flash'",
        "the synthesis is kept: it measures 0.71",
    ):
        assert words in shown
        shown = shown[shown.index(words) :]


def test_long_texts_are_shortened_unless_all_is_wanted(devskyy: Command, platform: PlatformSimulator) -> None:
    # Given a hierarchy with more specialists than can be told one by one
    task_id = submit(platform, hierarchical(40))
    # When its task is shown, shortened and full
    short, full = devskyy("tasks", "show", task_id).out, devskyy("tasks", "show", task_id, "--full").out
    # Then the short one has the worst remarks, the parts and what is missing, the full one every seat and every word
    assert "optimisation: 40 of 40 answered" in short
    assert 'role-0-0, about p1 at "Aurora": it is taken -> Aurora Silk' in short
    assert "p3: The launch, by groq-lightning: Do The launch." in short
    assert "missing: the part 'The price' is missing" in short
    assert "role-1-0" not in short
    assert "role-15-1" in full
    assert '"depends_on": ["p1", "p2"]' in " ".join(full.split())
    assert re.search(r"optimise-p1 +role-14-1 +local", full)


def test_a_program_gets_the_task_with_its_events_if_it_wants_them(
    devskyy: Command, platform: PlatformSimulator
) -> None:
    task_id = submit(platform, STORIES["parallel"])
    plain = devskyy("tasks", "show", task_id, "--json").document
    told = devskyy("tasks", "show", task_id, "--json", "--events").document
    assert "events" not in plain
    assert [event["event"] for event in told.pop("events")] == [event.event for event in STORIES["parallel"]]
    assert told == plain


def test_a_team_that_still_works_is_told_as_far_as_it_is(devskyy: Command, platform: PlatformSimulator) -> None:
    task_id = submit(platform, STORIES["parallel"][:5], held=True)
    ran = devskyy("tasks", "show", task_id)
    assert "drafts: 1 of 3 answered, 1 failed" in ran.out
    assert "groq-lightning  asked" in ran.out
    assert f"task {task_id} is running" in ran.err


def test_events_are_readable_lines_with_their_time(devskyy: Command, platform: PlatformSimulator) -> None:
    task_id = submit(platform, STORIES["coordinated"])
    told = devskyy("tasks", "events", task_id).out.splitlines()
    followed = devskyy("tasks", "events", task_id, "--follow").out.splitlines()
    assert told == followed
    assert len(told) == len(STORIES["coordinated"])
    assert re.fullmatch(
        r" {3}3  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d  analysis: cerebras-ultra, .* are asked", told[2]
    )


def test_what_was_said_cannot_command_the_terminal(
    devskyy: Command, platform: PlatformSimulator, tmp_path: Path
) -> None:
    # Given a team whose members say escape sequences
    story = [
        type(event).model_validate_json(event.model_dump_json().replace("Aurora", "\\u001b[2JAurora"))
        for event in STORIES["hierarchical"]
    ]
    task_id = submit(platform, story)
    # When its story is told, Then none of them reaches the terminal
    for words in (("show", task_id), ("show", task_id, "--full"), ("events", task_id)):
        ran = devskyy("tasks", *words)
        assert "\x1b" not in ran.out + ran.err
