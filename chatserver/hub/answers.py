"""The frames a session answers with, and what is wrong with a frame that is no command."""

import re
from datetime import datetime
from typing import Any, Final

import orjson
from pydantic import ValidationError

from chatserver import protocol
from chatserver.auth import Identity
from chatserver.hub.socket import text_frame
from chatserver.hub.writer import Written
from chatserver.rendering import notice_view
from chatserver.settings import Settings
from policies.errors import BadRequest, ChatError
from policies.instant import rfc3339
from policies.vocabulary import STAFF

_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
"""JavaScript can cut an emoji in half and writes what is left as an escape (RFC 8259 8.2 warns of it). Who typed it
made a mistake in one text; to close their connection for good would be out of proportion."""


def ack(command_id: str, room: str, written: Written) -> bytes:
    """What a command wrote to a room is durable."""
    frame: dict[str, Any] = {
        "type": "ack",
        "id": command_id,
        "room": room,
        "seq": written.seq,
        "entry_id": written.entry_id,
        "at": written.at,
        "duplicate": written.duplicate,
    }
    if written.notice is not None:
        frame["notice"] = notice_view(written.notice)
    return text_frame(orjson.dumps(frame))


def pong(frame: protocol.Ping, now: datetime) -> dict[str, Any]:
    """The server answers; ``t`` comes back as it was sent."""
    return without_none({"type": "pong", "id": frame.id, "t": frame.t, "server_time": rfc3339(now)})


def connected(
    command_id: str, session_id: str, identity: Identity, settings: Settings, now: datetime
) -> dict[str, Any]:
    """Who the client is to the server, and what the server accepts of it."""
    user: dict[str, Any] = {"id": identity.user_id, "name": identity.name or identity.user_id}
    if identity.role is not None:
        user["role"] = identity.role.value
    return {
        "type": "connected",
        "id": command_id,
        "session": session_id,
        "user": user,
        "server_time": rfc3339(now),
        "heartbeat_s": settings.heartbeat_s,
        "limits": {
            "frame_bytes": settings.frame_bytes,
            "message_chars": settings.message_chars,
            "messages_per_s": settings.messages_per_s,
            "message_burst": settings.message_burst,
            "connections_per_user": settings.connections_per_user,
            "rooms_per_connection": rooms_limit(identity, settings),
            "history_page": settings.history_page,
        },
    }


def rooms_limit(identity: Identity, settings: Settings) -> int:
    """How many rooms one connection of this user may join."""
    return settings.staff_rooms_per_connection if identity.role in STAFF else settings.rooms_per_connection


def refusal(command_id: str | None, error: ChatError) -> dict[str, Any]:
    """What went wrong with a command."""
    return without_none(
        {
            "type": "error",
            "id": command_id,
            "code": error.code.value,
            "message": error.message,
            "temporary": error.temporary,
            "retry_after_ms": error.retry_after_ms,
            "details": error.details or None,
        }
    )


def misread(payload: bytes, error: ValidationError) -> tuple[str | None, BadRequest] | None:
    """What is wrong with an object that is no command, and the id it may be told under.

    Returns None for what is not even an object of acceptable depth: then the peer speaks another protocol.
    """
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    unreadable = first["type"] == "json_invalid"
    try:
        frame = orjson.loads(_SURROGATE.sub(b"?", payload) if unreadable else payload)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(frame, dict) or (unreadable and not _SURROGATE.search(payload)):
        return None
    named = frame.get("id")
    command_id = named if isinstance(named, str) and 1 <= len(named) <= protocol.COMMAND_ID_CHARS else None
    if unreadable:
        return command_id, BadRequest("A text holds half of a surrogate pair.")
    place = [str(part) for part in first["loc"][1:]]
    field = ".".join(place) or "type"
    message = f"{field}: {first['msg']}" if place else "There is no command of this type."
    return command_id, BadRequest(message, details={"field": field})


def without_none(frame: dict[str, Any]) -> dict[str, Any]:
    """A frame without its absent fields."""
    return {field: value for field, value in frame.items() if value is not None}
