"""The continuous check of the record: every room's chain is verified as it grows, and every dispute's state with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from chatserver.disputes.snapshots import Incomparable, SnapshotBreak, check_snapshot, dispute_of_room
from chatserver.rulings import WRONGLY_SHOWN, is_about_rulings, wrongly_shown
from policies.vocabulary import RoomId, Seq
from storage.chain import Head, Verification, genesis
from storage.checkpoints import Checkpoints
from storage.disputes import Disputes
from storage.room_log import RoomLog

REMOVED: Final = "removed"
"""The log ends before an entry that was verified earlier. A chain alone cannot show that its end is missing."""

logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass has done. ``complete``: the round has come to the last room, the next pass begins a new one.
    ``not_compared``: disputes of which an entry was erased, so that nobody can say whether their stored state is right.
    """

    rooms: int
    entries: int
    breaks: int
    complete: bool
    not_compared: int = 0


class IntegrityCheck:
    """Verifies what was appended to rooms since they were last looked at, a bounded part at a time.

    The place in the round and each room's verified head are kept in MongoDB, so any process can go on. A broken room is
    reported in every round until somebody has dealt with it, and does not keep the others from being checked.

    Args:
        log: the rooms' logs.
        disputes: what the logs of dispute rooms have to add up to.
        checkpoints: what has been verified.
        rooms: most rooms of a pass, up to 1,000.
        entries: a pass ends once it has read so many entries.
    """

    def __init__(
        self, log: RoomLog, disputes: Disputes, checkpoints: Checkpoints, rooms: int = 500, entries: int = 20_000
    ) -> None:
        self._log = log
        self._disputes = disputes
        self._checkpoints = checkpoints
        self._rooms = rooms
        self._entries = entries

    async def run(self) -> Pass:
        """Do one pass.

        Raises:
            Unavailable: MongoDB does not answer; the same pass can be run again.
        """
        rooms = await self._checkpoints.next_rooms(self._rooms)
        # In this order: a head read later is never behind a checkpoint, unless entries are gone.
        verified = await self._checkpoints.verified(rooms)
        heads = await self._log.heads(rooms)
        advanced: dict[RoomId, Head] = {}
        entries = breaks = not_compared = 0
        last: RoomId | None = None
        for room in rooms:
            known = verified.get(room) or genesis(room)
            if heads[room] < known.seq:
                _report(room, Seq(heads[room] + 1), REMOVED)
                breaks += 1
            elif heads[room] > known.seq:
                head, whole, holds, rulings = await self._verify(room, known, self._entries - entries)
                entries += head.seq - known.seq
                wrong = rulings and await self._check_rulings(room)
                found = await self._compare(room) if holds and whole else None
                if wrong or isinstance(found, SnapshotBreak):
                    breaks += 1  # and look again in the next round
                else:
                    breaks += not holds
                    not_compared += found is not None
                    advanced[room] = head
                if not whole:
                    break
            last = room
            if entries >= self._entries:
                break
        complete = len(rooms) < self._rooms and (not rooms or last == rooms[-1])
        await self._keep(advanced, None if complete else last)
        return Pass(len(rooms), entries, breaks, complete, not_compared)

    async def _verify(self, room: RoomId, known: Head, budget: int) -> tuple[Head, bool, bool, bool]:
        """How far the chain holds, whether all of it was looked at as far as it can be, whether it holds, and whether
        staff have ruled on any of it."""
        verification = Verification(room, known)
        rulings = False
        async for entry in self._log.scan(room, known.seq):
            if verification.head.seq - known.seq >= budget:
                return verification.head, False, True, rulings
            if (found := verification.feed(entry)) is not None:
                _report(room, found.seq, found.kind.value)
                return verification.head, True, False, rulings
            rulings = rulings or is_about_rulings(entry)
        return verification.head, True, True, rulings

    async def _check_rulings(self, room: RoomId) -> bool:
        """Whether an entry is not shown as the log says."""
        found = await wrongly_shown(room, self._log)
        if found is not None:
            _report(room, found, WRONGLY_SHOWN)
        return found is not None

    async def _compare(self, room: RoomId) -> SnapshotBreak | Incomparable | None:
        """Whether a dispute's stored state is what its room adds up to. It reads the whole room, which is short."""
        dispute = dispute_of_room(room)
        found = None if dispute is None else await check_snapshot(dispute, self._log, self._disputes)
        if isinstance(found, SnapshotBreak):
            _report(room, found.seq, found.fault.value)
        elif found is not None:
            logger.warning("record_not_compared", room=room, erased=found.seq)
        return found

    async def _keep(self, advanced: Mapping[RoomId, Head], last: RoomId | None) -> None:
        # The place comes second: a crash between the two repeats work and skips nothing.
        await self._checkpoints.advance(advanced.items())
        await self._checkpoints.proceed(last)


def _report(room: RoomId, seq: Seq, what: str) -> None:
    logger.error("record_broken", room=room, seq=seq, what=what)
