"""Offers between the parties: made, superseded, matched, accepted, rejected, withdrawn; and doing what was agreed."""

from datetime import datetime
from typing import Any, Final

from policies.dispute import checks
from policies.dispute.commands import (
    AcceptProposal,
    ConfirmFulfilled,
    MakeProposal,
    MarkFulfilled,
    RejectProposal,
    WithdrawProposal,
)
from policies.dispute.ending import resolve
from policies.dispute.plan import Plan
from policies.dispute.state import Dispute, Fulfillment, Offer
from policies.errors import BadRequest, Conflict, Forbidden
from policies.instant import instant, rfc3339
from policies.vocabulary import EntryKind, Outcome, Resolution, Role, Seq

_PARTIES_ONLY: Final = "Only buyer and seller make and answer offers."


def make(plan: Plan, command: MakeProposal) -> None:
    """An offer; one that equals the other side's pending one is an agreement."""
    state, author = plan.state, command.author
    side = checks.require_party(author, _PARTIES_ONLY)
    checks.require_active(state)
    if command.resolution not in checks.OFFERED:
        message = "Offer a fix, a replacement, a partial or a full refund."
        raise BadRequest(message, details={"field": "resolution"})
    order = state.order
    checks.require_currency(command.currency, order.currency)
    made, most = state.offers_of(side), state.terms.offers_per_side
    if made >= most:
        checks.refuse("offer_limit", "You have made as many offers as one side can make in a dispute.", limit=most)
    amount = checks.paid_back(
        command.resolution, command.amount, paid=order.amount, left=state.disposable, currency=order.currency
    )
    note = checks.optional_text(command.note, state.terms.note_chars, "note")
    body: dict[str, Any] = {
        "resolution": command.resolution.value,
        **checks.money_body(amount, order.currency),
        "expires_at": rfc3339(_expiry(plan, command.expires_at)),
    }
    if note:
        body["note"] = note
    old = state.offer_of(side)
    if old is not None:
        body["supersedes"] = old.seq
    seq = plan.write(author, command.command_id, EntryKind.PROPOSAL_MADE, body)
    plan.attended(author, "proposal", seq)
    match_equal(plan)


def match_equal(plan: Plan) -> None:
    """Two pending offers of the same are an agreement; about money, not before the bank has decided."""
    state = plan.state
    buyers, sellers = state.offer_of(Role.BUYER), state.offer_of(Role.SELLER)
    if buyers is None or sellers is None or not _equal(buyers, sellers):
        return
    amount = None
    if buyers.resolution not in checks.DONE_BY_SELLER:
        if state.frozen:
            return  # both stay pending
        amount = state.disposable if buyers.resolution is Resolution.FULL_REFUND else buyers.amount
        if not amount or amount > state.disposable:
            return
    first, second = sorted((buyers, sellers), key=lambda offer: offer.seq)
    matched = {"proposal": first.seq, "matched": second.seq, **_agreed(state, first, amount)}
    accepted = plan.follow(f"matched:{first.seq}", EntryKind.PROPOSAL_ACCEPTED, matched)
    _agree(plan, first, accepted, amount)


def _equal(one: Offer, other: Offer) -> bool:
    """Of a full refund, the sum is whatever is left; of what the seller has to do, the notes say what it is."""
    if one.resolution is not other.resolution:
        return False
    if one.resolution in checks.DONE_BY_SELLER:
        return one.note.strip() == other.note.strip()
    return one.resolution is Resolution.FULL_REFUND or one.amount == other.amount


def accept(plan: Plan, command: AcceptProposal) -> None:
    """Bound to the offer as it was read: what was superseded, withdrawn, rejected or expired is not accepted."""
    state, author = plan.state, command.author
    side = checks.require_party(author, _PARTIES_ONLY)
    checks.require_active(state)
    offer = _pending(state, command.proposal)
    if offer.side is side:
        raise Forbidden("You cannot accept your own offer.")
    amount = None
    if offer.resolution not in checks.DONE_BY_SELLER:
        checks.require_unfrozen(state)
        amount = checks.paid_back(
            offer.resolution,
            offer.amount if offer.resolution is Resolution.PARTIAL_REFUND else None,
            paid=state.order.amount,
            left=state.disposable,
            currency=state.order.currency,
        )
    body = {"proposal": offer.seq, **_agreed(state, offer, amount)}
    seq = plan.write(author, command.command_id, EntryKind.PROPOSAL_ACCEPTED, body)
    plan.attended(author, "answer", seq)
    _agree(plan, offer, seq, amount)


