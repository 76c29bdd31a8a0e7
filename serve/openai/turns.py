"""A conversation of OpenAI's kind as the parts of a task: the prompt, and the turns before and after it."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from schemas.errors import InvalidRequest
from schemas.problem import field_errors
from schemas.task import Input, Turn

IMAGE_ONLY = "Here is the image."
"""The prompt where the last message of a user is an image and no word. A task needs one; this one asks for nothing, so
that what the turns before it, or the agent, say of images counts."""


def parts_of(turns: Sequence[Turn], places: Sequence[str]) -> dict[str, Any]:
    """The fields of a task request that a conversation becomes. The prompt is what a user said last; what tools gave
    since then comes after it.

    Args:
        places: where each turn stands in its request.

    Raises:
        InvalidRequest: nobody asks for anything, or a tool's result answers no wish.
    """
    if turns[-1].role not in ("user", "tool"):
        raise InvalidRequest(f"{places[-1]}.role", "the last message is the user's, or what a tool gave")
    asked = max((place for place, turn in enumerate(turns) if turn.role == "user"), default=None)
    if asked is None:
        raise InvalidRequest(places[-1], "nothing before it is a user's, so nobody asked for anything")
    wished: set[str] = set()
    for turn, place in zip(turns, places, strict=True):
        wished.update(call.id for call in turn.tool_calls)
        if turn.role == "tool" and turn.tool_call_id not in wished:
            raise InvalidRequest(place, f"{turn.tool_call_id!r} is no tool call of the turns before it")
    prompt = turns[asked]
    text = IMAGE_ONLY if prompt.images and not prompt.content.strip() else prompt.content
    if not text.strip():
        raise InvalidRequest(f"{places[asked]}.content", "is empty; say what is to be done")
    return {
        "history": tuple(turns[:asked]),
        "prompt": text,
        "inputs": prompt.images,
        "later": tuple(turns[asked + 1 :]),
    }


def turn_at(place: str, **fields: Any) -> Turn:
    """
    Raises:
        InvalidRequest: these fields make no turn; it names the place.
    """
    try:
        return Turn(**{name: value for name, value in fields.items() if value or name == "content"})
    except ValidationError as error:
        first = field_errors(error)[0]
        raise InvalidRequest(f"{place}.{first.field}" if first.field else place, first.message) from None


def image_of(url: Any, name: str, place: str) -> Input:
    """An image that is given as a `data:` URL.

    Raises:
        InvalidRequest: it is none.
    """
    head, comma, data = str(url).partition(",")
    if not (comma and head.startswith("data:") and head.endswith(";base64")):
        raise InvalidRequest(place, "an image is given as a data: URL in base64")
    media_type = head.removeprefix("data:").removesuffix(";base64")
    try:
        return Input(kind="image", name=name, media_type=media_type, base64=data)
    except ValidationError as error:
        raise InvalidRequest(place, field_errors(error)[0].message) from None
