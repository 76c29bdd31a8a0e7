"""A streamed answer, put together from its chunks in OpenAI's shape."""

from dataclasses import dataclass, field
from typing import Any

from actors.gateway.providers.provider import Heard, Served
from actors.gateway.providers.wire import error_message, nonsense, safe, tool_call, usage_of


@dataclass
class _Wish:
    """A tool call so far."""

    id: str | None
    name: str
    arguments: list[str] = field(default_factory=list)


class Assembly:
    """Takes chunks, tells `heard` of them at once, and gives the whole answer at the end."""

    def __init__(self, service: str, heard: Heard, key: str | None) -> None:
        self._service, self._heard, self._key = service, heard, key
        self._wishes: list[_Wish] = []
        self._at: dict[int, _Wish] = {}
        self._half = ""
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
        heard.began = True
        if (model := chunk.get("model")) and isinstance(model, str):
            heard.model = safe(model, None)
        prompt_tokens, completion_tokens = usage_of(chunk)
        if prompt_tokens is not None:
            heard.prompt_tokens = prompt_tokens
        if completion_tokens is not None:
            heard.completion_tokens = completion_tokens
        try:
            for choice in chunk.get("choices") or ():
                if choice.get("index") in (0, None):
                    self._choice(choice)
        except (AttributeError, TypeError):
            raise nonsense(self._service, f"nonsense in the stream {self._heard.so_far}") from None

    def _choice(self, choice: dict[str, Any]) -> None:
        delta = choice.get("delta") or {}
        if text := delta.get("content"):
            self._say(text)
        if isinstance(thought := delta.get("reasoning_content") or delta.get("reasoning"), str):
            self._heard.unsaid += len(thought)
        for wish in delta.get("tool_calls") or ():
            self._wish(wish)
        if isinstance(finish := choice.get("finish_reason"), str) and finish:
            self.finish_reason = safe(finish, None)

    def _say(self, text: str) -> None:
        """Passes a piece on. A character outside the basic plane may come in two halves, one in each of two pieces."""
        if not isinstance(text, str):
            raise TypeError(text)
        if text.isascii() and not self._half:
            self._heard.say(text)
            return
        text, self._half = self._half + text, ""
        if "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        self._heard.say(_whole(text))

    def _wish(self, delta: dict[str, Any]) -> None:
        function = delta.get("function") or {}
        id_, name, arguments = delta.get("id"), function.get("name"), function.get("arguments")
        index = delta.get("index")
        index = index if isinstance(index, int) else len(self._wishes) - (0 if id_ or name else 1)
        wish = self._at.get(index)
        # Some servers give every call the index 0, and tell them apart by id.
        if wish is None or (id_ and wish.id and id_ != wish.id):
            wish = self._at[index] = _Wish(None, "")
            self._wishes.append(wish)
        wish.id = wish.id or id_
        if isinstance(name, str):
            wish.name = wish.name or name
        if isinstance(arguments, str):
            wish.arguments.append(arguments)
            self._heard.unsaid += len(arguments)

    def served(self) -> Served:
        """The whole answer, once it is finished."""
        heard = self._heard
        if self._half:
            heard.say("?")
            self._half = ""
        tool_calls = tuple(tool_call(self._service, w.id, w.name, "".join(w.arguments)) for w in self._wishes)
        if not heard.text.strip() and not tool_calls:
            raise nonsense(self._service, "an empty answer")
        return Served(
            text=heard.text,
            model=heard.model or "",
            finish_reason=self.finish_reason,
            prompt_tokens=heard.prompt_tokens,
            completion_tokens=heard.completion_tokens,
            tool_calls=tool_calls,
        )


def _whole(text: str) -> str:
    """Joins halves of characters that now stand together, and replaces those that stand alone."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return safe(text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass"), None)
    return text
