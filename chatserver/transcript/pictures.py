"""The small pictures of evidence that stand in a case file, for those who may see them."""

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
    pictures: dict[str, bytes] = {}
    left = TOTAL_BYTES
    for piece in (found[each] for each in added if each in found):
        if piece.room in rooms and may_see(piece, case.cover.reader) and piece.thumbnail is not None:
            try:
                picture = await store.read(piece.thumbnail, PICTURE_BYTES)
            except ObjectChanged:
                continue
            except (Unavailable, StoreMisconfigured) as error:
                logger.warning("case_file_without_pictures", room=piece.room, reason=str(error))
                break
            if picture is None or len(picture) > left:
                continue
            left -= len(picture)
            pictures[piece.id] = picture
    return replace(case, pictures=pictures)


def may_see(piece: Evidence, reader: Reader) -> bool:
    """Whether a reader of the room may see a piece."""
    if piece.state is not EvidenceState.SEALED:
        return False
    return piece.withdrawn_at is None or reader.role in FULL_VIEW or reader.user == piece.uploader
