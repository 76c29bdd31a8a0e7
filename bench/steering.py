"""How often ordinary answers are taken for ones that steer: `python -m bench.steering FILE.csv`.

On a table with `prompt, a, b`: the share of different answers that get a mark, and each mark.
"""

import csv
import sys
import time
from pathlib import Path

from actors.quality.steering import steering


def main() -> None:
    with Path(sys.argv[1]).open(newline="", encoding="utf-8") as file:
        answers = {(row["prompt"], row[side]) for row in csv.DictReader(file) for side in "ab"}
    begun, marked = time.perf_counter(), 0
    for prompt, answer in sorted(answers):
        marks = steering(answer, prompt)
        marked += bool(marks)
        for mark in marks:
            print(mark)
    took = (time.perf_counter() - begun) / max(1, len(answers))
    print(f"{marked} of {len(answers)} answers are marked; {1000 * took:.1f} ms each")


if __name__ == "__main__":
    main()
