"""How a dispute ends, entry by entry, what undoes an end, and what marketplace, bank and clock do to it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from policies.dispute import settling
from policies.dispute.course import requests_met
from policies.dispute.deadlines import Deadlines, begin, drop, extend, keep, put, told
from policies.dispute.fact import Fact, Unreplayable
from policies.dispute.state import (
    Appeal,
    Dispute,
    Rule,
)
from policies.instant import read_rfc3339
from policies.vocabulary import EntryKind, OrderEventType, Outcome, Resolution, Stage, Status

# The end, and what undoes it


def _resolved(state: Dispute, entry: Fact) -> Dispute:
    body, terms = entry.body, state.terms
    if body["cause"] == "decision" and state.decision is not None and not state.decision.final:
        closing = begin(Rule.APPEAL_WINDOW, entry.at, entry.at + terms.appeal_within, terms)
    else:
        closing = begin(Rule.ROOM_CLOSES, entry.at, entry.at + terms.close_after, terms)
    resolution = body.get("resolution")
    if body["outcome"] == Outcome.CHARGEBACK:
        state = settling.give_up(state)
    return replace(
        _ended(state, entry),
        status=Status.RESOLVED,
        outcome=Outcome(body["outcome"]),
        resolution=None if resolution is None else Resolution(resolution),
        resolved_amount=body.get("amount"),
        deadlines=(closing,),
    )


def _withdrawn(state: Dispute, entry: Fact) -> Dispute:
    if not entry.body:
        raise Unreplayable("what the withdrawal says is gone")
    if "reopen_until" in entry.body:
        window = begin(Rule.REOPEN_WINDOW, entry.at, read_rfc3339(entry.body["reopen_until"]), state.terms)
    else:  # it was reopened before, and that is possible once
        window = begin(Rule.ROOM_CLOSES, entry.at, entry.at + state.terms.close_after, state.terms)
    return replace(
        _ended(state, entry),
        status=Status.WITHDRAWN,
        outcome=Outcome.WITHDRAWN,
        deadlines=(window,),
    )


def _ended(state: Dispute, entry: Fact) -> Dispute:
    state = replace(state, offers=(), fulfillment=None, requests=(), ended_at=entry.at)
    return settling.settle(state, entry.seq, entry.body)


def _reopened(state: Dispute, entry: Fact) -> Dispute:
    terms, at = state.terms, entry.at
    deadlines: Deadlines = ()
    state = replace(settling.held_by(settling.set_aside(_active_again(state)), entry.seq), reopened=True)
    if state.stage is Stage.NEGOTIATION:
        silence = begin(Rule.NO_UPDATE, at, at + terms.update_within, terms, moved_by=entry.seq)
        deadlines = put(deadlines, silence)
        status = Status.WAITING_FOR_SELLER
    else:
        status = Status.UNDER_REVIEW
    if state.attended_at is None:
        state = replace(state, attend_by=at + terms.attend_within)
        if state.stage is Stage.NEGOTIATION:
            attend = begin(Rule.SELLER_ATTEND, at, state.attend_by, terms, moved_by=entry.seq)
            deadlines = put(deadlines, attend)
    appeal = state.appeal
    if appeal is not None and not appeal.answered:
        answer_by = at + terms.appeal_answer_within
        answer = begin(Rule.APPEAL_ANSWER, at, answer_by, terms, moved_by=entry.seq, of=appeal.seq)
        deadlines = put(deadlines, answer)
    return replace(state, status=status, deadlines=deadlines, last_update_at=at)


def _appealed(state: Dispute, entry: Fact) -> Dispute:
    if state.decision is None:
        raise Unreplayable("there is no decision to appeal")
    body = entry.body
    appeal = Appeal(
        entry.seq, entry.at, entry.author.role, body["reason"], tuple(body["evidence"]), state.decision.agent
    )
    answer = begin(Rule.APPEAL_ANSWER, entry.at, read_rfc3339(body["answer_by"]), state.terms, of=entry.seq)
    return replace(
        settling.set_aside(_active_again(state)),
        stage=Stage.APPEAL,
        status=Status.UNDER_REVIEW,
        appeal=appeal,
        recommendation=None,
        deadlines=(answer,),
    )


def _active_again(state: Dispute) -> Dispute:
    return replace(state, outcome=None, resolution=None, resolved_amount=None, ended_at=None)


# The marketplace, the bank and the clock


def _order_updated(state: Dispute, entry: Fact) -> Dispute:
    event = entry.body["event"]
    if not event["type"].startswith("chargeback."):
        return settling.hear(state, event, entry.at)
    kind, at = OrderEventType(event["type"]), read_rfc3339(event["at"])
    lost = kind is OrderEventType.CHARGEBACK_LOST and is_news(state, kind, at)
    state = _newest_chargeback(state, at)
    # While it is frozen or active, the entry that follows says what comes of it.
    return _lost(state, entry) if lost and not state.frozen and not state.active else state


def is_news(state: Dispute, kind: OrderEventType, at: datetime) -> bool:
    """Events may come late and in any order; one that is older than what is known changes nothing."""
    known = state.chargeback_at
    if known is None:
        return True
    return at > known if kind is OrderEventType.CHARGEBACK_OPENED else at >= known


def _lost(state: Dispute, entry: Fact) -> Dispute:
    """The bank has taken the money after the end: nothing is asked for any more, nor can anything undo the end."""
    state = settling.give_up(state)
    if state.closed:
        return state
    closing = begin(Rule.ROOM_CLOSES, entry.at, entry.at + state.terms.close_after, state.terms, moved_by=entry.seq)
    return replace(state, deadlines=(closing,))


def _newest_chargeback(state: Dispute, at: datetime) -> Dispute:
    return replace(state, chargeback_at=at if state.chargeback_at is None else max(at, state.chargeback_at))


def _frozen(state: Dispute, entry: Fact) -> Dispute:
    if "at" in entry.body:
        state = _newest_chargeback(state, read_rfc3339(entry.body["at"]))
    return replace(state, frozen=True, frozen_at=entry.at)


def _unfrozen(state: Dispute, entry: Fact) -> Dispute:
    """What waited goes on by the ``deadline.extended`` that follow; the seller's time to be heard waited too."""
    frozen_at = entry.at if state.frozen_at is None else state.frozen_at
    attend_by = state.attend_by
    if state.attended_at is None and attend_by >= frozen_at:
        attend_by += entry.at - frozen_at
    state = replace(state, frozen=False, frozen_at=None, attend_by=attend_by)
    if entry.body["result"] == "won" or state.active:
        return state
    return _lost(state, entry)


