"""Whether entries are shown as the log says: a ruling of staff is one entry, and what it did stands beside another."""

from typing import Final

from policies.entry import Entry
from policies.flag import FlagState
from policies.verdicts import SHOWN
from policies.vocabulary import RoomId, Seq, Visibility
from storage.room_log import RoomLog, Ruling

WRONGLY_SHOWN: Final = "wrongly_shown"
"""An entry is hidden or released, and the log has no entry of staff that says so; or the other way round."""
_LOOKS: Final = 5
"""How often a room that is written to while it is looked at is looked at again; then it is left for the next time."""


def is_about_rulings(entry: Entry) -> bool:
    """Whether an entry is a ruling of staff, or one was made on it."""
    return entry.shown is not None or entry.kind in SHOWN


def ruling_of(said: Entry) -> Ruling:
    """What an entry of staff does to the entry that it is about."""
    shown = SHOWN[said.kind]
    state = FlagState.RELEASED if shown is Visibility.ALL else FlagState.CONFIRMED
    return Ruling(shown, state, said.author.id, said.at)


async def wrongly_shown(room: RoomId, log: RoomLog) -> Seq | None:
    """The first entry of a room that is not shown as the log's last ruling on it says; None where there is none.

    Raises:
        Unavailable: no answer in time.
    """
    for _ in range(_LOOKS):
        head = await log.head(room)
        shown: dict[Seq, Visibility] = {}
        said: dict[Seq, Visibility] = {}
        async for entry in log.scan(room):
            if entry.shown is not None:
                shown[entry.seq] = entry.shown
            if entry.kind in SHOWN and "seq" in entry.body:
                said[Seq(entry.body["seq"])] = SHOWN[entry.kind]
        if shown == said:
            return None
        if (await log.head(room)).seq == head.seq:
            return min(seq for seq in {*shown, *said} if shown.get(seq) is not said.get(seq))
    return None
