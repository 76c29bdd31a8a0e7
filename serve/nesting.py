"""How deep a JSON text is nested, found out while it comes in: before anything that would go as deep reads it."""

import re

MOST = 100
"""Deeper than anything that doors take. Python's own reader gives up at about a thousand."""
_OUTSIDE = re.compile(rb'"|[\[{]+|[\]}]+')
_IN_TEXT = re.compile(rb'["\\]')


class Nesting:
    """Reads a text piece by piece; what is no JSON is read too, and gives some depth."""

    __slots__ = ("_escaped", "_in_text", "deepest", "depth")

    def __init__(self) -> None:
        self.depth = self.deepest = 0
        self._in_text = self._escaped = False

    def read(self, piece: bytes) -> int:
        """The deepest that it has been up to here."""
        at, end = 0, len(piece)
        while at < end:
            if self._escaped:
                self._escaped = False
                at += 1
            elif self._in_text:
                found = _IN_TEXT.search(piece, at)
                if found is None:
                    break
                at = found.end()
                self._escaped = found[0] == b"\\"
                self._in_text = self._escaped
            else:
                found = _OUTSIDE.search(piece, at)
                if found is None:
                    break
                at = found.end()
                first = piece[found.start()]
                if first == 0x22:
                    self._in_text = True
                elif first in b"[{":
                    self.depth += at - found.start()
                    self.deepest = max(self.deepest, self.depth)
                    if self.deepest > MOST:
                        break
                else:
                    self.depth = max(0, self.depth - (at - found.start()))
        return self.deepest


def deepest(text: bytes) -> int:
    """How deep a whole text may be nested: counted as if nothing closed where that suffices, which takes no reading."""
    opened = text.count(b"[") + text.count(b"{")
    return opened if opened <= MOST else Nesting().read(text)
