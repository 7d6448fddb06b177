"""``contact.flagged``: something that breaks a rule was found in what a party wrote. Never the text itself.

Whoever writes a flagged entry marks it as untold, with the flag, and need do no more: a worker tells each of them once.
Of very many within minutes it tells as many as count (``policies.strikes``), and puts the others aside for staff, too.
"""

from hashlib import sha256
from typing import Any, Final

from chatserver.strikes import Strikes, categories
from policies.entry import Entry
from policies.flag import CauseKind, Flag, FlagState, Mark
from policies.instant import rfc3339
from policies.room import RoomFacts, dispute_of
from policies.strikes import ENOUGH, STRETCH, counts
from policies.vocabulary import DisputeId, RoomId, WebhookType
from storage.flags import Flags
from storage.outbox import OutboxEvent
from storage.rooms import Rooms

FLAGS_AT_ONCE: Final = 100
_LOOKED_AT: Final = 50 * ENOUGH
"""Flags of one stretch that count; there cannot be many more, of all categories."""


class FlagTeller:
    """Tells the marketplace of flagged entries.

    Args:
        flags: the entries.
        rooms: what is known of their rooms.
        strikes: what else their authors have done.
    """

    def __init__(self, flags: Flags, rooms: Rooms, strikes: Strikes) -> None:
        self._flags = flags
        self._rooms = rooms
        self._strikes = strikes

    async def look(self) -> int:
        """Tell of some entries; how many there were.

        Raises:
            Unavailable: the database does not answer.
        """
        found = await self._flags.untold(FLAGS_AT_ONCE)
        facts = await self._rooms.several({entry.room for entry in found})
        for entry in found:
            await self._tell(entry, facts.get(entry.room))
        return len(found)

    async def _tell(self, entry: Entry, facts: RoomFacts | None) -> None:
        flag = entry.flag
        if flag is not None and flag.state is FlagState.OPEN and not await self._counts(entry, flag):
            await self._flags.repeated(entry)
            return
        # A secret is nobody's fault, and what is noted in shadow mode is for staff alone.
        if flag is None or facts is None or flag.mark is Mark.NOTED or not categories(entry):
            await self._flags.tell(entry, None)
            return
        dispute = dispute_of(facts)
        # In order with what else is told of a dispute; of an order room in the order of its entries.
        stream = _stream(facts.id) if dispute is None else dispute
        data = await self._data(entry, flag, facts)
        event = OutboxEvent(stream, entry.seq, WebhookType.CONTACT_FLAGGED, data, entry.at)
        await self._flags.tell(entry, event, dispute)

    async def _counts(self, entry: Entry, flag: Flag) -> bool:
        before = await self._flags.before(entry, entry.at - STRETCH, _LOOKED_AT)
        return counts(flag, (each.flag for each in before if each.flag is not None))

    async def _data(self, entry: Entry, flag: Flag, facts: RoomFacts) -> dict[str, Any]:
        strikes = await self._strikes.of(entry.author.id)
        data: dict[str, Any] = {"room": facts.id, "order_id": facts.order_id}
        if (dispute := dispute_of(facts)) is not None:
            data["dispute"] = dispute
        return data | {
            "seq": entry.seq,
            "at": rfc3339(entry.at),
            "user": entry.author.id,
            "role": entry.author.role.value,
            "mark": flag.mark.value,
            "categories": list(categories(entry)),
            "confidence": max(each.confidence for each in flag.causes if each.kind is not CauseKind.SECRET),
            "strikes": strikes.score,
            "repeated": strikes.above,
        }


def _stream(room: RoomId) -> DisputeId:
    """What keeps the flags of an order room in order. Hashed: a webhook-id must not hold a full stop, and ids may."""
    return DisputeId("flags-" + sha256(room.encode()).hexdigest()[:20])
