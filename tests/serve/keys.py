"""Keys for tests of the doors: the operator's, and others as an application's own repository makes them."""

from datetime import timedelta
from typing import Any

import httpx
from fastapi import FastAPI
from starlette.routing import BaseRoute

from schemas.key import OPERATOR, CreatedKey, NewKey, new_secret
from schemas.message import now
from schemas.settings import DEFAULT_TENANT

OPERATORS = new_secret(OPERATOR)
PAST = now() - timedelta(days=1)


async def make(app: FastAPI, *scopes: Any, tenant: str = DEFAULT_TENANT, **fields: Any) -> CreatedKey:
    """A key that this application knows."""
    new = NewKey.model_validate({"name": "test", **({"scopes": scopes} if scopes else {}), **fields})
    made: CreatedKey = await app.state.keys.add(new, tenant)
    await app.state.keyring.look()
    return made


def at(app: FastAPI, secret: str | None = None, host: str = "127.0.0.1") -> httpx.AsyncClient:
    """A client of an application, with a key."""
    headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(host, 50000))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=30, headers=headers)


def doors(app: FastAPI) -> set[tuple[str, str]]:
    """Every method and path that an application has."""
    found: set[tuple[str, str]] = set()

    def add(route: Any) -> None:
        for method in getattr(route, "methods", None) or {"GET"}:
            found.add((method, route.path))

    for route in app.routes:
        for each in _within(route):
            add(each)
    return found


def _within(route: BaseRoute) -> list[Any]:
    contexts = getattr(route, "effective_route_contexts", None)  # of a router that was included
    return [route] if contexts is None else list(contexts())
