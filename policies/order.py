"""Orders: the facts a marketplace tells, and what reported events make of them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from policies.errors import BadRequest
from policies.identifiers import ID_CHARS, is_id, is_user_id
from policies.instant import instant
from policies.plain import LARGEST_INT, require_plain
from policies.room import Party
from policies.vocabulary import OrderCategory, OrderEventType, OrderId, TrustLevel, UserId

_CURRENCY: Final = re.compile(r"[A-Z]{3}")
"""The form of an ISO 4217 code. Not a list of them: the standard is amended about once a year, and a marketplace that
already settles in a new currency must not wait for an update of this server to report an order."""


EVENT_AHEAD_MAX: Final = timedelta(minutes=10)
"""How far the marketplace's clock may be ahead of ours. An event from further on would keep later ones from counting,
as the latest of its kind, until that time has come."""


@dataclass(frozen=True, slots=True)
class Seller:
    """The selling side, and how well the marketplace knows it."""

    id: UserId
    name: str
    trust_level: TrustLevel = TrustLevel.UNVERIFIED


@dataclass(frozen=True, slots=True)
class OrderFacts:
    """What the marketplace says an order is.

    ``amount`` is in minor units of ``currency`` (ISO 4217). ``details`` is the marketplace's own plain data, shown to
    the members of the order's rooms.

    Raises:
        BadRequest: a fact that cannot be; ``details["field"]`` names it.
    """

    id: OrderId
    buyer: Party
    seller: Seller
    title: str
    category: OrderCategory
    amount: int
    currency: str
    placed_at: datetime
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_id(self.id, "order_id")
        _require_user(self.buyer.id, "buyer.id")
        _require_user(self.seller.id, "seller.id")
        _require(self.buyer.id != self.seller.id, "seller.id", "Buyer and seller must be two people.")
        _require(self.title.strip(), "title", "An order needs a title.")
        _require(0 <= self.amount <= LARGEST_INT, "amount", "An amount is a whole number of minor units, 0 or more.")
        _require(_CURRENCY.fullmatch(self.currency), "currency", "A currency is an ISO 4217 code such as EUR.")
        _require(self.placed_at.tzinfo, "placed_at", "A time needs its offset from UTC.")
        require_plain(dict(self.details))
        object.__setattr__(self, "placed_at", instant(self.placed_at))


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """Something that happened to an order, as reported by the marketplace. ``id`` is unique within the order.

    ``data["amount"]`` of a refund or release is the sum, in minor units of the order's currency, and ``data["key"]``
    the key under which it was asked for. Without a sum it is all that was asked for under the key; without both, all.

    Raises:
        BadRequest: an id, time or data that cannot be.
    """

    id: str
    type: OrderEventType
    at: datetime
    data: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_id(self.id, "id")
        _require(self.at.tzinfo, "at", "A time needs its offset from UTC.")
        require_plain(dict(self.data))
        if self.type is OrderEventType.PAYMENT_REFUNDED:
            _require(_is_amount(self.data.get("amount")), "data.amount", "A refund is a whole number of minor units.")
        object.__setattr__(self, "at", instant(self.at))


class Chargeback(StrEnum):
    """How far the buyer's bank is with taking the payment back. Won and lost are the marketplace's view."""

    OPEN = "open"
    WON = "won"
    LOST = "lost"


class Payment(StrEnum):
    """Where the buyer's money is."""

    FAILED = "failed"
    HELD = "held"
    RELEASED = "released"
    REFUNDED = "refunded"


@dataclass(frozen=True, slots=True)
class OrderState:
    """What the events so far add up to; each ``*_at`` is when it happened, as told by the event.

    ``refunded`` is what was paid back to the buyer, in minor units, and never more than the order's amount.
    """

    delivered_at: datetime | None = None
    delivery_confirmed_at: datetime | None = None
    canceled_at: datetime | None = None
    chargeback: Chargeback | None = None
    chargeback_at: datetime | None = None
    payment: Payment | None = None
    payment_at: datetime | None = None
    refunded: int = 0


