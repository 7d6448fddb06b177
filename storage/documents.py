"""Entries as MongoDB documents, and back."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import bson
from bson.raw_bson import RawBSONDocument

from policies.entry import Author, Entry, Whole
from policies.errors import TooLarge
from policies.flag import Cause, CauseKind, Flag, FlagState, Mark
from policies.vocabulary import CommandId, EntryKind, Role, RoomId, UserId, Visibility
from storage.chain import KEY_SEPARATOR

ENTRY_BYTES: Final = 1024 * 1024
"""Largest entry. MongoDB's own limit is 16 MiB; one far below it keeps a batch small and its commit quick."""

_KINDS: Final = {kind.value: kind for kind in EntryKind}
_ROLES: Final = {role.value: role for role in Role}
_VISIBILITIES: Final = {visibility.value: visibility for visibility in Visibility}


def entry_key(room: RoomId, author: UserId, command_id: CommandId) -> str:
    """The ``_id`` of an entry: what makes a command idempotent."""
    return f"{room}{KEY_SEPARATOR}{author}{KEY_SEPARATOR}{command_id}"


def encode_entry(entry: Entry) -> RawBSONDocument:
    """An entry as finished BSON, so that one that cannot be stored is found before it shares a batch with others.

    Raises:
        TooLarge: it exceeds ``ENTRY_BYTES``.
    """
    author = entry.author
    document: dict[str, Any] = {
        "_id": entry_key(entry.room, author.id, entry.command_id),
        "room": entry.room,
        "seq": entry.seq,
        "kind": entry.kind._value_,
        "author": {"id": author.id, "role": author.role._value_, "name": author.name},
        "at": entry.at,
        "body": entry.body,
        "visibility": entry.visibility._value_,
        "command_id": entry.command_id,
        "salt": entry.salt,
        "digest": entry.digest,
        "prev_hash": entry.prev_hash,
        "hash": entry.hash,
    }
    if entry.salt is None:
        del document["salt"]
    if entry.flag is not None:
        document["flag"] = encode_flag(entry.flag)
    if entry.whole is not None:
        document["whole"] = {"salt": entry.whole.salt, "texts": entry.whole.texts}
    raw = bson.encode(document)
    if len(raw) > ENTRY_BYTES:
        raise TooLarge("This is too large to be kept.", details={"limit": ENTRY_BYTES})
    return RawBSONDocument(raw)


def decode_entry(document: Mapping[str, Any]) -> Entry:
    """The entry that a document holds."""
    author = document["author"]
    flag, whole, shown = document.get("flag"), document.get("whole"), document.get("shown")
    return Entry(
        room=document["room"],
        seq=document["seq"],
        kind=_KINDS[document["kind"]],
        author=Author(author["id"], _ROLES[author["role"]], author["name"]),
        at=document["at"],
        body=document["body"],
        visibility=_VISIBILITIES[document["visibility"]],
        command_id=document["command_id"],
        salt=document.get("salt"),
        digest=document["digest"],
        prev_hash=document["prev_hash"],
        hash=document["hash"],
        flag=None if flag is None else decode_flag(flag),
        whole=None if whole is None else Whole(whole["salt"], whole["texts"]),
        shown=None if shown is None else _VISIBILITIES[shown],
    )


def encode_flag(flag: Flag) -> dict[str, Any]:
    """A flag as its entry's document holds it."""
    document: dict[str, Any] = {
        "mark": flag.mark.value,
        "confidence": flag.confidence,
        "causes": encode_causes(flag.causes),
        "state": flag.state.value,
    }
    if flag.state is FlagState.OPEN:
        document["untold"] = True  # until a worker has looked at it: the marketplace may have to be told
    if flag.decided_by is not None:
        document |= {"decided_by": flag.decided_by, "decided_at": flag.decided_at}
    return document


def decode_flag(document: Mapping[str, Any]) -> Flag:
    """The flag that a document's ``flag`` holds."""
    return Flag(
        Mark(document["mark"]),
        document["confidence"],
        decode_causes(document["causes"]),
        FlagState(document["state"]),
        document.get("decided_by"),
        document.get("decided_at"),
    )


def encode_causes(causes: Iterable[Cause]) -> list[list[Any]]:
    """Causes as lists, in the order of the fields of ``Cause``."""
    return [
        [each.kind.value, each.category, each.field, each.start, each.end, each.confidence, each.rule]
        for each in causes
    ]


def decode_causes(lists: Iterable[Sequence[Any]]) -> tuple[Cause, ...]:
    """The causes that such lists hold."""
    return tuple(Cause(CauseKind(kind), *others) for kind, *others in lists)
