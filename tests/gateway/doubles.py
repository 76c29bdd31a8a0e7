"""A journal in memory, providers that follow a script, and the question that most tests ask."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path

from actors.catalogue import Catalogue, load
from actors.gateway.breaker import Change
from actors.gateway.embedding import Embedding
from actors.gateway.gateway import Gateway
from actors.gateway.limits import Clock
from actors.gateway.providers import Attempt, EmbedAttempt, Embedded, Heard, Provider, Served
from actors.gateway.purse import Purse
from actors.gateway.steadiness import Steadiness
from actors.gateway.surroundings import Surroundings
from bus.cache import Cached
from bus.journal import Entry, Kept, Overtaken
from bus.recordings import NotRecorded
from bus.subjects import CallJournal
from schemas.budget import Budgets
from schemas.completion import Complete, Completion, Delta, ToolCallPiece
from schemas.errors import UpstreamError
from schemas.message import now
from schemas.service import ServiceSpec
from tests.gateway.purses import MemoryPurse, Shelf
from tests.gateway.questions import ask

__all__ = [
    "Bench",
    "MemoryCache",
    "MemoryJournal",
    "MemoryVectors",
    "Script",
    "ask",
    "broken",
    "catalogue_of",
    "refused",
    "served",
]

LONG_S = 30.0
"""A time limit that a test reaches only when it fails."""

SERVICES = """
services:
  cheap: {model: openai/cheap-1, api_base: http://127.0.0.1:9/v1, api_key_env: none, region: eu,
          price: {input_per_mtok: 1, output_per_mtok: 2}}
  dear: {model: openai/dear-1, api_base: http://127.0.0.1:9/v1, api_key_env: none,
         price: {input_per_mtok: 10, output_per_mtok: 20}}
  free: {model: hosted_vllm/free-1, api_base: http://127.0.0.1:9/v1, api_key_env: none,
         price: {input_per_mtok: 0, output_per_mtok: 0}}
  unpriced: {model: openai/nobody-lists-this, api_base: http://127.0.0.1:9/v1, api_key_env: none}
  locked: {model: openai/locked-1, api_key_env: LOCKED_KEY, price: {input_per_mtok: 1, output_per_mtok: 2}}
"""


def catalogue_of(folder: Path) -> Catalogue:
    overlay = folder / "overlay.yaml"
    overlay.write_text(SERVICES)
    return load(overlay)


class MemoryJournal:
    """Keeps the last version of each entry, and takes a new one only from whoever saw that."""

    def __init__(self) -> None:
        self._seq = 0
        self._kept: dict[str, Kept] = {}
        self.written: list[Entry] = []
        self.before_write: Callable[[CallJournal, Entry], Awaitable[None]] | None = None
        """Happens between a writer's look at the entry and its write."""
        self.acknowledge = asyncio.Event()
        """While it is not set, writes are stored but not acknowledged."""
        self.acknowledge.set()
        self.stored = asyncio.Event()

    async def read(self, key: CallJournal) -> Kept:
        await asyncio.sleep(0)
        return self._kept.get(str(key), Kept(0, None))

    async def write(self, key: CallJournal, entry: Entry, expected: int) -> int:
        await asyncio.sleep(0)
        if self.before_write is not None:
            await self.before_write(key, entry)
        place = self.put(key, entry, expected)
        self.stored.set()
        await self.acknowledge.wait()
        return place

    def put(self, key: CallJournal, entry: Entry, expected: int) -> int:
        if self.seq(key) != expected:
            raise Overtaken(str(key))
        self._seq += 1
        self._kept[str(key)] = Kept(self._seq, entry)
        self.written.append(entry)
        return self._seq

    def seq(self, key: CallJournal) -> int:
        return self._kept.get(str(key), Kept(0, None)).seq

    def entry(self, key: CallJournal) -> Entry:
        found = self._kept[str(key)].entry
        assert found is not None
        return found


class Script:
    """A provider that gives its answers in order, the last one for ever; with none it works until told to go on."""

    def __init__(self, *answers: Served | UpstreamError) -> None:
        self._answers = list(answers)
        self.attempts: list[Attempt] = []
        self.started, self.cancelled, self.go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def complete(self, attempt: Attempt, heard: Heard) -> Served:
        self.attempts.append(attempt)
        self.started.set()
        if not self._answers:
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
            return served()
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, UpstreamError):
            raise answer
        heard.say(answer.text)
        return answer

    async def embed(self, attempt: EmbedAttempt) -> Embedded:
        raise NotImplementedError


