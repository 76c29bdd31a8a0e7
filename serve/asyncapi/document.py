"""What can be said to the platform over NATS, and what it says there, as an AsyncAPI document.

It is made of what the code itself uses: subjects of `bus.subjects`, and the models that decode what comes on them.

Source: AsyncAPI Specification 3.0.0.
"""

import inspect
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from bus import trace
from bus.blobs import H_REF
from bus.client import H_ERROR, H_ERROR_CODE, H_REQUEST, H_WORK
from bus.codec import CONTENT_TYPE
from bus.streams import stream_configs
from bus.subjects import AnySubject
from schemas.problem import Problem
from serve.asyncapi.channels import CHANNELS, CHOICES, PARAMETERS, Channel, Nothing

ASYNCAPI = "3.0.0"
DESCRIPTION = """Tasks and workflows over NATS, for a client in any language. Channels tagged `outside` are open to the
credentials that `devskyy nats-url` and `devskyy nats-users create` print, each for its own tenant, and to those that
may only read where the platform sends; the others are the platform's own.

Payloads are msgpack of plain types; what is null is left out. What is too large to travel comes with an empty body and
the header `Devskyy-Ref`."""
EXAMPLES: dict[str, dict[str, Any]] = {
    "TaskSubmission": {"prompt": "Name a use of a tote bag"},
    "WorkflowSubmission": {"definition": {"name": "naming", "tasks": {"name": {"prompt": "Name a tote bag"}}}},
    "Command": {"kind": "task.cancel", "reason": "nobody wants it any more"},
    "WorkflowCommand": {"kind": "signal", "command": "7f3a", "name": "go", "payload": {"approved": True}},
}
"""Of what clients send."""
HEADERS: dict[str, tuple[str, dict[str, str]]] = {
    "referred": ("May lie elsewhere", {H_REF: "Where the payload lies in the object store; the body is then empty"}),
    "submitted": ("May be sent again", {"Nats-Msg-Id": "An idempotency key: sent again, it finds the first"}),
    "asked": (
        "A request",
        {
            H_REQUEST: "The request's id, by which it can be aborted",
            H_WORK: "The task that it belongs to, by which it can be aborted too",
            trace.HEADER: "W3C trace context",
        },
    ),
    "refused": ("A refusal", {H_ERROR: "The problem's title", H_ERROR_CODE: "Its HTTP status"}),
}
"""What stands in headers, by trait."""


def document() -> dict[str, Any]:
    """The document as plain values."""
    names = _names(CHANNELS)
    schemas, refs = _schemas(names)
    said: dict[str, Any] = {
        "asyncapi": ASYNCAPI,
        "info": {"title": "DevSkyy", "version": version("devskyy"), "description": DESCRIPTION},
        "defaultContentType": CONTENT_TYPE,
        "servers": {"platform": _server()},
        "channels": {},
        "operations": {},
        "components": {
            "messages": {name: _message(model, name, refs[model]) for model, name in names.items()},
            "messageTraits": {name: _trait(summary, headers) for name, (summary, headers) in HEADERS.items()},
            "schemas": schemas,
            "securitySchemes": {"outside": {"type": "userPassword", "description": "They stand in the URL"}},
        },
    }
    for channel in CHANNELS:
        name = _name_of(channel.subject)
        said["channels"][name] = _channel(channel, [names[model] for model in channel.messages])
        operation: dict[str, Any] = {
            "action": channel.action,
            "channel": {"$ref": f"#/channels/{name}"},
            "summary": _said_of(channel.subject),
            "messages": [_of_channel(name, names[model]) for model in channel.messages],
        }
        if channel.reply:
            answers, told = f"{name}Reply", [*(names[model] for model in channel.reply), names[Problem]]
            said["channels"][answers] = {
                "address": None,
                "summary": "Whatever reply subject a request names.",
                "messages": _messages(told),
            }
            operation["reply"] = {
                "channel": {"$ref": f"#/channels/{answers}"},
                "messages": [_of_channel(answers, each) for each in told],
            }
        said["operations"][f"{channel.action}{name[0].upper()}{name[1:]}"] = operation
    return said


