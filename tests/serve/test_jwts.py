"""JSON Web Tokens: which are taken, as whom, and which never."""

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from fastapi import FastAPI
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bus.subjects import token as checked
from bus.tasklog import TaskLog
from schemas.errors import NotAuthenticated, StartError
from schemas.key import digest, including
from schemas.settings import Settings
from schemas.token import key_of
from serve.app import make_app
from serve.jwts import Tokens, check
from tests.broker import Broker
from tests.serve.conftest import problem
from tests.serve.keys import OPERATORS, at, make
from tests.serve.tokens import SECRET, Maker, claims, published, token

TASKS = "/api/v1/tasks"


def tokens(**fields: Any) -> Tokens:
    return Tokens(Settings(home=Path("/nowhere"), **{"jwt_secret": SECRET, **fields}))


async def refused(by: Tokens, what: str) -> str:
    """Why."""
    with pytest.raises(NotAuthenticated) as error:
        await by.caller(what)
    return str(error.value)


# -- who somebody is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "scopes"),
    [
        ({"role": "viewer"}, ["read"]),
        ({"role": "operator"}, ["write"]),
        ({"role": "admin"}, ["admin"]),
        ({"role": None, "scope": "openid write email"}, ["write"]),
        ({"role": None, "scope": ["viewer"]}, ["read"]),
        ({"role": "admin", "scope": "read"}, ["read"]),
        ({"role": "read"}, ["read"]),
        ({"role": "emperor"}, []),
        ({"role": 7}, []),
        ({"role": None}, []),
    ],
)
async def test_what_a_token_allows_is_the_least_that_it_says(said: dict[str, Any], scopes: list[Any]) -> None:
    who = await tokens().caller(token(**said))
    assert who.scopes == including(scopes)


async def test_its_caller_has_a_name_a_tenant_and_no_more(app: FastAPI) -> None:
    who = await tokens().caller(token(tenant="acme", sub="ada"))
    assert (who.tenant, who.everywhere, who.budget, who.rpm) == ("acme", False, None, None)
    assert (await tokens().caller(token())).key == "jwt_ada"


def test_names_of_subjects_can_stand_in_subjects_and_tell_them_apart() -> None:
    # Given subjects and tenants that look alike
    mails = ["ada@example.com", "ada-example-com", "ada_example_com"]
    subjects = [*mails, "ada", "Ada", "auth0|ada", "日本", " ", "\ud800"]
    names = {key_of(subject, tenant) for subject in subjects for tenant in ("default", "acme", "ac_me")}
    # Then each has a name of its own, which NATS takes
    assert len(names) == 27
    assert key_of("ada", "default") == "jwt_ada"
    assert key_of("ada@example.com", "default").startswith("jwt_ada-example-com_")


@given(st.text(min_size=1, max_size=300), st.from_regex(r"[A-Za-z0-9_-]{1,128}", fullmatch=True))
def test_every_name_is_a_token_of_a_subject(subject: str, tenant: str) -> None:
    assert checked(key_of(subject, tenant))


# -- what is never taken -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"exp": None}, "'exp'"),
        ({"sub": None}, "'sub'"),
        ({"sub": " "}, "'sub'"),
        ({"sub": 7}, "cannot be used"),
        ({"exp": int(time.time()) - 60}, "has expired"),
        ({"exp": "soon"}, "cannot be used"),
        ({"nbf": int(time.time()) + 86_400}, "not valid yet"),
        ({"iat": int(time.time()) + 86_400}, "not valid yet"),
        ({"aud": "another"}, "another audience"),
        ({"tenant": "a b"}, "tenant"),
        ({"tenant": "a.b"}, "tenant"),
        ({"tenant": 7}, "tenant"),
        ({"tenant": "x" * 129}, "tenant"),
    ],
)
async def test_a_claim_that_is_wrong_or_missing(said: dict[str, Any], why: str) -> None:
    assert why in await refused(tokens(), token(**said))


def unsigned(algorithm: str, **said: Any) -> str:
    """A token without a signature."""
    parts = ({"alg": algorithm, "typ": "JWT"}, claims(**said))
    return ".".join(base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in parts) + "."


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "HS256", "HS512", "ES256"])
async def test_a_token_without_a_signature(algorithm: str) -> None:
    await refused(tokens(), unsigned(algorithm, role="admin"))


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
async def test_another_algorithm_with_the_right_secret(algorithm: str) -> None:
    other = jwt.encode(claims(), SECRET * 2, algorithm=algorithm)
    assert "signed in a way" in await refused(tokens(jwt_secret=SECRET * 2), other)


async def test_another_secret() -> None:
    assert "another signature" in await refused(tokens(), token("another secret of more than 32 bytes"))


