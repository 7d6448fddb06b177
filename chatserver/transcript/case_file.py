"""What a case file is made of, and its parts as plain data and back."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from chatserver.rendering import is_whole
from policies.entry import Entry
from policies.instant import rfc3339
from policies.room import RoomFacts
from policies.vocabulary import Role, Seq, UserId
from storage.chain import Head

FORMAT: Final = "dispute-chat.case-file"
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Reader:
    """For whom a case file is made: their role in the room. ``user`` is None for the marketplace's back end."""

    role: Role
    user: UserId | None


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a room's log: behind the entry of this seq and hash."""

    seq: Seq
    hash: bytes

    @classmethod
    def of(cls, head: Head) -> "Place":
        return cls(head.seq, head.hash)


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a room's log: what follows ``after``, up to and with ``head``."""

    room: RoomFacts
    after: Place
    head: Place

    @property
    def length(self) -> int:
        return self.head.seq - self.after.seq


@dataclass(frozen=True, slots=True)
class Cover:
    """What a case file says before its entries: for whom, when, and which entries.

    ``order`` and ``dispute`` are plain data, as the wire tells them to the reader; None where there is none.
    """

    generated_at: datetime
    reader: Reader
    order: Mapping[str, Any] | None
    dispute: Mapping[str, Any] | None
    main: Span
    annexes: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Chain:
    """A span with its entries, as the reader sees them."""

    span: Span
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class CaseFile:
    """A whole case file. ``pictures``: small pictures (WebP) of evidence that the reader may see, by its id; they are
    no part of what can be checked."""

    cover: Cover
    main: Chain
    annexes: tuple[Chain, ...] = ()
    pictures: Mapping[str, bytes] = field(default_factory=dict)


def as_seen(entry: Entry, reader: Reader) -> Entry:
    """An entry as a case file shows it: of one that is withheld from the reader only the digest is left.

    The author's name goes too: it is part of the content, so nobody could check it.
    """
    if is_whole(entry, reader.user, reader.role):
        return entry
    return replace(entry, body={}, salt=None, author=replace(entry.author, name=""))


def encode_entry(entry: Entry) -> dict[str, Any]:
    """An entry as ``entries`` holds it."""
    author = entry.author
    encoded: dict[str, Any] = {
        "seq": entry.seq,
        "id": entry.id,
        "kind": entry.kind.value,
        "author": {"id": author.id, "role": author.role.value, "name": author.name},
        "at": rfc3339(entry.at),
        "body": dict(entry.body),
        "visibility": entry.visibility.value,
        "command_id": entry.command_id,
        "digest": entry.digest.hex(),
        "prev_hash": entry.prev_hash.hex(),
        "hash": entry.hash.hex(),
    }
    if entry.salt is not None:
        encoded["salt"] = entry.salt.hex()
    return encoded


def encode_place(place: Place) -> dict[str, Any]:
    return {"seq": place.seq, "hash": place.hash.hex()}


def encode_reader(reader: Reader) -> dict[str, Any]:
    user = {} if reader.user is None else {"user": reader.user}
    return {"role": reader.role.value, **user}


def encode_room(facts: RoomFacts) -> dict[str, Any]:
    """A room as ``room`` tells it."""
    return {
        "id": facts.id,
        "kind": facts.kind.value,
        "order_id": facts.order_id,
        "buyer": {"id": facts.buyer.id, "name": facts.buyer.name},
        "seller": {"id": facts.seller.id, "name": facts.seller.name},
        "created_at": rfc3339(facts.created_at),
        "closed": facts.closed,
    }
