"""Reads along with litellm, which passes over what it cannot read and ends every stream with "stop"."""

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from actors.gateway.providers.provider import Heard
from actors.gateway.providers.wire import count, error_message


class Watch:
    """What the lines of a stream themselves say, in Anthropic's, Gemini's or OpenAI's format."""

    def __init__(self, stream: Any, heard: Heard, key: str | None) -> None:
        """`stream` is litellm's; the lines that it reads pass through here from now on."""
        self._stream, self._heard, self._key = stream, heard, key
        self._reader = stream.completion_stream
        self._sees = hasattr(self._reader, "streaming_response")
        self._ended = False
        self._noted = 0
        self.trouble: str | None = None
        """An error in the stream, or something that cannot be read; nothing after it was passed on."""
        if self._sees:
            self._reader.streaming_response = self._lines(self._reader.streaming_response)

    @property
    def ended(self) -> bool:
        """Whether the provider itself has said that its answer is finished."""
        # OpenAI's own client gives no lines, but chunks as they came.
        return self._ended if self._sees else bool(self._stream.received_finish_reason)

    def note_usage(self) -> None:
        """Tells `heard` what the provider has reported by now. litellm keeps that aside, and passes on its own sum."""
        for chunk in self._stream.chunks[self._noted :]:
            usage = getattr(chunk, "usage", None)
            # It says 0 where the provider said nothing.
            prompt, completion = (count(getattr(usage, f"{kind}_tokens", None)) for kind in ("prompt", "completion"))
            self._heard.used(prompt or None, completion or None)
        self._noted = len(self._stream.chunks)

    async def close(self) -> None:
        """Closes the stream and its connection. litellm's own close leaves out the lines under some of its readers."""
        with contextlib.suppress(Exception):
            await self._stream.aclose()
        if self._sees:
            with contextlib.suppress(Exception):
                await self._reader.streaming_response.aclose()

    async def _lines(self, lines: AsyncGenerator[Any, None]) -> AsyncIterator[Any]:
        try:
            async for line in lines:
                text = line.decode(errors="replace") if isinstance(line, bytes) else line
                if isinstance(text, str):
                    self._look(text)
                if self.trouble is not None:
                    return
                yield line
        finally:
            with contextlib.suppress(Exception):
                await lines.aclose()

    def _look(self, line: str) -> None:
        if not line.startswith(("data:", "{")):
            return
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            self._ended = True
            return
        try:
            event = json.loads(data)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            self.trouble = f"nonsense in the stream {self._heard.so_far}"
        elif (error := event.get("error")) is not None:
            self.trouble = f"an error in the stream {self._heard.so_far}: {error_message(error, self._key)}"
        elif _is_end(event):
            self._ended = True


def _is_end(event: dict[str, Any]) -> bool:
    match event:
        case {"type": "message_stop"} | {"type": "message_delta", "delta": {"stop_reason": str()}}:
            return True
        case {"candidates": [{"finishReason": str()}, *_]} | {"promptFeedback": {"blockReason": str()}}:
            return True
        case {"choices": [{"finish_reason": str()}, *_]}:
            return True
    return False
