"""An entry: one thing that happened in a room, and the draft it is made from.

Nobody changes one of these once it is made. They are not declared frozen all the same: a frozen dataclass with slots
sets each attribute through a guard, which makes it five times as slow to make, and every message makes one of each.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from policies.vocabulary import CommandId, EntryKind, Role, RoomId, Seq, UserId, Visibility


@dataclass(slots=True, unsafe_hash=True)
class Author:
    """Who wrote an entry, as they were at that moment."""

    id: UserId
    role: Role
    name: str


@dataclass(slots=True, unsafe_hash=True)
class Draft:
    """What a decision wants written. Its place, time and hash come with the append."""

    author: Author
    command_id: CommandId
    kind: EntryKind
    body: Mapping[str, Any]
    visibility: Visibility = Visibility.ALL


@dataclass(slots=True, unsafe_hash=True)
class Entry:
    """One link of a room's log.

    ``at`` is UTC with millisecond precision and never goes back within a room. ``digest`` is the salted SHA-256 of
    the content (body and author's name), ``hash`` that of the previous hash, the metadata and the digest.
    An erased entry has lost its content and salt and keeps everything else, so the chain still holds.
    """

    room: RoomId
    seq: Seq
    kind: EntryKind
    author: Author
    at: datetime
    body: Mapping[str, Any]
    visibility: Visibility
    command_id: CommandId
    salt: bytes | None
    digest: bytes
    prev_hash: bytes
    hash: bytes

    @property
    def id(self) -> str:
        """The entry's public id: the first 128 bits of its hash, in hex."""
        return self.hash[:16].hex()

    @property
    def erased(self) -> bool:
        return self.salt is None
