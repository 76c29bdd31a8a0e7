"""What `model` may be at OpenAI's doors, and the door that lists it."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Path, Request

from actors.catalogue import Catalogue
from schemas.errors import NotFound
from schemas.task import TIERS
from serve.openai.router import router
from serve.problems import documented_as_openai

AUTO = "devskyy-auto"
TIER, AGENT, SERVICE = "devskyy-", "agent/", "service/"


class UnknownModel(NotFound):
    code = "model_not_found"


def target_of(model: str, catalogue: Catalogue) -> dict[str, Any]:
    """The fields of a task request that a model's name stands for.

    Raises:
        UnknownModel: it stands for nothing here.
    """
    if model == AUTO:
        return {}
    if model.startswith(TIER) and model.removeprefix(TIER) in TIERS:
        return {"tier": model.removeprefix(TIER)}
    if model.startswith(AGENT) and model.removeprefix(AGENT) in catalogue.carriers:
        return {"agent": model.removeprefix(AGENT)}
    service = catalogue.services.get(model.removeprefix(SERVICE))
    if service is not None and service.kind == "chat":
        return {"service": model.removeprefix(SERVICE)}
    raise UnknownModel("model", model)


def names(catalogue: Catalogue) -> Sequence[str]:
    """All that there are; the last ones at `/v1/embeddings`."""
    found = [AUTO, *(TIER + tier for tier in TIERS), *(AGENT + name for name in catalogue.carriers)]
    found += [SERVICE + name for name, spec in catalogue.services.items() if spec.kind == "chat"]
    return found + [name for name, spec in catalogue.services.items() if spec.kind == "embeddings"]


def _described(name: str, created: int) -> dict[str, Any]:
    """As OpenAI's clients know a model, and as Anthropic's do, which ask at the same address."""
    at = datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")
    anthropics = {"type": "model", "display_name": name, "created_at": at}
    return {"id": name, "object": "model", "created": created, "owned_by": "devskyy", **anthropics}


@router.get("/models")
async def models(request: Request) -> dict[str, Any]:
    """The names that `model` may have; the last ones at `/v1/embeddings`."""
    created = int(time.time())
    found = names(request.app.state.catalogue)
    page = {"has_more": False, "first_id": found[0], "last_id": found[-1]}
    return {"object": "list", "data": [_described(name, created) for name in found], **page}


@router.get("/models/{model:path}", responses=documented_as_openai({404: "No such model"}))
async def model(model: Annotated[str, Path(max_length=256)], request: Request) -> dict[str, Any]:
    """One of these names."""
    if model not in names(request.app.state.catalogue):
        raise UnknownModel("model", model)
    return _described(model, int(time.time()))
