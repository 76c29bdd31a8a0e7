"""What a simulated model says, whichever format it says it in."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from tests.simulators.base import BadRequest, Behaviour
from tests.simulators.instances import smallest_instance


@dataclass
class Question:
    """What a call asks for, less its wire format."""

    prompt: str
    """All that its messages say, one after another."""
    last: str
    """What the last of them says."""
    schema: Any = None
    """Of the answer; `None`: free text."""
    tools: dict[str, Any] = field(default_factory=dict)
    """Schemas of what the tools take, by name."""
    tool: str | None = None
    """The one that has to be called, where the call says so."""
    may_call: bool = True
    """Whether any may be called: not where the call forbids it, nor when it brings a result."""


@dataclass(frozen=True)
class ToolUse:
    number: int
    """Counts from 0 in each answer."""
    name: str
    arguments: dict[str, Any]

    @property
    def json(self) -> str:
        return json.dumps(self.arguments)


@dataclass(frozen=True)
class Reply:
    text: str
    uses: tuple[ToolUse, ...] = ()

    @property
    def words(self) -> int:
        return len(self.text.split()) + sum(1 + len(use.json.split()) for use in self.uses)


def reply_to(question: Question, behaviour: Behaviour) -> Reply:
    if behaviour.fault == "empty":
        return Reply("")
    if question.tools and question.may_call:
        default = 0 if behaviour.answer is not None else 1
        wanted = default if behaviour.tool_calls is None else behaviour.tool_calls
        names = [question.tool] if question.tool else list(question.tools)
        uses = [_use(n, names[n % len(names)], question) for n in range(wanted)]
        if uses:
            return Reply(behaviour.answer or "", tuple(uses))
    if behaviour.answer is not None:
        return Reply(behaviour.answer)
    if question.schema is not None:
        return Reply(json.dumps(_instance(question.schema)))
    gist = " ".join(question.last.split()[:12])
    return Reply(f"Answer {hashlib.sha256(question.prompt.encode()).hexdigest()[:8]} to: {gist}")


def pieces(text: str) -> list[str]:
    """Its words, each with the blanks before it; put together they are the text."""
    return re.findall(r"\s*\S+|\s+\Z", text)


def _use(number: int, name: str, question: Question) -> ToolUse:
    if name not in question.tools:
        raise BadRequest(f"tool_choice: there is no tool {name!r}")
    arguments = _instance(question.tools[name])
    return ToolUse(number, name, arguments if isinstance(arguments, dict) else {})


def _instance(schema: Any) -> Any:
    try:
        return smallest_instance(schema, schema)
    except RecursionError:
        raise BadRequest("the schema needs itself without end") from None
