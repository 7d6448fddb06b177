"""Opening a dispute: who may, when, and what its first entry pins for good."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from policies.dispute import checks
from policies.dispute.acts import fingerprint
from policies.dispute.commands import Asked
from policies.dispute.deadlines import begin, put
from policies.dispute.fact import Fact
from policies.dispute.policy import Checklist, Policy, Terms
from policies.dispute.settling import held_by, owed
from policies.dispute.state import Carried, Dispute, OrderSnapshot, Rule
from policies.entry import Draft
from policies.errors import BadRequest, Forbidden
from policies.instant import instant, read_rfc3339, rfc3339
from policies.order import Chargeback, OrderFacts, OrderState, Payment
from policies.room import SYSTEM, Party, dispute_room, order_room, staff_room
from policies.screening import Screening
from policies.vocabulary import (
    CommandId,
    DisputeId,
    EntryKind,
    OrderCategory,
    Reason,
    Resolution,
    Role,
    Seq,
    Stage,
    Status,
    TrustLevel,
)

ORDER_ROOM: Final = "order_room"
"""The fallback where no dispute can be opened: talk there."""


@dataclass(frozen=True, slots=True)
class Eligibility:
    """Whether a dispute may be opened now; if not, by which ``rule``. ``opens_at``: from when on; ``closes_at``: until
    when; ``fallback``: where to turn instead."""

    allowed: bool
    rule: str | None = None
    opens_at: datetime | None = None
    closes_at: datetime | None = None
    fallback: str | None = None


@dataclass(frozen=True, slots=True)
class OpenDispute(Asked):
    """The buyer opens a dispute; ``amount`` is what they want back, for a partial refund."""

    dispute: DisputeId
    reason: Reason
    description: str
    desired_resolution: Resolution
    amount: int | None = None


_MESSAGES: Final = {
    "order_canceled": "This order was canceled.",
    "charged_back": "The bank has taken this payment back already.",
    "already_refunded": "There is nothing left to pay back: all of it was paid back, or is to be.",
    "too_early": "It is too early to open a dispute; please talk to the seller first.",
    "decided": "Support has decided about this order; there is no further dispute about it.",
    "too_many_disputes": "There have been as many disputes about this order as there can be.",
    "settlement_waits": "The money of the last dispute about this order is not asked for yet.",
    "window_passed": "The time to open a dispute after confirmed delivery is over; please talk to the seller.",
}


def eligibility(
    facts: OrderFacts, order_state: OrderState, policy: Policy, now: datetime, earlier: Dispute | None = None
) -> Eligibility:
    """Whether the buyer of an order may open a dispute now. That none is active is not looked at here.

    ``earlier`` is the order's latest dispute so far. What support has decided stays decided. While the money of its end
    waits until that is final, a new one has to wait too.
    """
    now = instant(now)
    if order_state.canceled_at is not None:
        return Eligibility(False, "order_canceled", fallback=ORDER_ROOM)
    if order_state.chargeback is Chargeback.LOST:
        return Eligibility(False, "charged_back", fallback=ORDER_ROOM)
    if facts.amount and order_state.refunded + _asked(earlier) >= facts.amount:
        return Eligibility(False, "already_refunded", fallback=ORDER_ROOM)
    if earlier is not None and (refused := _after(earlier, policy, now)) is not None:
        return refused
    opens_at = facts.placed_at + policy.opening.not_before
    if now < opens_at:
        return Eligibility(False, "too_early", opens_at=opens_at, fallback=ORDER_ROOM)
    confirmed_at = order_state.delivery_confirmed_at
    if confirmed_at is None:
        return Eligibility(True)
    closes_at = confirmed_at + policy.opening.windows[facts.seller.trust_level]
    if now > closes_at:
        return Eligibility(False, "window_passed", closes_at=closes_at, fallback=ORDER_ROOM)
    return Eligibility(True, closes_at=closes_at)


def _after(earlier: Dispute, policy: Policy, now: datetime) -> Eligibility | None:
    """Why there can be no dispute after an earlier one; None when there can."""
    if earlier.decision is not None and earlier.outcome is earlier.decision.outcome:
        return Eligibility(False, "decided", fallback=ORDER_ROOM)
    if earlier.number >= policy.opening.disputes_per_order:
        return Eligibility(False, "too_many_disputes", fallback=ORDER_ROOM)
    window = earlier.deadline(Rule.REOPEN_WINDOW)
    waits = earlier.settlement is not None and not earlier.settlement.attempts
    if waits and window is not None and not (earlier.runs(window) and now > window.due_at):
        return Eligibility(False, "settlement_waits", opens_at=window.due_at, fallback=ORDER_ROOM)
    return None


def open_dispute(
    facts: OrderFacts,
    order_state: OrderState,
    command: OpenDispute,
    policy: Policy,
    now: datetime,
    *,
    talked: bool,
    earlier: Dispute | None = None,
    version: int = 0,
    screening: Screening | None = None,
) -> list[Draft]:
    """Decide what opening writes: the first entries of the dispute's own room.

    Args:
        facts: the order.
        order_state: what its events add up to.
        command: who opens it, and why.
        policy: the one in force, of which the terms and the checklist are pinned.
        now: when.
        talked: whether the buyer has written in the order room; if not, they are nudged, never blocked.
        earlier: the order's latest dispute so far. What it asked for is not there to be asked for again.
        version: of the order, as it is kept; pinned, so that an event which is part of it is not counted once more.
        screening: what was found in the description.

    Raises:
        Forbidden: only the buyer may.
        Refused: it is too early, too late, or there is nothing left to settle; ``details`` say which and when.
        BadRequest: the description or the amount is missing, or nobody may ask for this resolution.
        TooLarge: the description is too long.
    """
    now = instant(now)
    author = command.author
    if author.role is not Role.BUYER or author.id != facts.buyer.id:
        raise Forbidden("Only the buyer of an order can open a dispute about it.")
    allowed = eligibility(facts, order_state, policy, now, earlier)
    if allowed.rule is not None:
        checks.refuse(
            allowed.rule,
            _MESSAGES[allowed.rule],
            opens_at=allowed.opens_at,
            closes_at=allowed.closes_at,
            fallback=allowed.fallback,
        )
    body = _body(facts, order_state, command, policy, earlier)
    if version:
        body["order"]["version"] = version
    opened = Draft(author, command.command_id, EntryKind.DISPUTE_OPENED, body)
    drafts = [opened if screening is None else screening.applied(opened)]
    if not talked:
        talk: dict[str, Any] = {"notice": "talk_first", "order_room": order_room(facts.id)}
        drafts.append(Draft(SYSTEM, CommandId("talk_first"), EntryKind.NOTICE, talk))
    if order_state.chargeback is Chargeback.OPEN and order_state.chargeback_at is not None:
        frozen: dict[str, Any] = {"at": rfc3339(order_state.chargeback_at)}
        drafts.append(Draft(SYSTEM, CommandId("frozen"), EntryKind.DISPUTE_FROZEN, frozen))
        escalated: dict[str, Any] = {"rule": "chargeback"}
        drafts.append(Draft(SYSTEM, CommandId("escalated"), EntryKind.DISPUTE_ESCALATED, escalated))
    if screening is not None and (reminder := screening.reminder(Seq(1))) is not None:
        drafts.append(reminder)
    return drafts


def _asked(earlier: Dispute | None) -> int:
    return 0 if earlier is None else sum(each.refund for each in owed(earlier))


def _body(
    facts: OrderFacts, order_state: OrderState, command: OpenDispute, policy: Policy, earlier: Dispute | None
) -> dict[str, Any]:
    asked = _asked(earlier)
    description = checks.text(command.description, policy.opening.description_chars, "description")
    if command.desired_resolution not in checks.OFFERED:
        message = "Ask for a fix, a replacement, a partial or a full refund."
        raise BadRequest(message, details={"field": "desired_resolution"})
    left = max(0, facts.amount - order_state.refunded - asked)
    amount = checks.paid_back(
        command.desired_resolution, command.amount, paid=facts.amount, left=left, currency=facts.currency
    )
    order: dict[str, Any] = {
        "title": facts.title,
        "category": facts.category.value,
        "amount": facts.amount,
        "currency": facts.currency,
        "placed_at": rfc3339(facts.placed_at),
        "trust_level": facts.seller.trust_level.value,
        "refunded": order_state.refunded,
    }
    if order_state.delivered_at is not None:
        order["delivered_at"] = rfc3339(order_state.delivered_at)
    if order_state.delivery_confirmed_at is not None:
        order["confirmed_at"] = rfc3339(order_state.delivery_confirmed_at)
    body: dict[str, Any] = {
        "dispute": command.dispute,
        "order_id": facts.id,
        "order_room": order_room(facts.id),
        "staff_room": staff_room(command.dispute),
        "reason": command.reason.value,
        "description": description,
        "desired_resolution": command.desired_resolution.value,
        "order": order,
        "buyer": {"id": facts.buyer.id, "name": facts.buyer.name},
        "seller": {"id": facts.seller.id, "name": facts.seller.name},
        "policy": {"version": policy.version, "terms": policy.terms.model_dump(mode="json")},
        "checklist": policy.checklist(command.reason).model_dump(mode="json"),
    }
    if amount is not None:
        body["amount"] = amount
    if asked:
        order["asked"] = asked
    if before := _before(order_state, earlier):
        body["before"] = before
    return body


def _before(order_state: OrderState, earlier: Dispute | None) -> dict[str, Any]:
    """What has happened to the order that the rules of money have to know."""
    before: dict[str, Any] = {}
    if order_state.payment is Payment.HELD:
        before["held"] = True
    if order_state.chargeback_at is not None:
        before["chargeback_at"] = rfc3339(order_state.chargeback_at)
    if earlier is not None:
        before["disputes"] = earlier.number
        if requests := [{"key": each.key, "refund": each.refund, "release": each.release} for each in owed(earlier)]:
            before["requests"] = requests
    return before


def begin_dispute(entry: Fact) -> Dispute:
    """The state after ``dispute.opened``, the first entry of a dispute's room."""
    body, at = entry.body, entry.at
    dispute, terms = DisputeId(body["dispute"]), Terms.model_validate(body["policy"]["terms"])
    order, before = _read_order(body), body.get("before", {})
    attend_by = at + terms.attend_within
    deadlines = put((), begin(Rule.SELLER_ATTEND, at, attend_by, terms))
    deadlines = put(deadlines, begin(Rule.NO_UPDATE, at, at + terms.update_within, terms))
    opened = Dispute(
        id=dispute,
        room=dispute_room(dispute),
        seq=entry.seq,
        order=order,
        buyer=Party(body["buyer"]["id"], body["buyer"]["name"]),
        seller=Party(body["seller"]["id"], body["seller"]["name"]),
        reason=Reason(body["reason"]),
        description=body["description"],
        desired_resolution=Resolution(body["desired_resolution"]),
        desired_amount=body.get("amount"),
        policy_version=body["policy"]["version"],
        terms=terms,
        checklist=Checklist.model_validate(body["checklist"]),
        opened_at=at,
        stage=Stage.NEGOTIATION,
        status=Status.WAITING_FOR_SELLER,
        deadlines=deadlines,
        last_update_at=at,
        attend_by=attend_by,
        heard=frozenset({Role.BUYER}),
        seen=(fingerprint(body["description"]),),
        refunded=order.refunded,
        held=before.get("held", False),
        chargeback_at=_read_time(before, "chargeback_at"),
        carried=_read_carried(body),
        number=before.get("disputes", 0) + 1,
    )
    return held_by(opened, entry.seq)


def _read_carried(body: Mapping[str, Any]) -> tuple[Carried, ...]:
    if "before" in body:
        requests = body["before"].get("requests", ())
        return tuple(Carried(each["key"], each["refund"], each["release"]) for each in requests)
    asked = body["order"].get("asked", 0)  # rooms that were opened before keys and releases were carried
    return (Carried("", asked, 0),) if asked else ()


def _read_order(body: Mapping[str, Any]) -> OrderSnapshot:
    order = body["order"]
    return OrderSnapshot(
        id=body["order_id"],
        room=body["order_room"],
        title=order["title"],
        category=OrderCategory(order["category"]),
        amount=order["amount"],
        currency=order["currency"],
        placed_at=read_rfc3339(order["placed_at"]),
        delivered_at=_read_time(order, "delivered_at"),
        confirmed_at=_read_time(order, "confirmed_at"),
        trust_level=TrustLevel(order["trust_level"]),
        refunded=order["refunded"],
        version=order.get("version", 0),
    )


def _read_time(body: Mapping[str, Any], name: str) -> datetime | None:
    return read_rfc3339(body[name]) if name in body else None
