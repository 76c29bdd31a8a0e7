"""One settings value per process, built at its edge from the environment and passed down."""

import ipaddress
import json
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import platformdirs
from pydantic import AliasChoices, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from schemas.errors import ConfigError

DEFAULT_TENANT = "default"
DAY_S = 86_400.0
SECRETS = frozenset({"JWT_SECRET_KEY", "jwt_secret"})
"""Fields that no error repeats."""
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")


class Settings(BaseSettings):
    """The environment of `DEVSKYY_*` variables; every field has a default that runs on one laptop."""

    model_config = SettingsConfigDict(env_prefix="DEVSKYY_", frozen=True, extra="ignore", populate_by_name=True)

    home: Path = Field(default_factory=lambda: Path(platformdirs.user_data_dir("devskyy", appauthor=False)))
    """State, logs and credentials; made with mode 0700."""
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8000, ge=1, le=65535)
    nats_url: str | None = None
    """A broker of your own, credentials in the URL; of a cluster several, with commas between. Unset: an embedded
    nats-server."""
    nats_logins: Path | None = None
    """Instead of it: a file with a URL for each part of the platform, as `devskyy nats-config` writes it."""
    nats_ca: Path | None = None
    """Whom the broker's certificate must come from; unset: the system's authorities, of the embedded one itself."""
    nats_tls_name: str | None = None
    """What that certificate must be for; unset: the host of the URL, and of the embedded one what it is for."""
    nats_host: str = "127.0.0.1"
    """Where the embedded broker listens. Elsewhere than on loopback it speaks TLS."""
    nats_port: int | None = Field(default=None, ge=1, le=65535)
    """Of the embedded broker; unset: one that is free."""
    nats_tls_cert: Path | None = None
    nats_tls_key: Path | None = None
    """Of the embedded broker, as PEM; unset: plain text."""
    nats_plaintext: bool = False
    """Whether the embedded broker may be reached from elsewhere without TLS."""
    ray_address: str | None = None
    """A Ray cluster of your own; unset: a local Ray."""
    config: Path | None = None
    """The overlay file with services, agents and routing."""
    database_url: str | None = Field(default=None, validation_alias=AliasChoices("DATABASE_URL", "database_url"))
    coordinators: int = Field(default=1, ge=1, le=64)
    gateways: int = Field(default=1, ge=1, le=64)
    concurrent_tasks: int = Field(default=2048, ge=1, le=100_000)
    """Tasks that one coordinator carries at a time; the rest wait in the stream."""
    engines: int = Field(default=1, ge=1, le=64)
    """Actors that carry workflows."""
    concurrent_workflows: int = Field(default=1000, ge=1, le=100_000)
    """Workflows that one engine works on at a time; one that only waits is no work."""
    roles_per_actor: int = Field(default=24, ge=1, le=10_000)
    """Seats that one host of specialists is meant to carry; 1 gives every seat a process of its own."""
    specialist_actors: int = Field(default=64, ge=1, le=10_000)
    """Hosts of specialists at most; beyond that each carries more seats."""
    specialist_idle_s: float = Field(default=600.0, ge=0, allow_inf_nan=False)
    """Hosts that nobody has asked anything for as long are stopped; 0: never."""
    stream_bytes: int = Field(default=16 * 1024**3, ge=64 * 1024**2)
    """What the streams may take on disk; the supervisor lowers it to what the embedded broker's disk has room for."""
    stream_replicas: int = 1
    """Servers of a NATS cluster that keep a copy of each stream: 1, 3 or 5."""
    operator_sha256: str | None = None
    """Of the key that the supervisor made for whoever runs the platform; it alone is recognised by this."""
    jwt_secret: str | None = Field(
        default=None, validation_alias=AliasChoices("JWT_SECRET_KEY", "jwt_secret"), repr=False
    )
    """What tokens are signed with by HS256. How long it must be is checked where a platform starts: other programs may
    have a variable of this name."""
    jwks_url: str | None = None
    """Where the keys are that tokens are signed with by RS256 or ES256: https, http on loopback, or a file."""
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    """What tokens must say of who made them, and for whom; unset: neither is looked at."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Sites whose pages may call from a browser, with commas between."""
    keep_days: int = Field(default=30, ge=15, le=365)
    """How long streams keep tasks, and workflows that have ended. No task takes longer than seven days, and what it
    refers to may have been stored half of this time before it."""
    keep_rows_days: int | None = Field(default=None, ge=1, le=36_500)
    """How long the database keeps tasks and workflows that have ended; unset: until somebody deletes them."""
    audit_days: int = Field(default=90, ge=1, le=36_500)
    """How long the audit log keeps what happened."""
    webhook_private: bool | None = None
    """Whether webhooks may lead to private addresses; unset: those of whoever runs the platform may."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"

    @field_validator(
        *("nats_url", "ray_address", "database_url", "config"),
        *("nats_logins", "nats_ca", "nats_tls_name", "nats_port", "nats_tls_cert", "nats_tls_key"),
        *("jwt_secret", "jwks_url", "jwt_issuer", "jwt_audience", "webhook_private"),
        "keep_rows_days",
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: Any) -> Any:
        return None if value == "" else value

    @field_validator("stream_replicas")
    @classmethod
    def _in_a_cluster(cls, replicas: int, info: ValidationInfo) -> int:
        if replicas not in (1, 3, 5):
            raise ValueError("must be 1, 3 or 5")
        if replicas > 1 and info.data.get("nats_url") is None and info.data.get("nats_logins") is None:
            raise ValueError("more than 1 needs a NATS cluster of your own in DEVSKYY_NATS_URL")
        return replicas

    @field_validator("keep_rows_days")
    @classmethod
    def _not_before_the_streams(cls, days: int | None, info: ValidationInfo) -> int | None:
        if days is not None and days < info.data.get("keep_days", days):
            raise ValueError("must not be less than DEVSKYY_KEEP_DAYS: what streams keep would be entered once more")
        return days

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper_case(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _with_commas(cls, value: Any) -> Any:
        return [each.strip() for each in value.split(",") if each.strip()] if isinstance(value, str) else value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is no origin; write https://its.host, with a port if it has one of its own"
                )
        return origins

    @field_validator("jwks_url")
    @classmethod
    def _is_safe(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme == "https" and parts.hostname:
            return url
        if parts.scheme == "http" and is_loopback(parts.hostname or ""):
            return url
        if parts.scheme in ("", "file"):
            return str(Path(parts.path).expanduser().absolute())
        raise ValueError("must be https://…, http:// on loopback, or a file: who can change the keys can be anybody")

    @field_validator("home", "config", "nats_logins", "nats_ca", "nats_tls_cert", "nats_tls_key")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    @classmethod
    def from_environment(cls) -> Self:
        """Read the environment.

        Raises:
            ConfigError: a variable breaks its rule; named with the rule.
        """
        try:
            return cls()
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = str(first["loc"][0]) if first["loc"] else ""
            variable = name if name.isupper() else f"DEVSKYY_{name.upper()}"
            got = "" if name in SECRETS else f" (got {first['input']!r})"
            raise ConfigError("environment", variable, f"{first['msg']}{got}") from None

    @property
    def embeds_nats(self) -> bool:
        """Whether the platform starts a nats-server of its own."""
        return self.nats_url is None and self.nats_logins is None

    @property
    def keep_s(self) -> float:
        """`keep_days` in seconds."""
        return self.keep_days * DAY_S

    @property
    def takes_tokens(self) -> bool:
        """Whether a caller may say by a JSON Web Token who it is."""
        return self.jwt_secret is not None or self.jwks_url is not None

    @property
    def sqlite_file(self) -> Path:
        """Where the database is if no other is named."""
        return self.home / "devskyy.db"

    @cached_property
    def sql_url(self) -> str:
        """SQLAlchemy's URL with an async driver."""
        if self.database_url is None:
            return f"sqlite+aiosqlite:///{self.sqlite_file}"
        for plain in ("postgresql://", "postgres://"):
            if self.database_url.startswith(plain):
                return "postgresql+asyncpg://" + self.database_url.removeprefix(plain)
        if self.database_url.startswith("sqlite://") and "+" not in self.database_url.split(":", 1)[0]:
            return "sqlite+aiosqlite://" + self.database_url.removeprefix("sqlite://")
        return self.database_url

    def dump(self) -> str:
        """As JSON, for a process that this one starts; `load` reads it back."""
        return self.model_dump_json()

    @classmethod
    def load(cls, text: str) -> Self:
        """Read what `dump` wrote, as it was there: this process's own environment has no say."""
        return cls.model_validate(json.loads(text))


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
