"""The WebSocket protocol as an AsyncAPI 3.0 document, generated from the models that the hub parses frames with."""

import inspect
import re
from collections.abc import Iterable
from typing import Any, Final, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from chatserver import protocol
from chatserver.entry_bodies import BODIES
from chatserver.errors import CLOSE_MEANINGS, ERROR_MEANINGS, MESSAGE_TOO_BIG, CloseCode
from chatserver.frame_examples import EXAMPLES
from chatserver.settings import Settings
from policies.refusals import REFUSALS

VERSION: Final = "3.0.0"
CHANNEL: Final = "chat"
_REF: Final = "#/components/schemas/{model}"

ANSWERS: Final[dict[str, tuple[str, ...]]] = {
    "connect": ("connected", "joined"),
    "token.refresh": ("ack",),
    "join": ("joined",),
    "leave": ("ack",),
    "history": ("history",),
    "message.send": ("ack",),
    "typing": (),
    "receipt": (),
    "proposal.make": ("ack",),
    "proposal.accept": ("ack",),
    "proposal.reject": ("ack",),
    "proposal.withdraw": ("ack",),
    "fulfillment.mark": ("ack",),
    "fulfillment.confirm": ("ack",),
    "dispute.escalate": ("ack",),
    "dispute.close": ("ack",),
    "dispute.reopen": ("ack",),
    "dispute.appeal": ("ack",),
    "agent.join": ("ack",),
    "agent.leave": ("ack",),
    "evidence.request": ("ack",),
    "decision.recommend": ("ack",),
    "decision.issue": ("ack",),
    "message.release": ("ack",),
    "message.redact": ("ack",),
    "note.add": ("ack",),
    "ping": ("pong",),
}
"""What answers each command, beside ``error``. Nothing answers typing and receipt."""

PUSHED: Final = (
    "entry",
    "entry.changed",
    "dispute",
    "note",
    "presence",
    "typing",
    "receipt",
    "token.expiring",
    "resync",
    "bye",
    "error",
)
"""What the server sends without being asked."""


def models(union: object) -> tuple[type[protocol.Frame], ...]:
    """The members of ``protocol.ClientFrame`` or ``protocol.ServerFrame``."""
    return tuple(get_args(get_args(union)[0]))


def frame_type(model: type[BaseModel]) -> str:
    """The ``type`` that a frame of this model carries."""
    return str(get_args(model.model_fields["type"].annotation)[0])


def document(settings: Settings, version: str) -> dict[str, Any]:
    """The AsyncAPI document of a server.

    Args:
        settings: limits and times that the description names, and the public address.
        version: of the server.
    """
    commands, answers = models(protocol.ClientFrame), models(protocol.ServerFrame)
    messages = {**_messages(commands, "command"), **_messages(answers, "frame")}
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "Dispute chat: WebSocket",
            "version": version,
            "description": _description(settings),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"default": _server(settings)},
        "channels": {
            CHANNEL: {
                "address": protocol.PATH,
                "title": "The one WebSocket of a client",
                "servers": [{"$ref": "#/servers/default"}],
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {"ws": {"method": "GET", "headers": _upgrade_headers(), "bindingVersion": "0.1.0"}},
            }
        },
        "operations": _operations(commands),
        "components": {
            "messages": messages,
            "schemas": _schemas(commands, (*answers, *dict.fromkeys(BODIES.values()))),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "In the `connect` frame, or in the Authorization header; never in the URL.",
                }
            },
        },
        "x-error-codes": {code.value: title for code, title in ERROR_MEANINGS.items()},
        "x-refusal-rules": dict(REFUSALS),
        "x-entry-bodies": {kind.value: {"$ref": _REF.format(model=body.__name__)} for kind, body in BODIES.items()},
        "x-close-codes": {
            str(int(code)): {"meaning": meaning, "reconnect": _reconnect(code)}
            for code, meaning in CLOSE_MEANINGS.items()
        },
    }


def _server(settings: Settings) -> dict[str, Any]:
    url = urlsplit(settings.public_url or f"http://{settings.host}:{settings.port}")
    return {
        "host": url.netloc,
        "protocol": "wss" if url.scheme == "https" else "ws",
        "security": [{"$ref": "#/components/securitySchemes/token"}],
    }


