"""Why a task is taken for as hard as it is, in sentences for people."""

from collections.abc import Sequence

from actors.coordinator.classifier.extent import Extent
from actors.coordinator.classifier.model import Pulls, telling
from actors.coordinator.classifier.reading import Reading
from actors.coordinator.classifier.tiers import LEVELS, difficulty_of
from schemas.task import TIERS, Tier

_SHOWN = 12
_NOTABLE = 0.1
"""Levels; what moved the prompt by less is not worth a sentence."""
_PLAIN = {
    ("words", 1): "it is long",
    ("words", -1): "it is short",
    ("long_words", 1): "many of its words are long",
    ("personal", -1): "it speaks of persons, as everyday questions do",
    ("capitals", -1): "it is about things that have names",
    ("formulas", 1): "it holds formulas",
    ("code", 1): "it holds code",
    ("quotes", -1): "it quotes text",
    ("lines", -1): "it brings its own material",
}
"""What to say where a feature makes a prompt harder (1), or easier (-1)."""


def reasons(
    reading: Reading,
    pull: Pulls,
    extent: Extent,
    domains: Sequence[str],
    kinds: Sequence[str],
    inputs: int,
    level: float,
    tier: Tier,
) -> list[str]:
    """What counted most comes first; the last one says what it came to."""
    added = extent.parts()
    weighed: list[tuple[float, str]] = [
        (added["asked"] + pull.features["asked"], _asked(extent.asked)),
    ]
    if reading.dependencies:
        cues = _list(reading.dependencies)
        weighed.append(
            (added["dependencies"] + pull.features["dependencies"], f"some of it builds on other parts ({cues})")
        )
    if reading.reasoning:
        weighed.append(
            (added["reasoning"] + pull.features["reasoning"], f"demands reasoning ({_list(reading.reasoning)})")
        )
    if domains:
        weighed.append((added["domains"] + pull.features["terms"], f"touches {', '.join(domains)}"))
    if reading.constraints:
        cues = _list(reading.constraints)
        weighed.append((added["constraints"] + pull.features["constraints"], f"sets constraints ({cues})"))
    if kinds:
        brought = f"brings {_inputs(inputs)} ({', '.join(kinds)}), {_size(extent.size)}"
        weighed.append((added["kinds"] + added["size"], brought))
    elif added["size"] > _NOTABLE:
        weighed.append((added["size"], f"there is much to read, {_size(extent.size)}"))
    if abs(pull.wording) > _NOTABLE:
        tasks, sign = ("demanding", 1) if pull.wording > 0 else ("everyday", -1)
        words = telling(reading.distinct, sign)
        weighed.append((pull.wording, f"is worded as {tasks} tasks are" + (f" ({_list(words)})" if words else "")))
    for (name, sign), sentence in _PLAIN.items():
        moved = pull.features[name]
        if sign * moved > _NOTABLE:
            weighed.append((moved, sentence))
    said = [sentence for _, sentence in sorted(weighed, key=lambda each: -abs(each[0]))]
    return [*said, _sum(level, tier)]


def _asked(count: int) -> str:
    return "asks for one thing" if count == 1 else f"asks for {count} things"


def _inputs(count: int) -> str:
    return "1 input" if count == 1 else f"{count} inputs"


def _sum(level: float, tier: Tier) -> str:
    above = TIERS[TIERS.index(tier) + 1 :]
    under = f", under {difficulty_of(LEVELS[above[0]]):.2f}" if above else ""
    return f"difficulty {difficulty_of(level):.2f} is at least {difficulty_of(LEVELS[tier]):.2f}{under}: {tier!r}"


def _size(size: int) -> str:
    return f"{size:,} bytes" if size < 10_000 else f"{size / 1000:,.0f} kB"


def _list(cues: Sequence[str]) -> str:
    return ", ".join(cues[:_SHOWN])