def served(
    text: str = "An answer.", prompt_tokens: int | None = 100, completion_tokens: int | None = 50, model: str = ""
) -> Served:
    return Served(text, model, "stop", prompt_tokens, completion_tokens)


def refused(reason: str = "HTTP 401", again: bool = False, retry_after_s: float | None = None) -> UpstreamError:
    """A failure that cost nothing."""
    return UpstreamError("sim", reason, again=again, retry_after_s=retry_after_s, spent=False)


def broken(reason: str = "the connection broke", again: bool = False) -> UpstreamError:
    """A failure of which nobody can know whether it cost."""
    return UpstreamError("sim", reason, again=again, spent=None)


class MemoryCache:
    """Keeps every answer, and gives none that is too old."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str, str, str], Cached] = {}

    async def get(self, tenant: str, service: str, model: str, question: str, max_age_s: float) -> Cached | None:
        kept = self.kept.get((tenant, service, model, question))
        return kept if kept is not None and now() - kept.stored_at <= timedelta(seconds=max_age_s) else None

    async def put(self, tenant: str, service: str, model: str, question: str, cached: Cached, keep_s: float) -> None:
        self.kept[tenant, service, model, question] = cached


class MemoryVectors:
    """Keeps vectors while there is room."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.full = False

    async def put(self, packed: bytes) -> str | None:
        if self.full:
            return None
        name = hashlib.sha256(packed).hexdigest()
        self.kept[name] = packed
        return name

    async def get(self, name: str) -> bytes | None:
        return self.kept.get(name)


class Bench:
    """One gateway, its journal, and a script for each service, by name."""

    def __init__(
        self,
        catalogue: Catalogue,
        journal: MemoryJournal | None = None,
        name: str = "gateway-a",
        shelf: Shelf | None = None,
        budgets: Budgets | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.catalogue = catalogue
        self.journal = journal or MemoryJournal()
        self.scripts: dict[str, Script] = {}
        self.alive: set[str] = {name}
        self.environ: dict[str, str] = {}
        self._records: list[asyncio.Task[None]] = []
        self.shelf = shelf or Shelf()
        self.cache, self.vectors = MemoryCache(), MemoryVectors()
        self.recordings: dict[str, Completion] = {}
        """Answers by step."""
        self.purse = Purse(name, budgets or Budgets(), MemoryPurse(self.shelf))
        self.told: list[tuple[int, int, str]] = []
        """Of texts: attempt, offset, piece."""
        self.told_of_calls: list[tuple[int, int, ToolCallPiece]] = []
        self.changes: list[tuple[str, Change]] = []
        self.surroundings = Surroundings(
            catalogue=catalogue,
            environ=self.environ,
            journal=self.journal,
            provider_of=self._provider_of,
            works=self._is_alive,
            purse=self.purse,
            steadiness=Steadiness(name, changed=self._changed, clock=clock),
            cache=self.cache,
            recordings=self,
            vectors=self.vectors,
            told=self._hear,
            keep=self._records.append,
        )
        self.gateway, self.embedding = Gateway(name, self.surroundings), Embedding(name, self.surroundings)

    async def answer(self, ask: Complete, question: str | None = None) -> Completion:
        """As `Recordings` does."""
        if ask.step not in self.recordings:
            raise NotRecorded(ask.replay or "", ask.step, ask.agent)
        return self.recordings[ask.step]

    async def recorded(self) -> None:
        """Return once every answer that was given is in the journal, or was refused there, and the purse knows."""
        await asyncio.gather(*self._records, return_exceptions=True)
        await self.purse.drain()

    def _hear(self, ask: Complete, delta: Delta) -> None:
        if delta.tool_call is None:
            self.told.append((delta.attempt, delta.offset, delta.text))
        else:
            self.told_of_calls.append((delta.attempt, delta.offset, delta.tool_call))

    def _changed(self, service: str, model: str, change: Change) -> None:
        self.changes.append((service, change))

    def plays(self, **scripts: Script) -> "Bench":
        self.scripts |= scripts
        return self

    def _provider_of(self, spec: ServiceSpec) -> Provider:
        by_model: Mapping[str, str] = {s.model: name for name, s in self.catalogue.services.items()}
        return self.scripts[by_model[spec.model]]

    async def _is_alive(self, instance: str, key: str) -> bool:
        await asyncio.sleep(0)
        return instance in self.alive
