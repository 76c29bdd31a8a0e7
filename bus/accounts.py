"""The accounts of a nats-server, as its configuration spells them: the platform's, and each outside client's.

In one account an answer goes to whatever reply subject was asked for, with the answerer's permissions: JetStream's
acknowledgement of a command could be steered onto `aborts.<anything>`, and a direct get onto another tenant's log.
Between accounts a reply stays with whoever asked. But there it goes wherever that account's imports lead, whoever of
it asked: in an account with those who may submit, one who may only read would have an event that it reads sent on
as a submission. So each client has an account of its own, with the imports that it may use.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bus.permissions import SUPERVISOR, Permissions
from bus.streams import TASKS, WORKFLOWS
from bus.subjects import Submit, TaskCommand, TaskEvents, TaskTokens, WorkflowEvents, WorkflowWake
from schemas.nats_user import NatsScope, NatsUser
from schemas.settings import DEFAULT_TENANT

PLATFORM, OUTSIDE = "platform", "outside"
"""The platform's account; and the first client from outside, of the tenant `default`, with its account."""


_SERVICES = (
    *(Submit.pattern(), TaskCommand.pattern(), WorkflowWake.pattern()),
    f"$JS.API.DIRECT.GET.{TASKS}.{TaskEvents.of_tenants()}",
    f"$JS.API.DIRECT.GET.{WORKFLOWS}.{WorkflowEvents.of_tenants()}",
)
_STREAMS = (TaskEvents.of_tenants(), TaskTokens.pattern(), WorkflowEvents.of_tenants())
EXPORTS = [*({"service": subject} for subject in _SERVICES), *({"stream": subject} for subject in _STREAMS)]
"""Those of every tenant, so that the platform's account stays as it is when a client comes or goes. What an account may
import is written here, and nowhere else."""


TLS_S = 5.0
"""For a handshake, on a machine that does much else besides; the server's own default is 2."""


@dataclass(frozen=True)
class Outsider:
    """A client from outside, as the server is told of it."""

    user: str
    secret: str
    """Its password, or the bcrypt hash of it."""
    tenant: str
    scope: NatsScope


def first_outsider(secret: str) -> Outsider:
    """Whose URL `devskyy nats-url` prints."""
    return Outsider(OUTSIDE, secret, DEFAULT_TENANT, "write")


def outsider(user: NatsUser, secret: str) -> Outsider:
    return Outsider(user.user, secret, user.tenant, user.scope)


def ways(tenant: str, scope: NatsScope) -> dict[str, str]:
    """The subjects of a client from outside, by what they are for. It may have no consumers, as a consumer may deliver
    to any subject; what it missed it reads through direct gets on its own subjects."""
    read = {
        "events": TaskEvents.of_tenant(tenant),
        "tokens": TaskTokens.pattern(tenant=tenant),
        "workflows": WorkflowEvents.of_tenant(tenant),
    }
    if scope == "read":
        return read
    return {
        "submit": str(Submit(tenant)),
        **read,
        "commands": TaskCommand.pattern(tenant=tenant),
        "wakes": WorkflowWake.pattern(tenant=tenant),
    }


def accounts(secrets: Mapping[str, str], users: Mapping[str, Permissions], outsiders: Iterable[Outsider]) -> str:
    """The entries of the section `accounts`.

    Args:
        secrets: the passwords, or bcrypt hashes of them, of the supervisor and of `users`.
        users: the platform's parts, and what each may do; beside them the supervisor, which may do everything.
    """
    parts = [f"{{ user: {SUPERVISOR}, password: {json.dumps(secrets[SUPERVISOR])} }}"]
    parts += [_user(name, secrets[name], may) for name, may in users.items()]
    listed = "\n      ".join(parts)
    platform = f"""  {PLATFORM}: {{
    jetstream: enabled
    users: [
      {listed}
    ]
    exports: {json.dumps(EXPORTS)}
  }}
"""
    return platform + "".join(map(_account, outsiders))


def tls(cert: object, key: object) -> str:
    """The section `tls`."""
    return f"tls {{ cert_file: {quoted(cert)}, key_file: {quoted(key)}, timeout: {TLS_S:g} }}"


def quoted(path: object) -> str:
    r"""A path as nats-server reads it, which knows no `\u`."""
    return json.dumps(str(path), ensure_ascii=False)


def _account(outsider: Outsider) -> str:
    services, heard = _uses(outsider.tenant, outsider.scope)
    imports = [
        {kind: {"account": PLATFORM, "subject": subject}}
        for kind, subjects in (("service", services), ("stream", heard))
        for subject in subjects
    ]
    may = Permissions(tuple(services), (*heard, "_INBOX.>"))
    return f"""  {json.dumps(outsider.user)}: {{
    users: [ {_user(outsider.user, outsider.secret, may)} ]
    imports: {json.dumps(imports)}
  }}
"""


def _uses(tenant: str, scope: NatsScope) -> tuple[list[str], list[str]]:
    """Subjects that it asks on, and those that it hears."""
    named = ways(tenant, scope)
    asked = [named[way] for way in ("submit", "commands", "wakes") if way in named]
    gets = [f"$JS.API.DIRECT.GET.{TASKS}.{named['events']}", f"$JS.API.DIRECT.GET.{WORKFLOWS}.{named['workflows']}"]
    return [*asked, *gets], [named[way] for way in ("events", "tokens", "workflows")]


def _user(name: str, secret: str, may: Permissions) -> str:
    return (
        f"{{ user: {json.dumps(name)}, password: {json.dumps(secret)}, permissions: {{\n"
        f"          publish: {{ allow: {json.dumps(may.publish)} }}\n"
        f"          subscribe: {{ allow: {json.dumps(may.subscribe)} }} }} }}"
    )
