"""The hash chain through a room's log. Pure: no I/O, no clock, no randomness of its own.

A verifier in any language needs only this. All JSON below is *canonical*: UTF-8, no white space, object keys sorted
by code point, non-ASCII characters unescaped, ``"`` and ``\\`` escaped with a backslash, control characters below
U+0020 as ``\\b \\t \\n \\f \\r`` or else ``\\u00xx`` in lower-case hex, nothing else escaped, integers in decimal.
(Python: ``json.dumps(x, sort_keys=True, separators=(",", ":"), ensure_ascii=False)``; RFC 8785 yields the same bytes
for keys below U+10000.) Entries hold no fractions and no integer beyond 2^53 - 1.

    content   = canonical JSON of {"body": <body>, "name": <author's name>}
    digest    = SHA-256(salt || content)                              salt: 16 random bytes, kept with the entry
    metadata  = canonical JSON of the array
                [room, seq, kind, author id, author role, at, visibility, command id, digest in lower-case hex]
                at: RFC 3339 UTC with exactly three decimals, such as 2026-01-31T09:30:00.250Z
    hash      = SHA-256("dispute-chat.entry.v1\\n" || prev_hash || metadata)           prev_hash: 32 raw bytes
    prev_hash = the hash of the entry with the seq before; of seq 1: SHA-256("dispute-chat.room.v1\\n" || room id)

Where parts of a text are masked, the body shows the masked text and has a member

    "masked": {"fields": [names of such texts, sorted], "digest": SHA-256(salt || canonical JSON of {name: whole text})}

with a salt of 16 random bytes of its own, so that the whole texts can be checked by those who may see them, and cannot
be guessed by the others.

An erased entry has no salt, an empty body and an empty author's name. Its digest cannot be recomputed, and without the
salt it cannot be guessed from likely contents either; its hash still can, so the chain holds.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

import orjson

from policies.entry import MASKED, Draft, Entry, Whole
from policies.instant import instant, rfc3339
from policies.plain import require_plain
from policies.vocabulary import RoomId, Seq

SALT_BYTES: Final = 16
KEY_SEPARATOR: Final = "\x1f"
"""Between the parts of an entry's key. Room and author must not hold it, or two keys could be alike."""

_ENTRY_TAG: Final = b"dispute-chat.entry.v1\n"
_ROOM_TAG: Final = b"dispute-chat.room.v1\n"
_JSON: Final = orjson.OPT_SORT_KEYS
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Head(NamedTuple):
    """Where a room's log ends: the last entry's place, hash and time. Seq 0 is the place before the first entry."""

    seq: Seq
    hash: bytes
    at: datetime


def genesis(room: RoomId) -> Head:
    """The head of a room without entries."""
    return Head(Seq(0), hashlib.sha256(_ROOM_TAG + room.encode()).digest(), _EPOCH)


def head_of(entry: Entry) -> Head:
    """The head of a room whose last entry is this."""
    return Head(entry.seq, entry.hash, entry.at)


def link(room: RoomId, head: Head, drafts: Sequence[Draft], now: datetime, salt: Callable[[], bytes]) -> list[Entry]:
    """Make the entries that follow a head.

    Args:
        room: the room's id.
        head: the last entry known.
        drafts: what to write, in order.
        now: the time, aware. An entry's time is never before its predecessor's, whatever the clocks of two servers say.
        salt: gives 16 fresh random bytes at each call.

    Raises:
        BadRequest: a body that canonical JSON cannot hold.
        ValueError: a room or author id that holds the key separator.
    """
    at = max(instant(now), head.at)
    written_at = rfc3339(at)
    seq, prev_hash = head.seq, head.hash
    if KEY_SEPARATOR in room:
        raise ValueError("a room's id holds U+001F")
    entries = []
    for draft in drafts:
        author = draft.author
        if KEY_SEPARATOR in author.id:
            raise ValueError("an author's id holds U+001F")
        body = draft.body
        whole: Whole | None = None
        if draft.whole:
            whole = Whole(salt(), draft.whole)
            body = {**body, MASKED: _masked(whole)}
        require_plain(body)
        seq = Seq(seq + 1)
        grain = salt()
        digest = content_digest(grain, body, author.name)
        entry_hash = _entry_hash(
            prev_hash,
            [
                room,
                seq,
                draft.kind._value_,
                author.id,
                author.role._value_,
                written_at,
                draft.visibility._value_,
                draft.command_id,
                digest.hex(),
            ],
        )
        entries.append(
            Entry(
                room,
                seq,
                draft.kind,
                author,
                at,
                body,
                draft.visibility,
                draft.command_id,
                grain,
                digest,
                prev_hash,
                entry_hash,
                draft.flag,
                whole,
            )
        )
        prev_hash = entry_hash
    return entries