def reject(plan: Plan, command: RejectProposal) -> None:
    state, author = plan.state, command.author
    side = checks.require_party(author, _PARTIES_ONLY)
    checks.require_active(state)
    offer = _pending(state, command.proposal)
    if offer.side is side:
        raise Forbidden("This is your own offer: withdraw it instead.")
    body = _answer(state, offer, command.reason)
    seq = plan.write(author, command.command_id, EntryKind.PROPOSAL_REJECTED, body)
    plan.attended(author, "answer", seq)


def withdraw(plan: Plan, command: WithdrawProposal) -> None:
    state, author = plan.state, command.author
    side = checks.require_party(author, _PARTIES_ONLY)
    checks.require_active(state)
    offer = _pending(state, command.proposal)
    if offer.side is not side:
        raise Forbidden("This is the other side's offer: reject it instead.")
    body = _answer(state, offer, command.reason)
    plan.write(author, command.command_id, EntryKind.PROPOSAL_WITHDRAWN, body)


def mark_fulfilled(plan: Plan, command: MarkFulfilled) -> None:
    state, author = plan.state, command.author
    if author.role is not Role.SELLER:
        raise Forbidden("Only the seller can mark this as done.")
    checks.require_active(state)
    if _awaited(state).marked_at is not None:
        checks.refuse("already_marked", "This is marked as done already; now the buyer confirms it.")
    body: dict[str, Any] = {"confirm_by": rfc3339(plan.now + state.terms.confirm_within)}
    if note := checks.optional_text(command.note, state.terms.note_chars, "note"):
        body["note"] = note
    plan.write(author, command.command_id, EntryKind.FULFILLMENT_MARKED, body)


def confirm_fulfilled(plan: Plan, command: ConfirmFulfilled) -> None:
    """Also before the seller marked it: the buyer knows best. Only this ends it well; silence brings support in."""
    state, author = plan.state, command.author
    if author.role is not Role.BUYER:
        raise Forbidden("Only the buyer can confirm that this is done.")
    checks.require_active(state)
    agreed = _awaited(state).offer
    checks.require_unfrozen(state)
    note = checks.optional_text(command.note, state.terms.note_chars, "note")
    body = {"note": note} if note else {}
    seq = plan.write(author, command.command_id, EntryKind.FULFILLMENT_CONFIRMED, body)
    resolve(plan, "fulfillment", seq, Outcome.AGREED, agreed.resolution)


def expire(plan: Plan, offer: Seq) -> None:
    plan.follow(f"expired:{offer}", EntryKind.PROPOSAL_EXPIRED, {"proposal": offer})


def _agree(plan: Plan, offer: Offer, seq: Seq, amount: int | None) -> None:
    if offer.resolution not in checks.DONE_BY_SELLER:
        resolve(plan, "agreement", seq, Outcome.AGREED, offer.resolution, amount)


def _pending(state: Dispute, proposal: Seq) -> Offer:
    for offer in state.offers:
        if offer.seq == proposal:
            return offer
    details = {
        "stage": state.stage.value,
        "status": state.status.value,
        "offers": checks.offers_body(state.offers, state.order.currency),
    }
    raise Conflict("This offer is not pending any more.", details=details)


def _awaited(state: Dispute) -> Fulfillment:
    if state.fulfillment is None:
        checks.refuse("not_awaiting_fulfillment", "There is nothing agreed that is still to be done.")
    return state.fulfillment


def _expiry(plan: Plan, wanted: datetime | None) -> datetime:
    terms = plan.state.terms
    if wanted is None:
        return plan.now + terms.offer_expires
    expires_at, latest = instant(wanted), plan.now + terms.offer_longest
    if not plan.now < expires_at <= latest:
        message = "An offer has to expire in the future, and not too late."
        raise BadRequest(message, details={"field": "expires_at", "latest": rfc3339(latest)})
    return expires_at


def _answer(state: Dispute, offer: Offer, reason: str) -> dict[str, Any]:
    body: dict[str, Any] = {"proposal": offer.seq}
    if said := checks.optional_text(reason, state.terms.note_chars, "reason"):
        body["reason"] = said
    return body


def _agreed(state: Dispute, offer: Offer, amount: int | None) -> dict[str, Any]:
    return {"resolution": offer.resolution.value, **checks.money_body(amount, state.order.currency)}
