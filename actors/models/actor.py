"""The models actor: the embedded language model and the embeddings behind two subjects."""

import asyncio
import os

from actors.base import Actor
from actors.models.embedded import MODEL, PARALLEL, EmbeddedEmbeddings, EmbeddedModel
from bus.desk import Endpoint
from bus.subjects import EmbeddedModel as Subject
from schemas.completion import Embed, Embeddings, Generate, Generated


class ModelsActor(Actor):
    """Runs the embedded models; needs no key and no network."""

    kind = "models"
    jetstream = False

    async def begin(self) -> list[Endpoint]:
        self._model = await asyncio.to_thread(EmbeddedModel, threads=max(1, (os.cpu_count() or 1) - 1))
        self._embeddings = await asyncio.to_thread(EmbeddedEmbeddings)
        await self._model.warm()
        complete, embed = str(Subject(MODEL, "complete")), str(Subject(EmbeddedEmbeddings.MODEL, "embed"))
        return [
            Endpoint("complete", complete, Generate, self._generate, concurrency=4 * PARALLEL * 16),
            Endpoint("embed", embed, Embed, self._embed, concurrency=8),
        ]

    async def release(self) -> None:
        await self._model.close()

    async def _generate(self, ask: Generate) -> Generated:
        return await self._model.generate(ask)

    async def _embed(self, ask: Embed) -> Embeddings:
        return await self._embeddings.embed(ask.texts)
