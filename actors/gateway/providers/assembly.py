"""A streamed answer, put together from its chunks in OpenAI's shape."""

from dataclasses import dataclass, field
from typing import Any

from actors.gateway.providers.provider import Attempt, Heard, Served
from actors.gateway.providers.wire import check_said, error_message, nonsense, safe, text_of, tool_call, usage_of
from schemas.completion import ToolCallPiece


@dataclass
class _Wish:
    """A tool call so far."""

    place: int
    id: str | None = None
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    half: str = ""
    """Of a character whose other half is still to come."""
    told: int | None = None
    """Characters of its arguments that were passed on; None: nothing of it was."""

    def fresh(self, arguments: str) -> ToolCallPiece | None:
        """What is to be passed on now that these have come, once it is known what they are of. An id that never comes
        is made up at the end."""
        if not self.name or not isinstance(self.id, str) or not self.id:
            return None
        if self.told is None:
            arguments = "".join(self.arguments)
        elif not arguments:
            return None
        offset = self.told or 0
        self.told = offset + len(arguments)
        id_, name, said = (safe(each, None) for each in (self.id, self.name, arguments))
        return ToolCallPiece(place=self.place, id=id_, name=name, offset=offset, arguments=said)


class Assembly:
    """Takes chunks, tells `heard` of them at once, and gives the whole answer at the end."""

    def __init__(self, attempt: Attempt, heard: Heard) -> None:
        self._attempt, self._service, self._heard, self._key = attempt, attempt.service, heard, attempt.api_key
        self._wishes: list[_Wish] = []
        self._at: dict[int, _Wish] = {}
        self._half = ""
        self._refusal: list[str] = []
        self.opened = False
        """Whether the answer's status has come."""
        self.finish_reason: str | None = None
        """Set once the model has said its last word; only usage may still come."""

    def take(self, chunk: Any) -> None:
        """One decoded chunk.

        Raises:
            UpstreamError: it holds an error, or is no chunk.
        """
        if not isinstance(chunk, dict):
            raise nonsense(self._service, f"nonsense in the stream {self._heard.so_far}")
        if (error := chunk.get("error")) is not None:
            raise nonsense(
                self._service, f"an error in the stream {self._heard.so_far}: {error_message(error, self._key)}"
            )
        heard = self._heard
        if (model := chunk.get("model")) and isinstance(model, str):
            heard.model = safe(model, None)
        heard.used(*usage_of(chunk))
        try:
            for choice in chunk.get("choices") or ():
                if choice.get("index") in (0, None):
                    self._choice(choice)
        except (AttributeError, TypeError):
            raise nonsense(self._service, f"nonsense in the stream {self._heard.so_far}") from None

    def _choice(self, choice: dict[str, Any]) -> None:
        delta = choice.get("delta") or {}
        if text := delta.get("content"):
            self._say(text if isinstance(text, str) else self._parts(text))
        if isinstance(thought := delta.get("reasoning_content") or delta.get("reasoning"), str):
            self._heard.beside(len(thought))
        if isinstance(refusal := delta.get("refusal"), str):
            self._refusal.append(refusal)
            self._heard.beside(len(refusal))
        for wish in delta.get("tool_calls") or ():
            self._wish(wish)
        if isinstance(finish := choice.get("finish_reason"), str) and finish:
            self.finish_reason = safe(finish, None)

    def _parts(self, content: object) -> str:
        """A piece in parts, as Mistral sends them while a model thinks."""
        if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
            raise TypeError(content)
        text = text_of(content)
        self._heard.beside(0 if text else len(str(content)))
        return text

    def _say(self, text: str) -> None:
        """Passes a piece on. A character outside the basic plane may come in two halves, one in each of two pieces."""
        if text:
            text, self._half = _joined(self._half, text)
            self._heard.say(text)

    def _wish(self, delta: dict[str, Any]) -> None:
        function = delta.get("function") or {}
        id_, name, arguments = delta.get("id"), function.get("name"), function.get("arguments")
        index = delta.get("index")
        index = index if isinstance(index, int) else len(self._wishes) - (0 if id_ or name else 1)
        wish = self._at.get(index)
        # Some servers give every call the index 0, and tell them apart by id.
        if wish is None or (id_ and wish.id and id_ != wish.id):
            wish = self._at[index] = _Wish(len(self._wishes))
            self._wishes.append(wish)
        wish.id = wish.id or id_
        if isinstance(name, str):
            wish.name = wish.name or name
        arguments, wish.half = _joined(wish.half, arguments if isinstance(arguments, str) else "")
        wish.arguments.append(arguments)
        self._heard.beside(len(arguments))
        if (piece := wish.fresh(arguments)) is not None:
            self._heard.call(piece)

    def served(self) -> Served:
        """The whole answer, once it is finished."""
        heard = self._heard
        if self._half:
            heard.say("?")
            self._half = ""
        tool_calls = tuple(tool_call(self._service, w.id, w.name, "".join(w.arguments) + w.half) for w in self._wishes)
        said = bool(heard.text.strip() or tool_calls)
        if said and not heard.completion_tokens:  # an answer is never without tokens
            heard.completion_tokens = None
        heard.billed(heard.prompt_tokens, heard.completion_tokens)
        check_said(self._attempt, said, "".join(self._refusal), self.finish_reason)
        return Served(
            text=heard.text,
            model=heard.model or "",
            finish_reason=self.finish_reason,
            prompt_tokens=heard.prompt_tokens,
            completion_tokens=heard.completion_tokens,
            tool_calls=tool_calls,
        )


def _joined(half: str, text: str) -> tuple[str, str]:
    """What can be passed on of a piece, with half a character that came before it; and the half that it ends in."""
    if not half and text.isascii():
        return text, ""
    text = half + text
    half = text[-1] if "\ud800" <= text[-1:] <= "\udbff" else ""
    return _whole(text.removesuffix(half)), half


def _whole(text: str) -> str:
    """Joins halves of characters that now stand together, and replaces those that stand alone."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return safe(text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass"), None)
    return text
