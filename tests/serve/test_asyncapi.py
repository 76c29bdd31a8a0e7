"""The document of the doors over NATS says what the code does."""

import dataclasses
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import msgpack
import pytest
import yaml

import bus.subjects
from actors.intake.submission import submission_of
from bus.accounts import OUTSIDE
from bus.codec import decode, encode
from bus.subjects import AnySubject
from devskyy.cli.app import main
from schemas.event import Command
from schemas.settings import DEFAULT_TENANT
from schemas.workflow_event import WorkflowCommand
from serve.asyncapi import document, written
from serve.asyncapi.channels import CHANNELS
from tests.broker import Broker
from tests.stories import STORIES
from tests.workflow.drive import Drive, created

COPY = Path(__file__).parents[2] / "docs" / "asyncapi.yaml"
SUBJECTS = {
    kind
    for kind in vars(bus.subjects).values()
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and issubclass(kind, AnySubject)
}


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    return document()


def refs_in(value: Any) -> list[str]:
    if isinstance(value, list):
        return [ref for each in value for ref in refs_in(each)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
    return own + [ref for each in value.values() for ref in refs_in(each)]


def found(said: dict[str, Any], ref: str) -> Any:
    """What a reference points to."""
    at: Any = said
    for part in ref.removeprefix("#/").split("/"):
        at = at[part]
    return at


def checker(said: dict[str, Any], message: str) -> jsonschema.Draft7Validator:
    """Whether something is a payload of this message."""
    payload = said["components"]["messages"][message]["payload"]
    return jsonschema.Draft7Validator({**payload, "components": said["components"]})


def test_every_subject_is_a_channel_and_every_channel_a_subject(said: dict[str, Any]) -> None:
    addresses = [each["address"] for each in said["channels"].values() if each["address"] is not None]
    assert sorted(addresses) == sorted(kind.template() for kind in SUBJECTS)


def test_a_channel_has_the_parameters_of_its_address_and_no_others(said: dict[str, Any]) -> None:
    for channel in said["channels"].values():
        address = channel["address"] or ""
        named = {part[1:-1] for part in address.split(".") if part.startswith("{")}
        assert set(channel.get("parameters", {})) == named, address


def test_every_reference_points_to_something(said: dict[str, Any]) -> None:
    refs = refs_in(said)
    assert refs
    for ref in refs:
        assert found(said, ref) is not None, ref


def test_every_operation_says_messages_of_its_channel(said: dict[str, Any]) -> None:
    for name, operation in said["operations"].items():
        for end in (operation, operation.get("reply")):
            if end is not None:
                channel = end["channel"]["$ref"]
                assert {each["$ref"] for each in end["messages"]} == {
                    f"{channel}/messages/{message}" for message in found(said, channel)["messages"]
                }, name


def test_all_that_is_named_is_used(said: dict[str, Any]) -> None:
    refs = set(refs_in(said))
    for kind in ("messages", "schemas", "messageTraits", "securitySchemes"):
        unused = {f"#/components/{kind}/{name}" for name in said["components"][kind]} - refs
        assert not unused


def test_every_schema_is_one_of_draft_7(said: dict[str, Any]) -> None:
    for name, schema in said["components"]["schemas"].items():
        jsonschema.Draft7Validator.check_schema({key: each for key, each in schema.items() if key != "discriminator"})
        assert "prefixItems" not in str(schema), name


def test_the_channels_of_outside_clients_are_those_that_the_server_lets_them_use(broker: Broker) -> None:
    # Given what the server's configuration allows outside clients
    config = (broker.store / "nats.conf").read_text().partition(f'\n  "{OUTSIDE}": {{')[2]
    # Then each channel that is open to them is in it, and no other
    for channel in CHANNELS:
        tenants = "tenant" in channel.subject.varying()
        pattern = channel.subject.pattern(tenant=DEFAULT_TENANT) if tenants else channel.subject.template()
        events = pattern.removesuffix("*.*") + ">"
        assert channel.outside == (f'"{pattern}"' in config or f'"{events}"' in config), pattern


@pytest.mark.parametrize("name", STORIES)
def test_events_of_tasks_are_as_their_messages_say(said: dict[str, Any], name: str) -> None:
    for event in STORIES[name]:
        checker(said, f"task.{event.event}").validate(msgpack.unpackb(encode(event)))


def test_events_of_workflows_are_as_their_messages_say(said: dict[str, Any]) -> None:
    drive = Drive(created({"tasks": {"draft": {"function": "f"}, "again": {"function": "f", "depends_on": ["draft"]}}}))
    drive.run()
    assert [event.event for event in drive.events][-1] == "completed"
    for event in drive.events:
        checker(said, f"workflow.{event.event}").validate(msgpack.unpackb(encode(event)))


def test_what_is_no_such_event_is_not(said: dict[str, Any]) -> None:
    accepted = msgpack.unpackb(encode(STORIES["direct"][0]))
    for wrong in ({**accepted, "seq": 0}, {**accepted, "event": "claimed"}, {**accepted, "request": {"prompt": 1}}):
        assert not checker(said, "task.accepted").is_valid(wrong)


def test_the_examples_of_what_clients_send_are_taken(said: dict[str, Any]) -> None:
    examples = {
        name: example["payload"]
        for name, message in said["components"]["messages"].items()
        for example in message.get("examples", ())
    }
    for name, example in examples.items():
        checker(said, name).validate(example)
    for name in ("TaskSubmission", "WorkflowSubmission"):
        assert submission_of(msgpack.packb(examples[name])).request
    assert decode(msgpack.packb(examples["Command"]), Command).reason
    assert decode(msgpack.packb(examples["WorkflowCommand"]), WorkflowCommand).name == "go"


async def test_the_document_is_read_at_the_door(http: httpx.AsyncClient, said: dict[str, Any]) -> None:
    reply = await http.get("/asyncapi.yaml")
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/vnd.aai.asyncapi+yaml;version=3.0.0"
    assert yaml.safe_load(reply.text) == said


def test_the_command_prints_the_document_and_needs_no_platform(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["asyncapi"]) == 0
    assert capsys.readouterr().out == written()


def test_the_copy_in_the_documents_is_the_document() -> None:
    assert COPY.read_text() == written(), "write it anew: devskyy asyncapi > docs/asyncapi.yaml"
