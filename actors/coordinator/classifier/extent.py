"""How much work a task is, beside what each part of it demands."""

from dataclasses import dataclass
from math import log, log1p


@dataclass(frozen=True, slots=True)
class Extent:
    """How much work a task is, whatever each part of it demands."""

    asked: int
    dependencies: int
    reasoning: int
    constraints: int
    domains: int
    size: int
    """Bytes of prompt and inputs."""
    kinds: int
    """Kinds of inputs beside the prompt."""

    def parts(self) -> dict[str, float]:
        """Levels that each of them adds; none ever takes away. Set by hand: the labels are of single questions.

        On labelled prompts these parts together cost 0.03 of the correlation; without them no number of things
        asked for would ever make a task more than complex.
        """
        return {
            # Each thing asked for can go wrong by itself. Two are no more than labels have seen, and the twelfth
            # adds less than the third.
            "asked": 0.8 * log(max(1.0, self.asked / 2.5)),
            # A step that builds on another inherits its mistakes.
            "dependencies": 0.12 * min(5, self.dependencies),
            # Several kinds of thought one after another are what small models fail at first.
            "reasoning": 0.15 * min(4, max(0, self.reasoning - 2)),
            # Each rule is one more thing to break.
            "constraints": 0.06 * min(6, self.constraints),
            # Several trades need somebody who sees all of them, or several who do.
            "domains": 0.15 * min(5, max(0, self.domains - 1)),
            # Much to read costs attention only: 64 KiB add 0.44, 20 MB add 1.6.
            "size": 0.2 * log1p(self.size / 8192),
            # Other material than text asks for other abilities.
            "kinds": 0.15 * min(3, self.kinds),
        }
