"""The state of a dispute: what the entries of its room add up to."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from policies.dispute.policy import Checklist, Terms
from policies.room import Party
from policies.vocabulary import (
    CLOSED_STATUSES,
    DisputeId,
    EvidenceKind,
    OrderCategory,
    OrderId,
    Outcome,
    Reason,
    Resolution,
    Role,
    RoomId,
    Seq,
    SettlementStatus,
    Stage,
    Status,
    TrustLevel,
    UserId,
)


class Rule(StrEnum):
    """What a deadline comes from. The first four bring support in when they pass; a reason for a refusal or an
    escalation may be one of these too."""

    SELLER_ATTEND = "seller_attend"
    NO_UPDATE = "no_update"
    FULFILL_BY = "fulfill_by"
    FULFILLMENT_CONFIRM = "fulfillment_confirm"
    PROPOSAL_EXPIRY = "proposal_expiry"
    EVIDENCE_REQUEST = "evidence_request"
    APPEAL_ANSWER = "appeal_answer"
    APPEAL_WINDOW = "appeal_window"
    REOPEN_WINDOW = "reopen_window"
    ROOM_CLOSES = "room_closes"
    SETTLEMENT_RETRY = "settlement_retry"


PAUSED_WHILE_FROZEN: Final = frozenset(Rule) - {Rule.PROPOSAL_EXPIRY, Rule.EVIDENCE_REQUEST, Rule.APPEAL_ANSWER}
"""What would escalate, close or ask for money waits for the bank; time to answer runs on."""


TALKS: Final = frozenset({Rule.SELLER_ATTEND, Rule.NO_UPDATE, Rule.FULFILL_BY, Rule.FULFILLMENT_CONFIRM})
"""What brings support in when it passes, and ends when support is in."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """Something is due. ``started_at`` is what it counts from, ``moved_by`` the entry that last moved it (None: where
    it began), ``of`` the entry it is about (an offer, a request). ``remind_at`` is when it is told that it
    approaches; None when it was told, or is not to be."""

    rule: Rule
    due_at: datetime
    started_at: datetime
    remind_at: datetime | None = None
    moved_by: Seq | None = None
    of: Seq | None = None

    @property
    def next_at(self) -> datetime:
        """When something has to happen."""
        return self.due_at if self.remind_at is None else min(self.remind_at, self.due_at)


@dataclass(frozen=True, slots=True)
class OrderSnapshot:
    """The order as it was when the dispute was opened. ``refunded``: already paid back, in minor units. ``version``:
    counts the order's changes; what was reported up to that one is in the dispute from the beginning."""

    id: OrderId
    room: RoomId
    title: str
    category: OrderCategory
    amount: int
    currency: str
    placed_at: datetime
    delivered_at: datetime | None
    confirmed_at: datetime | None
    trust_level: TrustLevel
    refunded: int = 0
    version: int = 0


@dataclass(frozen=True, slots=True)
class Offer:
    """A pending, or the accepted, offer; named by the seq of its entry. ``amount`` is None for a fix or replacement."""

    seq: Seq
    side: Role
    resolution: Resolution
    amount: int | None
    note: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Fulfillment:
    """What was agreed and is still to be done."""

    offer: Offer
    fulfill_by: datetime
    marked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Escalation:
    """How support came in: a party (``rule`` is ``by_buyer`` or ``by_seller``) or a rule of the system's."""

    at: datetime
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Agent:
    """The agent who has claimed the case."""

    id: UserId
    role: Role
    name: str
    since: datetime


@dataclass(frozen=True, slots=True)
class EvidenceRequest:
    """An agent asked a side for evidence, of one of these ``kinds`` (none: of any kind). ``met``: that side added
    such evidence since, or the time passed."""

    seq: Seq
    of: Role
    what: str
    due_at: datetime
    met: bool = False
    kinds: tuple[EvidenceKind, ...] = ()


@dataclass(frozen=True, slots=True)
class Ruling:
    """A recommendation or a decision. ``final``: it cannot be appealed."""

    seq: Seq
    at: datetime
    agent: UserId
    outcome: Outcome
    resolution: Resolution
    amount: int | None
    reason_codes: tuple[str, ...]
    statement: str
    evidence: tuple[str, ...] = ()
    final: bool = False


