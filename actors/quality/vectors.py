"""Vectors of texts where no actor serves them: wordllama in this process, for commands and benchmarks."""

from collections.abc import Sequence
from pathlib import Path

from actors.quality.relevance import Embed, Vector


def wordllama_embed() -> Embed:
    """Loads the model, some 0.2 s; a call embeds a text in some 0.1 ms."""
    import wordllama

    model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)

    def embed(texts: list[str]) -> Sequence[Vector]:
        vectors: Sequence[Vector] = model.embed(texts, norm=True)
        return vectors

    return embed
