"""The door where tokens are made: `/api/v1/tokens`. Only whoever runs the platform."""

import structlog
from fastapi import APIRouter, Request, Response

from schemas.errors import InvalidRequest, NotAllowed
from schemas.message import now
from schemas.token import CreatedToken, NewToken
from serve.auth import TOKENS
from serve.caller import caller, concerns
from serve.jwts import Tokens
from serve.problems import documented

router = APIRouter(prefix=TOKENS, tags=["keys"])

log = structlog.get_logger()


@router.post(
    "",
    status_code=201,
    responses=documented(
        {400: "The body is no JSON", 409: "There is no JWT_SECRET_KEY", 422: "A field breaks a rule"},
    ),
)
async def create(new: NewToken, request: Request, response: Response) -> CreatedToken:
    """Sign a JSON Web Token. It is kept nowhere, and cannot be revoked: it holds until its end, or until the secret is
    another."""
    who = caller(request)
    if not who.everywhere:
        # A key that is revoked must leave nothing behind that goes on.
        raise NotAllowed("only who runs the platform makes tokens: send its operator.key")
    if new.expires_at <= now():
        raise InvalidRequest("expires_at", f"is over already: {new.expires_at}")
    tokens: Tokens = request.app.state.tokens
    made = tokens.make(new)
    log.info("a token was made", key=made.key, tenant=made.tenant, expires_at=made.expires_at, by=who.key)
    response.headers["Cache-Control"] = "no-store"
    concerns(request, made.key)
    return made
