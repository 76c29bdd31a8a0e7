"""How good a team's answers are, measured off the event loop."""

import asyncio
from collections.abc import Sequence
from typing import Any

from actors.quality import Embed, assess, wordllama_embed
from schemas.quality import Quality, unmeasured


class Assessor:
    """Measures by rules and embeddings. The vectors' 80 MB are loaded when the first answer is measured."""

    def __init__(self, embed: Embed | None = None) -> None:
        """
        Args:
            embed: left out: the embedded vectors.
        """
        self._embed = embed
        self._loading = asyncio.Lock()

    async def embed(self) -> Embed:
        if self._embed is None:
            async with self._loading:
                if self._embed is None:
                    self._embed = await asyncio.to_thread(wordllama_embed)
        return self._embed

    async def measure(
        self, prompt: str, inputs: Sequence[str], text: str | None, json_schema: dict[str, Any] | None
    ) -> Quality:
        """The quality of an answer to `prompt`; no model is asked.

        Args:
            inputs: the text of each input beside the prompt.
        """
        if text is None:
            return unmeasured("there is no answer")
        embed = await self.embed()
        return await asyncio.to_thread(assess, prompt, inputs, text, json_schema, embed)
