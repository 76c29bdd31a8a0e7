"""The keys door: make, list, change and revoke API keys. Only who runs the platform, and keys with scope `admin`."""

from datetime import datetime
from typing import Annotated

import structlog
from fastapi import APIRouter, Path, Request, Response

from schemas.errors import InvalidRequest, NotAllowed
from schemas.key import ApiKey, CreatedKey, KeyChange, KeyList, NewKey
from schemas.message import Storable, now
from serve.auth import KEYS
from serve.caller import Caller, caller, concerns
from serve.keyring import Keyring
from serve.problems import documented
from storage import KeyRepository

router = APIRouter(prefix=KEYS, tags=["keys"])

KeyId = Annotated[Storable, Path(max_length=128)]

log = structlog.get_logger()


def _keys(request: Request) -> KeyRepository:
    keys: KeyRepository = request.app.state.keys
    return keys


def _tenant(who: Caller) -> str | None:
    """Whose keys are seen; None: everybody's."""
    return None if who.everywhere else who.tenant


def _check_end(expires_at: datetime | None) -> None:
    if expires_at is not None and expires_at <= now():
        raise InvalidRequest("expires_at", f"is over already: {expires_at}")


async def _look_again(request: Request) -> None:
    """What was changed here holds here at once."""
    ring: Keyring = request.app.state.keyring
    await ring.look()


@router.post(
    "",
    status_code=201,
    responses=documented({400: "The body is no JSON", 422: "A field breaks a rule", 503: "Not now; see Retry-After"}),
)
async def create(new: NewKey, request: Request, response: Response) -> CreatedKey:
    """Make a key. Its secret is told in this answer and never again.

    From the first key on, every door but health asks for one. A key of another tenant is made by the operator alone.
    """
    who = caller(request)
    tenant = new.tenant or who.tenant
    if tenant != who.tenant and not who.everywhere:
        raise NotAllowed(f"the key {who.key} makes keys of its own tenant only")
    _check_end(new.expires_at)
    made = await _keys(request).add(new, tenant)
    log.info("a key was made", key=made.key.id, tenant=tenant, scopes=made.key.scopes, by=who.key)
    await _look_again(request)
    response.headers["Cache-Control"] = "no-store"
    concerns(request, made.key.id)
    return made


@router.get("", responses=documented({503: "Not now; see Retry-After"}))
async def keys(request: Request) -> KeyList:
    """The keys of the caller's tenant, newest first; the operator sees those of all."""
    return KeyList(keys=await _keys(request).list(_tenant(caller(request))))


@router.patch(
    "/{key_id}",
    responses=documented(
        {404: "No such key", 409: "It is revoked", 422: "A field breaks a rule", 503: "Not now; see Retry-After"}
    ),
)
async def change(key_id: KeyId, change: KeyChange, request: Request) -> ApiKey:
    """Change what a key may spend, how often it may come, and when it ends. What is left out stays; null takes a limit
    away. Here it holds at once, in other replicas within five seconds.
    """
    _check_end(change.expires_at)
    who = caller(request)
    changed = await _keys(request).change(key_id, change, _tenant(who))
    log.info("a key was changed", key=key_id, fields=sorted(change.model_fields_set), by=who.key)
    await _look_again(request)
    return changed


@router.delete("/{key_id}", responses=documented({404: "No such key", 503: "Not now; see Retry-After"}))
async def revoke(key_id: KeyId, request: Request) -> ApiKey:
    """Revoke a key, for good. Here it holds at once, in other replicas within five seconds."""
    who = caller(request)
    revoked = await _keys(request).revoke(key_id, _tenant(who))
    log.info("a key was revoked", key=key_id, by=who.key)
    await _look_again(request)
    return revoked
