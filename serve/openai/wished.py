"""What of wishes for tools may be told to whoever reads them as they are written."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.completion import Delta, ToolCall


@dataclass(frozen=True, slots=True)
class Wish:
    """A further piece of a wish for a tool. They come in their order, those of the next wish after this one's last."""

    place: int
    """Which of the answer's wishes it is of; the first is 0."""
    id: str
    name: str
    arguments: str
    begins: bool
    """Whether it is the first piece of its wish."""


@dataclass
class _Told:
    """What was told of a wish."""

    id: str
    name: str
    pieces: list[str] = field(default_factory=list)
    length: int = 0

    @property
    def arguments(self) -> str:
        if len(self.pieces) > 1:
            self.pieces = ["".join(self.pieces)]
        return self.pieces[0] if self.pieces else ""

    @property
    def whole(self) -> bool:
        """Whether nothing can follow: its arguments are an object that is closed."""
        try:
            return isinstance(json.loads(self.arguments), dict)
        except (ValueError, RecursionError):
            return False


class Wished:
    """Puts together pieces of wishes that may get lost or come twice, of attempts that may begin anew.

    What was told cannot be taken back, and a wish that another has followed cannot go on: some clients know only one at
    a time. So only the attempt is told that began first, as far as nothing of it is missing; whatever is not, the whole
    answer says.
    """

    def __init__(self) -> None:
        self._attempt: int | None = None
        self._told: list[_Told] = []
        self._missing = False
        """Whether something was missed, so that nobody knows how it goes on."""

    def take(self, delta: Delta) -> Wish | None:
        """What is to be told now that this piece is there."""
        piece = delta.tool_call
        if piece is None or self._missing or self._attempt not in (None, delta.attempt):
            return None
        begins = piece.place == len(self._told)
        if begins and (piece.offset or (self._told and not self._told[-1].whole)):
            self._missing = bool(self._told)
            return None
        if begins:
            self._attempt = delta.attempt
            self._told.append(_Told(piece.id, piece.name))
        if piece.place >= len(self._told):
            self._missing = bool(self._told)
            return None
        last = self._told[-1]
        if piece.place < len(self._told) - 1:
            return None
        if piece.offset > last.length:
            self._missing = True
            return None
        fresh = piece.arguments[last.length - piece.offset :]
        if not fresh and not begins:
            return None
        last.pieces.append(fresh)
        last.length += len(fresh)
        return Wish(piece.place, piece.id, piece.name, fresh, begins)

    def rest(self, calls: Sequence[ToolCall]) -> tuple[Wish, ...] | None:
        """What is missing of all wishes; None: what was told is not how they begin."""
        missing = []
        for place, told in enumerate(self._told):
            call = calls[place] if place < len(calls) else None
            if call is None or (call.id, call.name) != (told.id, told.name):
                return None
            if not call.arguments.startswith(told.arguments):
                return None
            if rest := call.arguments[told.length :]:
                if place < len(self._told) - 1:
                    return None
                missing.append(Wish(place, call.id, call.name, rest, begins=False))
        for place, call in list(enumerate(calls))[len(self._told) :]:
            missing.append(Wish(place, call.id, call.name, call.arguments or "{}", begins=True))
        return tuple(missing)
