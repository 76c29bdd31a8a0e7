"""Whether the platform can work, part by part."""

from typing import Literal

from schemas.agent import AgentStatus
from schemas.message import Message
from schemas.service import ServiceStatus


class Check(Message):
    name: str
    ok: bool
    detail: str | None = None


class Health(Message):
    status: Literal["ready", "not_ready"]
    checks: tuple[Check, ...] = ()


class PlatformStatus(Message):
    """What `devskyy status --json` prints."""

    ready: bool
    http: str | None
    nats: str | None
    ray_dashboard: str | None
    home: str
    reason: str | None = None
    actors: tuple[Check, ...] = ()
    agents: tuple[AgentStatus, ...] = ()
    services: tuple[ServiceStatus, ...] = ()
