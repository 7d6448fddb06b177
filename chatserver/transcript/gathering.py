"""Gathering a case file from the record."""

import hashlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final

import orjson

from chatserver.disputes.view import dispute_view
from chatserver.rendering import FULL_VIEW
from chatserver.transcript.case_file import (
    VERSION,
    CaseFile,
    Chain,
    Cover,
    Place,
    Reader,
    Span,
    as_seen,
    encode_place,
    encode_reader,
    encode_room,
)
from policies.entry import Entry
from policies.errors import TooLarge
from policies.instant import instant, rfc3339
from policies.room import RoomFacts, dispute_of, order_room, role_in_room, staff_room
from policies.vocabulary import STAFF, RoomKind, Seq
from storage.chain import genesis
from storage.disputes import Disputes
from storage.orders import Order, Orders
from storage.room_log import RoomLog
from storage.rooms import Rooms

ANNEX_ENTRIES: Final = 1000
"""An annex is for context: of a longer room it holds the latest entries, and says so."""


class CaseFiles:
    """Gathers case files.

    Every method raises ``policies.errors.Unavailable`` when the database does not answer in time.

    Args:
        annex: most entries of an annex.
    """

    def __init__(
        self, log: RoomLog, rooms: Rooms, orders: Orders, disputes: Disputes, annex: int = ANNEX_ENTRIES
    ) -> None:
        self._log = log
        self._rooms = rooms
        self._orders = orders
        self._disputes = disputes
        self._annex = annex

    async def cover(self, room: RoomFacts, reader: Reader, now: datetime) -> Cover:
        """What the case file of a room says before its entries. It fixes where they end, whatever is written meanwhile.

        Args:
            reader: someone who may read the room.
            now: the time, aware.
        """
        dispute, head = dispute_of(room), None
        state = None
        if dispute is not None and room.kind is RoomKind.DISPUTE:
            current = await self._disputes.current(dispute)
            if current is not None:
                state, head = dispute_view(current.dispute, reader.role), current.head
        if head is None:
            head = await self._log.head(room.id)
        main = Span(room, Place.of(genesis(room.id)), Place.of(head))
        order = await self._orders.get(room.order_id)
        annexes = [] if room.kind is not RoomKind.DISPUTE else await self._annexes(room, reader)
        return Cover(
            generated_at=instant(now),
            reader=reader,
            order=None if order is None or not _concerns(order, reader) else _order(order),
            dispute=state,
            main=main,
            annexes=tuple(annexes),
        )

    async def entries(self, span: Span) -> AsyncIterator[Entry]:
        """The entries of a span, in bounded memory."""
        if not span.length:
            return
        async for entry in self._log.scan(span.room.id, span.after.seq):
            yield entry
            if entry.seq >= span.head.seq:
                return

    async def collect(self, cover: Cover, entries: int, size: int) -> CaseFile:
        """The whole case file in memory.

        Args:
            entries: most entries of the room, annexes not counted.
            size: most bytes of all entries' bodies, as JSON.

        Raises:
            TooLarge: it is larger; ``details`` say the limit, and the format that has none.
        """
        if cover.main.length > entries:
            raise _too_large(f"This room has more than {entries} entries", entries)
        chains = []
        left = size
        for span in (cover.main, *cover.annexes):
            found = []
            async for entry in self.entries(span):
                left -= len(orjson.dumps(entry.written))
                if left < 0:
                    raise _too_large(f"This room's entries hold more than {size} bytes", size)
                found.append(as_seen(entry, cover.reader))
            chains.append(Chain(span, tuple(found)))
        return CaseFile(cover, chains[0], tuple(chains[1:]))

    async def _annexes(self, room: RoomFacts, reader: Reader) -> list[Span]:
        dispute = dispute_of(room)
        wanted = [order_room(room.order_id)]
        if dispute is not None and reader.role in STAFF:
            wanted.append(staff_room(dispute))
        annexes = []
        for each in wanted:
            facts = await self._rooms.facts(each)
            if facts is not None and _may_read(reader, facts):
                annexes.append(await self._latest(facts))
        return annexes

    async def _latest(self, facts: RoomFacts) -> Span:
        head = await self._log.head(facts.id)
        before = head.seq - self._annex
        if before <= 0:
            return Span(facts, Place.of(genesis(facts.id)), Place.of(head))
        (last_before,) = await self._log.read_after(facts.id, Seq(before - 1), 1)
        return Span(facts, Place(last_before.seq, last_before.hash), Place.of(head))


def fingerprint(cover: Cover) -> str:
    """What differs whenever a case file says something else, but for the time it was made. Staff may say of an entry
    that it was rightly flagged, which is in no log: each file of theirs differs."""
    told: list[Any] = [VERSION, encode_reader(cover.reader), cover.order, cover.dispute]
    if cover.reader.role in FULL_VIEW:
        told.append(rfc3339(cover.generated_at))
    for span in (cover.main, *cover.annexes):
        told += [encode_room(span.room), encode_place(span.after), encode_place(span.head)]
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def _may_read(reader: Reader, facts: RoomFacts) -> bool:
    """Parties of an order are those of all its rooms; even so, each room is asked."""
    if reader.user is None or reader.role in FULL_VIEW:
        return True
    return role_in_room(facts, reader.user, None) is not None


def _concerns(order: Order, reader: Reader) -> bool:
    """Whoever was a party when a dispute began, and is none now, learns nothing of the order's later parties."""
    return reader.role in FULL_VIEW or reader.user in (order.facts.buyer.id, order.facts.seller.id)


def _too_large(message: str, limit: int) -> TooLarge:
    return TooLarge(f"{message}. Ask for format=json, which has no limit.", details={"limit": limit, "format": "json"})


def _order(order: Order) -> dict[str, Any]:
    facts, state = order.facts, order.state

    def time(at: datetime | None) -> str | None:
        return None if at is None else rfc3339(at)

    return {
        "order_id": facts.id,
        "buyer": {"id": facts.buyer.id, "name": facts.buyer.name},
        "seller": {"id": facts.seller.id, "name": facts.seller.name, "trust_level": facts.seller.trust_level.value},
        "title": facts.title,
        "category": facts.category.value,
        "amount": facts.amount,
        "currency": facts.currency,
        "placed_at": rfc3339(facts.placed_at),
        "details": dict(facts.details),
        "state": {
            "delivered_at": time(state.delivered_at),
            "delivery_confirmed_at": time(state.delivery_confirmed_at),
            "canceled_at": time(state.canceled_at),
            "chargeback": state.chargeback and state.chargeback.value,
            "payment": state.payment and state.payment.value,
            "refunded": state.refunded,
        },
        "order_room": order.room,
    }
