"""What each part of the platform connects to the broker with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from bus import urls
from schemas.errors import ConfigError
from schemas.settings import Settings


@dataclass(frozen=True)
class Logins:
    """The URL of each user of the embedded broker, or of one set up by `devskyy nats-config`. Any other has one for
    everybody: the settings'."""

    urls: Mapping[str, str] = field(default_factory=dict)

    def know(self, *users: str) -> bool:
        """Whether all of these can connect."""
        return not self.urls or self.urls.keys() >= set(users)

    def settings_of(self, user: str, settings: Settings) -> Settings:
        """The settings as that user may know them.

        Raises:
            KeyError: the broker was started before there was such a user.
        """
        return settings.model_copy(update={"nats_url": self.urls[user]}) if self.urls else settings

    def dump(self) -> str:
        """As JSON, for the process that starts the others; `load` reads it back."""
        return json.dumps(dict(self.urls))

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """As `devskyy nats-config` writes it.

        Raises:
            ConfigError: it cannot be read, or holds something else.
        """
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(str(path), "", f"cannot be read ({getattr(error, 'strerror', error)})") from None
        if not isinstance(found, dict) or not all(isinstance(url, str) and urls.servers(url) for url in found.values()):
            raise ConfigError(str(path), "", "is no object of users and their URLs, as `devskyy nats-config` writes it")
        return cls(found)

    @classmethod
    def load(cls, text: str) -> Self:
        return cls(json.loads(text))
