"""How much work a task is, beside what each part of it demands."""

from dataclasses import dataclass
from math import log, log1p


@dataclass(frozen=True, slots=True)
class Extent:
    """How much work a task is, whatever each part of it demands."""

    asked: int
    dependencies: int
    constraints: int
    domains: int
    size: int
    """Bytes of prompt and inputs."""
    kinds: int
    """Kinds of inputs beside the prompt."""

    def parts(self) -> dict[str, float]:
        """Levels that each of them adds; none ever takes away. Set by hand: the labels are of single questions."""
        return {
            # Each thing asked for can go wrong by itself; the second adds more than the twelfth.
            "asked": 0.55 * log(max(1, self.asked)),
            # A step that builds on another inherits its mistakes.
            "dependencies": 0.12 * min(5, self.dependencies),
            # Each rule is one more thing to break.
            "constraints": 0.06 * min(6, self.constraints),
            # Several trades need somebody who sees all of them, or several who do.
            "domains": 0.15 * min(5, max(0, self.domains - 1)),
            # Much to read costs attention only: 64 KiB add 0.44, 20 MB add 1.6.
            "size": 0.2 * log1p(self.size / 8192),
            # Other material than text asks for other abilities.
            "kinds": 0.15 * min(3, self.kinds),
        }
