"""Workflows for tests of their doors, and functions that do their tasks."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx

from actors.workflow.workers import Function
from schemas.errors import Unavailable

DOOR = "/api/v1/workflows"
HELD: Mapping[str, Any] = {"name": "held", "tasks": {"hold": {"function": "hold"}}}
"""Runs until it is stopped."""
WAITS: Mapping[str, Any] = {
    "name": "waits",
    "tasks": {
        "first": {"function": "one"},
        "review": {"approval": "Publish it?", "depends_on": ["first"]},
        "release": {"signal": "go", "depends_on": ["review"]},
    },
}
ADDS: Mapping[str, Any] = {
    "name": "adds",
    "inputs": {"n": {"type": "integer", "default": 1}},
    "tasks": {
        "first": {"function": "add", "inputs": {"n": "${inputs.n}"}, "compensation": {"function": "one"}},
        "second": {"function": "add", "inputs": {"n": "${tasks.first.output}"}},
    },
    "output": "${tasks.second.output}",
}


class Doing:
    """What tasks do, and how often they did."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.broken = False
        self.release = asyncio.Event()

    @property
    def functions(self) -> Mapping[str, Function]:
        names = ("one", "add", "hold", "big", "breaks")
        return {name: getattr(self, name) for name in names}

    async def one(self, inputs: dict[str, Any]) -> int:
        self.calls.append("one")
        return 1

    async def add(self, inputs: dict[str, Any]) -> int:
        self.calls.append(f"add {inputs['n']}")
        return int(inputs["n"]) + 1

    async def hold(self, inputs: dict[str, Any]) -> str:
        await self.release.wait()
        return "held"

    async def big(self, inputs: dict[str, Any]) -> str:
        return str(inputs.get("letter", "x")) * 100_000

    async def breaks(self, inputs: dict[str, Any]) -> str:
        self.calls.append("breaks")
        if self.broken:
            raise Unavailable("it is broken")
        return "whole"


async def created(http: httpx.AsyncClient, definition: Mapping[str, Any], **more: Any) -> str:
    """The id of a workflow that was created at the door."""
    reply = await http.post(DOOR, json={"definition": definition, **more})
    assert reply.status_code == 202, reply.text
    return str(reply.json()["workflow_id"])


async def ended(http: httpx.AsyncClient, workflow_id: str) -> dict[str, Any]:
    """The workflow once its events have come to an end."""
    await http.get(f"{DOOR}/{workflow_id}/events")
    return dict((await http.get(f"{DOOR}/{workflow_id}")).json())
