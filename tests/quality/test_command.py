"""`devskyy bench judge`."""

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.conftest import Command, devskyy, home
from tests.quality.test_score import ANSWER, OTHER, PROMPT
from tests.simulators.exchange import Exchange
from tests.simulators.openai import Behaviour, Call, OpenAISimulator

__all__ = ["devskyy", "home"]


def table(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_accuracy_is_printed_by_group(devskyy: Command, tmp_path: Path) -> None:
    # Given pairs of two groups, of which one is labelled the wrong way round
    right = {"group": "right", "prompt": PROMPT, "a": ANSWER, "b": OTHER, "label": "a"}
    path = table(tmp_path / "pairs.csv", [right, right, right | {"group": "wrong", "label": "b"}])
    # When they are judged
    ran = devskyy("bench", "judge", "--pairs", str(path), "--json")
    # Then each group has its share, and all of them together
    assert (ran.code, ran.document) == (
        0,
        {"groups": {"right": {"accuracy": 1.0, "n": 2}, "wrong": {"accuracy": 0.0, "n": 1}}, "overall": 2 / 3},
    )


def test_without_a_group_all_pairs_are_one_and_a_tie_counts_as_half(devskyy: Command, tmp_path: Path) -> None:
    path = table(tmp_path / "pairs.csv", [{"prompt": PROMPT, "a": ANSWER, "b": ANSWER, "label": "b"}])
    ran = devskyy("bench", "judge", "--pairs", str(path), "--json")
    assert ran.document == {"groups": {"all": {"accuracy": 0.5, "n": 1}}, "overall": 0.5}


def test_a_table_is_shown_to_people(devskyy: Command, tmp_path: Path) -> None:
    path = table(tmp_path / "pairs.csv", [{"prompt": PROMPT, "a": ANSWER, "b": OTHER, "label": "a"}])
    ran = devskyy("bench", "judge", "--pairs", str(path))
    assert ran.code == 0
    assert "1.000" in ran.out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"prompt,a,b\nx,y,z\n", "no column 'label'"),
        (b"prompt,a,b,label\nx,y,z,c\n", "line 2: the label 'c' is neither 'a' nor 'b'"),
        (b"prompt,a,b,label\nx,y\n", "line 2: the label None"),
        (b"prompt,a,b,label\n", "has no rows"),
        (b"", "no column 'prompt'"),
        (b"prompt,a,b,label\n\xff,y,z,a\n", "is no UTF-8"),
    ],
)
def test_a_table_that_is_none_is_refused_by_name(devskyy: Command, tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(content)
    ran = devskyy("bench", "judge", "--pairs", str(path))
    assert ran.code == 2
    assert said in ran.err
    assert "pairs.csv" in ran.err


def test_a_file_that_is_not_there_is_named(devskyy: Command, tmp_path: Path) -> None:
    ran = devskyy("bench", "judge", "--pairs", str(tmp_path / "none.csv"))
    assert ran.code == 2
    assert "No such file" in ran.err


class ScriptedJudge(OpenAISimulator):
    """Prefers the answer that names chlorophyll; of others, the one that stands first."""

    async def serve(self, exchange: Exchange, call: Call, behaviour: Behaviour) -> None:
        if isinstance(call.body, dict) and behaviour.answer is None:
            said = str(call.body["messages"][-1]["content"])
            second = said.find("--- the second answer")
            better = "second" if said.find("chlorophyll") > second else "first"
            behaviour = replace(behaviour, answer=json.dumps({"reason": "it is right", "better": better}))
        await super().serve(exchange, call, behaviour)


@pytest.fixture
def judge(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedJudge]:
    with ScriptedJudge() as simulator:
        monkeypatch.setenv("DEVSKYY_URL", simulator.url.removesuffix("/v1"))
        yield simulator


PAIR = {"prompt": PROMPT, "a": ANSWER, "b": OTHER, "label": "a"}


def test_a_judge_is_asked_in_both_orders_and_counted_beside_the_checks(
    devskyy: Command, judge: ScriptedJudge, tmp_path: Path
) -> None:
    # Given pairs that the judge tells apart, either way round, and one that it judges by the order
    path = table(
        tmp_path / "pairs.csv",
        [
            PAIR | {"group": "clear"},
            {"group": "clear", "prompt": PROMPT, "a": OTHER, "b": ANSWER, "label": "b"},
            {"group": "unclear", "prompt": PROMPT, "a": OTHER, "b": OTHER, "label": "b"},
        ],
    )
    # When they are judged with it
    ran = devskyy("bench", "judge", "--pairs", str(path), "--judge", "opus", "--json")
    # Then its shares stand beside those of the checks, and a judge that goes by the order is undecided
    assert ran.code == 0
    assert ran.document["groups"] == {"clear": {"accuracy": 1.0, "n": 2}, "unclear": {"accuracy": 0.5, "n": 1}}
    assert ran.document["with_judge"] == {
        "judge": "opus",
        "groups": {"clear": {"accuracy": 1.0, "n": 2}, "unclear": {"accuracy": 0.5, "n": 1}},
        "overall": pytest.approx(2.5 / 3),
        "undecided": 1,
        "unjudged": 0,
        "cost_usd": None,
    }
    # And each pair was two questions to that service, for JSON of a schema
    assert len(judge.calls) == 6
    assert {call.body["model"] for call in judge.calls} == {"service/opus"}
    assert {call.body["response_format"]["type"] for call in judge.calls} == {"json_schema"}


def test_a_judge_that_answers_no_json_judges_none(devskyy: Command, judge: ScriptedJudge, tmp_path: Path) -> None:
    # Given a judge that only talks
    judge.behaviour = Behaviour(answer="The first one is nice.")
    path = table(tmp_path / "pairs.csv", [PAIR])
    # When pairs are judged with it
    ran = devskyy("bench", "judge", "--pairs", str(path), "--judge", "opus", "--json")
    # Then nothing is made up, and each order was asked for once more
    assert ran.code == 1
    assert "'opus' judged none of the pairs" in ran.out
    assert len(judge.calls) == 4


def test_a_failing_judge_leaves_its_pairs_without_a_judgement(
    devskyy: Command, judge: ScriptedJudge, tmp_path: Path
) -> None:
    judge.behaviour = Behaviour(fault="500", faults_left=1)
    path = table(tmp_path / "pairs.csv", [PAIR, PAIR])
    ran = devskyy("bench", "judge", "--pairs", str(path), "--judge", "opus", "--json")
    found = ran.document["with_judge"]
    assert (found["unjudged"], found["overall"]) == (1, 0.75)


def test_what_every_question_would_meet_is_told_at_once(devskyy: Command, judge: ScriptedJudge, tmp_path: Path) -> None:
    judge.behaviour = Behaviour(fault="401")
    path = table(tmp_path / "pairs.csv", [PAIR, PAIR])
    ran = devskyy("bench", "judge", "--pairs", str(path), "--judge", "opus")
    assert ran.code == 2
    assert "Incorrect API key" in ran.err


def test_people_see_both_columns(devskyy: Command, judge: ScriptedJudge, tmp_path: Path) -> None:
    ran = devskyy("bench", "judge", "--pairs", str(table(tmp_path / "pairs.csv", [PAIR])), "--judge", "opus")
    assert ran.code == 0
    assert "With opus" in ran.out


def test_a_judge_needs_a_running_platform(
    devskyy: Command, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVSKYY_URL", "http://127.0.0.1:9")
    ran = devskyy("bench", "judge", "--pairs", str(table(tmp_path / "pairs.csv", [PAIR])), "--judge", "opus")
    assert ran.code == 4
