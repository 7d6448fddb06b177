"""Orders as the marketplace reports them, and the order rooms that come with them.

Every change of an order is also an entry in its order room, in the same transaction, so the record shows what the
marketplace said and when. Each stored order has a version; a write holds only for the version it was decided on, which
gives concurrent writes exactly one order, and makes each of them decide on what the one before it left.

An order also guards its disputes: it names the active one, and only one that names none can take one in.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from operator import itemgetter
from typing import Any, Final

from pymongo.errors import DuplicateKeyError

from policies.entry import Draft, Entry
from policies.errors import Conflict, NotFound, Unavailable
from policies.instant import instant, rfc3339
from policies.order import (
    Changes,
    Chargeback,
    OrderEvent,
    OrderFacts,
    OrderState,
    Payment,
    Seller,
    apply_event,
    changes,
    require_happened,
)
from policies.room import SYSTEM, Party, RoomFacts, order_room
from policies.vocabulary import (
    CommandId,
    DisputeId,
    EntryKind,
    OrderCategory,
    OrderEventType,
    OrderId,
    RoomId,
    RoomKind,
    TrustLevel,
    UserId,
)
from storage.chain import KEY_SEPARATOR, link
from storage.client import Database, Session
from storage.errors import AppendLost
from storage.room_log import RoomLog
from storage.rooms import Rooms

ATTEMPTS: Final = 50
"""How often a write may lose against others of the same order or room before it is told to come back."""
_AFTER_SEPARATOR: Final = chr(ord(KEY_SEPARATOR) + 1)


@dataclass(frozen=True, slots=True)
class Order:
    """An order as it is kept: the latest facts, and what its events add up to.

    ``active_dispute`` is the one that is going on, ``latest_dispute`` the one opened last, ended or not.
    """

    facts: OrderFacts
    state: OrderState
    room: RoomId
    created_at: datetime
    version: int
    active_dispute: DisputeId | None = None
    latest_dispute: DisputeId | None = None


@dataclass(frozen=True, slots=True)
class PutResult:
    """What a report of facts did. ``entries`` are new in the order room and to be published."""

    order: Order
    created: bool
    changes: Changes
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class EventResult:
    """What a report of an event did: nothing when it was known. ``entries`` are to be published.

    ``pending``: the order's disputes have not heard of it yet, as ``Orders.event_done`` has not been called.
    """

    order: Order
    recorded: bool
    entries: tuple[Entry, ...]
    pending: bool = False


@dataclass(frozen=True, slots=True)
class PendingEvent:
    """An event that its order's disputes have not heard of yet. ``since``: when it was reported."""

    order: OrderId
    event: OrderEvent
    since: datetime


class _Stale(Exception):
    """Somebody else changed the order meanwhile."""


