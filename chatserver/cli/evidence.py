"""``chatserver verify --evidence``: what is known of evidence, held against the store and the record."""

from typing import TYPE_CHECKING

from chatserver.cli.options import say

if TYPE_CHECKING:
    from chatserver.settings import Settings


async def verify_evidence(settings: "Settings", rooms: list[str], *, deep: bool) -> int:
    """Check the evidence of rooms, or all there is, and say what does not hold.

    Args:
        rooms: their names; none: all.
        deep: read every original in full.

    Returns:
        How much does not hold.
    """
    from chatserver.database import connected
    from chatserver.evidence.inventory import Inventory
    from chatserver.evidence.office import open_store
    from policies.vocabulary import RoomId
    from storage.commit import GroupCommit
    from storage.evidence import EvidenceStore
    from storage.room_log import RoomLog

    faults = 0
    store = open_store(settings)
    try:
        async with connected(settings) as database:
            log = RoomLog(database, GroupCommit(database))
            inventory = Inventory(store, EvidenceStore(database), log, deep=deep)
            for room in map(RoomId, rooms) if rooms else (None,):
                async for fault in inventory.faults(room):
                    say(f"{fault.place}: {fault.what}")
                    faults += 1
    finally:
        await store.close()
    verdict = f"{faults} faults" if faults else "all there"
    say(f"{inventory.pieces} pieces of evidence and {inventory.objects} objects verified: {verdict}")
    return faults
