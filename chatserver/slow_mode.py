"""Slow mode: staff make the parties of a room wait between two messages.

The room's log says when that changes, so every process that serves the room learns of it with its stream.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from chatserver.clock import Clock
from policies.entry import Author, Draft, Entry
from policies.errors import BadRequest, Forbidden, NotFound, Unavailable
from policies.instant import instant
from policies.room import SYSTEM, RoomFacts, dispute_of
from policies.vocabulary import DECIDERS, CommandId, EntryKind, RoomKind
from storage.audit import Audit, AuditRecord
from storage.chain import link
from storage.client import Session
from storage.errors import AppendLost
from storage.room_log import RoomLog
from storage.rooms import Rooms

NOTICE: Final = "slow_mode"
LONGEST_S: Final = 3600
ATTEMPTS: Final = 50


@dataclass(frozen=True, slots=True)
class SlowMode:
    """Sets the slow mode of rooms. ``salt`` gives 16 fresh random bytes; ``announce`` is told durable entries."""

    log: RoomLog
    rooms: Rooms
    audit: Audit
    clock: Clock
    salt: Callable[[], bytes]
    announce: Callable[[Sequence[Entry]], Awaitable[None]]

    async def set(self, facts: RoomFacts, author: Author, every_s: int) -> Entry | None:
        """Let a party wait so many seconds between two messages; 0 ends it.

        Returns:
            The notice in the log; None when it was so already.

        Raises:
            Forbidden: not for this role.
            BadRequest: it cannot be so long, or not in this room.
            Unavailable: the outcome is unknown; the same may be asked for again.
        """
        if author.role not in DECIDERS:
            raise Forbidden("Only support staff can do this, and not in their own case.")
        if facts.kind is RoomKind.STAFF or not 0 <= every_s <= LONGEST_S:
            raise BadRequest(f"Slow mode is for the parties' rooms, 0 to {LONGEST_S} s.", details={"field": "every_s"})
        recorded = False
        for _ in range(ATTEMPTS):
            # The head first: who sets it in between makes this append lose its place.
            head = await self.log.head(facts.id)
            known = await self.rooms.facts(facts.id)
            if known is None:
                raise NotFound("There is no such room.")
            if known.slow_mode_s == every_s:
                return None
            now = max(instant(self.clock.now()), head.at)
            if not recorded:
                details = {"every_s": every_s}
                dispute = dispute_of(facts)
                await self.audit.record(
                    AuditRecord(now, author.id, author.role, "room.slow_mode", dispute, facts.id, details)
                )
                recorded = True
            command = CommandId(f"{NOTICE}:{head.seq + 1}")
            draft = Draft(SYSTEM, command, EntryKind.NOTICE, {"notice": NOTICE, "every_s": every_s})
            entries = link(facts.id, head, [draft], now, self.salt)

            async def work(session: Session) -> None:
                await self.rooms.set_slow_mode(facts.id, every_s, session)

            try:
                await self.log.append_with(entries, work)
            except AppendLost:
                continue
            await self.announce(entries)
            return entries[0]
        raise Unavailable("Too many are writing to this room at once.", retry_after_ms=1000)
