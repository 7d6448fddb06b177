"""Holding what is known of evidence against the store and the record: nothing missing, changed, or left over."""

import hashlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chatserver.evidence.clearing import PREFIXES, object_key
from policies.entry import Entry
from policies.evidence import EvidenceId
from policies.vocabulary import EntryKind, RoomId
from storage.evidence import UNFINISHED, Evidence, EvidenceState, EvidenceStore
from storage.object_store import ObjectChanged, ObjectStore, StoredObject
from storage.room_log import RoomLog

PAGE: Final = 500
CHUNK_BYTES: Final = 1024 * 1024
_KEPT: Final = (EvidenceState.SEALED, *UNFINISHED)
"""States in which a piece may have objects."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that does not hold. ``place``: the room, with the entry or object."""

    place: str
    what: str


class Inventory:
    """Checks evidence.

    Args:
        deep: read every original in full and compare its SHA-256; otherwise what the store says of it.
    """

    def __init__(self, store: ObjectStore, known: EvidenceStore, log: RoomLog, *, deep: bool) -> None:
        self._store = store
        self._known = known
        self._log = log
        self._deep = deep
        self.pieces = 0
        """Sealed pieces that were looked at so far."""
        self.objects = 0

    async def faults(self, room: RoomId | None) -> AsyncIterator[Fault]:
        """What does not hold in a room, or anywhere.

        Raises:
            Unavailable: the database or the store does not answer.
        """
        if room is not None:
            async for fault in self._record(room):
                yield fault
        else:
            async for each in self._log.rooms_with_entries():
                async for fault in self._record(each):
                    yield fault
        async for fault in self._pieces(room):
            yield fault
        async for fault in self._orphans(room):
            yield fault

    async def _record(self, room: RoomId) -> AsyncIterator[Fault]:
        """Entries that speak of evidence of which nothing is known."""
        added: list[Entry] = []
        async for entry in self._log.scan(room):
            if entry.kind is EntryKind.EVIDENCE_ADDED and not entry.erased:
                added.append(entry)
            if len(added) == PAGE:
                for fault in await self._unknown(room, added):
                    yield fault
                added = []
        for fault in await self._unknown(room, added):
            yield fault

    async def _unknown(self, room: RoomId, added: list[Entry]) -> list[Fault]:
        if not added:
            return []
        known = await self._known.several([EvidenceId(str(entry.body["evidence"])) for entry in added])
        faults = []
        for entry in added:
            piece = known.get(EvidenceId(str(entry.body["evidence"])))
            place = f"{room} at entry {entry.seq}"
            if piece is None or piece.room != room:
                faults.append(Fault(place, "nothing is known of this evidence"))
            elif piece.said.sha256 != entry.body["sha256"]:
                faults.append(Fault(place, "the hash that is known is not that of the entry"))
        return faults

    async def _pieces(self, room: RoomId | None) -> AsyncIterator[Fault]:
        after: EvidenceId | None = None
        while page := await self._known.after(after, PAGE):
            for piece in page:
                if piece.state is EvidenceState.SEALED and room in (None, piece.room):
                    self.pieces += 1
                    if (what := await self._fault_of(piece)) is not None:
                        yield Fault(f"{piece.room} at entry {piece.seq}, evidence {piece.id}", what)
            after = page[-1].id

    async def _fault_of(self, piece: Evidence) -> str | None:
        entries = await self._log.read_at({piece.room: piece.seq}) if piece.seq is not None else {}
        entry = entries.get(piece.room)
        if entry is None or not (entry.erased or entry.body.get("evidence") == piece.id):
            return "it has no entry"
        if piece.original is None or (found := await self._store.look(piece.original.key)) is None:
            return "its object is missing"
        if not piece.original.is_still(found):
            return "its object was changed"
        if self._deep and await self._hash(found) != piece.said.sha256:
            return "its object does not have the hash that was sealed"
        for made in (piece.shown, piece.thumbnail):
            if made is None:
                continue
            if (found := await self._store.look(made.key)) is None:
                return f"the object {made.key} made of it is missing"
            if not made.is_still(found):
                return f"the object {made.key} made of it was changed"
        return None

    async def _hash(self, found: StoredObject) -> str | None:
        """The SHA-256 of an object; None when it was changed meanwhile."""
        digest = hashlib.sha256()
        with tempfile.TemporaryDirectory(prefix="evidence-") as folder:
            path = Path(folder) / "file"
            try:
                await self._store.fetch(found, path)
            except ObjectChanged:
                return None
            with path.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    digest.update(chunk)
        return digest.hexdigest()

    async def _orphans(self, room: RoomId | None) -> AsyncIterator[Fault]:
        """Objects that belong to nothing."""
        for prefix in PREFIXES:
            page: list[str] = []
            async for found in self._store.listing(f"{prefix}/" if room is None else f"{prefix}/{room}/"):
                self.objects += 1
                page.append(found.key)
                if len(page) == PAGE:
                    for fault in await self._without_piece(prefix, page):
                        yield fault
                    page = []
            for fault in await self._without_piece(prefix, page):
                yield fault

    async def _without_piece(self, prefix: str, keys: list[str]) -> list[Fault]:
        known = await self._known.several([_piece_of(key) for key in keys])
        faults = []
        for key in keys:
            piece = known.get(_piece_of(key))
            kept = piece is not None and key == object_key(prefix, piece) and piece.state in _KEPT
            # Looked at once more: it may have been deleted, in order, since it was listed.
            if not kept and await self._store.look(key) is not None:
                faults.append(Fault(f"object {key}", "it belongs to no evidence"))
        return faults


def _piece_of(key: str) -> EvidenceId:
    return EvidenceId(key.rpartition("/")[2])
