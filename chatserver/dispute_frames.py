"""The frames of disputes: what people ask of one, and how it looks to them.

How long a note, a reason or a statement may be is part of the policy that the dispute was opened under, so it is not
said here; beyond it the answer is ``too_large``.
"""

from typing import Annotated, Literal

from pydantic import Field

from chatserver.frame import Command, Frame, Position, RoomIdField, SeqField, Timestamp
from policies.vocabulary import (
    EvidenceKind,
    OrderCategory,
    Outcome,
    Reason,
    Resolution,
    Role,
    SettlementStatus,
    Stage,
    Status,
    TrustLevel,
)

Side = Literal["buyer", "seller"]
Offered = Literal["delivery_fix", "replacement", "partial_refund", "full_refund"]
Ruled = Literal["buyer_favor", "seller_favor", "compromise"]
Currency = Annotated[str, Field(pattern="^[A-Z]{3}$", description="ISO 4217.")]
Amount = Annotated[int, Field(ge=0, lt=2**53, description="In minor units of the currency.")]
Text = Annotated[str, Field(min_length=1)]
EvidenceId = Annotated[str, Field(min_length=1, max_length=64)]
EvidenceIds = Annotated[list[EvidenceId], Field(max_length=100)]
ReasonCodes = Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(min_length=1, max_length=10)]


# Client to server


class DisputeCommand(Command):
    """A command to the dispute of a room that this connection has joined."""

    room: RoomIdField


class ProposalMake(DisputeCommand):
    """An offer to the other party. It supersedes one's own pending offer.

    ``amount`` belongs to a partial refund, which is of more than nothing and less than was paid. Without
    ``expires_at`` the offer lives as long as the policy says.
    """

    type: Literal["proposal.make"]
    resolution: Offered
    amount: Amount | None = None
    currency: Currency | None = None
    note: str = ""
    expires_at: Timestamp | None = None


class ProposalAccept(DisputeCommand):
    """Accept the offer of this very ``seq``: was it superseded, withdrawn or has it expired, that is a ``conflict``."""

    type: Literal["proposal.accept"]
    proposal: SeqField


class ProposalReject(DisputeCommand):
    type: Literal["proposal.reject"]
    proposal: SeqField
    reason: str = ""


class ProposalWithdraw(DisputeCommand):
    type: Literal["proposal.withdraw"]
    proposal: SeqField
    reason: str = ""


class FulfillmentMark(DisputeCommand):
    """The seller has done what was agreed."""

    type: Literal["fulfillment.mark"]
    note: str = ""


class FulfillmentConfirm(DisputeCommand):
    """The buyer has got what was agreed: the dispute is resolved."""

    type: Literal["fulfillment.confirm"]
    note: str = ""


class DisputeEscalate(DisputeCommand):
    """Bring support in."""

    type: Literal["dispute.escalate"]
    reason: Text


class DisputeClose(DisputeCommand):
    """The buyer withdraws the dispute; for a while it may be reopened."""

    type: Literal["dispute.close"]
    reason: Text


class DisputeReopen(DisputeCommand):
    """The buyer goes on with a dispute that they have withdrawn. When there has been a newer dispute about the order
    since, that is a `conflict` which names it in `details.dispute`."""

    type: Literal["dispute.reopen"]
    reason: Text


class DisputeAppeal(DisputeCommand):
    """The losing party asks for another agent's decision, once. ``evidence`` names at least one piece that this side
    has added since the decision."""

    type: Literal["dispute.appeal"]
    reason: Text
    evidence: EvidenceIds = []


class AgentJoin(DisputeCommand):
    """Staff: claim the case. The claim is kept while the agent is in the room and lapses soon after.

    ``take_over``: although another agent has it; for senior agents.
    """

    type: Literal["agent.join"]
    take_over: bool = False


class AgentLeave(DisputeCommand):
    """Staff: give the case back; with ``recuse`` for good, because of a conflict of interest. The ``reason`` becomes a
    note in the staff log; the parties are not told."""

    type: Literal["agent.leave"]
    recuse: bool = False
    reason: str = ""


