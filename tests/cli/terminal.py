"""A real terminal for a program, and what stands on it."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07)")
LONG_S = 20.0


class Screen:
    """What a process has written to its terminal so far, without the codes that colour it and move the cursor."""

    def __init__(self, terminal: int) -> None:
        self._terminal, self._seen, self._news = terminal, b"", threading.Condition()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self._terminal, 65536)
            except OSError:  # the other end is closed
                chunk = b""
            with self._news:
                self._seen += chunk
                self._news.notify_all()
            if not chunk:
                return

    @property
    def raw(self) -> str:
        return self._seen.decode(errors="replace")

    @property
    def text(self) -> str:
        return _ANSI.sub("", self.raw).replace("\r", "")

    def wait_for(self, words: str) -> None:
        with self._news:
            assert self._news.wait_for(lambda: words in self.text, LONG_S), f"no {words!r} in {self.text[-2000:]!r}"

    def end(self) -> None:
        self._reading.join(LONG_S)


@contextmanager
def on_a_terminal(
    words: list[str], columns: int = 100, rows: int = 40, term: str = "xterm-256color", out: bool = False
) -> Iterator[tuple["subprocess.Popen[str]", Screen]]:
    """Run a program with a terminal as its stderr, and a pipe as its stdout, or with `out` the terminal too."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {**os.environ, "TERM": term, "LANG": "C.UTF-8"}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": theirs if out else subprocess.PIPE, "stderr": theirs, "text": True}
    process = subprocess.Popen(words, env=environment, **pipes)  # type: ignore[call-overload]
    os.close(theirs)
    screen = Screen(ours)
    try:
        yield process, screen
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        screen.end()
        os.close(ours)
