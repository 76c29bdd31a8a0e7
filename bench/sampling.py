"""Where a process spends its time in Python, sampled by py-spy while it works."""

import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.peers import py_spy

RATE = 200


@dataclass(frozen=True)
class Samples:
    """How often functions were seen: at work themselves, or anywhere above what was."""

    looks: int
    """How often was looked; where nothing was seen, no thread held the interpreter."""
    own: Counter[str]
    inclusive: Counter[str]


def read(raw: str, looks: int) -> Samples:
    """Of py-spy's raw format: a stack a line, outermost first, joined by semicolons, and how often it was seen."""
    own, inclusive = Counter[str](), Counter[str]()
    for line in raw.splitlines():
        stack, _, number = line.rpartition(" ")
        frames = stack.split(";")
        own[frames[-1]] += int(number)
        for frame in set(frames):
            inclusive[frame] += int(number)
    return Samples(looks, own, inclusive)


def during(work: Callable[[], object], pid: int, seconds: float, keep: Path | None = None) -> Samples:
    """Sample a process while something is done that takes at least that many seconds.

    Args:
        keep: where the stacks are kept, for flamegraph tools.

    Raises:
        RuntimeError: py-spy cannot look into the process; says why.
    """
    with tempfile.TemporaryDirectory(prefix="dsky-bench-") as folder:
        path = keep or Path(folder) / "stacks"
        # Threads that hold the interpreter: which others sleep cannot be told on every kernel. One entry a function.
        command = [str(py_spy()), "record", "--pid", str(pid), "--duration", str(int(seconds)), "--rate", str(RATE)]
        command += ["--format", "raw", "--gil", "--function", "--output", str(path)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as sampler:
            work()
            _, said = sampler.communicate()
        if sampler.returncode:
            raise RuntimeError(f"py-spy cannot sample process {pid}: {said.strip()}")
        return read(path.read_text(), int(seconds) * RATE)