@cache
def written() -> str:
    """The document as YAML."""
    return str(yaml.dump(document(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as they are, and no aliases, which not all readers of such documents follow."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _server() -> dict[str, Any]:
    port = "The embedded server takes `DEVSKYY_NATS_PORT`, or one that is free; `devskyy nats-url` tells it."
    return {
        "host": "127.0.0.1:{port}",
        "protocol": "nats",
        "description": "The embedded NATS server with JetStream. It listens on loopback, or at `DEVSKYY_NATS_HOST`.",
        "variables": {"port": {"description": port}},
        "security": [{"$ref": "#/components/securitySchemes/outside"}],
    }


def _name_of(subject: type[AnySubject]) -> str:
    return subject.__name__[0].lower() + subject.__name__[1:].removesuffix("Subject")


def _said_of(model: type) -> str:
    """The first paragraph of its docstring."""
    paragraph = inspect.cleandoc(model.__doc__ or "").partition("\n\n")[0]
    return " ".join(paragraph.split())


def _messages(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


def _of_channel(channel: str, message: str) -> dict[str, str]:
    return {"$ref": f"#/channels/{channel}/messages/{message}"}


def _channel(channel: Channel, messages: list[str]) -> dict[str, Any]:
    stream = _stream_of(channel.subject)
    said: dict[str, Any] = {
        "address": channel.subject.template(),
        "summary": _said_of(channel.subject),
        "description": f"Kept in the stream {stream}." if stream else "Kept in no stream.",
        "messages": _messages(messages),
        "tags": [{"name": "outside" if channel.outside else "inside"}],
    }
    if varying := channel.subject.varying():
        said["parameters"] = {name: _parameter(name) for name in varying}
    return said


def _parameter(name: str) -> dict[str, Any]:
    choices = {"enum": list(CHOICES[name])} if name in CHOICES else {}
    return {"description": PARAMETERS[name], **choices}


def _stream_of(subject: type[AnySubject]) -> str | None:
    """The stream that keeps what is said there: under this subject, or under the one that it is written on."""
    for config in stream_configs():
        moved = config.subject_transform
        for taken in (*(config.subjects or ()), *((moved.dest,) if moved and moved.dest else ())):
            if subject.pattern() == taken or (taken.endswith(">") and subject.pattern().startswith(taken[:-1])):
                return str(config.name)
    return None


def _names(channels: Iterable[Channel]) -> dict[type[BaseModel], str]:
    """What each message is called. Events are called by what happened, as several have the same class name."""
    names: dict[type[BaseModel], str] = {}
    for channel in channels:
        models: tuple[type[BaseModel], ...] = (*channel.messages, *channel.reply, Problem)
        for model in models:
            happened = model.model_fields.get("event")
            of = "task" if "task_id" in model.model_fields else "workflow"
            names[model] = model.__name__ if happened is None else f"{of}.{happened.default}"
    return names


def _message(model: type[BaseModel], name: str, payload: dict[str, Any]) -> dict[str, Any]:
    traits = []
    if name.endswith("Submission"):
        traits.append("submitted")
    elif model is Problem:
        traits.append("refused")
    elif any(model in channel.messages for channel in CHANNELS if channel.reply):
        traits += ["asked", "referred"]
    elif model is not Nothing:
        traits.append("referred")
    examples = {"examples": [{"payload": EXAMPLES[name]}]} if name in EXAMPLES else {}
    return {
        "name": name,
        "summary": _said_of(model),
        "payload": payload,
        "traits": [{"$ref": f"#/components/messageTraits/{trait}"} for trait in traits],
        **examples,
    }


def _trait(summary: str, headers: dict[str, str]) -> dict[str, Any]:
    fields = {name: {"type": "string", "description": text} for name, text in headers.items()}
    return {"summary": summary, "headers": {"type": "object", "properties": fields}}


def _schemas(models: Iterable[type[BaseModel]]) -> tuple[dict[str, Any], dict[type[BaseModel], dict[str, Any]]]:
    """The schemas of all messages by name, and where each message's is.

    As what is read, not as what is written: a field that is null is left out, so none with a default is required.
    """
    known: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "validation") for model in models]
    refs, schemas = models_json_schema(known, ref_template="#/components/schemas/{model}")
    plain: dict[str, Any] = _draft_7(schemas["$defs"])
    return plain, {model: dict(refs[model, "validation"]) for model, _ in known}


def _draft_7(value: Any) -> Any:
    """A schema as AsyncAPI's own: of draft 7, with the discriminator's name alone."""
    if isinstance(value, list):
        return [_draft_7(each) for each in value]
    if not isinstance(value, dict):
        return value
    said = {name: _draft_7(each) for name, each in value.items()}
    if isinstance(said.get("discriminator"), dict) and "propertyName" in said["discriminator"]:
        said["discriminator"] = said["discriminator"]["propertyName"]
    if isinstance(said.get("prefixItems"), list):
        said["items"] = said.pop("prefixItems")
    return said
