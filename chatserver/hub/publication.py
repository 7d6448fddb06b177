"""An entry on its way from the log to the sockets: encoded once, shared by everyone who may see the same of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from chatserver.hub.socket import text_frame
from chatserver.rendering import whole
from policies.entry import Entry
from policies.vocabulary import STAFF, Role, RoomId, Visibility

_HIDDEN_FIELDS: Final = ("seq", "id", "kind", "author", "at")


class Publication:
    """One entry in the form in which hubs pass it on.

    ``json`` is the entry frame as staff see it, whole and without the command id. The frames for the three
    audiences (its author, those who may see it, those from whom it is withheld) are made when first needed. What the
    server itself wrote has no author id, so that no user can be taken for its author.
    """

    __slots__ = (
        "_hidden",
        "_own",
        "_whole",
        "at",
        "author_id",
        "command_id",
        "entry_id",
        "json",
        "kind",
        "room",
        "seq",
        "withheld",
    )

    def __init__(
        self,
        room: RoomId,
        seq: int,
        kind: str,
        author_id: str,
        command_id: str,
        withheld: bool,
        entry_id: str,
        at: str,
        json: bytes,
    ) -> None:
        self.room = room
        self.seq = seq
        self.kind = kind
        self.author_id = author_id
        self.command_id = command_id
        self.withheld = withheld
        self.entry_id = entry_id
        self.at = at
        self.json = json
        self._own: bytes | None = None
        self._whole: bytes | None = None
        self._hidden: bytes | None = None

    @classmethod
    def of(cls, entry: Entry) -> "Publication":
        """The publication of an entry that is in the log."""
        seen = whole(entry)
        author = entry.author
        return cls(
            entry.room,
            entry.seq,
            seen["kind"],
            "" if author.role is Role.SYSTEM else author.id,
            entry.command_id,
            entry.visibility is Visibility.WITHHELD,
            seen["id"],
            seen["at"],
            orjson.dumps({"type": "entry", "room": entry.room, "entry": seen}),
        )

    def frame_for(self, user_id: str, role: Role) -> bytes:
        """The entry frame as this reader gets it."""
        if user_id == self.author_id:
            if self._own is None:
                self._own = text_frame(self.json[:-2] + b',"command_id":' + orjson.dumps(self.command_id) + b"}}")
            return self._own
        if self.withheld and role not in STAFF:
            if self._hidden is None:
                frame = orjson.loads(self.json)
                kept = {field: frame["entry"][field] for field in _HIDDEN_FIELDS}
                frame["entry"] = kept | {"body": {}, "withheld": True}
                self._hidden = text_frame(orjson.dumps(frame))
            return self._hidden
        if self._whole is None:
            self._whole = text_frame(self.json)
        return self._whole

    def holds(self, body: Mapping[str, Any]) -> bool:
        """Whether this is the entry's content. Mostly seen without reading the JSON: a body stands last in it unless
        something is said of the whole entry, and no text can look like the end of one, for its quotes are escaped."""
        return self.json.endswith(b'"body":' + orjson.dumps(body) + b"}}") or self.body() == body

    def body(self) -> dict[str, Any]:
        """The entry's content."""
        body: dict[str, Any] = orjson.loads(self.json)["entry"]["body"]
        return body

    def fields(self) -> tuple[Any, ...]:
        """What ``from_fields`` makes the same publication of, on another hub."""
        return (
            self.room,
            self.seq,
            self.kind,
            self.author_id,
            self.command_id,
            self.withheld,
            self.entry_id,
            self.at,
            self.json.decode(),
        )

    @classmethod
    def from_fields(cls, fields: Sequence[Any]) -> "Publication":
        room, seq, kind, author_id, command_id, withheld, entry_id, at, json = fields
        return cls(room, seq, kind, author_id, command_id, withheld, entry_id, at, json.encode())