class EvidenceRequest(DisputeCommand):
    """Staff: ask a side for evidence. Without ``due_at`` the policy says how long it has."""

    type: Literal["evidence.request"]
    of: Side
    what: Text
    due_at: Timestamp | None = None
    kinds: Annotated[list[EvidenceKind], Field(max_length=len(EvidenceKind))] = []


class Ruling(DisputeCommand):
    """What a recommendation and a decision say. ``amount`` goes back to the buyer, of a partial refund or a split; on
    appeal it is what the buyer gets in all, and what the first decision asked for counts towards it.

    `seller_favor` goes with `release_to_seller` alone, `buyer_favor` with any other resolution, and `compromise` with
    `partial_refund`, `split`, `delivery_fix` or `replacement`. ``evidence`` is of this room.
    """

    outcome: Ruled
    resolution: Resolution
    amount: Amount | None = None
    reason_codes: ReasonCodes
    statement: Text
    evidence: EvidenceIds = []


class DecisionRecommend(Ruling):
    """Staff: what another agent should decide; needed before a decision that moves a large amount."""

    type: Literal["decision.recommend"]


class DecisionIssue(Ruling):
    """Staff: decide."""

    type: Literal["decision.issue"]


class NoteAdd(DisputeCommand):
    """Staff: a note in the staff log of the dispute, which no party ever sees. ``ack`` says its place there."""

    type: Literal["note.add"]
    text: str


DisputeChange = (
    ProposalMake
    | ProposalAccept
    | ProposalReject
    | ProposalWithdraw
    | FulfillmentMark
    | FulfillmentConfirm
    | DisputeEscalate
    | DisputeClose
    | DisputeReopen
    | DisputeAppeal
    | AgentJoin
    | AgentLeave
    | EvidenceRequest
    | DecisionRecommend
    | DecisionIssue
)
"""What writes to the dispute itself."""


# What a reader sees of a dispute


class AvailableAction(Frame):
    """Something that this reader may do now. ``action`` is the type of the command; ``mandatory``: a deadline waits for
    it, whose ``rule`` and ``due_at`` these are. It follows from this dispute alone: `dispute.reopen` is offered for as
    long as the dispute may be reopened, and is a `conflict` once the order has a newer dispute."""

    action: str
    mandatory: bool
    due_at: Timestamp | None = None
    rule: str | None = None


class DisputeOrder(Frame):
    """The order as it was when the dispute was opened. ``refunded``: what had been paid back by then."""

    id: str
    room: str
    title: str
    category: OrderCategory
    amount: int
    currency: str
    placed_at: Timestamp
    delivered_at: Timestamp | None = None
    confirmed_at: Timestamp | None = None
    trust_level: TrustLevel
    refunded: int


class DisputeParty(Frame):
    id: str
    name: str


class DisputeDeadline(Frame):
    """Something is due; the time itself is still in time. The receipt: which ``rule`` says so, what it counts from, the
    entry that last moved it, and the entry it is about (``of``). ``paused``: it waits while the dispute is frozen."""

    rule: str
    due_at: Timestamp
    started_at: Timestamp
    moved_by: int | None = None
    of: int | None = None
    paused: Literal[True] | None = None


class DisputeOffer(Frame):
    """An offer, named by the seq of its entry."""

    seq: int
    side: Side
    resolution: Resolution
    amount: int | None = None
    note: str | None = None
    expires_at: Timestamp


class DisputeFulfillment(Frame):
    """What was agreed and is still to be done."""

    offer: DisputeOffer
    fulfill_by: Timestamp
    marked_at: Timestamp | None = None


class DisputeEscalation(Frame):
    """How support came in: by a party, or by the rule of a deadline."""

    at: Timestamp
    rule: str
    reason: str


class DisputeAgent(Frame):
    """Who has claimed the case. Parties are told the name."""

    id: str | None = None
    role: Role | None = None
    name: str
    since: Timestamp


