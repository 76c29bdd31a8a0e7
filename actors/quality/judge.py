"""Where a language model may judge; none is needed."""

from collections.abc import Sequence
from typing import Protocol

from schemas.quality import Quality


class Judge(Protocol):
    """Reads what no rule can read. What it returns replaces no finding of `assess`, and stands beside it."""

    async def judge(self, prompt: str, inputs: Sequence[str], answer: str, checked: Quality) -> Quality:
        """The metrics as it sees them, each with `means` "judge" and with its evidence.

        Args:
            checked: what the checks and the embeddings found, which it may be shown.
        """
        ...