class Orders:
    """Keeps orders.

    Args:
        database: where.
        log: the log of the order rooms.
        rooms: the order rooms.
        salt: gives 16 fresh random bytes at each call.

    Every method raises ``policies.errors.Unavailable`` when the database does not answer in time; what is written is
    then unknown, and the same call may be made again.
    """

    def __init__(self, database: Database, log: RoomLog, rooms: Rooms, salt: Callable[[], bytes]) -> None:
        self._database = database
        self._orders = database.collection("orders")
        self._events = database.collection("order_events")
        self._disputes = database.collection("disputes")
        self._log = log
        self._rooms = rooms
        self._salt = salt

    async def get(self, order: OrderId) -> Order | None:
        """The order, or None where there is none."""
        found = await self._orders.find_one({"_id": order})
        return None if found is None else _decode_order(found)

    async def titles(self, orders: Collection[OrderId]) -> dict[OrderId, str]:
        """The titles of those of the orders that exist, in one query."""
        found = await self._orders.find({"_id": {"$in": list(orders)}}, projection={"title": 1})
        return {document["_id"]: document["title"] for document in found}

    async def put(self, facts: OrderFacts, now: datetime) -> PutResult:
        """Take in what the marketplace says of an order: new, changed, or the same again (which writes nothing).

        Raises:
            Conflict: the parties or the currency of an order in dispute would change; ``details["dispute"]`` is the
                dispute.
        """
        for _ in range(ATTEMPTS):
            known = await self.get(facts.id)
            try:
                if known is None:
                    return await self._create(facts, now)
                changed = changes(known.facts, facts)
                if not changed.fields:
                    return PutResult(known, False, changed, ())
                _require_free_for(known, changed)
                return await self._change(known, facts, changed, now)
            except (AppendLost, _Stale):
                continue
        raise _busy()

    async def record_event(self, order: OrderId, event: OrderEvent, now: datetime) -> EventResult:
        """Take in an event. The same one again changes nothing.

        Raises:
            NotFound: there is no such order.
            Conflict: the order has another event of this id.
            BadRequest: it is from the future.
        """
        for _ in range(ATTEMPTS):
            known = await self.get(order)
            if known is None:
                raise NotFound("There is no such order.")
            if (recorded := await self._recorded(order, event)) is not None:
                return EventResult(known, False, (), pending="pending" in recorded)
            require_happened(event, now)
            try:
                return await self._record(known, event, now)
            except (AppendLost, _Stale):
                continue
        raise _busy()

    async def pending_events(self, limit: int, avoid: Collection[OrderId] = ()) -> list[PendingEvent]:
        """Events that disputes have not heard of yet, those reported first before the others; none of some orders."""
        query: dict[str, Any] = {"pending": True}
        if avoid:
            query["order_id"] = {"$nin": list(avoid)}
        found = await self._events.find(query, sort=[("received_at", 1)], limit=limit)
        return [PendingEvent(each["order_id"], _decode_event(each), each["received_at"]) for each in found]

    async def pending_events_of(self, order: OrderId) -> list[OrderEvent]:
        """Events of an order that its disputes have not heard of yet, those reported first before the others."""
        keys = {"$gt": _event_key(order, ""), "$lt": f"{order}{_AFTER_SEPARATOR}"}
        found = await self._events.find({"_id": keys, "pending": True})
        return [_decode_event(each) for each in sorted(found, key=itemgetter("received_at"))]

    async def version_with(self, order: OrderId, event_id: str) -> int | None:
        """The first version of an order whose state holds an event; None where that is not known."""
        found = await self._events.find_one({"_id": _event_key(order, event_id)}, projection={"version": 1})
        return None if found is None else found.get("version")

    async def event_done(self, order: OrderId, event_id: str) -> None:
        """Say that the order's disputes have heard of an event."""
        await self._events.update_one({"_id": _event_key(order, event_id)}, {"$unset": {"pending": ""}})

    async def take_dispute(self, known: Order, dispute: DisputeId, session: Session) -> bool:
        """Make a new dispute the order's active one, within the transaction that opens it.

        Returns:
            Whether the order is still as it was known; if not, abort the transaction and look again.
        """
        query = {"_id": known.facts.id, "version": known.version, "active_dispute": None}
        update = {"$set": {"active_dispute": dispute, "latest_dispute": dispute}, "$inc": {"version": 1}}
        return await self._orders.update_one(query, update, session=session) == 1

    async def retake_dispute(
        self, order: OrderId, dispute: DisputeId, buyer: UserId, seller: UserId, session: Session
    ) -> bool:
        """Make a reopened dispute the order's active one again, within the transaction that reopens it.

        Returns:
            Whether it could: no other dispute is active or was opened since, so that no two of them ask for the same
            money; and the order's parties are still those of the dispute.
        """
        parties = {"buyer.id": buyer, "seller.id": seller}
        query = {"_id": order, "active_dispute": None, "latest_dispute": dispute, **parties}
        update = {"$set": {"active_dispute": dispute}, "$inc": {"version": 1}}
        return await self._orders.update_one(query, update, session=session) == 1

    async def leave_dispute(self, order: OrderId, dispute: DisputeId, session: Session) -> None:
        """Say that the order's active dispute has ended, within the transaction that ends it."""
        query = {"_id": order, "active_dispute": dispute}
        await self._orders.update_one(
            query, {"$set": {"active_dispute": None}, "$inc": {"version": 1}}, session=session
        )

    async def _create(self, facts: OrderFacts, now: datetime) -> PutResult:
        at = instant(now)
        order = Order(facts, OrderState(), order_room(facts.id), at, 1)
        room = RoomFacts(
            order.room, RoomKind.ORDER, facts.id, facts.buyer, Party(facts.seller.id, facts.seller.name), at
        )

        async def work(session: Session) -> None:
            await self._orders.insert_one(_encode_order(order), session=session)
            await self._rooms.create(room, session)

        try:
            await self._database.transact(work)
        except DuplicateKeyError:  # somebody else created it meanwhile
            raise _Stale from None
        return PutResult(order, True, Changes((), False), ())

    async def _change(self, known: Order, facts: OrderFacts, changed: Changes, now: datetime) -> PutResult:
        version = known.version + 1
        body: dict[str, Any] = {"changed": list(changed.fields)}
        if changed.parties:
            body["parties"] = {"buyer": facts.buyer.id, "seller": facts.seller.id}
        order = replace(known, facts=facts, version=version)

        async def also(session: Session) -> None:
            await self._rooms.set_parties(order.room, facts.buyer, Party(facts.seller.id, facts.seller.name), session)

        entries = await self._write(known, order, f"facts:{version}", body, now, also)
        return PutResult(order, False, changed, entries)

    async def _recorded(self, order: OrderId, event: OrderEvent) -> Mapping[str, Any] | None:
        found = await self._events.find_one({"_id": _event_key(order, event.id)})
        if found is not None and _decode_event(found) != event:
            raise Conflict("This order has another event of this id.", details={"event": event.id})
        return found

    async def _record(self, known: Order, event: OrderEvent, now: datetime) -> EventResult:
        asked = await self._still_asked(known.facts.id, event)
        state = apply_event(known.state, event, known.facts.amount, asked)
        order = replace(known, state=state, version=known.version + 1)
        concerns_dispute = known.latest_dispute is not None
        data = dict(event.data)
        told = {"id": event.id, "type": event.type.value, "at": rfc3339(event.at), "data": data}
        document: dict[str, Any] = {
            "_id": _event_key(order.facts.id, event.id),
            "order_id": order.facts.id,
            "event_id": event.id,
            "type": event.type.value,
            "at": event.at,
            "data": data,
            "received_at": instant(now),
            "version": order.version,
        }
        if concerns_dispute:
            document["pending"] = True

        async def also(session: Session) -> None:
            await self._events.insert_one(document, session=session)

        entries = await self._write(known, order, f"event:{event.id}", {"event": told}, now, also)
        return EventResult(order, True, entries, pending=concerns_dispute)

    async def _still_asked(self, order: OrderId, event: OrderEvent) -> int | None:
        """What a dispute of the order has asked to be paid back under a refund's key, and nobody has reported as paid;
        None when the key is none of theirs."""
        key = event.data.get("key")
        if event.type is not OrderEventType.PAYMENT_REFUNDED or not isinstance(key, str):
            return None
        fields = {"state.settlement": 1, "state.earlier": 1}
        found = await self._disputes.find_one({"_id": key.partition(":")[0], "order_id": order}, projection=fields)
        if found is None:
            return None
        settlements = [each for each in (*found["state"].get("earlier", ()), found["state"].get("settlement")) if each]
        asked: int = sum(max(0, s["refund"] - s.get("refund_paid", 0)) for s in settlements if s["key"] == key)
        return asked

    async def _write(
        self,
        known: Order,
        order: Order,
        command: str,
        body: dict[str, Any],
        now: datetime,
        also: Callable[[Session], Any],
    ) -> tuple[Entry, ...]:
        """Replace one version of an order by the next, with its entry and what else belongs to it."""
        draft = Draft(SYSTEM, CommandId(command), EntryKind.ORDER_UPDATED, body)
        entries = link(order.room, await self._log.head(order.room), [draft], now, self._salt)

        async def work(session: Session) -> None:
            query = {"_id": order.facts.id, "version": known.version}
            if not await self._orders.update_one(query, {"$set": _encode_order(order)}, session=session):
                raise _Stale
            await also(session)

        await self._log.append_with(entries, work)
        return tuple(entries)