@dataclass(frozen=True, slots=True)
class Appeal:
    """The losing party's one appeal. ``answered``: the other side acted since."""

    seq: Seq
    at: datetime
    side: Role
    reason: str
    evidence: tuple[str, ...]
    against: UserId
    """The agent who decided: another one has to decide the appeal."""
    answered: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """A piece of evidence that was added in the room by entry ``seq``. ``side``: the role of whoever added it."""

    id: str
    side: Role
    seq: Seq
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """What the marketplace was asked to hold by entry ``seq``, in minor units."""

    seq: Seq
    key: str
    amount: int
    attempts: int = 1
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Carried:
    """What an earlier dispute of the order asked for under the key of its settlement, in minor units: of the refund
    what was not reported as paid, of the release all of it; less what was to be taken back since."""

    key: str
    refund: int
    release: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """The money that the end of the dispute asks the marketplace to move. This server never moves any.

    ``refund`` goes to the buyer and ``release`` to the seller, in minor units; either may be 0. ``key`` is the
    idempotency key of the refund's request; ``release_key`` that of the release's. ``seq`` is the entry that ended the
    dispute. ``attempts`` counts how often it was asked for: 0 while it waits until the end is final. ``*_paid`` and
    ``*_failed`` say what order events reported. ``*_reversal`` is what this end tells the marketplace to take back of
    what was asked for before; ``*_taken`` what a later end told it to take back of this settlement.
    """

    seq: Seq
    key: str
    refund: int
    release: int
    attempts: int = 1
    refund_paid: int = 0
    release_paid: int = 0
    refund_failed: bool = False
    release_failed: bool = False
    refund_reversal: int = 0
    release_reversal: int = 0
    refund_taken: int = 0
    release_taken: int = 0

    @property
    def release_key(self) -> str:
        return f"{self.key}:release"

    @property
    def refund_done(self) -> bool:
        """Whether all of the refund was reported as paid."""
        return 0 < self.refund <= self.refund_paid

    @property
    def release_done(self) -> bool:
        return 0 < self.release <= self.release_paid

    @property
    def buyer_gets(self) -> int:
        """What of the refund stands."""
        return max(0, self.refund - self.refund_taken)

    @property
    def seller_gets(self) -> int:
        return max(0, self.release - self.release_taken)

    @property
    def refund_again(self) -> bool:
        """Whether the refund failed and is to be asked for again: not what a later end has taken back some of."""
        return self.refund_failed and not self.refund_taken

    @property
    def release_again(self) -> bool:
        return self.release_failed and not self.release_taken

    @property
    def status(self) -> SettlementStatus:
        """Never done before all of what was asked for was reported."""
        if self.refund_failed or self.release_failed:
            return SettlementStatus.FAILED
        if self.refund_paid < self.refund or self.release_paid < self.release:
            return SettlementStatus.PENDING
        return SettlementStatus.DONE


