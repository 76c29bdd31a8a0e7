"""A plan as a graph of parts: read from a strategist's JSON, checked, or made by rule where that cannot be used."""

import re
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from pydantic import Field, ValidationError

from actors.coordinator.classifier.asked import things_asked
from actors.quality.form import NotJson, json_of
from actors.quality.relevance import coverage, subject_of
from actors.quality.text import Reading
from schemas.agent import AgentSpec
from schemas.message import Message

FEWEST_PARTS, MOST_PARTS = 2, 12
COVERED = 0.5
"""Share of a task's subject that the parts together have to name."""
MOST_WORK = 4_000
"""Characters that a part's description may have."""


class GraphPart(Message):
    """One node: what is to be done, by whom, after what."""

    id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,24}$")
    title: str = Field(min_length=1, max_length=200)
    work: str = Field(min_length=1, max_length=MOST_WORK)
    owner: str
    acceptance: tuple[str, ...] = Field(default=(), max_length=12)
    depends_on: tuple[str, ...] = Field(default=(), max_length=MOST_PARTS)


class Graph(Message):
    parts: tuple[GraphPart, ...]

    def ordered(self) -> tuple[GraphPart, ...]:
        """The parts, each after those that it depends on."""
        by_id = {part.id: part for part in self.parts}
        order = TopologicalSorter({part.id: part.depends_on for part in self.parts}).static_order()
        return tuple(by_id[name] for name in order)


def graph_of(text: str | None, prompt: str, owners: Sequence[str], most_parts: int) -> tuple[Graph | None, list[str]]:
    """The graph that a strategist wrote, and what is wrong with it; one with mistakes is not to be used.

    Args:
        owners: who may carry a part.
    """
    try:
        said = json_of(text or "")
    except NotJson as error:
        return None, [f"the plan is no JSON: {error}"]
    parts = said.get("parts") if isinstance(said, dict) else None
    if not isinstance(parts, list):
        return None, ["the plan has no list of parts"]
    if not FEWEST_PARTS <= len(parts) <= most_parts:
        return None, [f"it has {len(parts):,} parts; {FEWEST_PARTS} to {most_parts} can be carried"]
    found, mistakes = [], []
    for place, raw in enumerate(parts, start=1):
        try:
            found.append(GraphPart.model_validate(_trimmed(raw)))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(each) for each in first["loc"]) or "it"
            mistakes.append(f"part {place}: {where}: {first['msg']}")
    if mistakes:
        return None, mistakes
    graph = Graph(parts=tuple(found))
    mistakes = mistakes_of(graph, prompt, owners)
    return graph if mistakes else _renamed(graph), mistakes


def _renamed(graph: Graph) -> Graph:
    """Its parts as p1, p2 …: names become parts of step names, where a model's own might meet another's."""
    names = {part.id: f"p{place}" for place, part in enumerate(graph.parts, start=1)}
    parts = (
        part.model_copy(update={"id": names[part.id], "depends_on": tuple(names[name] for name in part.depends_on)})
        for part in graph.parts
    )
    return Graph(parts=tuple(parts))


def mistakes_of(graph: Graph, prompt: str, owners: Sequence[str]) -> list[str]:
    """What is wrong with a graph: names twice or unknown, cycles, parts that leave out what the task is about."""
    mistakes = []
    names = [part.id for part in graph.parts]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        mistakes.append(f"more than one part is called {', '.join(twice)}")
    for part in graph.parts:
        if part.owner not in owners:
            mistakes.append(f"part {part.id}: there is no {part.owner[:64]!r} in the team")
        if unknown := [name for name in part.depends_on if name not in names]:
            mistakes.append(f"part {part.id} depends on {', '.join(unknown)[:200]}, which is not there")
    if not mistakes:
        try:
            graph.ordered()
        except CycleError as error:
            mistakes.append(f"parts wait for each other: {' -> '.join(error.args[1])}")
    said = Reading("\n".join(f"{p.title}. {p.work} {' '.join(p.acceptance)}" for p in graph.parts))
    named = coverage(subject_of(prompt), said)
    if named is not None and named < COVERED:
        mistakes.append(f"the parts name {named:.0%} of what the task is about, and have to name {COVERED:.0%}")
    return mistakes


def by_rule(prompt: str, owners: Mapping[str, AgentSpec]) -> Graph:
    """A plan without a strategist: a part for each thing that the prompt orders, else for each owner's view."""
    wanted = _deliverables(prompt)[:MOST_PARTS]
    names = list(owners)
    if len(wanted) >= FEWEST_PARTS:
        parts = [
            GraphPart(id=f"p{i}", title=_title(text), work=text[:MOST_WORK], owner=names[(i - 1) % len(names)])
            for i, text in enumerate(wanted, start=1)
        ]
    else:
        chosen = names[:MOST_PARTS] if len(names) >= FEWEST_PARTS else names * FEWEST_PARTS
        parts = [
            GraphPart(
                id=f"p{i}",
                title=f"{owners[name].role}'s part",
                work=f"Do what of the task belongs to your trade, as {owners[name].role}.",
                owner=name,
            )
            for i, name in enumerate(chosen, start=1)
        ]
    return Graph(parts=tuple(parts))


_LISTED = re.compile(r"^\s*(?:\d{1,2}[.)]|[-*•])\s+(\S.*)$", re.M)
_BETWEEN = re.compile(r",\s*(?:and\s+)?|\s+and\s+")
_SENTENCE = re.compile(r"[^.!?;\n]+[.!?;]?")


def _deliverables(prompt: str) -> list[str]:
    listed = [match[1].strip() for match in _LISTED.finditer(prompt[:MOST_WORK])]
    if len(listed) >= FEWEST_PARTS:
        return listed
    sentences = [match[0].strip() for match in _SENTENCE.finditer(prompt[:MOST_WORK])]
    ordered = [sentence for sentence in sentences if things_asked(sentence)]
    return [part for sentence in ordered for part in _enumerated(sentence)]


def _enumerated(sentence: str) -> list[str]:
    """ "Prepare the launch: a plan, texts and a budget" as its three things; any other sentence as it is."""
    head, colon, tail = sentence.partition(": ")
    items = [item.strip(" .;!") for item in _BETWEEN.split(tail)] if colon else []
    items = [item for item in items if item]
    return [f"{item} (of this: {head.strip()})" for item in items] if len(items) >= FEWEST_PARTS else [sentence]


def _title(text: str) -> str:
    words = " ".join(text.split()[:8])
    return words[:200].rstrip(".,;:") or "a part"


def _trimmed(raw: Any) -> Any:
    """A part as it was said, less what is too long to be kept and no reason to turn it down."""
    if not isinstance(raw, dict):
        return raw
    kept = dict(raw)
    if isinstance(kept.get("title"), str):  # on one line, for it becomes part of sentences
        kept["title"] = " ".join(kept["title"].split())[:200]
    if isinstance(kept.get("work"), str):
        kept["work"] = kept["work"].strip()[:MOST_WORK]
    if isinstance(kept.get("acceptance"), list):
        kept["acceptance"] = [str(each)[:400] for each in kept["acceptance"][:12]]
    return kept