def _busy() -> Unavailable:
    return Unavailable("Too many changes of this order at once.", retry_after_ms=1000)


def _require_free_for(known: Order, changed: Changes) -> None:
    """Who disputes what with whom is settled while a dispute is going on; all else may be corrected."""
    if known.active_dispute is not None and (changed.parties or "currency" in changed.fields):
        raise Conflict(
            "The parties and the currency of an order do not change during its dispute.",
            details={"dispute": known.active_dispute},
        )


def _decode_event(document: Mapping[str, Any]) -> OrderEvent:
    return OrderEvent(document["event_id"], OrderEventType(document["type"]), document["at"], document["data"])


def _event_key(order: OrderId, event_id: str) -> str:
    return f"{order}{KEY_SEPARATOR}{event_id}"


def _encode_order(order: Order) -> dict[str, Any]:
    facts, state, seller = order.facts, order.state, order.facts.seller
    return {
        "_id": facts.id,
        "buyer": {"id": facts.buyer.id, "name": facts.buyer.name},
        "seller": {"id": seller.id, "name": seller.name, "trust_level": seller.trust_level.value},
        "title": facts.title,
        "category": facts.category.value,
        "amount": facts.amount,
        "currency": facts.currency,
        "placed_at": facts.placed_at,
        "details": dict(facts.details),
        "state": {f.name: getattr(state, f.name) for f in fields(OrderState)},
        "room": order.room,
        "created_at": order.created_at,
        "version": order.version,
        "active_dispute": order.active_dispute,
        "latest_dispute": order.latest_dispute,
    }


def _decode_order(document: Mapping[str, Any]) -> Order:
    buyer, seller, state = document["buyer"], document["seller"], document["state"]
    chargeback, payment = state["chargeback"], state["payment"]
    return Order(
        facts=OrderFacts(
            id=document["_id"],
            buyer=Party(buyer["id"], buyer["name"]),
            seller=Seller(seller["id"], seller["name"], TrustLevel(seller["trust_level"])),
            title=document["title"],
            category=OrderCategory(document["category"]),
            amount=document["amount"],
            currency=document["currency"],
            placed_at=document["placed_at"],
            details=document["details"],
        ),
        state=OrderState(
            delivered_at=state["delivered_at"],
            delivery_confirmed_at=state["delivery_confirmed_at"],
            canceled_at=state["canceled_at"],
            chargeback=None if chargeback is None else Chargeback(chargeback),
            chargeback_at=state["chargeback_at"],
            payment=None if payment is None else Payment(payment),
            payment_at=state["payment_at"],
            refunded=state["refunded"],
        ),
        room=document["room"],
        created_at=document["created_at"],
        version=document["version"],
        active_dispute=document["active_dispute"],
        latest_dispute=document["latest_dispute"],
    )
