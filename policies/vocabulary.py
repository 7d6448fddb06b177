"""The closed vocabularies and small value types that every part of the server shares.

The names are those of the wire contract; nothing here does I/O or knows of the other packages.
"""

from enum import StrEnum
from typing import NewType

RoomId = NewType("RoomId", str)
UserId = NewType("UserId", str)
OrderId = NewType("OrderId", str)
CommandId = NewType("CommandId", str)
"""Chosen by the client, unique per author; the idempotency key of a write."""
Seq = NewType("Seq", int)
"""Position of an entry in its room: 1, 2, 3 ... without holes."""


class Role(StrEnum):
    """What a person is in a room. Buyer and seller follow from the order, staff roles from the token."""

    BUYER = "buyer"
    SELLER = "seller"
    AGENT = "agent"
    SENIOR_AGENT = "senior_agent"
    AUDITOR = "auditor"
    SYSTEM = "system"


PARTIES = frozenset({Role.BUYER, Role.SELLER})
STAFF = frozenset({Role.AGENT, Role.SENIOR_AGENT, Role.AUDITOR})


class RoomKind(StrEnum):
    """An order has one order room; each of its disputes has a dispute room."""

    ORDER = "order"
    DISPUTE = "dispute"


class Visibility(StrEnum):
    """Who sees an entry's content. A withheld entry keeps its place; staff and its author see it whole."""

    ALL = "all"
    WITHHELD = "withheld"


class EntryKind(StrEnum):
    """Everything that can happen in a room."""

    MESSAGE = "message"
    EVIDENCE_ADDED = "evidence.added"
    EVIDENCE_WITHDRAWN = "evidence.withdrawn"
    EVIDENCE_REQUESTED = "evidence.requested"
    DISPUTE_OPENED = "dispute.opened"
    DISPUTE_ATTENDED = "dispute.attended"
    PROPOSAL_MADE = "proposal.made"
    PROPOSAL_ACCEPTED = "proposal.accepted"
    PROPOSAL_REJECTED = "proposal.rejected"
    PROPOSAL_WITHDRAWN = "proposal.withdrawn"
    PROPOSAL_EXPIRED = "proposal.expired"
    FULFILLMENT_MARKED = "fulfillment.marked"
    FULFILLMENT_CONFIRMED = "fulfillment.confirmed"
    DISPUTE_ESCALATED = "dispute.escalated"
    AGENT_JOINED = "agent.joined"
    AGENT_LEFT = "agent.left"
    DECISION_RECOMMENDED = "decision.recommended"
    DECISION_ISSUED = "decision.issued"
    DISPUTE_RESOLVED = "dispute.resolved"
    DISPUTE_WITHDRAWN = "dispute.withdrawn"
    DISPUTE_REOPENED = "dispute.reopened"
    DISPUTE_FROZEN = "dispute.frozen"
    DISPUTE_UNFROZEN = "dispute.unfrozen"
    APPEAL_FILED = "appeal.filed"
    DEADLINE_APPROACHING = "deadline.approaching"
    DEADLINE_EXTENDED = "deadline.extended"
    MESSAGE_REDACTED = "message.redacted"
    MESSAGE_RELEASED = "message.released"
    ORDER_UPDATED = "order.updated"
    NOTICE = "notice"


class OrderCategory(StrEnum):
    """What was bought."""

    ITEM = "item"
    SERVICE = "service"
    ACCOUNT = "account"
    CURRENCY = "currency"


class TrustLevel(StrEnum):
    """How well the marketplace knows the seller."""

    UNVERIFIED = "unverified"
    VERIFIED = "verified"
    TRUSTED = "trusted"


class OrderEventType(StrEnum):
    """What the marketplace's back end reports about an order."""

    DELIVERED = "delivered"
    DELIVERY_CONFIRMED = "delivery_confirmed"
    AUTO_CONFIRMED = "auto_confirmed"
    CANCELED = "canceled"
    CHARGEBACK_OPENED = "chargeback.opened"
    CHARGEBACK_WON = "chargeback.won"
    CHARGEBACK_LOST = "chargeback.lost"
    PAYMENT_HELD = "payment.held"
    PAYMENT_RELEASED = "payment.released"
    PAYMENT_REFUNDED = "payment.refunded"
    PAYMENT_FAILED = "payment.failed"


class PresenceState(StrEnum):
    """A user's best state over all of their connections."""

    ONLINE = "online"
    AWAY = "away"
    OFFLINE = "offline"


class ApiScope(StrEnum):
    """What an API key of the marketplace's back end may do."""

    ORDERS_WRITE = "orders:write"
    DISPUTES_READ = "disputes:read"
    DISPUTES_WRITE = "disputes:write"
    WEBHOOKS_WRITE = "webhooks:write"
