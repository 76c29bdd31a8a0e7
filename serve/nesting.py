"""How deep a JSON text is nested and how many parts it has, found out while it comes in: before anything reads it that
would go as deep, or hold up others for as long as it takes to read so many."""

import re

import numpy as np

MOST_DEEP = 100
"""Deeper than anything that doors take. Python's own reader gives up at about a thousand."""
MOST_PARTS = 250_000
"""Lists and objects. Python reads that many in 0.2 s, in which nobody else is served."""
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_TEXT = re.compile(rb'"[^"]*"?')
_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class Nesting:
    """Reads a text piece by piece. Of what is no JSON it says something; whoever reads that next, refuses it."""

    def __init__(self) -> None:
        self.deepest = self.parts = 0
        self._depth = 0
        self._in_text = self._escaped = False

    def read(self, piece: bytes) -> None:
        """Without a loop over its characters: a megabyte takes some 10 ms, whatever is in it."""
        if self._escaped and piece:
            piece, self._escaped = piece[1:], False
        if b"\\" in piece:
            piece = _ESCAPED.sub(b"", piece)
            if piece.endswith(b"\\"):
                piece, self._escaped = piece[:-1], True
        if self._in_text:
            piece = b'"' + piece
        if quotes := piece.count(b'"'):
            self._in_text = quotes % 2 == 1
            piece = _TEXT.sub(b"", piece)
        if brackets := piece.translate(None, _BUT_BRACKETS):
            # Of the four, those that open have the second bit.
            steps = (np.frombuffer(brackets, np.uint8) & 2).astype(np.int8) - 1
            depths = self._depth + np.cumsum(steps, dtype=np.int64)
            self.deepest = max(self.deepest, int(depths.max()))
            self._depth = int(depths[-1])
            self.parts += int((steps > 0).sum())


def trouble(text: bytes, before: Nesting | None = None) -> str | None:
    """What is wrong with a text, or with a piece of one of which `before` has read the others; None: nothing."""
    if b"\0" in text:
        return "is no JSON in UTF-8: it holds a zero byte"
    if before is None:
        if text.count(b"[") + text.count(b"{") <= MOST_DEEP:
            return None  # whatever closes
        before = Nesting()
    before.read(text)
    if before.deepest > MOST_DEEP:
        return f"is nested too deep: more than {MOST_DEEP} levels"
    if before.parts > MOST_PARTS:
        return f"has too many parts: more than {MOST_PARTS:,} lists and objects"
    return None
