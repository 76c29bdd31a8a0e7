"""What a backup says of itself."""

from datetime import datetime
from typing import Any

from pydantic import Field

from schemas.message import Message

FORMAT = 1
"""Of the file and of this manifest. A version of the program reads its own and those before it."""


class Part(Message):
    """One part of the file: a table, a stream or object store, or a file of the home."""

    name: str
    bytes: int = Field(ge=0)
    """In the file."""
    sha256: str
    rows: int | None = None
    """Of a table."""
    config: dict[str, Any] | None = None
    """Of a stream, as JetStream had it."""
    state: dict[str, Any] | None = None
    """Of a stream: messages, bytes and sequences when it was taken."""


class Manifest(Message):
    """What is in a backup, in the order in which it was taken."""

    format: int
    version: str
    """Of the program that made it."""
    made_at: datetime
    """When it was begun: what was accepted before is in it."""
    revision: str
    """Of the database: the last migration that it had."""
    positions: dict[str, int]
    """Of each durable consumer, `stream/name`: up to which place everything was done before the database was read."""
    parts: tuple[Part, ...]

    def part(self, name: str) -> Part | None:
        return next((part for part in self.parts if part.name == name), None)


class Checked(Message):
    """A backup that is whole."""

    file: str
    bytes: int
    manifest: Manifest


class Restored(Message):
    """What was restored, and where to."""

    file: str
    home: str
    manifest: Manifest
    woken: int
    """Workflows that had not ended, and go on when the platform starts."""
    overlay: str | None = None
    """Where the overlay file lies now; DEVSKYY_CONFIG is to name it."""