def _approaching(state: Dispute, entry: Fact) -> Dispute:
    return replace(state, deadlines=told(state.deadlines, Rule(entry.body["rule"]), entry.body.get("of")))


def _extended(state: Dispute, entry: Fact) -> Dispute:
    rule, due_at = Rule(entry.body["rule"]), read_rfc3339(entry.body["due_at"])
    deadline = state.deadline(rule, entry.body.get("of"))
    if deadline is None:
        raise Unreplayable(f"there is no deadline {rule} to extend")
    longer = extend(deadline, due_at, entry.at, state.terms, entry.seq)
    fulfillment = state.fulfillment
    if fulfillment is not None and rule is Rule.FULFILL_BY:
        fulfillment = replace(fulfillment, fulfill_by=due_at)
    return replace(state, fulfillment=fulfillment, deadlines=put(state.deadlines, longer))


def _notice(state: Dispute, entry: Fact) -> Dispute:
    notice = _NOTICES.get(entry.body["notice"])
    return state if notice is None else notice(state, entry.body)


def _room_closed(state: Dispute, _: Mapping[str, Any]) -> Dispute:
    state = replace(state, closed=True, agent=None, deadlines=keep(state.deadlines, Rule.SETTLEMENT_RETRY))
    if state.settlement is not None and state.settlement.attempts == 0:  # it waited for this
        return settling.ask(state, state.settlement.seq)
    return state


def _evidence_overdue(state: Dispute, body: Mapping[str, Any]) -> Dispute:
    return requests_met(state, frozenset({body["request"]}))


def _appeal_unanswered(state: Dispute, _: Mapping[str, Any]) -> Dispute:
    return replace(state, deadlines=drop(state.deadlines, [Rule.APPEAL_ANSWER]))


def _payment_asked_again(state: Dispute, body: Mapping[str, Any]) -> Dispute:
    return settling.ask(state, body["entry"])


def is_plain(entry: Fact) -> bool:
    """Whether an entry is a notice that says nothing about the state: such a one is appended like a message."""
    return entry.kind is EntryKind.NOTICE and entry.body.get("notice") not in _NOTICES


_NOTICES: Final[Mapping[str, Callable[[Dispute, Mapping[str, Any]], Dispute]]] = {
    "room_closed": _room_closed,
    "evidence_overdue": _evidence_overdue,
    "appeal_unanswered": _appeal_unanswered,
    "payment_asked_again": _payment_asked_again,
}
CHANGES: Final[Mapping[EntryKind, Callable[[Dispute, Fact], Dispute]]] = {
    EntryKind.DISPUTE_RESOLVED: _resolved,
    EntryKind.DISPUTE_WITHDRAWN: _withdrawn,
    EntryKind.DISPUTE_REOPENED: _reopened,
    EntryKind.APPEAL_FILED: _appealed,
    EntryKind.ORDER_UPDATED: _order_updated,
    EntryKind.DISPUTE_FROZEN: _frozen,
    EntryKind.DISPUTE_UNFROZEN: _unfrozen,
    EntryKind.DEADLINE_APPROACHING: _approaching,
    EntryKind.DEADLINE_EXTENDED: _extended,
    EntryKind.NOTICE: _notice,
}
