"""Deleting the objects of a piece of evidence that has ended."""

from typing import Final

from storage.evidence import Evidence, EvidenceStore
from storage.object_store import ObjectStore

INCOMING: Final = "incoming"
SEALED: Final = "sealed"
SHOWN: Final = "shown"
THUMBNAILS: Final = "thumbnails"
PREFIXES: Final = (INCOMING, SEALED, SHOWN, THUMBNAILS)


def object_key(prefix: str, evidence: Evidence) -> str:
    """Where an object of a piece of evidence is kept."""
    return f"{prefix}/{evidence.room}/{evidence.id}"


async def clear(store: ObjectStore, known: EvidenceStore, evidence: Evidence) -> None:
    """Delete them, and note that none is left over; again, if it was not finished.

    Raises:
        Unavailable: no answer; the piece stays marked, and a worker goes on with it.
    """
    if evidence.upload is not None:
        await store.abandon_parts(object_key(INCOMING, evidence), evidence.upload)
    await store.purge([object_key(prefix, evidence) for prefix in PREFIXES])
    await known.advance(evidence, evidence.now(evidence.state, evidence.touched_at, leftover=False))
