"""The services door: why a service would serve a task."""

import asyncio
import os

from fastapi import APIRouter, Request

from actors.catalogue import Catalogue
from actors.coordinator.classifier import classify
from actors.coordinator.staffing import staff
from actors.selection import explain
from schemas.selection import Explanation
from schemas.task import TaskRequest
from serve.directory import Directory
from serve.problems import documented

router = APIRouter(prefix="/api/v1/services", tags=["platform"])


@router.post(
    "/explain",
    responses=documented(
        {
            400: "The body is no JSON",
            413: "Too large",
            422: "A field breaks a rule, or names an agent or a service that is not there",
        }
    ),
)
async def explain_choice(task: TaskRequest, request: Request) -> Explanation:
    """Which service would serve this task, what is foreseen of each that may, and why. Starts nothing, costs nothing.

    The body is that of a task.
    """
    catalogue: Catalogue = request.app.state.catalogue
    directory: Directory = request.app.state.directory
    seen = await asyncio.to_thread(classify, task)  # a long prompt takes a while
    agent, because = staff(task, seen.domains, catalogue)
    services = await directory.services()
    down = {found.name: found.reason or found.state for found in services if found.state == "unavailable"}
    figures = directory.figures.now()
    return explain(task, seen.difficulty, seen.domains, agent, because, catalogue, os.environ, figures, down)
