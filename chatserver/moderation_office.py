"""What staff look after: flags, reports, rulings on entries, slow mode."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from chatserver.clock import Clock
from chatserver.disputes.desk import Desk
from chatserver.moderation import Moderation
from chatserver.slow_mode import SlowMode
from chatserver.strikes import Strikes
from policies.entry import Entry
from policies.strikes import StrikeRules
from storage.audit import Audit
from storage.client import Database
from storage.flags import Flags
from storage.reports import Reports
from storage.room_log import RoomLog
from storage.rooms import Rooms


@dataclass(frozen=True, slots=True)
class ModerationOffice:
    """The parts, for those who serve them."""

    rulings: Moderation
    flags: Flags
    reports: Reports
    slow_mode: SlowMode
    strikes: Strikes


def moderation_office(
    database: Database,
    desk: Desk,
    log: RoomLog,
    rooms: Rooms,
    audit: Audit,
    *,
    strikes: StrikeRules,
    clock: Clock,
    salt: Callable[[], bytes],
    announce: Callable[[Sequence[Entry]], Awaitable[None]],
) -> ModerationOffice:
    """Make the parts of one process.

    Args:
        strikes: how flags add up.
        salt: gives 16 fresh random bytes at each call.
        announce: told the entries that have become durable; tells the members of their room.
    """
    flags = Flags(database)
    return ModerationOffice(
        Moderation(desk, log, audit, clock, salt, announce),
        flags,
        Reports(database),
        SlowMode(log, rooms, audit, clock, salt, announce),
        Strikes(flags, strikes, clock),
    )
