"""The events of a task or workflow on the screen, those to come included where that is asked for."""

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from devskyy.client import AsyncClient, Client

Event = dict[str, Any]


def print_events(
    kind: str,
    of: str,
    *,
    history: "Callable[[Client], tuple[Event, ...]]",
    following: "Callable[[AsyncClient], AsyncIterator[Event]] | None",
    line: Callable[[Event], str],
    as_json: bool,
) -> None:
    """Print a line an event, oldest first; as JSON one document, or of what is followed one object a line.

    Args:
        kind: what has these events, as JSON names its id: `task_id`.
        history: reads those so far.
        following: goes on to the end; None: only those so far are shown.
        line: an event for people.
    """
    import asyncio

    from devskyy.cli import render
    from devskyy.client import AsyncClient, Client

    async def tell(events: "Callable[[AsyncClient], AsyncIterator[Event]]") -> None:
        async with AsyncClient() as client:
            async for event in events(client):
                if as_json:
                    render.document(event)
                else:
                    render.say(line(event))

    if following is not None:
        asyncio.run(tell(following))
        return
    with Client() as client:
        seen = history(client)
    if as_json:
        render.document({kind: of, "events": list(seen)})
    else:
        render.say(*map(line, seen))
