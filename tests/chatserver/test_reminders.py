"""Of what both sides were reminded a short time ago, out of a room's log."""

from dataclasses import replace
from datetime import datetime, timedelta

from chatserver.reminders import ENTRIES, in_view_of
from policies.entry import Author, Draft, Entry
from policies.flag import Cause, CauseKind, Flag, FlagState, Mark
from policies.room import SYSTEM
from policies.screening import REMINDED_FOR, Screening
from policies.vocabulary import CommandId, EntryKind, RoomId, Seq
from storage.chain import genesis, link
from tests.storage.making import BUYER, NOW, ROOM, SELLER, salts

PHONE = Cause(CauseKind.CONTACT, "phone", "note", 0, 5, 96, "phone.run")
INSULT = Cause(CauseKind.CONDUCT, "insult", "note", 0, 5, 96, "conduct.mild")
FLOOD = Cause(CauseKind.CONDUCT, "flooding", "text", 0, 0, 100, "conduct.flooding")
MILLISECOND = timedelta(milliseconds=1)


class Log:
    def __init__(self, *entries: Entry) -> None:
        self.entries = list(entries)
        self.asked: list[int] = []

    async def read_before(self, room: RoomId, before: Seq | None, limit: int) -> list[Entry]:
        assert (room, before) == (ROOM, None)
        self.asked.append(limit)
        return self.entries[-limit:]


def screening(*causes: Cause, mark: Mark = Mark.MASKED) -> Screening:
    return Screening(Flag(mark, 96, causes or (PHONE,)))


def reminded(author: Author, *causes: Cause) -> tuple[Entry, Entry]:
    """What somebody wrote, and what both sides were reminded of after it."""
    found = screening(*causes)
    reminder = found.reminder(Seq(1))
    assert reminder is not None
    offer = found.applied(Draft(author, CommandId("offer"), EntryKind.PROPOSAL_MADE, {"note": "x"}))
    first, second = link(ROOM, genesis(ROOM), [offer, reminder], NOW, salts())
    return first, second


async def again(log: Log, *causes: Cause, author: Author = SELLER, now: datetime = NOW) -> bool:
    """Whether both sides are reminded after another text."""
    found = await in_view_of(log, ROOM, author.id, now, screening(*causes))
    assert found is not None
    return found.reminder(Seq(9)) is not None


async def test_of_a_kind_of_rule_both_sides_are_reminded_once_in_ten_minutes() -> None:
    log = Log(*reminded(SELLER))
    assert not await again(log)
    assert not await again(log, now=NOW + REMINDED_FOR)
    assert await again(log, now=NOW + REMINDED_FOR + MILLISECOND)
    assert await again(log, INSULT)
    assert await again(log, author=BUYER)


async def test_what_was_released_was_nothing_to_be_reminded_of() -> None:
    offer, reminder = reminded(SELLER)
    assert offer.flag is not None
    released = replace(offer, flag=replace(offer.flag, state=FlagState.RELEASED))
    assert await again(Log(released, reminder))


async def test_other_notices_are_no_reminders() -> None:
    drafts = [
        Draft(SYSTEM, CommandId("slow_mode:1"), EntryKind.NOTICE, {"notice": "slow_mode", "every_s": 5}),
        Draft(SYSTEM, CommandId("notice:7"), EntryKind.NOTICE, {}),
    ]
    assert await again(Log(*link(ROOM, genesis(ROOM), drafts, NOW, salts())))


async def test_the_log_is_read_only_where_somebody_would_be_reminded() -> None:
    log = Log(*reminded(SELLER))
    assert await in_view_of(log, ROOM, SELLER.id, NOW, None) is None
    for found in (screening(FLOOD), screening(PHONE, mark=Mark.NOTED)):
        assert await in_view_of(log, ROOM, SELLER.id, NOW, found) is found
    assert log.asked == []
    await again(log)
    assert log.asked == [ENTRIES]
