"""The NATS users of clients from outside, in a file of the home. The embedded broker lets in who is not revoked."""

import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import bcrypt
from pydantic import ValidationError

from bus.files import write_private
from schemas.errors import ConfigError, Conflict, InvalidRequest, NotFound
from schemas.message import now
from schemas.nats_user import KeptNatsUser, NatsScope, NatsUser, NatsUserFile

FILE = "nats-users.json"
BCRYPT_ROUNDS = 4
"""The fewest there are, 1 ms. A password is 192 random bits, of which a slow hash guards nothing more, and the server
reckons it at each connection, whoever tries."""


def new_password() -> str:
    return secrets.token_urlsafe(24)


def hashed(password: str) -> str:
    """A password as nats-server may be told it."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(BCRYPT_ROUNDS, prefix=b"2a")).decode()


class NatsUsers:
    """Whoever may write to the home may change them; several programs may at once."""

    def __init__(self, home: Path) -> None:
        self.path = home / FILE

    def all(self) -> tuple[KeptNatsUser, ...]:
        """In the order they were made, the revoked among them.

        Raises:
            ConfigError: the file cannot be used.
        """
        try:
            return NatsUserFile.model_validate_json(self.path.read_bytes()).users
        except FileNotFoundError:
            return ()
        except (OSError, ValidationError) as error:
            rule = "cannot be read; restore it, or delete it, which revokes every NATS user"
            raise ConfigError(str(self.path), "", f"{rule} ({type(error).__name__})") from None

    def valid(self) -> tuple[KeptNatsUser, ...]:
        """Those who are let in."""
        return tuple(user for user in self.all() if user.revoked_at is None)

    def version(self) -> str:
        """Names what the file holds."""
        try:
            return hashlib.sha256(self.path.read_bytes()).hexdigest()
        except OSError:
            return ""

    def create(self, name: str, tenant: str, scope: NatsScope) -> tuple[NatsUser, str]:
        """One more, and its password, which is kept nowhere. A revoked one of that name is forgotten.

        Raises:
            InvalidRequest: the name or the tenant cannot be one.
            Conflict: there is one of that name.
        """
        password = new_password()
        try:
            made = KeptNatsUser(name=name, tenant=tenant, scope=scope, created_at=now(), bcrypt=hashed(password))
        except ValidationError as error:
            field = str(error.errors()[0]["loc"][0])
            most = 64 if field == "name" else 128
            raise InvalidRequest(field, f"letters, digits, '_' and '-' only, 1 to {most} of them") from None
        with self._locked():
            others = [user for user in self.all() if user.name != name or user.revoked_at is None]
            if any(user.name == name for user in others):
                raise Conflict(f"there is a NATS user {name}; revoke it first, or take another name")
            self._write((*others, made))
        return NatsUser.model_validate(made.model_dump()), password

    def revoke(self, name: str) -> NatsUser:
        """For good. One that is revoked stays so.

        Raises:
            NotFound: there is none.
        """
        with self._locked():
            users = {user.name: user for user in self.all()}
            if (found := users.get(name)) is None:
                raise NotFound("NATS user", name)
            if found.revoked_at is None:
                users[name] = found = found.model_copy(update={"revoked_at": now()})
                self._write(tuple(users.values()))
        return NatsUser.model_validate(found.model_dump())

    def erase(self, tenant: str) -> int:
        """All of a tenant, and that there were any; how many there were."""
        with self._locked():
            users = self.all()
            others = tuple(user for user in users if user.tenant != tenant)
            if len(others) < len(users):
                self._write(others)
        return len(users) - len(others)

    def _write(self, users: tuple[KeptNatsUser, ...]) -> None:
        write_private(self.path, NatsUserFile(users=users).model_dump_json(indent=1))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path.with_name(f".{FILE}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
