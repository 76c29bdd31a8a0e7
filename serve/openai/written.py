"""What of a text may be told to whoever reads it as it is written."""

from dataclasses import dataclass, field

from schemas.completion import Delta


@dataclass
class _Attempt:
    """One attempt at the text, as far as it was heard without a gap."""

    pieces: list[str] = field(default_factory=list)
    length: int = 0
    heard: bool = True
    """Whether nothing of it was missed; after a gap nobody knows how it goes on."""
    other: bool = False
    """Whether it says something else than what was told already."""

    def take(self, delta: Delta) -> str:
        """What is new in a piece."""
        if not self.heard or delta.offset > self.length:
            self.heard = False
            return ""
        fresh = delta.text[self.length - delta.offset :]
        self.pieces.append(fresh)
        self.length += len(fresh)
        return fresh


class Written:
    """Puts together pieces that may get lost or come twice, of attempts that may begin anew or run side by side.

    What was told cannot be taken back. So a piece is told only where it goes on with what was told, whichever attempt
    it is of; the whole text, once it is there, says what is missing. Where that comes without white space at its ends,
    as an agent's answer does, such is held back until something follows.
    """

    def __init__(self, *, trimmed: bool) -> None:
        """
        Args:
            trimmed: whether the whole text will come without white space at its ends.
        """
        self._trimmed = trimmed
        self._attempts: dict[int, _Attempt] = {}
        self._told: list[str] = []
        self._length = 0
        self._leading: int | None = None
        """The attempt that all that was told is of; what is held back is of it too."""
        self._held = ""

    def take(self, delta: Delta) -> str:
        """What is to be told now that this piece is there."""
        attempt = self._attempts.setdefault(delta.attempt, _Attempt())
        fresh = attempt.take(delta)
        if not fresh or attempt.other:
            return ""
        if not self._length:
            self._leading = delta.attempt
            return self._tell("".join(attempt.pieces))
        if delta.attempt == self._leading:
            return self._tell(self._held + fresh)
        if attempt.length <= self._length:
            return ""
        text = "".join(attempt.pieces)
        text = text.lstrip() if self._trimmed else text
        told = self.told
        if len(text) <= len(told):
            return ""
        if not text.startswith(told):
            attempt.other, attempt.pieces = True, []
            return ""
        self._leading = delta.attempt
        return self._tell(text[len(told) :])

    def _tell(self, text: str) -> str:
        if self._trimmed and not self._length:
            text = text.lstrip()
        now = text.rstrip() if self._trimmed else text
        self._held = text[len(now) :]
        if now:
            self._told.append(now)
            self._length += len(now)
        return now

    @property
    def told(self) -> str:
        """Everything that was told so far."""
        if len(self._told) > 1:
            self._told = ["".join(self._told)]
        return self._told[0] if self._told else ""

    def rest(self, text: str) -> str | None:
        """What is missing of the whole text; None: what was told is not how it begins."""
        told = self.told
        return text[len(told) :] if text.startswith(told) else None