def _upgrade_headers() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "Sec-WebSocket-Protocol": {"type": "string", "const": protocol.SUBPROTOCOL},
            "Origin": {"type": "string", "description": "Of a browser page: must be on the server's list."},
            "Authorization": {"type": "string", "description": "`Bearer` and the token, from clients that can set it."},
        },
        "required": ["Sec-WebSocket-Protocol"],
    }


def _messages(frames: Iterable[type[protocol.Frame]], kind: str) -> dict[str, Any]:
    return {_message_name(frame_type(frame), kind): _message(frame, kind) for frame in frames}


def _message_name(type_: str, kind: str) -> str:
    """``typing`` and ``receipt`` go both ways with different fields, so the direction is part of a message's name."""
    return f"{kind}.{type_}"


def _message(frame: type[protocol.Frame], kind: str) -> dict[str, Any]:
    name = frame_type(frame)
    described: dict[str, Any] = {
        "name": name,
        "title": name,
        "payload": {"$ref": _REF.format(model=frame.__name__)},
        "examples": [{"name": name.replace(".", "-"), "payload": EXAMPLES[frame]}],
    }
    if summary := _prose(frame):
        described["summary"] = summary
    if "id" in frame.model_fields:
        described["correlationId"] = {
            "description": "The command's `id`, repeated by what answers it.",
            "location": "$message.payload#/id",
        }
    return described


def _operations(commands: Iterable[type[BaseModel]]) -> dict[str, Any]:
    channel = {"$ref": f"#/channels/{CHANNEL}"}
    operations: dict[str, Any] = {}
    for command in commands:
        name = frame_type(command)
        operations[f"receive.{name}"] = {
            "action": "receive",
            "channel": channel,
            "title": name,
            "messages": [_channel_message("command", name)],
        }
        if answered := ANSWERS[name]:
            replies = [_channel_message("frame", each) for each in (*answered, "error")]
            operations[f"receive.{name}"]["reply"] = {"channel": channel, "messages": replies}
    for name in PUSHED:
        operations[f"send.{name}"] = {
            "action": "send",
            "channel": channel,
            "title": name,
            "messages": [_channel_message("frame", name)],
        }
    return operations


def _channel_message(kind: str, type_: str) -> dict[str, str]:
    return {"$ref": f"#/channels/{CHANNEL}/messages/{_message_name(type_, kind)}"}


def _schemas(commands: Iterable[type[BaseModel]], answers: Iterable[type[BaseModel]]) -> dict[str, Any]:
    _, parsed = models_json_schema([(each, "validation") for each in commands], ref_template=_REF)
    _, written = models_json_schema([(each, "serialization") for each in answers], ref_template=_REF)
    schemas: dict[str, Any] = {**parsed["$defs"], **written["$defs"]}
    for schema in schemas.values():
        schema.pop("additionalProperties", None)  # unknown members are ignored
        if "description" in schema:
            schema["description"] = _markdown(schema["description"])
        # A frame without its type is no frame, though the server's own models fill it in.
        if "type" in (properties := schema.get("properties", {})) and "const" in properties["type"]:
            schema["required"] = sorted({*schema.get("required", []), "type"})
    return schemas


def _prose(model: type[BaseModel]) -> str:
    return _markdown(inspect.cleandoc(model.__doc__ or ""))


def _markdown(text: str) -> str:
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def _reconnect(code: int) -> bool:
    return code < CloseCode.BAD_FRAME and code != MESSAGE_TOO_BIG


def _description(settings: Settings) -> str:
    return "\n\n".join((_RULES, _heartbeat(settings), _limits(settings), _error_table(), _rule_table(), _close_table()))


