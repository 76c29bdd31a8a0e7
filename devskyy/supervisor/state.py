"""What is known of the platform of one home, written by its supervisor and read by everybody else."""

from datetime import datetime
from pathlib import Path
from typing import Literal

import psutil
from pydantic import ValidationError

from bus.files import write_private
from schemas.message import Message

Phase = Literal["starting", "ready", "degraded", "stopping"]

START_PATIENCE_S = 180.0
"""Ray, Serve and the fleet are ready within this time, or are started anew."""
START_TIME_SLACK_S = 2.0
"""Process start times are rounded to clock ticks; a reused pid is minutes apart, not seconds."""


class PlatformState(Message):
    """`run/platform.json` in the home; mode 0600, because the URLs hold credentials."""

    instance: str
    """Random per start. Every process of this platform carries it in its environment."""
    pid: int
    pid_started: float
    """Start time of the supervisor in seconds since the epoch; with the pid it names one process for ever."""
    phase: Phase
    http: str
    nats_url: str
    outside_nats_url: str | None
    """None when the broker is one that the platform did not start: its operator hands out credentials."""
    sql_url: str | None = None
    """Where the database is; absent where an earlier version runs."""
    config: Path | None = None
    """The overlay file."""
    nats_ca: Path | None = None
    nats_tls_name: str | None = None
    """Whom to take for the broker, where it speaks TLS: see `bus.tls.Trust`."""
    nats_users: str | None = None
    """Which version of the file of NATS users the embedded broker goes by."""
    ray_dashboard: str | None
    started_at: datetime
    detail: str | None = None
    """What is being waited for, or what is wrong."""

    @property
    def alive(self) -> bool:
        """Whether this very supervisor still runs."""
        return self.process is not None

    @property
    def process(self) -> psutil.Process | None:
        """This very supervisor while it runs; never another that got its id."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.pid_started) < START_TIME_SLACK_S
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


def state_path(home: Path) -> Path:
    return home / "run" / "platform.json"


def read_state(home: Path) -> PlatformState | None:
    """The recorded platform of a home, alive or not; None when there never was one, or it ended in order."""
    try:
        return PlatformState.model_validate_json(state_path(home).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValidationError:
        return None  # damaged, or written by another version: its processes are still found by their mark


def write_state(home: Path, state: PlatformState) -> None:
    state_path(home).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(state_path(home), state.model_dump_json())


def clear_state(home: Path) -> None:
    state_path(home).unlink(missing_ok=True)
