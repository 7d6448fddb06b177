"""Whether the stored state of a dispute is what the entries of its room add up to."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from policies.dispute.conclusion import is_plain
from policies.dispute.evolve import STATE_KINDS, Unreplayable, evolve
from policies.dispute.state import Dispute
from policies.entry import Entry
from policies.room import dispute_room
from policies.vocabulary import DisputeId, EntryKind, RoomId, Seq
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


@dataclass(frozen=True, slots=True)
class Incomparable:
    """Whether a stored state follows from its room cannot be told: it depends on what entry ``seq`` said, which was
    erased."""

    room: RoomId
    seq: Seq


def dispute_of_room(room: RoomId) -> DisputeId | None:
    """The dispute whose room this is; None for any other room."""
    return DisputeId(room.removeprefix(_ROOM_PREFIX)) if room.startswith(_ROOM_PREFIX) else None


async def check_snapshot(dispute: DisputeId, log: RoomLog, disputes: Disputes) -> SnapshotBreak | Incomparable | None:
    """Replay a dispute's room and compare. Its entries are taken for right: verify the chain first.

    Returns:
        None: the state follows from the room; what a message said matters for nearly nothing, so one that was erased
        changes nothing here.

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


async def _compare(dispute: DisputeId, stored: Dispute | None, log: RoomLog) -> SnapshotBreak | Incomparable | None:
    room = dispute_room(dispute)
    if stored is None:
        return SnapshotBreak(room, Seq(1), SnapshotFault.MISSING)
    replayed = _Replayed()
    last = Seq(0)
    async for entry in log.scan(room):
        last = entry.seq
        if entry.seq > stored.seq:
            if entry.kind in STATE_KINDS and not is_plain(entry):
                return SnapshotBreak(room, entry.seq, SnapshotFault.BEHIND)
            continue
        try:
            replayed.add(entry)
        except Unreplayable:
            return replayed.fault(room, entry.seq)
    if last < stored.seq:
        return SnapshotBreak(room, Seq(last + 1), SnapshotFault.AHEAD)
    return None if replayed.gives(stored) else replayed.fault(room, stored.seq)


class _Replayed:
    """What entries add up to, some of which may have lost their content.

    Of a message only two things matter: while the seller has not attended, a digest is kept to know repeated texts; and
    while an appeal waits for its answer, whether it said anything. Of one that was erased both may be true.
    """

    def __init__(self) -> None:
        self._states: list[Dispute | None] = [None]
        """All that are possible: never more than two, as an appeal is answered once."""
        self._messages_erased = False
        self._erased: Seq | None = None
        """The first entry that is no message and was erased."""

    def add(self, entry: Entry) -> None:
        """Go on by one entry.

        Raises:
            Unreplayable: it does not follow, or its content is needed and gone.
        """
        readings = [entry]
        if entry.erased and entry.kind is EntryKind.MESSAGE:
            self._messages_erased = True
            readings += [replace(entry, body={"text": "said"})]
        elif entry.erased and self._erased is None:
            self._erased = entry.seq
        states: list[Dispute | None] = []
        for reading in readings:
            for state in self._states:
                after = self._comparable(evolve(state, reading))
                if after not in states:
                    states.append(after)
        self._states = states

    def gives(self, stored: Dispute) -> bool:
        """Whether this may be what the entries add up to."""
        return self._comparable(stored) in self._states

    def fault(self, room: RoomId, seq: Seq) -> SnapshotBreak | Incomparable:
        """What it means that they do not add up to what is stored, as of entry ``seq``."""
        if self._erased is not None:
            return Incomparable(room, self._erased)
        return SnapshotBreak(room, seq, SnapshotFault.DIFFERS)

    def _comparable(self, state: Dispute) -> Dispute:
        return replace(state, seen=()) if self._messages_erased else state
