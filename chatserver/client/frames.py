"""Frames as the client reads and writes them.

A log must stay readable when a newer server adds kinds of entries or of findings, so here an entry's ``kind``, its
author's role and the words of a flag are plain strings; frames of unknown type are passed over.
"""

import logging
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

import orjson
from pydantic import Field, TypeAdapter, ValidationError

from chatserver.frame import Timestamp
from chatserver.protocol import (
    AvailableAction,
    Bye,
    Connected,
    Cursor,
    Dispute,
    DisputeNow,
    Error,
    Frame,
    Member,
    Pong,
    Presence,
    ReceiptNow,
    Resync,
    TokenExpiring,
    TypingNow,
    You,
)
from policies.errors import BadRequest, ErrorCode
from policies.vocabulary import RoomKind

logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Frame)


class Author(Frame):
    """Who wrote an entry, as they were then. ``role`` is a ``policies.vocabulary.Role`` that this version knows."""

    id: str
    role: str
    name: str


class Cause(Frame):
    """One thing that was found in a text, as ``protocol.WireCause``: what, where, how surely, and by which rule."""

    kind: str
    category: str
    field: str
    start: int
    end: int
    confidence: int
    rule: str


class Flag(Frame):
    """What was found in an entry's texts, what was done about it (``mark``), and what staff said to that (``state``),
    as ``protocol.WireFlag``. Its words are those of ``policies.flag`` that this version knows."""

    mark: str
    confidence: int
    causes: list[Cause]
    state: str
    decided_by: str | None = None
    decided_at: Timestamp | None = None


class Notice(Frame):
    """What became of a text that you wrote: ``mark`` is ``warned`` (shown, and both sides were reminded of the rules),
    ``masked`` (parts of it are hidden from the other side) or ``withheld`` (the other side does not see it);
    ``message`` says in a sentence which kind of part to say otherwise."""

    mark: str
    message: str


class Entry(Frame):
    """One entry of a room's log, as this user sees it.

    ``seq`` counts 1, 2, 3 ... within the room, ``at`` is aware UTC. ``withheld``: the content is hidden from the other
    party (and from you, when ``body`` is empty). ``released``: staff have said that everybody may see all of it.
    ``whole``: texts of the body of which parts are masked there, by field, as they were written; for those who may
    see them. ``flag``: what was found in it, for staff. ``erased``: its content was deleted. ``command_id``: on your
    own entries, the id it was sent under.
    """

    seq: Annotated[int, Field(ge=1)]
    id: str
    kind: str
    author: Author
    at: Timestamp
    body: dict[str, Any]
    whole: dict[str, str] | None = None
    withheld: bool | None = None
    released: bool | None = None
    erased: bool | None = None
    flag: Flag | None = None
    command_id: str | None = None

    @property
    def text(self) -> str:
        """The text of a message as everybody sees it; empty for other kinds and for what may not be seen."""
        text = self.whole.get("text") if self.whole is not None and self.released else None
        text = self.body.get("text") if text is None else text
        return text if isinstance(text, str) else ""


class Arrived(Frame):
    """A live entry."""

    type: Literal["entry"]
    room: str
    entry: Entry


class Changed(Frame):
    """Staff have released or withheld an entry that was there before: the entry as it is now."""

    type: Literal["entry.changed"]
    room: str
    entry: Entry


class Acked(Frame):
    """A command is done, as ``protocol.Ack``."""

    type: Literal["ack"] = "ack"
    id: str
    room: str | None = None
    seq: int | None = None
    entry_id: str | None = None
    at: Timestamp | None = None
    duplicate: bool | None = None
    notice: Notice | None = None


class Noted(Frame):
    """A staff note on the dispute of a room, as ``protocol.Note``."""

    type: Literal["note"]
    room: str
    entry: Entry


class Opened(Frame):
    """The answer to a join, as ``protocol.Joined``."""

    type: Literal["joined"]
    id: str | None = None
    room: str
    kind: RoomKind
    head: int
    members: list[Member]
    you: You
    dispute: Dispute | None = None
    available_actions: list[AvailableAction] = []
    entries: list[Entry]
    more: bool
    cursors: dict[str, Cursor]


class Page(Frame):
    """A page of the log, oldest entry first, as ``protocol.HistoryPage``."""

    type: Literal["history"]
    id: str
    room: str
    entries: list[Entry]
    more: bool


Received = (
    Connected
    | Opened
    | Page
    | Acked
    | Pong
    | Arrived
    | Changed
    | Presence
    | TypingNow
    | ReceiptNow
    | DisputeNow
    | Noted
    | TokenExpiring
    | Resync
    | Bye
    | Error
)
_RECEIVED: Final[TypeAdapter[Received]] = TypeAdapter(Annotated[Received, Field(discriminator="type")])


def command(model: type[F], **fields: object) -> F:
    """A frame made of what the application passed.

    Raises:
        BadRequest: for fields that the protocol does not allow.
    """
    try:
        for value in fields.values():
            if isinstance(value, str):
                value.encode()
        return model.model_validate(fields)
    except UnicodeEncodeError as error:
        raise BadRequest("The text holds half of a character (a lone surrogate).") from error
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise BadRequest(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from error


def noticed(answer: Mapping[str, Any]) -> Notice | None:
    """What an answer over HTTP says of a text in the request, if it says anything that this version can read."""
    try:
        return Notice.model_validate(answer.get("notice"))
    except ValidationError:
        return None


def encode(frame: Frame) -> bytes:
    """A client's frame as the UTF-8 text of a WebSocket message."""
    return frame.model_dump_json(exclude_none=True).encode()


def decode(text: str | bytes) -> Received | None:
    """A server's frame, or None for one that this version cannot use.

    Nothing is lost by passing over a frame: a missing entry shows as a hole and is fetched, a missing answer runs
    into the client's timeout and the command is sent again.
    """
    try:
        return _RECEIVED.validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
    if problem["type"] == "union_tag_invalid":
        logger.debug("passed over a frame of an unknown type")
        return None
    if problem["loc"] == ("error", "code"):
        return _unknown_code(orjson.loads(text))
    logger.warning("passed over an invalid frame: %s at %s", problem["type"], problem["loc"])
    return None


def _unknown_code(frame: dict[str, Any]) -> Error:
    """An error of a newer server: its code goes into the details, so that the command still gets its answer."""
    retry_after_ms = frame.get("retry_after_ms")
    return Error(
        id=str(frame["id"]) if "id" in frame else None,
        code=ErrorCode.INTERNAL,
        message=str(frame.get("message", "")),
        temporary=frame.get("temporary") is True,
        retry_after_ms=retry_after_ms if isinstance(retry_after_ms, int) else None,
        details={"code": frame.get("code"), "details": frame.get("details")},
    )
