"""The money at the end of a dispute: what is asked for, and what the marketplace reports of it.

This server never moves any. It asks by webhook with a key of dispute and entry, hears by order events, and says that
something was paid only when it was told so.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from policies.dispute.deadlines import begin, drop, put
from policies.dispute.state import Dispute, Rule, Settlement
from policies.vocabulary import OrderEventType, Seq, SettlementStatus


def settlement_body(state: Dispute, seq: Seq, refund: int, *, deferred: bool) -> dict[str, Any] | None:
    """What the entry ``seq`` that ends a dispute says of the money; None when none moves.

    ``refund`` goes to the buyer, and the seller gets what is left then and was not asked to be released before.
    """
    released = sum(each.release for each in state.settlements)
    release = max(0, state.refundable - refund - released)
    if not refund and not release:
        return None
    body: dict[str, Any] = {"key": f"{state.id}:{seq}", "refund": refund, "release": release}
    if deferred:
        body["deferred"] = True
    return body


def settle(state: Dispute, seq: Seq, body: Mapping[str, Any]) -> Dispute:
    """With the settlement that the ending entry ``seq`` began.

    Where an earlier end asked for a release that has not been reported yet, and this one gives the money to the buyer,
    no more than what is left is ever asked to be released again.
    """
    told = body.get("settlement")
    if told is None:
        return replace(state, settlement=None)
    attempts = 0 if told.get("deferred") else 1
    settlement = Settlement(seq, told["key"], told["refund"], told["release"], attempts=attempts)
    state = replace(state, settlement=settlement)
    left = state.refundable
    earlier = []
    for each in state.earlier:
        release = each.release if each.release_done else min(each.release, left)
        left = max(0, left - release)
        earlier.append(replace(each, release=release))
    return replace(state, earlier=tuple(earlier))


def ask(state: Dispute, seq: Seq) -> Dispute:
    """The settlement of entry ``seq`` is asked for now: for the first time, or what failed of it once more."""

    def asked(each: Settlement) -> Settlement:
        if each.seq != seq:
            return each
        return replace(each, attempts=each.attempts + 1, refund_failed=False, release_failed=False)

    state = _with_each(state, asked)
    return replace(state, deadlines=drop(state.deadlines, [Rule.SETTLEMENT_RETRY], seq))


def set_aside(state: Dispute) -> Dispute:
    """An appeal undoes the end that a settlement belongs to: what was not asked for, or failed, is not asked again.

    What was asked for and not answered yet cannot be taken back, so it stays, and the new end disposes of the rest.
    """
    settlement = state.settlement
    if settlement is None or settlement.attempts == 0:
        return replace(state, settlement=None)
    return replace(state, settlement=None, earlier=(*state.earlier, _without_failed(settlement)))


def void(state: Dispute) -> Dispute:
    """The buyer reopens: the money is asked back into hold, so what the withdrawal asked for is not owed any more."""
    return replace(state, settlement=None, earlier=tuple(_without_failed(each) for each in state.earlier))


def give_up(state: Dispute) -> Dispute:
    """The bank has taken the money: what was not asked for is not asked any more."""
    if state.settlement is not None and state.settlement.attempts == 0:
        state = replace(state, settlement=None)
    return replace(state, deadlines=drop(state.deadlines, [Rule.SETTLEMENT_RETRY]))


def hear(state: Dispute, event: Mapping[str, Any], at: datetime) -> Dispute:
    """What the marketplace reports of a payment, in the words of ``order.updated``."""
    kind, data = OrderEventType(event["type"]), event["data"]
    if kind is OrderEventType.PAYMENT_HELD:
        return replace(state, held=True)
    if kind is OrderEventType.PAYMENT_RELEASED:
        state = replace(state, held=False)
    if kind is OrderEventType.PAYMENT_REFUNDED:
        amount = data.get("amount")
        paid = state.order.amount if amount is None else amount
        state = replace(state, refunded=min(state.order.amount, state.refunded + paid))
        if _of_earlier(state, data.get("key")):
            state = replace(state, asked_earlier=max(0, state.asked_earlier - paid))
    state = _with_each(state, lambda each: _answered(each, kind, data.get("key")))
    if state.active:  # the appeal's end disposes of what could not be paid
        return _with_each(state, _without_failed)
    return _with_retries(_less_deferred(state), at)


def _of_earlier(state: Dispute, key: object) -> bool:
    """Whether a key is that of another dispute's request."""
    return isinstance(key, str) and not key.startswith(f"{state.id}:")


def answers(state: Dispute, kind: OrderEventType, key: str | None) -> bool:
    """Whether a payment event changes what is known of a settlement."""
    return any(_answered(each, kind, key) != each for each in state.settlements)


def _answered(settlement: Settlement, kind: OrderEventType, key: str | None) -> Settlement:
    """An event names the request's key, or none: then it means whatever was asked for."""
    if settlement.attempts == 0:
        return settlement
    refund, release = bool(settlement.refund), bool(settlement.release)
    if kind is OrderEventType.PAYMENT_REFUNDED and refund and key in (None, settlement.key):
        return replace(settlement, refund_done=True, refund_failed=False)
    if kind is OrderEventType.PAYMENT_RELEASED and release and key in (None, settlement.key, settlement.release_key):
        return replace(settlement, release_done=True, release_failed=False)
    if kind is OrderEventType.PAYMENT_FAILED:
        of_release = (None, settlement.release_key) if refund else (None, settlement.key, settlement.release_key)
        return replace(
            settlement,
            refund_failed=refund
            and not settlement.refund_done
            and (settlement.refund_failed or key in (None, settlement.key)),
            release_failed=release and not settlement.release_done and (settlement.release_failed or key in of_release),
        )
    return settlement


def _without_failed(settlement: Settlement) -> Settlement:
    return replace(
        settlement,
        refund=0 if settlement.refund_failed else settlement.refund,
        release=0 if settlement.release_failed else settlement.release,
        refund_failed=False,
        release_failed=False,
    )


def _less_deferred(state: Dispute) -> Dispute:
    """What was paid back meanwhile is not asked for once more."""
    settlement = state.settlement
    if settlement is None or settlement.attempts:
        return state
    rest = replace(state, settlement=None)
    refund = min(settlement.refund, rest.refundable)
    released = sum(each.release for each in rest.settlements)
    release = min(settlement.release, max(0, rest.refundable - refund - released))
    if not refund and not release:
        return rest
    return replace(state, settlement=replace(settlement, refund=refund, release=release))


def _with_retries(state: Dispute, at: datetime) -> Dispute:
    """A failed payment is asked for again after a while, a limited number of times."""
    deadlines, terms = state.deadlines, state.terms
    for each in state.settlements:
        if each.status is not SettlementStatus.FAILED:
            deadlines = drop(deadlines, [Rule.SETTLEMENT_RETRY], each.seq)
        elif state.deadline(Rule.SETTLEMENT_RETRY, each.seq) is None and each.attempts <= terms.settlement_retries:
            due_at = at + terms.settlement_retry
            deadlines = put(deadlines, begin(Rule.SETTLEMENT_RETRY, at, due_at, terms, of=each.seq))
    return replace(state, deadlines=deadlines)


def _with_each(state: Dispute, change: Callable[[Settlement], Settlement]) -> Dispute:
    settlement = None if state.settlement is None else change(state.settlement)
    return replace(state, settlement=settlement, earlier=tuple(change(each) for each in state.earlier))
