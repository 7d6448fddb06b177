"""What the ``body`` of each kind of entry holds: the models that the AsyncAPI document describes entries by.

The entries are made by ``policies`` and by whatever writes to order rooms; every entry of a system test is compared
with what is documented here. Clients must expect members, and notices, that a later version adds. An entry that is
withheld from its reader, or erased, has an empty body.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field

from chatserver.frame import Timestamp
from chatserver.webhooks.payloads import Amount, Currency, Money, OpenedOrder, Person, Receipt, Reversal
from policies.dispute.policy import Checklist, Terms
from policies.vocabulary import (
    EntryKind,
    EvidenceKind,
    OrderEventType,
    Outcome,
    Reason,
    Resolution,
    Role,
)

Place = Annotated[int, Field(ge=1, description="The `seq` of an entry of the same room.")]
Side = Literal[Role.BUYER, Role.SELLER]


class Masked(BaseModel):
    """Parts of the texts that ``fields`` names are hidden; ``digest`` is that of the whole texts."""

    fields: list[str]
    digest: str


class Body(BaseModel):
    """What may stand in any body in which a party has written something."""

    masked: Masked | None = None


class MessageBody(Body):
    """``reply_to``: an earlier entry; ``evidence``: ids of the author's own."""

    text: str
    reply_to: Place | None = None
    evidence: list[str] | None = None


class EvidenceAddedBody(Body):
    """A file was verified and sealed. ``late``: after the time that an agent had given for it."""

    evidence: str
    kind: EvidenceKind
    filename: str
    content_type: str
    size: int
    sha256: str
    thumbnail: bool
    caption: str | None = None
    origin: str | None = None
    captured_at: Timestamp | None = None
    late: Literal[True] | None = None


class EvidenceWithdrawnBody(Body):
    evidence: str
    reason: str | None = None


class EvidenceRequestedBody(Body):
    """An agent asks a side for evidence, of one of these ``kinds`` or of any."""

    of: Side
    what: str
    due_at: Timestamp
    kinds: list[EvidenceKind] | None = None


class PinnedOrder(OpenedOrder):
    """``asked``: what earlier disputes have asked to be paid back; ``version``: of the order, as it is counted."""

    asked: Amount | None = None
    version: int | None = None


class PinnedPolicy(BaseModel):
    """What holds for the dispute to its end, whatever the policy says later; durations in seconds."""

    version: str
    terms: Terms


class AskedBefore(BaseModel):
    key: str
    refund: Amount
    release: Amount


class Before(BaseModel):
    """What had happened to the order: whether its payment was held, the last chargeback, and earlier disputes with what
    they have asked for."""

    held: Literal[True] | None = None
    chargeback_at: Timestamp | None = None
    disputes: int | None = None
    requests: list[AskedBefore] | None = None


class DisputeOpenedBody(Body):
    """What the buyer says and wants, and all that the rules need to know of the order and the policy."""

    dispute: str
    order_id: str
    order_room: str
    staff_room: str
    reason: Reason
    description: str
    desired_resolution: Resolution
    amount: Amount | None = None
    order: PinnedOrder
    buyer: Person
    seller: Person
    policy: PinnedPolicy
    checklist: Checklist
    before: Before | None = None


class DisputeAttendedBody(Body):
    """The seller's first real act: ``entry``."""

    by: Literal["message", "proposal", "evidence", "answer"]
    entry: Place


class ProposalMadeBody(Body):
    """``supersedes``: the same side's pending offer, which this one replaces."""

    resolution: Resolution
    amount: Amount | None = None
    currency: Currency | None = None
    expires_at: Timestamp
    note: str | None = None
    supersedes: Place | None = None


class ProposalAcceptedBody(Body):
    """``matched``: by the system, because this equal offer of the other side was made too."""

    proposal: Place
    matched: Place | None = None
    resolution: Resolution
    amount: Amount | None = None
    currency: Currency | None = None


class ProposalEndedBody(Body):
    """An offer was rejected, withdrawn, or has expired."""

    proposal: Place
    reason: str | None = None


class FulfillmentMarkedBody(Body):
    """The seller says that it is done."""

    confirm_by: Timestamp
    note: str | None = None


class FulfillmentConfirmedBody(Body):
    note: str | None = None


class DeadlineReceipt(Receipt):
    """What a deadline counted from, and the entry that last moved it."""


class DisputeEscalatedBody(Body):
    """``rule``: `by_buyer` or `by_seller` (with a ``reason``), a deadline (with its ``receipt``), or `chargeback`."""

    rule: str
    reason: str | None = None
    receipt: DeadlineReceipt | None = None


class AgentJoinedBody(Body):
    """``took_over``: the agent who had the case before."""

    took_over: str | None = None


class AgentLeftBody(Body):
    agent: str
    cause: Literal["left", "recused", "lapsed", "taken_over", "appealed"]


class RulingBody(Body):
    """A recommendation (for staff alone) or a decision. ``final``: it cannot be appealed; else it can until then."""

    outcome: Outcome
    resolution: Resolution
    amount: Amount | None = None
    currency: Currency | None = None
    reason_codes: list[str]
    statement: str
    evidence: list[str]
    final: bool | None = None
    appeal_until: Timestamp | None = None