async def test_a_public_key_is_never_taken_for_a_secret(tmp_path: Path) -> None:
    # Given a platform that knows a maker's public key, and perhaps has a secret too
    maker, file = Maker("RS256"), tmp_path / "jwks.json"
    file.write_bytes(published(maker))
    public = maker.private.public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    for secret in (None, SECRET):
        by = tokens(jwt_secret=secret, jwks_url=str(file))
        # When a token is signed by HS256 with what everybody can read
        for known in (pem, der, json.dumps(maker.public).encode()):
            signed = jwt.PyJWS().encode(json.dumps(claims(role="admin")).encode(), b"x" * 32, "HS256")
            head, body, _ = signed.split(".")
            forged = hmac.new(known, f"{head}.{body}".encode(), hashlib.sha256).digest()
            # Then it is refused
            await refused(by, f"{head}.{body}.{base64.urlsafe_b64encode(forged).decode().rstrip('=')}")
        # And the maker's own is taken
        assert (await by.caller(maker.token())).key == "jwt_ada"
        await by.close()


async def test_keys_that_a_token_brings_itself_are_not_looked_at(tmp_path: Path) -> None:
    # Given a maker whose keys are known, and a stranger who puts keys of his own into the token's header
    maker, stranger, file = Maker(), Maker(), tmp_path / "jwks.json"
    file.write_bytes(published(maker))
    by = tokens(jwt_secret=None, jwks_url=str(file))
    for brought in ({"jwk": stranger.public}, {"jku": "https://evil.example/jwks"}, {"x5c": ["AAAA"]}, {"crit": ["x"]}):
        await refused(by, stranger.token(headers=brought))
    assert (await by.caller(maker.token())).tenant == "default"
    await by.close()


async def test_issuer_and_audience_are_looked_at_where_they_are_set() -> None:
    by = tokens(jwt_issuer="https://login.example", jwt_audience="devskyy")
    right = {"iss": "https://login.example", "aud": ["other", "devskyy"]}
    assert (await by.caller(token(**right))).key == "jwt_ada"
    assert "another issuer" in await refused(by, token(**right | {"iss": "https://evil.example"}))
    assert "'iss'" in await refused(by, token(aud="devskyy"))
    assert "another audience" in await refused(by, token(**right | {"aud": "other"}))
    assert "'aud'" in await refused(by, token(iss="https://login.example"))


@hypothesis_settings(max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(["sub", "exp", "nbf", "iat", "aud", "iss", "jti", "tenant", "role", "scope"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=5,
        ),
    )
)
async def test_whatever_the_claims_are_somebody_is_let_in_or_refused(said: dict[str, Any]) -> None:
    payload = json.dumps({**claims(), **said}).encode()
    signed = jwt.PyJWS().encode(payload, SECRET.encode(), "HS256")
    try:
        who = await tokens().caller(signed)
    except NotAuthenticated:
        return
    assert who.key is not None
    assert who.key.startswith("jwt_")
    assert not who.everywhere


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=60))
async def test_whatever_looks_like_a_token_is_refused_if_it_is_none(text: str) -> None:
    await refused(tokens(), f"eyJ{text}.{text}.{text}")


async def test_no_refusal_repeats_the_token() -> None:
    for what in (token("another secret of more than 32 bytes"), token(tenant="a secret tenant"), "eyJ" + "x" * 9000):
        why = await refused(tokens(), what)
        assert what[:20] not in why
        assert "a secret tenant" not in why


# -- starting ------------------------------------------------------------------------------------------------------


def test_a_secret_that_can_be_guessed_is_refused_with_the_remedy() -> None:
    with pytest.raises(StartError) as error:
        check(Settings(home=Path("/nowhere"), jwt_secret="x" * 31))
    assert ("has 31 bytes" in str(error.value), "openssl rand -hex 32" in str(error.value)) == (True, True)
    assert "x" * 31 not in str(error.value)
    check(Settings(home=Path("/nowhere"), jwt_secret="x" * 32))


def test_a_key_pair_is_no_secret() -> None:
    with pytest.raises(StartError, match="DEVSKYY_JWKS_URL"):
        check(Settings(home=Path("/nowhere"), jwt_secret=f"-----BEGIN PUBLIC KEY-----\n{'x' * 64}"))


# -- at the doors --------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(broker: Broker, tmp_path: Path) -> Settings:
    home = tmp_path / "http-home"
    home.mkdir()
    fields: dict[str, Any] = {"nats_url": broker.url, "database_url": None, "config": None, "jwt_secret": SECRET}
    return Settings(home=home, operator_sha256=digest(OPERATORS), **fields)


async def test_a_platform_with_a_secret_is_shut_before_there_is_a_key(app: FastAPI) -> None:
    async with at(app) as client:
        assert (await client.get(TASKS)).status_code == 401
        assert (await client.get("/health/live")).status_code == 200
    async with at(app, OPERATORS) as operator:
        assert (await operator.get(TASKS)).status_code == 200