class DisputeRequest(Frame):
    """Evidence that an agent asked for, of one of the ``kinds`` (none: any). ``met``: it came, or nobody waits for it
    any more."""

    seq: int
    of: Side
    what: str
    due_at: Timestamp
    met: bool
    kinds: list[EvidenceKind]


class DisputeRuling(Frame):
    """A decision, or a recommendation. Its ``agent`` is told to staff only. ``final``: it cannot be appealed."""

    seq: int
    at: Timestamp
    agent: str | None = None
    outcome: Outcome
    resolution: Resolution
    amount: int | None = None
    reason_codes: list[str]
    statement: str
    evidence: list[str]
    final: bool


class DisputeAppealed(Frame):
    """The one appeal. ``answered``: the other side has acted since. ``against``, for staff: who had decided."""

    seq: int
    at: Timestamp
    side: Side
    reason: str
    evidence: list[str]
    answered: bool
    against: str | None = None


class DisputeReversal(Frame):
    """What was asked to be paid ``refund`` to the buyer and ``release`` to the seller before, and is not theirs any
    more: the marketplace has to take it back."""

    refund: int | None = None
    release: int | None = None


class DisputeSettlement(Frame):
    """The money that the end of the dispute asks the marketplace to move. It is ``done`` when the marketplace has
    reported all of it, never before. ``refund`` goes to the buyer, ``release`` to the seller: what they were not asked
    to get before. ``attempts`` says how often it was asked for: 0 while that waits until the end is final."""

    status: SettlementStatus
    refund: int
    release: int
    refund_done: bool
    release_done: bool
    attempts: int
    reversal: DisputeReversal | None = None


class ChecklistItem(Frame):
    """A kind of evidence that would help most, and from which side."""

    side: Side
    kind: EvidenceKind


class Dispute(Frame):
    """A dispute as of entry ``seq`` of its room, as this reader sees it.

    ``refundable`` is what of the order's amount this dispute may give back to the buyer in all; on appeal, what the
    first decision asked for is part of that. After the end it is what was neither paid back nor asked for.
    ``offers`` are the pending ones. ``held``: the marketplace has reported that it holds the payment. ``frozen``: a
    chargeback keeps all money where it is. ``closed``: the room is read-only. ``earlier_settlements`` are of ends that
    an appeal or reopening has undone. Staff also see ``staff_room`` (the room of their notes, which they may join),
    ``recommendation`` and who has ``recused``.
    """

    id: str
    room: str
    seq: Position
    order: DisputeOrder
    buyer: DisputeParty
    seller: DisputeParty
    reason: Reason
    description: str
    desired_resolution: Resolution
    desired_amount: int | None = None
    policy_version: str
    evidence_checklist: list[ChecklistItem]
    opened_at: Timestamp
    stage: Stage
    status: Status
    frozen: bool
    held: bool
    closed: bool
    reopened: bool
    frozen_at: Timestamp | None = None
    attended_at: Timestamp | None = None
    last_update_at: Timestamp
    refundable: int
    deadlines: list[DisputeDeadline]
    offers: list[DisputeOffer]
    fulfillment: DisputeFulfillment | None = None
    escalation: DisputeEscalation | None = None
    agent: DisputeAgent | None = None
    requests: list[DisputeRequest]
    decision: DisputeRuling | None = None
    appeal: DisputeAppealed | None = None
    outcome: Outcome | None = None
    resolution: Resolution | None = None
    resolved_amount: int | None = None
    ended_at: Timestamp | None = None
    settlement: DisputeSettlement | None = None
    earlier_settlements: list[DisputeSettlement] | None = None
    staff_room: str | None = None
    recommendation: DisputeRuling | None = None
    recused: list[str] | None = None


# Server to client


class DisputeNow(Frame):
    """The dispute has changed: how it is now, and what this reader may do about it.

    A message that does no more than put off the ``no_update`` deadline brings none.
    """

    type: Literal["dispute"] = "dispute"
    room: str
    dispute: Dispute
    available_actions: list[AvailableAction]
