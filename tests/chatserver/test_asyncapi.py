"""The AsyncAPI document: complete, consistent, and true to the models."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from pydantic import TypeAdapter

from chatserver import asyncapi, dispute_frames, protocol
from chatserver.errors import CLOSE_MEANINGS, MESSAGE_TOO_BIG, CloseCode
from chatserver.frame_examples import EXAMPLES
from chatserver.settings import Settings
from policies.errors import ErrorCode
from policies.refusals import REFUSALS
from policies.vocabulary import EntryKind

COMMANDS = asyncapi.models(protocol.ClientFrame)
FRAMES = asyncapi.models(protocol.ServerFrame)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return asyncapi.document(Settings(message_chars=1234, public_url="https://chat.example/"), "1.2.3")


def nodes(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from nodes(inner)


def resolve(document: dict[str, Any], reference: str) -> Any:
    assert reference.startswith("#/")
    found: Any = document
    for part in reference[2:].split("/"):
        found = found[part]
    return found


def test_the_document_has_the_parts_of_asyncapi_3(document: dict[str, Any]) -> None:
    assert document["asyncapi"] == "3.0.0"
    assert document["info"]["version"] == "1.2.3"
    assert document["defaultContentType"] == "application/json"
    assert document["servers"]["default"]["host"] == "chat.example"
    assert document["servers"]["default"]["protocol"] == "wss"
    (channel,) = document["channels"].values()
    assert channel["address"] == "/v1/ws"
    headers = channel["bindings"]["ws"]["headers"]
    assert headers["properties"]["Sec-WebSocket-Protocol"]["const"] == "dispute-chat.v1"
    known = {"asyncapi", "id", "info", "servers", "defaultContentType", "channels", "operations", "components"}
    assert {name for name in document if not name.startswith("x-")} <= known


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = [node["$ref"] for node in nodes(document) if isinstance(node.get("$ref"), str)]
    assert references
    for reference in references:
        assert resolve(document, reference)


def test_every_frame_is_a_message_of_the_channel(document: dict[str, Any]) -> None:
    (channel,) = document["channels"].values()
    expected = {f"command.{asyncapi.frame_type(each)}" for each in COMMANDS}
    expected |= {f"frame.{asyncapi.frame_type(each)}" for each in FRAMES}
    assert set(channel["messages"]) == set(document["components"]["messages"]) == expected


def test_every_model_is_a_schema(document: dict[str, Any]) -> None:
    names = {
        each.__name__
        for module in (protocol, dispute_frames)
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, protocol.Frame)
    }
    shared = {"Frame", "Command", "DisputeCommand", "Ruling"}
    assert names - shared <= set(document["components"]["schemas"])


def test_every_kind_of_entry_says_what_its_body_holds(document: dict[str, Any]) -> None:
    assert set(document["x-entry-bodies"]) == set(EntryKind)
    schemas = document["components"]["schemas"]
    for body in document["x-entry-bodies"].values():
        assert "masked" in schemas[body["$ref"].rpartition("/")[2]]["properties"]


def test_no_two_models_share_the_name_of_a_schema(document: dict[str, Any]) -> None:
    assert not [name for name in document["components"]["schemas"] if "__" in name]
    assert "delivered" in document["components"]["schemas"]["Receipt"]["properties"], "the command, not a body's part"


def test_every_operation_is_as_asyncapi_wants_it(document: dict[str, Any]) -> None:
    for name, operation in document["operations"].items():
        action, _, kind = name.partition(".")
        assert operation["action"] == action
        channel = resolve(document, operation["channel"]["$ref"])
        for message in (*operation["messages"], *operation.get("reply", {}).get("messages", ())):
            assert message["$ref"].startswith("#/channels/chat/messages/")
            assert message["$ref"].rpartition("/")[2] in channel["messages"]
        direction = "command" if action == "receive" else "frame"
        assert operation["messages"][0]["$ref"].endswith(f"/{direction}.{kind}")


def test_every_command_can_be_sent_and_every_frame_is_sent_or_answers(document: dict[str, Any]) -> None:
    received = {name.partition(".")[2] for name in document["operations"] if name.startswith("receive.")}
    assert received == {asyncapi.frame_type(each) for each in COMMANDS}
    sent = {name.partition(".")[2] for name in document["operations"] if name.startswith("send.")}
    answers = {answer for answered in asyncapi.ANSWERS.values() for answer in answered}
    assert sent | answers == {asyncapi.frame_type(each) for each in FRAMES}


def test_commands_with_an_id_are_answered_under_it(document: dict[str, Any]) -> None:
    for command in COMMANDS:
        name = asyncapi.frame_type(command)
        answered = "reply" in document["operations"][f"receive.{name}"]
        assert answered is ("id" in command.model_fields)
        assert ("correlationId" in document["components"]["messages"][f"command.{name}"]) is answered


def test_every_example_is_a_frame(document: dict[str, Any]) -> None:
    assert set(EXAMPLES) == {*COMMANDS, *FRAMES}
    for model, example in EXAMPLES.items():
        adapter: TypeAdapter[Any] = protocol.CLIENT_FRAME if model in COMMANDS else protocol.SERVER_FRAME
        assert type(adapter.validate_json(json.dumps(example))) is model


def test_every_example_fits_its_published_schema(document: dict[str, Any]) -> None:
    for message in document["components"]["messages"].values():
        schema = {"$ref": message["payload"]["$ref"], "components": document["components"]}
        for example in message["examples"]:
            jsonschema.validate(example["payload"], schema)
            without_type = {name: value for name, value in example["payload"].items() if name != "type"}
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(without_type, schema)


def test_all_codes_are_in_the_document(document: dict[str, Any]) -> None:
    description = document["info"]["description"]
    assert set(document["x-error-codes"]) == set(ErrorCode)
    assert set(document["x-close-codes"]) == {str(int(code)) for code in (*CloseCode, MESSAGE_TOO_BIG)}
    assert set(CLOSE_MEANINGS) == {*CloseCode, MESSAGE_TOO_BIG}
    for code in ErrorCode:
        assert f"| `{code}` |" in description
    assert document["x-refusal-rules"] == REFUSALS
    for rule, meaning in REFUSALS.items():
        assert f"| `{rule}` | {meaning} |" in description
    for number, told in document["x-close-codes"].items():
        assert f"| {number} |" in description
        assert told["reconnect"] is (4000 <= int(number) < 4500)


def test_the_description_names_the_limits_in_force(document: dict[str, Any]) -> None:
    assert "1234 characters" in document["info"]["description"]
    assert "every 25 s" in document["info"]["description"]


def test_descriptions_are_markdown(document: dict[str, Any]) -> None:
    for node in nodes(document):
        for field in ("description", "summary"):
            if isinstance(text := node.get(field), str):
                assert not re.search(r"``\w", text), text


def test_without_a_public_address_the_document_names_where_it_listens() -> None:
    server = asyncapi.document(Settings(host="127.0.0.1", port=8123), "0")["servers"]["default"]
    assert (server["host"], server["protocol"]) == ("127.0.0.1:8123", "ws")
