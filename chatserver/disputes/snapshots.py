"""Whether the stored state of a dispute is what the entries of its room add up to."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from policies.dispute.evolve import STATE_KINDS, Unreplayable, evolve
from policies.dispute.state import Dispute
from policies.room import dispute_room
from policies.vocabulary import DisputeId, RoomId, Seq
from storage.disputes import Disputes
from storage.room_log import RoomLog

_ROOM_PREFIX: Final = dispute_room(DisputeId(""))
_LOOKS: Final = 5
"""How often a dispute that changes while it is looked at is looked at again; then it is left for the next time."""


class SnapshotFault(StrEnum):
    """What is wrong with a stored state."""

    MISSING = "snapshot_missing"
    """The dispute has entries and no stored state."""
    DIFFERS = "snapshot_differs"
    """The entries up to the one it stands at add up to something else."""
    BEHIND = "snapshot_behind"
    """An entry that carries state is not part of it."""
    AHEAD = "snapshot_ahead"
    """It stands at an entry that does not exist."""


@dataclass(frozen=True, slots=True)
class SnapshotBreak:
    """The first place where a stored state does not follow from its room."""

    room: RoomId
    seq: Seq
    fault: SnapshotFault


def dispute_of_room(room: RoomId) -> DisputeId | None:
    """The dispute whose room this is; None for any other room."""
    return DisputeId(room.removeprefix(_ROOM_PREFIX)) if room.startswith(_ROOM_PREFIX) else None


async def check_snapshot(dispute: DisputeId, log: RoomLog, disputes: Disputes) -> SnapshotBreak | None:
    """Replay a dispute's room and compare. Its entries are taken for right: verify the chain first.

    A state that depends on content that was erased since cannot be compared, and counts as right.

    Raises:
        Unavailable: no answer in time.
    """
    looked = 0
    while True:
        stored = await disputes.get(dispute)
        found = await _compare(dispute, None if stored is None else stored.dispute, log)
        if found is None or await disputes.get(dispute) == stored:
            return found
        looked += 1  # somebody has written meanwhile
        if looked == _LOOKS:
            return None


async def _compare(dispute: DisputeId, stored: Dispute | None, log: RoomLog) -> SnapshotBreak | None:
    room = dispute_room(dispute)
    if stored is None:
        return SnapshotBreak(room, Seq(1), SnapshotFault.MISSING)
    state: Dispute | None = None
    erased = False
    last = Seq(0)
    async for entry in log.scan(room):
        last = entry.seq
        if entry.seq > stored.seq:
            if entry.kind in STATE_KINDS:
                return SnapshotBreak(room, entry.seq, SnapshotFault.BEHIND)
            continue
        erased = erased or entry.erased
        try:
            state = evolve(state, entry)
        except Unreplayable:
            return None if erased else SnapshotBreak(room, entry.seq, SnapshotFault.DIFFERS)
    if last < stored.seq:
        return SnapshotBreak(room, Seq(last + 1), SnapshotFault.AHEAD)
    return None if erased or state == stored else SnapshotBreak(room, stored.seq, SnapshotFault.DIFFERS)
