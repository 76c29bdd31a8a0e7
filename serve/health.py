"""The doors that tell how the platform is: health, agents, services, metrics."""

import asyncio

from fastapi import APIRouter, Request, Response

from schemas.agent import AgentQuality, AgentStatus
from schemas.errors import Unavailable
from schemas.health import Health
from schemas.message import Message
from schemas.service import ServiceStatus
from serve import metrics, quality
from serve.directory import Directory

router = APIRouter()


class Agents(Message):
    agents: tuple[AgentStatus, ...]


class Services(Message):
    services: tuple[ServiceStatus, ...]


def _directory(request: Request) -> Directory:
    directory: Directory = request.app.state.directory
    return directory


@router.get("/health/live", tags=["health"])
async def live() -> dict[str, str]:
    """This replica answers."""
    return {"status": "live"}


@router.get("/health/ready", tags=["health"], responses={503: {"model": Health}})
async def ready(request: Request, response: Response) -> Health:
    """Whether every part is there to take a task; 503 names the one that is not."""
    health = await _directory(request).health()
    if health.status != "ready":
        response.status_code = 503
        response.headers["Retry-After"] = "1"
    return health


@router.get("/api/v1/agents", tags=["platform"])
async def agents(request: Request) -> Agents:
    """Who is there, in what state, and why not; and how good their answers to this tenant were."""
    found, told = await asyncio.gather(_directory(request).agents(), _qualities(request))
    return Agents(agents=tuple(agent.model_copy(update={"quality": told.get(agent.name)}) for agent in found))


async def _qualities(request: Request) -> dict[str | None, AgentQuality]:
    """By agent; none while the database cannot be read, which keeps nobody from seeing who is there."""
    try:
        rows = await quality.history(request, by="agent")
    except Unavailable:
        return {}
    return {row.agent: AgentQuality(overall=row.mean, n=row.n) for row in rows}


@router.get("/api/v1/services", tags=["platform"])
async def services(request: Request) -> Services:
    """What can serve a call, in what state, at what price, and why not."""
    return Services(services=await _directory(request).services())


@router.get("/metrics", tags=["health"], response_class=Response)
async def prometheus(request: Request) -> Response:
    """Prometheus text."""
    directory = _directory(request)
    found, _ = await directory.everybody()
    return Response(metrics.render(directory.expected, found), media_type=metrics.CONTENT_TYPE)
