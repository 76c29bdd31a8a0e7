"""JSON Web Tokens: who signed one, whether it may be used, and as whom.

HS256 is tried with our secret alone, RS256 and ES256 with the keys of `serve.jwks` alone: the algorithm decides which
key may serve, so no public key is ever taken for a secret.
"""

import re
from datetime import datetime
from typing import Any

import jwt

from schemas.errors import Conflict, NotAuthenticated, StartError
from schemas.key import ROLES, SCOPES, KeyScope, including
from schemas.message import now
from schemas.settings import DEFAULT_TENANT, Settings
from schemas.token import MIN_SECRET_BYTES, CreatedToken, NewToken, key_of
from serve.caller import Caller
from serve.jwks import ALGORITHMS, KeySet

LEEWAY_S = 5
"""How far the clocks of two machines may be apart."""
MOST_CHARACTERS = 8192
HS256 = "HS256"
_TENANT = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
_WHY: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "has expired",
    jwt.ImmatureSignatureError: "is not valid yet",
    jwt.InvalidAudienceError: "is for another audience",
    jwt.InvalidIssuerError: "is from another issuer",
    jwt.InvalidAlgorithmError: "is signed in a way that is not taken here",
    jwt.InvalidSignatureError: "has another signature",
}
"""Our own words: PyJWT's repeat parts of the token."""


def check(settings: Settings) -> None:
    """
    Raises:
        StartError: the secret is too short to be one.
    """
    secret = settings.jwt_secret
    if secret is None:
        return
    if (size := len(secret.encode())) < MIN_SECRET_BYTES:
        raise StartError(
            f"JWT_SECRET_KEY has {size} bytes; HS256 needs {MIN_SECRET_BYTES} or more, or it can be guessed",
            "make one with `openssl rand -hex 32`, or unset it",
        )
    if "-----BEGIN" in secret:
        raise StartError(
            "JWT_SECRET_KEY is a public or private key, and no secret of HS256",
            "put the public keys of whoever makes the tokens into a JWK set, and its URL or file into DEVSKYY_JWKS_URL",
        )


def is_token(secret: str) -> bool:
    """Whether it looks like one: keys never do."""
    return secret.startswith("eyJ") and secret.count(".") == 2


class Tokens:
    """What is configured of them."""

    def __init__(self, settings: Settings) -> None:
        """
        Raises:
            StartError: the secret is too short to be one.
        """
        check(settings)
        self._secret = settings.jwt_secret
        self._keys = KeySet(settings.jwks_url) if settings.jwks_url is not None else None
        self._issuer, self._audience = settings.jwt_issuer, settings.jwt_audience
        self.taken = settings.takes_tokens
        """Whether anybody may come with one."""

    async def caller(self, token: str) -> Caller:
        """As whom a token lets its bearer in.

        Raises:
            NotAuthenticated: it may not be used.
            Unavailable: the keys of those who make tokens cannot be read.
        """
        if len(token) > MOST_CHARACTERS:
            raise NotAuthenticated(f"this token is longer than {MOST_CHARACTERS:,} characters")
        try:
            key, algorithm = await self._key(jwt.get_unverified_header(token))
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "sub"], "enforce_minimum_key_length": True},
            )
        except jwt.MissingRequiredClaimError as error:
            raise NotAuthenticated(f"this token lacks the claim {error.claim!r}") from None
        except (jwt.PyJWTError, ValueError) as error:
            raise NotAuthenticated(f"this token {_WHY.get(type(error), 'cannot be used')}") from None
        return _caller(claims)

    def make(self, new: NewToken) -> CreatedToken:
        """Sign a token.

        Raises:
            Conflict: there is no secret to sign with.
        """
        if self._secret is None:
            raise Conflict("there is no JWT_SECRET_KEY to sign tokens with; set it where the platform starts")
        at, end = now(), new.expires_at
        claims: dict[str, Any] = {
            "sub": new.sub,
            "role": new.role,
            "tenant": new.tenant,
            "iat": int(at.timestamp()),
            "exp": int(end.timestamp()),
        }
        claims |= {name: said for name, said in (("iss", self._issuer), ("aud", self._audience)) if said is not None}
        scopes = including([ROLES[new.role]])
        return CreatedToken(
            token=jwt.encode(claims, self._secret, algorithm=HS256),
            key=key_of(new.sub, new.tenant),
            tenant=new.tenant,
            scopes=tuple(scope for scope in SCOPES if scope in scopes),
            expires_at=datetime.fromtimestamp(claims["exp"], end.tzinfo),
        )

    async def close(self) -> None:
        if self._keys is not None:
            await self._keys.close()

    async def _key(self, header: dict[str, Any]) -> tuple[Any, str]:
        """What a token is to be verified with, and by which algorithm."""
        algorithm = header.get("alg")
        if algorithm == HS256 and self._secret is not None:
            return self._secret, HS256
        if algorithm in ALGORITHMS and self._keys is not None:
            key = await self._keys.key(str(algorithm), header.get("kid"))
            if key is None:
                raise NotAuthenticated("this token is signed with a key that its maker does not publish")
            return key, str(algorithm)
        raise jwt.InvalidAlgorithmError


def _caller(claims: dict[str, Any]) -> Caller:
    tenant = claims.get("tenant", DEFAULT_TENANT)
    if not isinstance(tenant, str) or not _TENANT.fullmatch(tenant):
        raise NotAuthenticated("this token names a tenant that cannot be one")
    subject = claims["sub"]
    if not subject.strip():
        raise NotAuthenticated("this token lacks the claim 'sub'")
    return Caller(tenant, _scopes(claims), key_of(subject, tenant))


def _scopes(claims: dict[str, Any]) -> frozenset[KeyScope]:
    """What a token's claims allow: the least of `role` and `scope`, nothing where there is neither. Words of others
    mean nothing here."""
    allowed = []
    for claim in ("role", "scope"):
        if (said := claims.get(claim)) is not None:
            words = said.split() if isinstance(said, str) else said if isinstance(said, list) else []
            known = [ROLES.get(word, word) for word in words if isinstance(word, str)]
            allowed.append(including(word for word in known if word in SCOPES))
    return frozenset.intersection(*allowed) if allowed else frozenset()
