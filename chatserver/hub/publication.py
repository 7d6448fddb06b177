"""An entry on its way from the log to the sockets: encoded once, shared by everyone who may see the same of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from chatserver.hub.socket import text_frame
from chatserver.rendering import for_author, for_others, whole
from policies.entry import MASKED, Entry
from policies.flag import FlagState
from policies.vocabulary import STAFF, Role, RoomId, Visibility


class Publication:
    """One entry in the form in which hubs pass it on.

    ``json`` is the entry frame as staff see it, whole and without the command id. The frames for the three audiences
    (its author, staff, the others) are made when first needed. Of nearly every entry staff and the others see the same;
    where they do not, it is ``partial``. What the server itself wrote has no author id, so that no user can be taken
    for its author. ``mark`` is that of its flag; empty without one, or when staff have taken it back.
    """

    __slots__ = (
        "_other",
        "_own",
        "_whole",
        "at",
        "author_id",
        "command_id",
        "entry_id",
        "json",
        "kind",
        "mark",
        "partial",
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
        partial: bool = False,
        mark: str = "",
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
        self.partial = partial
        self.mark = mark
        self._own: bytes | None = None
        self._whole: bytes | None = None
        self._other: bytes | None = None

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
            entry.flag is not None or entry.whole is not None or entry.hidden,
            "" if entry.flag is None or entry.flag.state is FlagState.RELEASED else entry.flag.mark.value,
        )

    def frame_for(self, user_id: str, role: Role) -> bytes:
        """The entry frame as this reader gets it."""
        if user_id == self.author_id:
            if self._own is None:
                self._own = self._frame_for_author()
            return self._own
        if self.partial and role not in STAFF:
            if self._other is None:
                self._other = self._framed(for_others(self.entry()))
            return self._other
        if self._whole is None:
            self._whole = text_frame(self.json)
        return self._whole

    def holds(self, body: Mapping[str, Any]) -> bool:
        """Whether this is the entry's content. Mostly seen without reading the JSON: a body stands last in it unless
        something is said of the whole entry, and no text can look like the end of one, for its quotes are escaped."""
        return self.json.endswith(b'"body":' + orjson.dumps(body) + b"}}") or self.body() == body

    def body(self) -> dict[str, Any]:
        """The entry's content, as its author wrote it."""
        entry = self.entry()
        body: dict[str, Any] = entry["body"]
        if "whole" in entry:
            body = {name: value for name, value in body.items() if name != MASKED} | entry["whole"]
        return body

    def entry(self) -> dict[str, Any]:
        """The entry as staff see it."""
        entry: dict[str, Any] = orjson.loads(self.json)["entry"]
        return entry

    def _frame_for_author(self) -> bytes:
        if self.partial:
            return self._framed(for_author(self.entry(), self.command_id))
        return text_frame(self.json[:-2] + b',"command_id":' + orjson.dumps(self.command_id) + b"}}")

    def _framed(self, entry: Mapping[str, Any]) -> bytes:
        return text_frame(orjson.dumps({"type": "entry", "room": self.room, "entry": entry}))

    def fields(self) -> tuple[Any, ...]:
        """What ``from_fields`` makes the same publication of, on another hub."""
        fields = (
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
        return (*fields, self.partial, self.mark) if self.partial else fields

    @classmethod
    def from_fields(cls, fields: Sequence[Any]) -> "Publication":
        room, seq, kind, author_id, command_id, withheld, entry_id, at, json, *partial = fields
        return cls(room, seq, kind, author_id, command_id, withheld, entry_id, at, json.encode(), *partial)