_RULES: Final = f"""\
One JSON object per text frame; `type` says which. Connect with the subprotocol `{protocol.SUBPROTOCOL}`, then send
`connect`.

A command carries an `id` of 1 to 64 characters, unique per author. For a command that writes to a room it is the
idempotency key: after a lost connection send the **same** `id` again, and the first answer comes back with
`duplicate: true`; the same `id` with other content is a `conflict`. Unknown fields are ignored, an unknown `type` is a
`bad_request`.

Every room is a log: entries with a `seq` of 1, 2, 3 … without holes, and `entry` frames come strictly in that order.
Join with `after` (the last seq you have) to go on after a disconnect: `joined` brings what came since, live entries
follow with no hole and no repeat. An entry withheld from you keeps its place, with an empty body and `withheld: true`;
its author and staff see the body and the mark. When staff release or redact an entry, the log says so in an entry of
its own, and `entry.changed` shows what the one that it is about looks like now. Whoever keeps entries must follow: hide
what a `message.redacted` names (`seq` of its body) at once, and read again what such an entry names when the connection
broke before its `entry.changed` came.

A dispute is what the entries of its room add up to. Its commands go to that room; a rule that says no is a `refused`
with `details.rule`, and where it helps `opens_at`, `due_at` or `fallback`. What somebody else was faster at is a
`conflict`. After every change of state each member gets `dispute`, with what this reader may do now. Staff claim the
case with `agent.join`; the claim is kept while they are in the room and lapses soon after. Their notes go to the staff
log, a room of kind `staff` that they may join and that does not exist for the parties."""


def _heartbeat(settings: Settings) -> str:
    silence = settings.heartbeat_s + settings.heartbeat_timeout_s
    return f"""\
**Heartbeat.** The server sends a WebSocket ping every {settings.heartbeat_s:g} s, the first after a random part of
that, and closes with 4004 when one stays unanswered for {settings.heartbeat_timeout_s:g} s. A client that hears nothing
for {silence:g} s reconnects, with full jitter from 0.5 to 20 s. `token.expiring` comes {settings.token_warning_s:g} s
before the token's `exp`; after it there are {settings.token_grace_s:g} s of grace. `typing` lapses after
{settings.typing_lapse_s:g} s."""


def _limits(settings: Settings) -> str:
    rows = (
        ("frame", f"{settings.frame_bytes} bytes", "close 1009"),
        ("message", f"{settings.message_chars} characters", "`too_large`"),
        (
            "messages, and commands to disputes, of a user",
            f"{settings.messages_per_s:g} a second, {settings.message_burst} at once",
            "`rate_limited`",
        ),
        (
            "other commands of a connection",
            f"{settings.commands_per_s:g} a second, {settings.command_burst} at once",
            "`rate_limited`",
        ),
        ("connections of a user", str(settings.connections_per_user), "close 4509"),
        (
            "rooms of a connection",
            f"{settings.rooms_per_connection}, staff {settings.staff_rooms_per_connection}",
            "`forbidden`",
        ),
        ("entries of a `history`", str(settings.history_page), "`bad_request`"),
        ("entries of a `joined`", str(settings.joined_page), "`more: true`"),
        ("unread frames", f"{settings.queue_frames} frames or {settings.queue_bytes} bytes", "close 4002"),
        ("time until `connect`", f"{settings.connect_timeout_s:g} s", "close 4508"),
    )
    return _table("Limits", ("what", "at most", "beyond"), rows)


def _error_table() -> str:
    rows = tuple((f"`{code}`", title) for code, title in ERROR_MEANINGS.items())
    return _table("Error codes", ("code", "meaning"), rows) + "\n\nAn `error` never closes the connection by itself."


def _rule_table() -> str:
    rows = ((f"`{rule}`", meaning) for rule, meaning in REFUSALS.items())
    return _table("Rules of refused", ("`details.rule`", "meaning, and what else `details` say"), rows)


def _close_table() -> str:
    rows = tuple(
        (str(int(code)), meaning, "yes" if _reconnect(code) else "no") for code, meaning in CLOSE_MEANINGS.items()
    )
    return _table("Close codes", ("code", "meaning", "reconnect"), rows)


def _table(title: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"**{title}**", "", " | ".join(("", *columns, "")).strip(), "|" + "---|" * len(columns)]
    return "\n".join((*lines, *("| " + " | ".join(row) + " |" for row in rows)))
