"""What both sides of a room were reminded of a short time ago, as its log says: they need not be again.

Messages are screened with that in mind already (``chatserver.hub.screening``). Any other text is so rare, and breaks a
rule so much more rarely, that the log is read for it.
"""

from dataclasses import replace
from datetime import datetime
from typing import Final, Protocol

from policies.entry import Entry
from policies.screening import Screening, reminded_of
from policies.vocabulary import RoomId, Seq, UserId

ENTRIES: Final = 64
"""Of a room's latest entries, how many are looked at for what was said, or reminded of, a short time ago."""


class Reading(Protocol):
    """``storage.room_log.RoomLog``."""

    async def read_before(self, room: RoomId, before: Seq | None, limit: int) -> list[Entry]: ...


async def in_view_of(
    log: Reading, room: RoomId, author: UserId, now: datetime, screening: Screening | None
) -> Screening | None:
    """A screening of a text that is to be written now, in view of what was said before.

    Raises:
        Unavailable: that cannot be read.
    """
    if screening is None or screening.reminder(Seq(1)) is None:
        return screening
    lately = reminded_of(await log.read_before(room, None, ENTRIES), author, now)
    return replace(screening, reminded=screening.reminded | lately)
