"""Server-sent events, as far as providers use them."""

import re

_LINE_END = re.compile(rb"\r\n|\n|\r")


class Events:
    """Bytes in, the data of finished events out; names, ids and comments are left out.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._data: list[bytes] = []
        self._after_return = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that this chunk finishes."""
        out: list[bytes] = []
        if not chunk:
            return out
        if self._after_return and chunk.startswith(b"\n"):  # the second half of a line end
            chunk = chunk[1:]
        self._after_return = chunk.endswith(b"\r")
        rest, *more = _LINE_END.split(chunk)
        self._parts.append(rest)
        for rest in more:
            self._line(b"".join(self._parts), out)
            self._parts = [rest]
        return out

    def end(self) -> list[bytes]:
        """What the end of the stream leaves unfinished. A browser drops it; some servers forget the last blank line."""
        out: list[bytes] = []
        for line in (b"".join(self._parts), b""):
            self._line(line, out)
        self._parts = []
        return out

    def _line(self, line: bytes, out: list[bytes]) -> None:
        if not line:
            if self._data:
                out.append(b"\n".join(self._data))
                self._data = []
        elif line.startswith(b"data:"):
            self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
