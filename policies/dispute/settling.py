"""The money at the end of a dispute: what is asked for, and what the marketplace reports of it.

This server never moves any. It asks by webhook with a key of dispute and entry, hears by order events, and says that
something was paid only when it was told so. An end says what both sides get of the order in all: asked for is what they
were not asked to get before, and what was asked for before and is not theirs any more is told as a reversal.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from policies.dispute.deadlines import begin, drop, put
from policies.dispute.state import Carried, Dispute, Hold, Rule, Settlement
from policies.vocabulary import OrderEventType, Seq, SettlementStatus


def division(state: Dispute, seq: Seq, refund: int | None, *, deferred: bool) -> dict[str, Any]:
    """What the entry ``seq`` that ends a dispute says of the money: ``settlement`` and ``reversal``, where there are.

    Args:
        refund: what the buyer gets by this dispute in all; the seller gets the rest. None: a withdrawal, which takes
            nothing back.
        deferred: whether the money is asked for later.
    """
    if state.charged_back:
        return {}
    had, seller_had = state.buyer_gets, state.seller_gets
    total = had if refund is None else refund
    release = max(0, state.disposable - total)
    asked = {"refund": max(0, total - had), "release": max(0, release - seller_had)}
    reversal = {} if refund is None else {"refund": max(0, had - total), "release": max(0, seller_had - release)}
    reversal = {name: amount for name, amount in reversal.items() if amount}
    if not any(asked.values()) and not reversal:
        return {}
    settlement: dict[str, Any] = {"key": f"{state.id}:{seq}", **asked}
    if deferred:
        settlement["deferred"] = True
    return {"settlement": settlement, "reversal": reversal} if reversal else {"settlement": settlement}


def settle(state: Dispute, seq: Seq, body: Mapping[str, Any]) -> Dispute:
    """With the settlement that the ending entry ``seq`` began, and without what it takes back of those before."""
    told = body.get("settlement")
    if told is None:
        return replace(state, settlement=None)
    reversal = body.get("reversal", {})
    back, from_seller = reversal.get("refund", 0), reversal.get("release", 0)
    settlement = Settlement(
        seq,
        told["key"],
        told["refund"],
        told["release"],
        attempts=0 if told.get("deferred") else 1,
        refund_reversal=back,
        release_reversal=from_seller,
    )
    return replace(_taken_back(state, back, from_seller), settlement=settlement)


def ask(state: Dispute, seq: Seq) -> Dispute:
    """What entry ``seq`` asked for is asked for now: for the first time, or what failed of it once more."""

    def asked(each: Settlement) -> Settlement:
        if each.seq != seq:
            return each
        return replace(
            each,
            attempts=each.attempts + 1,
            refund_failed=each.refund_failed and not each.refund_again,
            release_failed=each.release_failed and not each.release_again,
        )

    state = _with_each(state, asked)
    if state.hold is not None and state.hold.seq == seq:
        state = replace(state, hold=replace(state.hold, attempts=state.hold.attempts + 1, failed=False))
    return replace(state, deadlines=drop(state.deadlines, [Rule.SETTLEMENT_RETRY], seq))


def held_by(state: Dispute, seq: Seq) -> Dispute:
    """With the request to hold what is left that entry ``seq``, which opens or reopens a dispute, makes."""
    left = max(0, state.refundable - state.seller_gets)
    return replace(state, hold=Hold(seq, f"{state.id}:{seq}:hold", left) if left else None)


def set_aside(state: Dispute) -> Dispute:
    """An appeal or reopening undoes the end that a settlement belongs to: what was not asked for, or failed, is not
    asked again.

    What was asked for and not answered yet cannot be taken back, so it stays, and the new end disposes of the rest.
    """
    earlier = state.earlier
    if state.settlement is not None and state.settlement.attempts:
        earlier = (*earlier, state.settlement)
    return replace(state, settlement=None, earlier=tuple(_without_failed(each) for each in earlier))


def give_up(state: Dispute) -> Dispute:
    """The bank has taken the money: what was not asked for is not asked any more, and nothing is asked again."""
    if state.settlement is not None and state.settlement.attempts == 0:
        state = replace(state, settlement=None)
    return replace(state, charged_back=True, deadlines=drop(state.deadlines, [Rule.SETTLEMENT_RETRY]))


def owed(state: Dispute) -> tuple[Carried, ...]:
    """What a later dispute of the order has to know: all that was asked for, here and before.

    What failed and is not asked again counts as not asked for.
    """

    def of(each: Settlement) -> Carried:
        if state.deadline(Rule.SETTLEMENT_RETRY, each.seq) is None:
            each = _without_failed(each)
        refund = max(0, each.refund - max(each.refund_paid, each.refund_taken))
        return Carried(each.key, refund, each.seller_gets)

    return (*state.carried, *(of(each) for each in state.settlements))


def hear(state: Dispute, event: Mapping[str, Any], at: datetime) -> Dispute:
    """What the marketplace reports of a payment, in the words of ``order.updated``."""
    kind, data = OrderEventType(event["type"]), event["data"]
    key, amount = data.get("key"), data.get("amount")
    if kind is OrderEventType.PAYMENT_HELD:
        state = replace(state, held=True, hold=None if state.hold is None else replace(state.hold, failed=False))
        return _with_retries(state, at)
    if kind in _PAID:
        if amount is not None and not _is_sum(amount):
            return state
        state = _paid_back(state, key, amount) if kind is OrderEventType.PAYMENT_REFUNDED else _released(state, data)
    if kind is OrderEventType.PAYMENT_FAILED:
        if state.hold is not None and key == state.hold.key and not state.held and state.active:
            state = replace(state, hold=replace(state.hold, failed=True))
        state = _with_each(state, lambda each: _failed(each, key))
    if state.active:  # the end that comes disposes of what could not be paid
        return _with_retries(_with_each(state, _without_failed), at)
    return _with_retries(_less_deferred(state), at)


def answers(state: Dispute, kind: OrderEventType, data: Mapping[str, Any]) -> bool:
    """Whether a payment event changes what is known of a settlement."""
    heard = hear(state, {"type": kind.value, "data": data}, state.opened_at)
    return heard.settlements != state.settlements


def awaits_payment(state: Dispute) -> bool:
    """Whether something was asked for, or will be, of which the marketplace has not reported that it was paid."""
    return not state.charged_back and any(each.status is not SettlementStatus.DONE for each in state.settlements)


_PAID = frozenset({OrderEventType.PAYMENT_REFUNDED, OrderEventType.PAYMENT_RELEASED})


def _is_sum(amount: object) -> bool:
    return isinstance(amount, int) and not isinstance(amount, bool) and amount > 0


def _paid_back(state: Dispute, key: object, amount: int | None) -> Dispute:
    """A refund: under the key of a request, or for whatever was asked for. What is more was paid otherwise."""
    all_ = left = state.order.amount if amount is None else amount

    def paid(each: Settlement) -> Settlement:
        nonlocal left
        if not each.attempts or key not in (None, each.key):
            return each
        part = min(left, max(0, each.refund - each.refund_paid))
        left -= part
        paid_now = each.refund_paid + part
        return replace(each, refund_paid=paid_now, refund_failed=each.refund_failed and paid_now < each.refund)

    state = _with_each(state, paid)
    carried = []
    for each in state.carried:
        part = min(left, each.refund) if _is_carried(state, each, key) else 0
        left -= part
        carried.append(replace(each, refund=each.refund - part))
    state = replace(state, carried=tuple(carried))
    if amount is None:  # of a request that is known, what was asked; else all
        amount = all_ - left if _is_known(state, key) else state.order.amount
    return replace(state, refunded=min(state.order.amount, state.refunded + amount))


def _is_carried(state: Dispute, each: Carried, key: object) -> bool:
    if not each.key:  # rooms that were opened before keys were carried
        return key is None or (isinstance(key, str) and not key.startswith(f"{state.id}:"))
    return key in (None, each.key)


def _is_known(state: Dispute, key: object) -> bool:
    return isinstance(key, str) and (
        key.startswith(f"{state.id}:") or any(each.key == key for each in state.carried if each.key)
    )


def _released(state: Dispute, data: Mapping[str, Any]) -> Dispute:
    key, amount = data.get("key"), data.get("amount")
    left = state.order.amount if amount is None else amount

    def paid(each: Settlement) -> Settlement:
        nonlocal left
        if not each.attempts or key not in (None, each.key, each.release_key):
            return each
        part = min(left, max(0, each.release - each.release_paid))
        left -= part
        paid_now = each.release_paid + part
        return replace(each, release_paid=paid_now, release_failed=each.release_failed and paid_now < each.release)

    return replace(_with_each(state, paid), held=False)


def _failed(settlement: Settlement, key: object) -> Settlement:
    """An event names the request's key, or none: then it means whatever was asked for."""
    if settlement.attempts == 0:
        return settlement
    refund, release = bool(settlement.refund), bool(settlement.release)
    of_release = (None, settlement.release_key) if refund else (None, settlement.key, settlement.release_key)
    return replace(
        settlement,
        refund_failed=refund
        and not settlement.refund_done
        and (settlement.refund_failed or key in (None, settlement.key)),
        release_failed=release and not settlement.release_done and (settlement.release_failed or key in of_release),
    )


