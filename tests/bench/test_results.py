"""What is made of the figures of a side-by-side run."""

from bench.accounting import Memory
from bench.load import Load
from bench.results import OURS, Results, Round
from bench.sampling import read

PEER = "LiteLLM, 1 worker"


def asked(side: str, connections: int, per_s: float, median_ms: float, calls: int = 10, seconds: float = 1.0) -> Round:
    load = Load(connections, seconds, answered=10, requests_per_s=per_s, median_ms=median_ms)
    return Round(side, load, calls, {"gateway": 1.0}, {}, 0.0, 0.0, 0.0)


def compared() -> Results:
    results = Results(recorded=60)
    for per_s, median_ms in ((400, 3), (440, 2), (900, 9)):
        results.rounds += [asked(OURS, 16, per_s, 40), asked(OURS, 1, 300, median_ms)]
        results.rounds += [asked(PEER, 16, 100, 150), asked(PEER, 1, 90, 10)]
    return results


def test_a_target_is_judged_by_the_medians_over_rounds() -> None:
    found = {each.what: each for each in compared().targets()}
    throughput = found[f"requests/s at 16 connections, times {PEER}"]
    latency = found[f"median latency at 1 connection, times {PEER}"]
    assert (throughput.found, throughput.reached) == (4.4, True)
    assert (latency.found, latency.reached) == (0.3, True)


def test_what_was_not_measured_is_neither_reached_nor_missed() -> None:
    found = {each.what: each for each in compared().targets()}
    assert found["1,000 one-second calls at once, s"].reached is None
    assert found["memory growth of core, %"].reached is None


def test_memory_counts_by_the_measure_that_grew_more() -> None:
    results = Results(memory={OURS: {1000: {"core": Memory(100, 200)}, 20000: {"core": Memory(104, 230)}}})
    found = {each.what: each for each in results.targets()}["memory growth of core, %"]
    assert found.found is not None and abs(found.found - 15) < 0.01
    assert found.reached is False


def test_answers_that_nobody_asked_a_provider_for_are_a_problem() -> None:
    results = compared()
    assert results.problems == {}
    results.rounds.append(asked(PEER, 1, 90, 10, calls=7))
    assert results.problems == {f"{PEER}: answers and upstream calls differ by": 3}


def test_a_task_that_is_not_recorded_is_a_problem() -> None:
    results = compared()
    results.recorded -= 1
    assert results.problems == {f"{OURS}: answers and recorded tasks differ by": 1}


def test_a_thousand_at_once_counts_only_where_all_were_answered() -> None:
    results = compared()
    results.at_once = [asked(OURS, 1000, 500, 1000, seconds=1.5), asked(OURS, 1000, 500, 1000, seconds=1.2, calls=9)]
    assert results.at_once_s(OURS) == 1.5


def test_samples_count_a_function_once_however_deep_it_is() -> None:
    samples = read("main;work;work 3\nmain;wait 1\n", looks=10)
    assert samples.own == {"work": 3, "wait": 1}
    assert samples.inclusive == {"main": 4, "work": 3, "wait": 1}
