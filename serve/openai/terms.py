"""What both doors for text make of a request's terms: how words are picked, which tools there are, by when."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from schemas.completion import Sampling
from schemas.errors import InvalidRequest
from schemas.problem import field_errors
from schemas.task import DEFAULT_TIMEOUT_S, TaskRequest

TIMEOUT_S = DEFAULT_TIMEOUT_S - 20
"""A task's time where none is given: OpenAI's clients hang up after 600 s and ask again, for a second task."""
NEUTRAL: Mapping[str, Any] = {"top_p": 1, "frequency_penalty": 0, "presence_penalty": 0, "seed": None, "stop": ()}
"""What OpenAI takes where nothing is said, which says nothing."""


def sampling_of(said: Mapping[str, Any]) -> Sampling | None:
    """How words are to be picked; None where nothing is said of that.

    Raises:
        InvalidRequest: a field breaks a rule.
    """
    if isinstance(said.get("stop"), str):
        said = {**said, "stop": (said["stop"],) if said["stop"] else ()}
    chosen = {name: value for name, value in said.items() if value is not None and value != NEUTRAL[name]}
    try:
        return Sampling(**chosen) if chosen else None
    except ValidationError as error:
        first = field_errors(error)[0]
        raise InvalidRequest(first.field, first.message) from None


def tools_of(
    tools: tuple[dict[str, Any], ...] | None, choice: str | dict[str, Any] | None, parallel: bool | None
) -> dict[str, Any]:
    """The fields of a task request that say which tools there are; without any, the default choices say nothing."""
    if not tools:
        return {} if choice in (None, "none", "auto") else {"tool_choice": choice}
    # That several at once are allowed is what every provider takes where nothing is said, and some know no word of it.
    return {"tools": tools, "tool_choice": choice, "parallel_tool_calls": False if parallel is False else None}


def check_alone(fields: Mapping[str, Any], model: str, turns: str) -> None:
    """
    Args:
        fields: of a task request.
        turns: the name of the field that holds the conversation.

    Raises:
        InvalidRequest: it brings what is for one model, and names a team.
    """
    if fields.get("tier") in (None, "simple"):
        return
    name = None
    if fields.get("tools"):
        name = "tools"
    elif fields.get("sampling") is not None:
        name = next(iter(fields["sampling"].chosen))
    elif any(turn.of_tools for turn in (*fields["history"], *fields["later"])):
        name = turns
    if name is not None:
        alone = "devskyy-simple, devskyy-auto, an agent or a service"
        raise InvalidRequest(name, f"means something to one model, and {model!r} is a team; ask {alone}")


def request_of(fields: Mapping[str, Any], places: Mapping[str, str]) -> TaskRequest:
    """
    Args:
        places: what the caller calls the fields that it knows by other names; the longest beginning counts.

    Raises:
        InvalidRequest: a field breaks a rule; it has the caller's name.
    """
    try:
        # What is left out costs nothing to check.
        return TaskRequest(**{name: value for name, value in fields.items() if value not in (None, (), {})})
    except ValidationError as error:
        first = field_errors(error)[0]
        field = first.field
        for ours in sorted(places, key=len, reverse=True):
            if field == ours or field.startswith(f"{ours}."):
                field = places[ours] + field.removeprefix(ours)
                break
        raise InvalidRequest(field, first.message) from None
