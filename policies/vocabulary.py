"""The closed vocabularies and small value types that every part of the server shares.

The names are those of the wire contract; nothing here does I/O or knows of the other packages.
"""

from enum import StrEnum
from typing import NewType

RoomId = NewType("RoomId", str)
UserId = NewType("UserId", str)
OrderId = NewType("OrderId", str)
DisputeId = NewType("DisputeId", str)
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


DECIDERS = frozenset({Role.AGENT, Role.SENIOR_AGENT})
"""Staff who act; an auditor only ever reads."""


class RoomKind(StrEnum):
    """An order has one order room; each of its disputes has a dispute room, and a staff log that no party ever sees."""

    ORDER = "order"
    DISPUTE = "dispute"
    STAFF = "staff"


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


class Stage(StrEnum):
    """Where a dispute is: between the parties, with support, or before another agent for the last time."""

    NEGOTIATION = "negotiation"
    MEDIATION = "mediation"
    APPEAL = "appeal"


class Status(StrEnum):
    """What a dispute waits for, or how it ended."""

    WAITING_FOR_SELLER = "waiting_for_seller"
    WAITING_FOR_BUYER = "waiting_for_buyer"
    UNDER_REVIEW = "under_review"
    AWAITING_FULFILLMENT = "awaiting_fulfillment"
    RESOLVED = "resolved"
    WITHDRAWN = "withdrawn"


CLOSED_STATUSES = frozenset({Status.RESOLVED, Status.WITHDRAWN})


class Reason(StrEnum):
    """Why a buyer opens a dispute."""

    NOT_RECEIVED = "not_received"
    LATE_DELIVERY = "late_delivery"
    NOT_AS_DESCRIBED = "not_as_described"
    DEFECTIVE = "defective"
    INCOMPLETE = "incomplete"
    WRONG_SPECIFICATION = "wrong_specification"
    WRONG_QUANTITY = "wrong_quantity"
    ACCESS_NOT_TRANSFERRED = "access_not_transferred"
    ACCOUNT_RECLAIMED = "account_reclaimed"
    CHARGEBACK = "chargeback"
    OTHER = "other"


class Resolution(StrEnum):
    """How a dispute may end. The first four may be offered by a party; staff may decide on any."""

    DELIVERY_FIX = "delivery_fix"
    REPLACEMENT = "replacement"
    PARTIAL_REFUND = "partial_refund"
    FULL_REFUND = "full_refund"
    RELEASE_TO_SELLER = "release_to_seller"
    SPLIT = "split"
    CANCEL_ORDER = "cancel_order"


class Outcome(StrEnum):
    """In whose favour a dispute ended. Staff decide one of the three in the middle."""

    AGREED = "agreed"
    BUYER_FAVOR = "buyer_favor"
    SELLER_FAVOR = "seller_favor"
    COMPROMISE = "compromise"
    WITHDRAWN = "withdrawn"
    CHARGEBACK = "chargeback"


class EvidenceKind(StrEnum):
    """What a piece of evidence shows."""

    SCREENSHOT = "screenshot"
    PHOTO = "photo"
    VIDEO = "video"
    SCREEN_RECORDING = "screen_recording"
    DOCUMENT = "document"
    ORDER_DETAILS = "order_details"
    CHAT_EXPORT = "chat_export"
    PROOF_OF_DELIVERY = "proof_of_delivery"
    TRACKING = "tracking"
    PROOF_OF_REFUND = "proof_of_refund"
    ACCESS_LOG = "access_log"
    ACCOUNT_OWNERSHIP = "account_ownership"
    LISTING_SNAPSHOT = "listing_snapshot"
    OTHER = "other"


class SettlementStatus(StrEnum):
    """How far the marketplace is with moving the money that a dispute's end asks for."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


class WebhookType(StrEnum):
    """What the marketplace is told by webhook."""

    DISPUTE_OPENED = "dispute.opened"
    DISPUTE_ATTENDED = "dispute.attended"
    DISPUTE_ESCALATED = "dispute.escalated"
    DISPUTE_RESOLVED = "dispute.resolved"
    DISPUTE_WITHDRAWN = "dispute.withdrawn"
    DISPUTE_REOPENED = "dispute.reopened"
    DISPUTE_FROZEN = "dispute.frozen"
    PROPOSAL_MADE = "proposal.made"
    PROPOSAL_ACCEPTED = "proposal.accepted"
    DECISION_ISSUED = "decision.issued"
    APPEAL_FILED = "appeal.filed"
    PAYMENT_HOLD_REQUESTED = "payment.hold_requested"
    PAYMENT_RELEASE_REQUESTED = "payment.release_requested"
    PAYMENT_REFUND_REQUESTED = "payment.refund_requested"
    CONTACT_FLAGGED = "contact.flagged"
    PARTICIPANT_UNREAD = "participant.unread"