class DisputeResolvedBody(Body):
    """The end, and what ``entry`` brought it. ``amount``: what the buyer gets back by the dispute in all."""

    outcome: Outcome
    cause: Literal["agreement", "fulfillment", "decision", "chargeback"]
    entry: Place
    resolution: Resolution | None = None
    amount: Amount | None = None
    currency: Currency | None = None
    settlement: Money | None = None
    reversal: Reversal | None = None


class DisputeWithdrawnBody(Body):
    """``reopen_until``: absent when it was reopened before."""

    reason: str
    reopen_until: Timestamp | None = None
    settlement: Money | None = None


class DisputeReopenedBody(Body):
    reason: str


class DisputeFrozenBody(Body):
    """A chargeback, of the time ``at``; ``event``: the order event, where it came after the opening."""

    at: Timestamp
    event: str | None = None


class DisputeUnfrozenBody(Body):
    event: str
    result: Literal["won", "lost"]


class AppealFiledBody(Body):
    reason: str
    evidence: list[str]
    answer_by: Timestamp


class DeadlineApproachingBody(Body):
    """``of``: the offer, request, agreement or appeal that it is about."""

    rule: str
    due_at: Timestamp
    of: Place | None = None


class DeadlineExtendedBody(Body):
    rule: str
    due_at: Timestamp
    was: Timestamp
    cause: Literal["unfrozen"]
    of: Place | None = None


class MessageRuledBody(Body):
    """Staff have released or redacted the entry ``seq``, of ``side``. ``counts``: it was withheld from the beginning,
    and counts from now on as said."""

    seq: Place
    side: Side
    reason: str | None = None
    counts: Literal[True] | None = None


class ReportedEvent(BaseModel):
    """An event as the marketplace reported it."""

    id: str
    type: OrderEventType
    at: Timestamp
    data: dict[str, Any]


class OrderParties(BaseModel):
    buyer: str
    seller: str


class OrderUpdatedBody(Body):
    """An ``event`` of the order; or, in its order room, the names of the facts that have ``changed``, with the new
    ``parties`` if they are others now."""

    event: ReportedEvent | None = None
    changed: list[str] | None = None
    parties: OrderParties | None = None


class NoticeBody(Body):
    """What the server says. By ``notice``: `talk_first` (``order_room``); `contact` and `conduct`, reminders of the
    rules (``text``, ``about`` an entry); `evidence_overdue` (``request``, ``of`` a side); `appeal_unanswered`
    (``appeal``); `payment_asked_again` (``key``, ``attempt``, and the ``entry`` that had asked first); `slow_mode`
    (``every_s``, 0 for off); `room_closed`."""

    notice: str
    order_room: str | None = None
    about: Place | None = None
    text: str | None = None
    request: Place | None = None
    of: Side | None = None
    appeal: Place | None = None
    entry: Place | None = None
    key: str | None = None
    attempt: int | None = None
    every_s: int | None = None


BODIES: Final[Mapping[EntryKind, type[Body]]] = {
    EntryKind.MESSAGE: MessageBody,
    EntryKind.EVIDENCE_ADDED: EvidenceAddedBody,
    EntryKind.EVIDENCE_WITHDRAWN: EvidenceWithdrawnBody,
    EntryKind.EVIDENCE_REQUESTED: EvidenceRequestedBody,
    EntryKind.DISPUTE_OPENED: DisputeOpenedBody,
    EntryKind.DISPUTE_ATTENDED: DisputeAttendedBody,
    EntryKind.PROPOSAL_MADE: ProposalMadeBody,
    EntryKind.PROPOSAL_ACCEPTED: ProposalAcceptedBody,
    EntryKind.PROPOSAL_REJECTED: ProposalEndedBody,
    EntryKind.PROPOSAL_WITHDRAWN: ProposalEndedBody,
    EntryKind.PROPOSAL_EXPIRED: ProposalEndedBody,
    EntryKind.FULFILLMENT_MARKED: FulfillmentMarkedBody,
    EntryKind.FULFILLMENT_CONFIRMED: FulfillmentConfirmedBody,
    EntryKind.DISPUTE_ESCALATED: DisputeEscalatedBody,
    EntryKind.AGENT_JOINED: AgentJoinedBody,
    EntryKind.AGENT_LEFT: AgentLeftBody,
    EntryKind.DECISION_RECOMMENDED: RulingBody,
    EntryKind.DECISION_ISSUED: RulingBody,
    EntryKind.DISPUTE_RESOLVED: DisputeResolvedBody,
    EntryKind.DISPUTE_WITHDRAWN: DisputeWithdrawnBody,
    EntryKind.DISPUTE_REOPENED: DisputeReopenedBody,
    EntryKind.DISPUTE_FROZEN: DisputeFrozenBody,
    EntryKind.DISPUTE_UNFROZEN: DisputeUnfrozenBody,
    EntryKind.APPEAL_FILED: AppealFiledBody,
    EntryKind.DEADLINE_APPROACHING: DeadlineApproachingBody,
    EntryKind.DEADLINE_EXTENDED: DeadlineExtendedBody,
    EntryKind.MESSAGE_REDACTED: MessageRuledBody,
    EntryKind.MESSAGE_RELEASED: MessageRuledBody,
    EntryKind.ORDER_UPDATED: OrderUpdatedBody,
    EntryKind.NOTICE: NoticeBody,
}