async def test_a_task_of_a_token_carries_its_name_and_is_its_tenants(app: FastAPI) -> None:
    # Given a caller with a token of a tenant
    async with at(app, token(tenant="acme", sub="ada@example.com")) as client:
        # When it starts a task
        accepted = await client.post(TASKS, json={"prompt": "Say hello."})
        found = await client.get(f"{TASKS}/{accepted.json()['task_id']}")
        # Then the task is that caller's
        assert (accepted.status_code, found.json()["key"]) == (202, key_of("ada@example.com", "acme"))
    # And others see nothing of it
    for other in (token(), token(tenant="other", sub="ada@example.com")):
        async with at(app, other) as client:
            assert (await client.get(f"{TASKS}/{accepted.json()['task_id']}")).status_code == 404


async def test_keys_go_on_beside_tokens(app: FastAPI) -> None:
    made = await make(app)
    async with at(app, made.secret) as client:
        assert (await client.get(TASKS)).status_code == 200


async def test_a_token_that_may_not_be_used_is_challenged(app: FastAPI) -> None:
    async with at(app, token(exp=int(time.time()) - 60)) as client:
        reply = await client.get(TASKS)
        assert reply.headers["www-authenticate"] == 'Bearer realm="devskyy", error="invalid_token"'
        assert "has expired" in problem(reply)["detail"]
    async with at(app, token(role="viewer")) as client:
        reply = await client.post(TASKS, json={"prompt": "Say hello."})
        assert (reply.status_code, "insufficient_scope" in reply.headers["www-authenticate"]) == (403, True)


async def test_where_no_tokens_are_taken_one_is_no_key(settings: Settings, tasks: TaskLog) -> None:
    app = make_app(settings.model_copy(update={"jwt_secret": None}))
    async with app.router.lifespan_context(app):
        await make(app)
        async with at(app, token(role="admin")) as client:
            assert (await client.get(TASKS)).status_code == 401


# -- making them ---------------------------------------------------------------------------------------------------


async def test_the_operator_makes_tokens(app: FastAPI) -> None:
    # Given the operator, When a token is made
    body = {"sub": "ada@example.com", "role": "viewer", "tenant": "acme", "expires_at": "2100-01-01T00:00:00Z"}
    async with at(app, OPERATORS) as operator:
        reply = await operator.post("/api/v1/tokens", json=body)
    # Then it is told with what it allows, and works
    made = reply.json()
    assert (reply.status_code, reply.headers["cache-control"]) == (201, "no-store")
    assert (made["key"], made["scopes"], made["tenant"]) == (key_of("ada@example.com", "acme"), ["read"], "acme")
    async with at(app, made["token"]) as client:
        assert (await client.get(TASKS)).status_code == 200
        assert (await client.post(TASKS, json={"prompt": "Hello."})).status_code == 403


async def test_nobody_else_makes_tokens(app: FastAPI) -> None:
    body = {"sub": "ada", "role": "viewer", "expires_at": "2100-01-01T00:00:00Z"}
    for secret in ((await make(app, "admin")).secret, token(role="admin")):
        async with at(app, secret) as client:
            assert (await client.post("/api/v1/tokens", json=body)).status_code == 403


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"sub": "ada", "expires_at": "2000-01-01T00:00:00Z"}, "expires_at"),
        ({"sub": "ada"}, "expires_at"),
        ({"sub": " ", "expires_at": "2100-01-01T00:00:00Z"}, "sub"),
        ({"sub": "a", "role": "king", "expires_at": "2100-01-01T00:00:00Z"}, "role"),
        ({"sub": "a", "tenant": "a b", "expires_at": "2100-01-01T00:00:00Z"}, "tenant"),
    ],
)
async def test_a_bad_field_of_a_token_is_named(app: FastAPI, body: dict[str, Any], field: str) -> None:
    async with at(app, OPERATORS) as operator:
        found = problem(await operator.post("/api/v1/tokens", json=body))
    assert (found["status"], [error["field"] for error in found["errors"]]) == (422, [field])


@pytest.mark.parametrize("keys", ["of another", "none"])
async def test_without_a_secret_there_is_nothing_to_sign_with(settings: Settings, tasks: TaskLog, keys: str) -> None:
    none = {} if keys == "of another" else {"jwks_url": None}
    app = make_app(settings.model_copy(update={"jwt_secret": None, **none}))
    async with app.router.lifespan_context(app), at(app, OPERATORS) as operator:
        reply: httpx.Response = await operator.post(
            "/api/v1/tokens", json={"sub": "ada", "expires_at": "2100-01-01T00:00:00Z"}
        )
    assert (problem(reply)["status"], "JWT_SECRET_KEY" in reply.text) == (409, True)