def _masked(whole: Whole) -> dict[str, Any]:
    return {"fields": sorted(whole.texts), "digest": _whole_digest(whole).hex()}


def _whole_digest(whole: Whole) -> bytes:
    return hashlib.sha256(whole.salt + orjson.dumps(whole.texts, option=_JSON)).digest()


def content_digest(salt: bytes, body: Mapping[str, Any], name: str) -> bytes:
    """The salted digest of an entry's content."""
    return hashlib.sha256(salt + orjson.dumps({"body": body, "name": name}, option=_JSON)).digest()


def recompute(entry: Entry) -> bytes:
    """The hash that an entry should have, given its own ``prev_hash`` and ``digest``."""
    author = entry.author
    return _entry_hash(
        entry.prev_hash,
        [
            entry.room,
            entry.seq,
            entry.kind.value,
            author.id,
            author.role.value,
            rfc3339(entry.at),
            entry.visibility.value,
            entry.command_id,
            entry.digest.hex(),
        ],
    )


def same_content(entry: Entry, draft: Draft) -> bool:
    """Whether a draft says what an entry under the same key says already, so that the command is a retry.

    Of an erased entry only the kind is left to compare. Visibility, what was masked and the author's name are not part
    of what the client sent, and may have changed since.
    """
    if entry.kind is not draft.kind:
        return False
    if entry.erased:
        return True
    drafted = draft.body if draft.whole is None else {**draft.body, **draft.whole}
    return orjson.dumps(entry.written, option=_JSON) == orjson.dumps(drafted, option=_JSON)


class BreakKind(StrEnum):
    """What is wrong at a place of the log."""

    GAP = "gap"
    """The seq is not the one that follows: an entry is missing, doubled or out of order."""
    ROOM = "room"
    """The entry belongs to another room."""
    PREV_HASH = "prev_hash"
    """It does not follow from the entry before it."""
    HASH = "hash"
    """Its metadata, digest or hash was changed."""
    TIME = "time"
    """It is older than the entry before it."""
    CONTENT = "content"
    """Its body, author's name or salt was changed."""


@dataclass(frozen=True, slots=True)
class Break:
    """The first place where a log does not hold. ``seq`` is the one expected there."""

    room: RoomId
    seq: Seq
    kind: BreakKind


class Verification:
    """Checks a log entry by entry, so that a log of any length needs no memory.

    Feed it the entries after ``head`` in order; ``head`` moves along while they hold.
    """

    def __init__(self, room: RoomId, head: Head | None = None) -> None:
        self.room = room
        self.head = head or genesis(room)

    def feed(self, entry: Entry) -> Break | None:
        """Check the next entry. After a break the head stays, and nothing later can be judged."""
        kind = self._judge(entry)
        if kind is not None:
            return Break(self.room, Seq(self.head.seq + 1), kind)
        self.head = head_of(entry)
        return None

    def _judge(self, entry: Entry) -> BreakKind | None:
        if entry.room != self.room:
            return BreakKind.ROOM
        if entry.seq != self.head.seq + 1:
            return BreakKind.GAP
        if entry.prev_hash != self.head.hash:
            return BreakKind.PREV_HASH
        if recompute(entry) != entry.hash:
            return BreakKind.HASH
        if entry.at < self.head.at:
            return BreakKind.TIME
        if not _content_holds(entry):
            return BreakKind.CONTENT
        return None


def verify(room: RoomId, entries: Iterable[Entry], head: Head | None = None) -> Break | None:
    """Check entries of one room that follow a head (by default: from the beginning).

    Returns:
        The first break, or None when everything holds.
    """
    verification = Verification(room, head)
    return next(_breaks(verification, entries), None)


def _breaks(verification: Verification, entries: Iterable[Entry]) -> Iterator[Break]:
    for entry in entries:
        found = verification.feed(entry)
        if found is not None:
            yield found


def _content_holds(entry: Entry) -> bool:
    if entry.salt is None:  # erased: there must be nothing left that could pass for content
        return not entry.body and not entry.author.name and entry.whole is None
    if content_digest(entry.salt, entry.body, entry.author.name) != entry.digest:
        return False
    return entry.whole is None or entry.body.get(MASKED) == _masked(entry.whole)


def _entry_hash(prev_hash: bytes, metadata: list[object]) -> bytes:
    return hashlib.sha256(_ENTRY_TAG + prev_hash + orjson.dumps(metadata)).digest()
