"""What each part of the platform connects to the broker with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from schemas.settings import Settings


@dataclass(frozen=True)
class Logins:
    """The URL of each user of the embedded broker. A broker of one's own has one for everybody: the settings'."""

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
    def load(cls, text: str) -> Self:
        return cls(json.loads(text))
