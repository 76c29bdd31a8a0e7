"""The budgets door."""

from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from actors.catalogue import load
from actors.gateway.purse import Purse
from bus.client import Bus
from bus.purse import PurseStream
from schemas.settings import Settings
from tests.broker import Broker
from tests.gateway.questions import ask

OVERLAY = "budgets: {day: {usd: 2}, services: {groq: {tokens: 1000}}}\n"


@pytest.fixture
def settings(broker: Broker, tmp_path: Path) -> Settings:
    home = tmp_path / "http-home"
    home.mkdir()
    (home / "overlay.yaml").write_text(OVERLAY)
    return Settings(home=home, nats_url=broker.url, database_url=None, config=home / "overlay.yaml")


async def test_each_budget_tells_what_is_left(http: httpx.AsyncClient, bus: Bus, settings: Settings) -> None:
    # Given a gateway that has reserved some of the budgets
    purse = Purse("gateway-0", load(settings.config).budgets, PurseStream(bus))
    await purse.reserve(ask(), "groq", 0.5, 300, "key", 1)
    # When they are asked for
    reply = await http.get("/api/v1/budgets")
    # Then each says in its own unit what is used and left
    assert reply.status_code == 200
    today = datetime.now(UTC).date().isoformat()
    assert reply.json()["budgets"] == [
        {"scope": "day", "name": today, "unit": "usd", "limit": 2.0, "used": 0.5, "left": 1.5},
        {"scope": "service", "name": "groq", "unit": "tokens", "limit": 1000.0, "used": 300.0, "left": 700.0},
    ]
