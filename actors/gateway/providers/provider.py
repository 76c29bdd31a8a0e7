"""What every provider takes, gives and says on the way."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from schemas.completion import ChatMessage, Sampling, ToolCall, ToolCallPiece
from schemas.service import ServiceSpec


@dataclass(frozen=True)
class Attempt:
    """One call of one service."""

    service: str
    spec: ServiceSpec
    api_key: str | None
    messages: tuple[ChatMessage, ...]
    temperature: float | None
    max_tokens: int
    json_schema: dict[str, Any] | None
    timeout_s: float
    """For the whole answer, however steadily it arrives."""
    request_id: str
    """Stays the same for one journalled attempt; sent as `Idempotency-Key` to providers that honour it."""
    tools: tuple[dict[str, Any], ...] = ()
    """Tools that the model may wish for, in OpenAI's shape."""
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    sampling: Sampling | None = None
    stream: bool = False
    """Whether the answer is asked for piece by piece, and told to `Heard` as it arrives."""


@dataclass(frozen=True)
class Served:
    """What a provider answered. Tokens are None where it did not say; the text may be empty only beside tool calls."""

    text: str
    model: str
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    tool_calls: tuple[ToolCall, ...] = ()
    dropped: tuple[str, ...] = ()
    """Parameters of the attempt that were not passed on, for its model takes none."""


@dataclass(frozen=True)
class EmbedAttempt:
    """One call of one service for vectors."""

    service: str
    spec: ServiceSpec
    api_key: str | None
    texts: tuple[str, ...]
    timeout_s: float
    request_id: str


@dataclass(frozen=True)
class Embedded:
    """One vector for each text, in their order, all of one length and of finite numbers."""

    vectors: tuple[tuple[float, ...], ...]
    model: str
    prompt_tokens: int | None


class Heard:
    """What has arrived of one answer so far: all that is known of its cost when it is cut or cancelled."""

    __slots__ = (
        *("_parts", "_tell", "_tell_call"),
        *("began", "completion_tokens", "final", "model", "prompt_tokens", "unsaid"),
    )

    def __init__(
        self, tell: Callable[[str], None] | None = None, tell_call: Callable[[ToolCallPiece], None] | None = None
    ) -> None:
        """`tell` gets each piece of the text as it arrives, `tell_call` those of tool calls; both return at once."""
        self._tell, self._tell_call = tell, tell_call
        self._parts: list[str] = []
        self.began = False
        """Whether anything of an answer arrived, or the provider said what it took. A mere status is neither."""
        self.final = False
        """Whether the tokens are the provider's last word, of question and answer both."""
        self.model: str | None = None
        self.prompt_tokens: int | None = None
        """As the provider said; None until it does."""
        self.completion_tokens: int | None = None
        """The same; of a stream under way it may be far behind the text, as in Anthropic's format until the end."""
        self.unsaid = 0
        """Characters that arrived beside the text and are paid for too: tool calls, and thoughts that were shown."""

    def say(self, delta: str) -> None:
        """A further piece of the text."""
        if not delta:
            return
        self.began = True
        self._parts.append(delta)
        if self._tell is not None:
            self._tell(delta)

    def call(self, piece: ToolCallPiece) -> None:
        """A further piece of a tool call."""
        if self._tell_call is not None:
            self._tell_call(piece)

    def beside(self, characters: int) -> None:
        """A further piece that is no text."""
        if characters:
            self.began = True
            self.unsaid += characters

    def used(self, prompt_tokens: int | None, completion_tokens: int | None) -> None:
        """What the provider says by now that it took; None where it says nothing new."""
        if prompt_tokens is not None:
            self.prompt_tokens = prompt_tokens
        if completion_tokens is not None:
            self.completion_tokens = completion_tokens
        self.began = self.began or bool(completion_tokens)

    def billed(self, prompt_tokens: int | None, completion_tokens: int | None) -> None:
        """What the provider says in the end that it took, whether its answer can be used or not."""
        self.prompt_tokens, self.completion_tokens = prompt_tokens, completion_tokens
        self.began = self.began or completion_tokens is not None
        self.final = prompt_tokens is not None and completion_tokens is not None

    def whole(self, served: Served) -> None:
        """All of an answer that came in one piece."""
        self.began, self.model = True, served.model
        self.billed(served.prompt_tokens, served.completion_tokens)
        self.unsaid = sum(len(call.arguments) for call in served.tool_calls)
        self.say(served.text)

    @property
    def so_far(self) -> str:
        """For the words of an error: how much had arrived."""
        return f"after {len(self.text):,} characters"

    @property
    def text(self) -> str:
        """Everything so far."""
        if len(self._parts) > 1:
            self._parts = ["".join(self._parts)]
        return self._parts[0] if self._parts else ""


class Provider(Protocol):
    """Raises UpstreamError with what is known of the failure: whether to try again, whether it may have cost."""

    async def complete(self, attempt: Attempt, heard: Heard) -> Served:
        """The whole answer. `heard` holds what arrived of it, however the call ends."""
        ...

    async def embed(self, attempt: EmbedAttempt) -> Embedded: ...
