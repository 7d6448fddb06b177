"""The small pictures of evidence that stand in a case file, for those who may see them."""

import asyncio
from dataclasses import replace
from typing import Final

import structlog

from chatserver.rendering import FULL_VIEW
from chatserver.transcript.case_file import CaseFile, Reader
from policies.errors import Unavailable
from policies.evidence import EvidenceId
from policies.vocabulary import EntryKind
from storage.evidence import Evidence, EvidenceState, EvidenceStore
from storage.object_store import ObjectChanged, ObjectStore, StoreMisconfigured

PICTURES_MAX: Final = 200
PICTURE_BYTES: Final = 128 * 1024
TOTAL_BYTES: Final = 4 * 1024 * 1024
"""A case file holds so much of pictures; what comes later has to be downloaded to be seen."""
PATIENCE_S: Final = 5.0
"""For all pictures of a case file together; what a slow store has not given by then has to be downloaded, too."""

logger = structlog.stdlib.get_logger(__name__)


async def with_pictures(case: CaseFile, known: EvidenceStore, store: ObjectStore) -> CaseFile:
    """The case file with its pictures; without some of them when the store does not answer: the record does not depend
    on it.

    Raises:
        Unavailable: the database does not answer.
    """
    added = [
        EvidenceId(str(entry.body["evidence"]))
        for chain in (case.main, *case.annexes)
        for entry in chain.entries
        if entry.kind is EntryKind.EVIDENCE_ADDED and entry.body.get("thumbnail") is True and "evidence" in entry.body
    ][:PICTURES_MAX]
    if not added:
        return case
    found = await known.several(added)
    rooms = {chain.span.room.id for chain in (case.main, *case.annexes)}
    shown = [found[each] for each in added if each in found]
    pieces = [piece for piece in shown if piece.room in rooms and may_see(piece, case.cover.reader)]
    pictures: dict[str, bytes] = {}
    try:
        async with asyncio.timeout(PATIENCE_S):
            await _gather(pieces, store, pictures)
    except (Unavailable, StoreMisconfigured, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        logger.warning("case_file_without_pictures", room=case.main.span.room.id, reason=reason)
    return replace(case, pictures=pictures)


async def _gather(pieces: list[Evidence], store: ObjectStore, pictures: dict[str, bytes]) -> None:
    """Add the pictures of pieces, as far as there is room for them."""
    left = TOTAL_BYTES
    for piece in pieces:
        if piece.thumbnail is None:
            continue
        try:
            picture = await store.read(piece.thumbnail, PICTURE_BYTES)
        except ObjectChanged:
            continue
        if picture is None or len(picture) > left:
            continue
        left -= len(picture)
        pictures[piece.id] = picture


def may_see(piece: Evidence, reader: Reader) -> bool:
    """Whether a reader of the room may see a piece."""
    if piece.state is not EvidenceState.SEALED:
        return False
    return piece.withdrawn_at is None or reader.role in FULL_VIEW or reader.user == piece.uploader