def _without_failed(settlement: Settlement) -> Settlement:
    return replace(
        settlement,
        refund=settlement.refund_paid if settlement.refund_failed else settlement.refund,
        release=settlement.release_paid if settlement.release_failed else settlement.release,
        refund_failed=False,
        release_failed=False,
    )


def _taken_back(state: Dispute, refund: int, release: int) -> Dispute:
    """Take back from what was asked for last first, in this dispute and then in those before."""
    earlier: list[Settlement] = []
    for each in reversed(state.earlier):
        back, from_seller = min(refund, each.buyer_gets), min(release, each.seller_gets)
        refund, release = refund - back, release - from_seller
        taken = replace(each, refund_taken=each.refund_taken + back, release_taken=each.release_taken + from_seller)
        earlier.append(taken)
    carried: list[Carried] = []
    for before in reversed(state.carried):
        from_seller = min(release, before.release)
        release -= from_seller
        carried.append(replace(before, release=before.release - from_seller))
    return replace(state, earlier=tuple(reversed(earlier)), carried=tuple(reversed(carried)))


def _less_deferred(state: Dispute) -> Dispute:
    """What was paid back meanwhile is not asked for once more."""
    settlement = state.settlement
    if settlement is None or settlement.attempts:
        return state
    rest = replace(state, settlement=None)
    refund = min(settlement.refund, rest.refundable)
    release = min(settlement.release, max(0, rest.refundable - refund - rest.seller_gets))
    if not refund and not release:
        return rest
    return replace(state, settlement=replace(settlement, refund=refund, release=release))