_CHARGEBACKS: Final = {
    OrderEventType.CHARGEBACK_OPENED: Chargeback.OPEN,
    OrderEventType.CHARGEBACK_WON: Chargeback.WON,
    OrderEventType.CHARGEBACK_LOST: Chargeback.LOST,
}
CHARGEBACKS: Final = frozenset(_CHARGEBACKS)
"""What the buyer's bank does."""
_PAYMENTS: Final = {
    OrderEventType.PAYMENT_FAILED: Payment.FAILED,
    OrderEventType.PAYMENT_HELD: Payment.HELD,
    OrderEventType.PAYMENT_RELEASED: Payment.RELEASED,
    OrderEventType.PAYMENT_REFUNDED: Payment.REFUNDED,
}
_ORDER_OF_CHARGEBACKS: Final = tuple(Chargeback)
_ORDER_OF_PAYMENTS: Final = tuple(Payment)


def apply_event(state: OrderState, event: OrderEvent, amount: int, asked: int | None = None) -> OrderState:
    """What the state of an order of this amount is with one more event.

    Args:
        state: before it.
        event: the event.
        amount: the order's, in minor units.
        asked: what a dispute of the order has asked to be paid back under the event's key and nobody has reported yet;
            None when the key is none of theirs.

    Events may arrive late and in any order, so the result depends on when they happened, never on when they came: the
    first delivery, confirmation and cancellation count; of chargeback and payment the latest; of two at the same
    millisecond the one further on. Refunds add up.
    """
    kind, at = event.type, event.at
    if kind is OrderEventType.DELIVERED:
        return replace(state, delivered_at=_earliest(state.delivered_at, at))
    if kind in (OrderEventType.DELIVERY_CONFIRMED, OrderEventType.AUTO_CONFIRMED):
        return replace(state, delivery_confirmed_at=_earliest(state.delivery_confirmed_at, at))
    if kind is OrderEventType.CANCELED:
        return replace(state, canceled_at=_earliest(state.canceled_at, at))
    if kind in _CHARGEBACKS:
        chargeback = _CHARGEBACKS[kind]
        if _supersedes(_ORDER_OF_CHARGEBACKS, chargeback, at, state.chargeback, state.chargeback_at):
            return replace(state, chargeback=chargeback, chargeback_at=at)
        return state
    if kind is OrderEventType.PAYMENT_REFUNDED:
        paid = refund(event, amount if asked is None else asked)
        if not paid:
            return state
        state = replace(state, refunded=min(amount, state.refunded + paid))
    payment = _PAYMENTS[kind]
    if _supersedes(_ORDER_OF_PAYMENTS, payment, at, state.payment, state.payment_at):
        return replace(state, payment=payment, payment_at=at)
    return state


def require_happened(event: OrderEvent, now: datetime) -> None:
    """Check that an event is not from the future.

    Raises:
        BadRequest: it is, by more than clocks may differ.
    """
    minutes = EVENT_AHEAD_MAX // timedelta(minutes=1)
    not_ahead = event.at <= instant(now) + EVENT_AHEAD_MAX
    _require(not_ahead, "at", f"An event is at most {minutes} minutes ahead of this server's clock.")


def refund(event: OrderEvent, asked: int) -> int:
    """What a refund's event says was paid back: all that was asked for, when it names no sum."""
    paid: int | None = event.data.get("amount")
    return asked if paid is None else paid


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs between two versions of an order's facts. ``parties``: buyer or seller is another person now."""

    fields: tuple[str, ...]
    parties: bool


def changes(old: OrderFacts, new: OrderFacts) -> Changes:
    """Compare two versions of the same order; no fields means that nothing changed."""
    names = tuple(f.name for f in fields(OrderFacts) if getattr(old, f.name) != getattr(new, f.name))
    return Changes(names, old.buyer.id != new.buyer.id or old.seller.id != new.seller.id)


def _earliest(known: datetime | None, at: datetime) -> datetime:
    return at if known is None else min(known, at)


def _supersedes(
    order: Sequence[StrEnum], new: StrEnum, at: datetime, known: StrEnum | None, known_at: datetime | None
) -> bool:
    if known is None or known_at is None:
        return True
    return (at, order.index(new)) > (known_at, order.index(known))


def _is_amount(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_INT)


def _require(truth: object, name: str, message: str) -> None:
    if not truth:
        raise BadRequest(message, details={"field": name})


def _require_id(value: str, name: str) -> None:
    _require(is_id(value), name, f"An id has 1 to {ID_CHARS} characters, no control characters.")


def _require_user(user: UserId, name: str) -> None:
    _require_id(user, name)
    _require(is_user_id(user), name, "This id is reserved for the server.")
