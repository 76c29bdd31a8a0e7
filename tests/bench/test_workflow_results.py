"""What is made of the figures of durable workflows side by side."""

import pytest

from bench.workflow_results import BUT_THE_LAST, EVERY, NOTHING_SURE, OURS, Recovery, Results, Round, Span, survives

PEER = "LangGraph, SQLite"


def did(number: int, side: str, seconds: float, workflows: int = 1) -> Round:
    return Round(number, side, workflows, steps=100, seconds=seconds, bytes=1000 * workflows)


def test_sides_are_compared_within_each_round() -> None:
    # Given a machine on which the second round was slow for both, and a round that only we finished
    results = Results(rounds=[did(1, OURS, 1.0), did(1, PEER, 2.0), did(2, OURS, 4.0), did(2, PEER, 12.0)])
    results.rounds.append(did(3, OURS, 0.1))
    # Then ratios are of rounds, not of medians
    assert results.times(PEER, 1) == Span(median=2.5, low=2.0, high=3.0)


def test_rounds_of_another_number_of_workflows_are_not_mixed_in() -> None:
    results = Results(rounds=[did(1, OURS, 1.0), did(1, OURS, 2.0, workflows=16)])
    assert results.speed(OURS, 1) == Span(100.0, 100.0, 100.0)
    assert results.speed(OURS, 16) == Span(800.0, 800.0, 800.0)
    assert (results.speed(PEER, 1), results.times(PEER, 1)) == (None, None)


def test_bytes_are_of_one_step_of_one_workflow() -> None:
    assert did(1, OURS, 1.0, workflows=16).bytes_per_step == 10.0


def test_recoveries_are_told_apart_by_the_length_of_their_history() -> None:
    short, long = Recovery(1, PEER, 100, 0.1), Recovery(1, PEER, 10_000, 2.0)
    assert Results(recoveries=[short, long]).recovered(PEER, 10_000) == [long]


def test_what_a_peer_was_told_at_once_we_had_to_notice() -> None:
    assert Recovery(1, PEER, 100, seconds=1.5).resumed_s == 1.5
    assert Recovery(1, OURS, 100, seconds=4.5, noticed_s=4.25).resumed_s == 0.25


@pytest.mark.parametrize(
    ("settings", "promise"),
    [
        ({"database": "sqlite", "journal_mode": "wal", "synchronous": "2"}, EVERY),
        ({"database": "sqlite", "journal_mode": "delete", "synchronous": "3"}, EVERY),
        ({"database": "sqlite", "journal_mode": "delete", "synchronous": "2"}, BUT_THE_LAST),
        ({"database": "sqlite", "journal_mode": "wal", "synchronous": "1"}, BUT_THE_LAST),
        ({"database": "sqlite", "journal_mode": "delete", "synchronous": "1"}, NOTHING_SURE),
        ({"database": "sqlite", "journal_mode": "wal", "synchronous": "0"}, NOTHING_SURE),
        ({"database": "postgresql", "fsync": "on", "synchronous_commit": "on"}, EVERY),
        ({"database": "postgresql", "fsync": "on", "synchronous_commit": "off"}, BUT_THE_LAST),
        ({"database": "postgresql", "fsync": "off", "synchronous_commit": "on"}, NOTHING_SURE),
        ({"database": "nats", "sync_interval": "always"}, EVERY),
        ({"database": "nats", "sync_interval": "2m"}, BUT_THE_LAST),
    ],
)
def test_what_a_power_cut_leaves_follows_from_the_settings(settings: dict[str, str], promise: str) -> None:
    assert survives(settings) == promise


def test_a_database_that_is_not_known_promises_nothing_by_default() -> None:
    with pytest.raises(ValueError, match="etcd"):
        survives({"database": "etcd"})
