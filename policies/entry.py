"""An entry: one thing that happened in a room, and the draft it is made from.

Nobody changes one of these once it is made. They are not declared frozen all the same: a frozen dataclass with slots
sets each attribute through a guard, which makes it five times as slow to make, and every message makes one of each.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from policies.flag import Flag
from policies.vocabulary import CommandId, EntryKind, Role, RoomId, Seq, UserId, Visibility

MASKED: Final = "masked"
"""The member of a body that says which of its texts are not whole."""


HIDEABLE: Final = frozenset({EntryKind.MESSAGE, EntryKind.EVIDENCE_ADDED})
"""What can be hidden by itself. Other entries say how the dispute stands, which both sides have to know."""


@dataclass(slots=True, unsafe_hash=True)
class Author:
    """Who wrote an entry, as they were at that moment."""

    id: UserId
    role: Role
    name: str


@dataclass(slots=True, unsafe_hash=True)
class Draft:
    """What a decision wants written. Its place, time and hash come with the append.

    ``whole``: of texts of the body of which parts are masked in it, the whole; see ``Whole``.
    """

    author: Author
    command_id: CommandId
    kind: EntryKind
    body: Mapping[str, Any]
    visibility: Visibility = Visibility.ALL
    flag: Flag | None = None
    whole: Mapping[str, str] | None = None


@dataclass(slots=True, unsafe_hash=True)
class Whole:
    """What was written, where the body shows a masked text: for staff and the author.

    It is no part of the hashed content, so that those who may not see it can check the rest. The body holds its salted
    digest as ``masked``, so it cannot be changed either.
    """

    salt: bytes
    texts: Mapping[str, str]


@dataclass(slots=True, unsafe_hash=True)
class Entry:
    """One link of a room's log.

    ``at`` is UTC with millisecond precision and never goes back within a room. ``digest`` is the salted SHA-256 of
    the content (body and author's name), ``hash`` that of the previous hash, the metadata and the digest.
    An erased entry has lost its content and salt and keeps everything else, so the chain still holds.

    ``visibility`` is what was decided when it was written. ``shown`` is what staff have said of it since, and wins;
    the log has an entry for each time they did. It and ``flag`` are no part of the hash.
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
    flag: Flag | None = None
    whole: Whole | None = None
    shown: Visibility | None = None

    @property
    def id(self) -> str:
        """The entry's public id: the first 128 bits of its hash, in hex."""
        return self.hash[:16].hex()

    @property
    def hidden(self) -> bool:
        """Whether only staff and its author see its content, as things are."""
        return is_hidden(self.kind, self.visibility, self.shown)

    @property
    def released(self) -> bool:
        """Whether staff have said that everybody may see all of it."""
        return self.shown is Visibility.ALL

    @property
    def written(self) -> Mapping[str, Any]:
        """The body as its author wrote it, whatever was masked."""
        if self.whole is None:
            return self.body
        return {**{name: value for name, value in self.body.items() if name != MASKED}, **self.whole.texts}

    @property
    def erased(self) -> bool:
        return self.salt is None


def is_hidden(kind: EntryKind, visibility: Visibility, shown: Visibility | None) -> bool:
    """Whether only staff and its author see an entry's content. Where it cannot be hidden by itself, staff have taken
    back what they had released: it is masked as before.

    Args:
        visibility, shown: as of ``Entry``.
    """
    if shown is None:
        return visibility is Visibility.WITHHELD
    return shown is Visibility.WITHHELD and (kind in HIDEABLE or visibility is Visibility.WITHHELD)