def _with_retries(state: Dispute, at: datetime) -> Dispute:
    """A failed payment is asked for again after a while, a limited number of times; after a lost chargeback never."""
    again = () if state.charged_back else state.settlements
    failed = {each.seq: each.attempts for each in again if each.refund_again or each.release_again}
    if state.hold is not None and state.hold.failed and state.active:
        failed[state.hold.seq] = state.hold.attempts
    terms = state.terms
    gone = (each for each in state.deadlines if each.rule is Rule.SETTLEMENT_RETRY and each.of not in failed)
    deadlines = state.deadlines
    for each in gone:
        deadlines = drop(deadlines, [Rule.SETTLEMENT_RETRY], each.of)
    for seq, attempts in failed.items():
        if state.deadline(Rule.SETTLEMENT_RETRY, seq) is None and attempts <= terms.settlement_retries:
            due_at = at + terms.settlement_retry
            deadlines = put(deadlines, begin(Rule.SETTLEMENT_RETRY, at, due_at, terms, of=seq))
    return replace(state, deadlines=deadlines)


def _with_each(state: Dispute, change: Callable[[Settlement], Settlement]) -> Dispute:
    earlier = tuple(change(each) for each in state.earlier)  # the oldest first
    return replace(state, earlier=earlier, settlement=None if state.settlement is None else change(state.settlement))