@dataclass(frozen=True, slots=True)
class Dispute:
    """A dispute as of entry ``seq`` of its room.

    ``offers`` are the pending ones, at most one of each side. ``heard`` holds the sides that have acted for real.
    ``seen`` are digests of the texts so far, kept until the seller attended, so that a repeated text does not count.
    ``recused`` agents may not claim the case again. ``attend_by`` is until when the seller may take to be heard.
    ``chargeback_at`` is when the latest chargeback event known here happened; ``charged_back``: the bank has taken the
    money, so that nothing is asked for any more. ``earlier`` are settlements of ends that an appeal or reopening has
    undone, whose money was asked for already; ``carried`` is what earlier disputes of the order asked for, and
    ``number`` says the how many-th of them this one is. ``evidence`` is bounded by what the policy lets a side add.
    ``*_offers`` count the offers that a side has made. ``held``: the marketplace has reported that it holds the
    payment. ``closed``: the room is read-only; only what the marketplace reports of the money can follow.
    """

    id: DisputeId
    room: RoomId
    seq: Seq
    order: OrderSnapshot
    buyer: Party
    seller: Party
    reason: Reason
    description: str
    desired_resolution: Resolution
    desired_amount: int | None
    policy_version: str
    terms: Terms
    checklist: Checklist
    opened_at: datetime
    stage: Stage
    status: Status
    deadlines: tuple[Deadline, ...]
    last_update_at: datetime
    attend_by: datetime
    frozen: bool = False
    frozen_at: datetime | None = None
    chargeback_at: datetime | None = None
    attended_at: datetime | None = None
    heard: frozenset[Role] = frozenset()
    seen: tuple[str, ...] = ()
    offers: tuple[Offer, ...] = ()
    fulfillment: Fulfillment | None = None
    escalation: Escalation | None = None
    agent: Agent | None = None
    recused: tuple[UserId, ...] = ()
    requests: tuple[EvidenceRequest, ...] = ()
    recommendation: Ruling | None = None
    decision: Ruling | None = None
    appeal: Appeal | None = None
    outcome: Outcome | None = None
    resolution: Resolution | None = None
    resolved_amount: int | None = None
    ended_at: datetime | None = None
    settlement: Settlement | None = None
    earlier: tuple[Settlement, ...] = ()
    held: bool = False
    hold: Hold | None = None
    refunded: int = 0
    """Paid back for this order so far, in minor units: before the dispute, and by events since."""
    carried: tuple[Carried, ...] = ()
    number: int = 1
    charged_back: bool = False
    evidence: tuple[Evidence, ...] = ()
    buyer_offers: int = 0
    seller_offers: int = 0
    reopened: bool = False
    closed: bool = False

    @property
    def active(self) -> bool:
        """Whether it counts as the order's one active dispute."""
        return self.status not in CLOSED_STATUSES

    @property
    def settlements(self) -> tuple[Settlement, ...]:
        """All that were asked for or will be."""
        return self.earlier if self.settlement is None else (*self.earlier, self.settlement)

    @property
    def paid_as_asked(self) -> int:
        """What of this dispute's refunds was reported as paid."""
        return sum(min(each.refund, each.refund_paid) for each in self.settlements)

    @property
    def buyer_gets(self) -> int:
        """What this dispute has asked to be paid back so far, paid or not, and has not taken back."""
        return sum(each.buyer_gets for each in self.settlements)

    @property
    def seller_gets(self) -> int:
        """What was asked to be released to the seller so far, by this dispute or before, and not taken back."""
        return sum(each.seller_gets for each in self.settlements) + sum(each.release for each in self.carried)

    @property
    def asked_earlier(self) -> int:
        """What earlier disputes of the order asked to be paid back and nobody has reported as paid."""
        return sum(each.refund for each in self.carried)

    @property
    def asked(self) -> int:
        """What was asked to be paid back for this order, by this dispute or before, and was not reported as paid."""
        return self.asked_earlier + sum(
            max(0, each.refund - max(each.refund_paid, each.refund_taken)) for each in self.settlements
        )

    @property
    def refundable(self) -> int:
        """What is left of the order's amount to pay back: not paid back yet, nor asked for."""
        return max(0, self.order.amount - self.refunded - self.asked)

    @property
    def disposable(self) -> int:
        """What an end of this dispute disposes of: how much the buyer can get by it in all. On appeal that includes
        what the first decision asked for; what was paid back otherwise is not there any more."""
        return max(0, self.order.amount - (self.refunded - self.paid_as_asked) - self.asked_earlier)

    def runs(self, deadline: Deadline) -> bool:
        """Whether a deadline's time runs, or waits for the bank."""
        return not (self.frozen and deadline.rule in PAUSED_WHILE_FROZEN)

    @property
    def next_at(self) -> datetime | None:
        """When the worker has to look at it next; None for never."""
        return min((deadline.next_at for deadline in self.deadlines if self.runs(deadline)), default=None)

    def offer_of(self, side: Role) -> Offer | None:
        return next((offer for offer in self.offers if offer.side is side), None)

    def offers_of(self, side: Role) -> int:
        """How many offers a side has made."""
        return self.buyer_offers if side is Role.BUYER else self.seller_offers

    def deadline(self, rule: Rule, of: Seq | None = None) -> Deadline | None:
        return next((each for each in self.deadlines if each.rule is rule and of in (None, each.of)), None)
