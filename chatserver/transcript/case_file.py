"""What a case file is made of, and its parts as plain data and back."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from chatserver.rendering import FULL_VIEW, flag_view, is_author, is_whole
from policies.entry import Entry
from policies.instant import rfc3339
from policies.room import RoomFacts
from policies.vocabulary import Role, Seq, UserId
from storage.chain import Head

FORMAT: Final = "dispute-chat.case-file"
VERSION: Final = 2
FIRST_VERSION: Final = 1
"""The oldest one that can still be read: it lacks what stands beside entries."""


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
    """An entry as a case file shows it: of one that is withheld from the reader only the digest is left, and of one
    with masked parts the text that is shown. What staff have said of entries, and why, is in their files alone.

    The author's name goes with what is withheld: it is part of the content, so nobody could check it.
    """
    if not is_whole(entry, reader.user, reader.role):
        author = replace(entry.author, name="")
        return replace(entry, body={}, salt=None, author=author, flag=None, whole=None)
    if reader.role in FULL_VIEW or (entry.flag is None and entry.whole is None):
        return entry
    masked = entry.whole if entry.released or is_author(entry, reader.user) else None
    return replace(entry, flag=None, whole=masked)


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
    if entry.whole is not None:
        encoded["whole"] = {"salt": entry.whole.salt.hex(), "texts": dict(entry.whole.texts)}
    if entry.shown is not None:
        encoded["shown"] = entry.shown.value
    if entry.flag is not None:
        encoded["flag"] = flag_view(entry.flag)
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
