"""Fixtures of the intake tests: a real server each, and an intake on it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from actors.intake.actor import IntakeActor
from bus.client import Bus
from schemas.settings import Settings
from tests.broker import broker, bus
from tests.workflow.engines import engines

__all__ = ["broker", "bus", "engines"]


class Intake(IntakeActor):
    """The actor on a connection that is there already; it says when it would have died."""

    def __init__(self, bus: Bus, settings: Settings) -> None:
        self.bus, self.settings = bus, settings
        self.background: set[asyncio.Task[Any]] = set()
        self.died = False

    def _die(self) -> None:
        self.died = True


@pytest.fixture
async def intake(bus: Bus, tmp_path: Path) -> AsyncIterator[Intake]:
    intake = Intake(bus, Settings(home=tmp_path, database_url=None, config=None))
    await intake.begin()
    await bus.settle()
    yield intake
    await intake.end(grace_s=0.1)
    for task in list(intake.background):
        task.cancel()
