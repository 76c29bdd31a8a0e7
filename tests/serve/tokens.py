"""JSON Web Tokens for tests of the doors: a maker with a secret, and makers with keys that they publish."""

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

SECRET = "a secret of the tests, and of nobody else"


def claims(**said: Any) -> dict[str, Any]:
    """Of somebody who may look and start tasks for a minute; None leaves a claim out."""
    all_said = {"sub": "ada", "role": "operator", "exp": int(time.time()) + 60, **said}
    return {name: value for name, value in all_said.items() if value is not None}


def token(secret: str = SECRET, **said: Any) -> str:
    return jwt.encode(claims(**said), secret, algorithm="HS256")


class Maker:
    """Signs tokens with a key of its own, RS256 or ES256."""

    def __init__(self, algorithm: str = "ES256", kid: str = "first") -> None:
        self.algorithm, self.kid = algorithm, kid
        self.private: Any = (
            ec.generate_private_key(ec.SECP256R1()) if algorithm == "ES256" else rsa.generate_private_key(65537, 2048)
        )

    def token(self, headers: dict[str, Any] | None = None, **said: Any) -> str:
        return jwt.encode(claims(**said), self.private, self.algorithm, {"kid": self.kid, **(headers or {})})

    @property
    def public(self) -> dict[str, Any]:
        """As a JWK."""
        kind: Any = ECAlgorithm if self.algorithm == "ES256" else RSAAlgorithm
        jwk: dict[str, Any] = json.loads(kind.to_jwk(self.private.public_key()))
        return {**jwk, "kid": self.kid, "use": "sig"}


def published(*makers: Maker) -> bytes:
    return json.dumps({"keys": [maker.public for maker in makers]}).encode()
