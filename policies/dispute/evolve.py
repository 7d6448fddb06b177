"""What the state of a dispute is with one more entry.

Only entries count: no clock, no policy file, nothing that is not in the room's log. So replaying a room gives the state
that every server saw, and the deadlines with their receipts follow from it too.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from policies.dispute import settling
from policies.dispute.acts import fingerprint, resets_clock, says_something
from policies.dispute.checks import DONE_BY_SELLER
from policies.dispute.deadlines import Deadlines, begin, drop, extend, keep, put, told
from policies.dispute.fact import Fact
from policies.dispute.opening import begin_dispute
from policies.dispute.state import (
    Agent,
    Appeal,
    Dispute,
    Escalation,
    EvidenceRequest,
    Fulfillment,
    Offer,
    Rule,
    Ruling,
)
from policies.instant import read_rfc3339
from policies.vocabulary import EntryKind, Outcome, Resolution, Role, Seq, Stage, Status, UserId

__all__ = ["STATE_KINDS", "Fact", "Unreplayable", "evolve", "replay"]

STATE_KINDS: Final = frozenset(EntryKind) - {EntryKind.MESSAGE}
"""What is written by the way of state. A message carries state only while the seller has not attended."""
SEEN_MOST: Final = 500
"""Texts remembered while the seller has not attended; enough for any talk, and a bound for the snapshot."""

_TALKS: Final = (Rule.SELLER_ATTEND, Rule.NO_UPDATE, Rule.FULFILL_BY, Rule.FULFILLMENT_CONFIRM)
"""What ends when support comes in."""


class Unreplayable(Exception):
    """The entries do not say what the state is: they do not begin with an opening, or content was erased."""


def evolve(state: Dispute | None, entry: Fact) -> Dispute:
    """The state with one more entry.

    Args:
        state: as of the entry before; None before the first one.
        entry: the next entry of the dispute's room.

    Raises:
        Unreplayable: it is not the next one, or its content is gone.
    """
    try:
        if state is None:
            if entry.kind is not EntryKind.DISPUTE_OPENED:
                raise Unreplayable("a dispute begins with its opening")
            return begin_dispute(entry)
        if entry.seq != state.seq + 1:
            raise Unreplayable(f"entry {entry.seq} does not follow entry {state.seq}")
        change = _CHANGES.get(entry.kind)
        changed = state if change is None else change(state, entry)
    except KeyError as missing:
        raise Unreplayable(f"entry {entry.seq} has lost its {missing}") from missing
    if resets_clock(entry.kind, entry.author.role, entry.visibility):
        changed = _party_acted(changed, entry)
    return replace(changed, seq=entry.seq)


def replay(entries: Iterable[Fact]) -> Dispute:
    """The state that entries add up to, from the first one on.

    Raises:
        Unreplayable: there are none, or one of them does not follow.
    """
    state: Dispute | None = None
    for entry in entries:
        state = evolve(state, entry)
    if state is None:
        raise Unreplayable("a room without entries has no dispute")
    return state


# What a party's act does, whatever it is


def _party_acted(state: Dispute, entry: Fact) -> Dispute:
    side = entry.author.role
    state = replace(state, last_update_at=entry.at)
    silence = state.deadline(Rule.NO_UPDATE)
    if silence is not None and entry.at <= silence.due_at:  # what comes too late changes nothing, late worker or not
        due_at = entry.at + state.terms.update_within
        moved = begin(Rule.NO_UPDATE, entry.at, due_at, state.terms, moved_by=entry.seq)
        state = replace(state, deadlines=put(state.deadlines, moved))
    if state.status is Status.WAITING_FOR_BUYER and side is Role.BUYER:
        return replace(state, status=Status.WAITING_FOR_SELLER)
    if state.status is Status.WAITING_FOR_SELLER and side is Role.SELLER and state.attended_at is not None:
        return replace(state, status=Status.WAITING_FOR_BUYER)
    return _appeal_answered(state, entry)


def _appeal_answered(state: Dispute, entry: Fact) -> Dispute:
    appeal = state.appeal
    if appeal is None or appeal.answered or not state.active or entry.author.role is appeal.side:
        return state
    if entry.kind is EntryKind.MESSAGE and not says_something(entry.body.get("text", "")):
        return state
    deadlines = drop(state.deadlines, [Rule.APPEAL_ANSWER])
    return replace(state, appeal=replace(appeal, answered=True), deadlines=deadlines)


# Talking


def _message(state: Dispute, entry: Fact) -> Dispute:
    if state.attended_at is not None:
        return state
    known = fingerprint(entry.body.get("text", ""))
    if known in state.seen:
        return state
    return replace(state, seen=(*state.seen, known)[-SEEN_MOST:])


def _attended(state: Dispute, entry: Fact) -> Dispute:
    status = Status.WAITING_FOR_BUYER if state.status is Status.WAITING_FOR_SELLER else state.status
    return replace(
        state,
        status=status,
        attended_at=entry.at,
        heard=state.heard | {Role.SELLER},
        seen=(),
        deadlines=drop(state.deadlines, [Rule.SELLER_ATTEND]),
    )


def _evidence_added(state: Dispute, entry: Fact) -> Dispute:
    side = entry.author.role
    met = frozenset(each.seq for each in state.requests if each.of is side and not each.met)
    return _requests_met(state, met)


def _requests_met(state: Dispute, met: frozenset[Seq]) -> Dispute:
    requests = tuple(replace(each, met=True) if each.seq in met else each for each in state.requests)
    deadlines = tuple(each for each in state.deadlines if not (each.rule is Rule.EVIDENCE_REQUEST and each.of in met))
    return replace(state, requests=requests, deadlines=deadlines)


# Offers


def _proposal_made(state: Dispute, entry: Fact) -> Dispute:
    body, side = entry.body, entry.author.role
    offer = Offer(
        entry.seq,
        side,
        Resolution(body["resolution"]),
        body.get("amount"),
        body.get("note", ""),
        read_rfc3339(body["expires_at"]),
    )
    old = state.offer_of(side)
    deadlines = state.deadlines if old is None else drop(state.deadlines, [Rule.PROPOSAL_EXPIRY], old.seq)
    expiry = begin(Rule.PROPOSAL_EXPIRY, entry.at, offer.expires_at, state.terms, of=entry.seq)
    offers = (*(each for each in state.offers if each is not old), offer)
    return replace(state, offers=offers, deadlines=put(deadlines, expiry))


def _proposal_gone(state: Dispute, entry: Fact) -> Dispute:
    seq = entry.body["proposal"]
    offers = tuple(each for each in state.offers if each.seq != seq)
    return replace(state, offers=offers, deadlines=drop(state.deadlines, [Rule.PROPOSAL_EXPIRY], seq))


def _proposal_accepted(state: Dispute, entry: Fact) -> Dispute:
    accepted = next(each for each in state.offers if each.seq == entry.body["proposal"])
    deadlines = drop(state.deadlines, [Rule.PROPOSAL_EXPIRY])
    if accepted.resolution not in DONE_BY_SELLER:
        return replace(state, offers=(), deadlines=deadlines)  # dispute.resolved follows
    fulfill_by = entry.at + state.terms.fulfill_within
    due = begin(Rule.FULFILL_BY, entry.at, fulfill_by, state.terms, of=accepted.seq)
    return replace(
        state,
        status=Status.AWAITING_FULFILLMENT,
        offers=(),
        fulfillment=Fulfillment(accepted, fulfill_by),
        deadlines=put(drop(deadlines, _TALKS), due),
    )


def _fulfillment_marked(state: Dispute, entry: Fact) -> Dispute:
    if state.fulfillment is None:
        raise Unreplayable("nothing is to be fulfilled")
    confirm_by = read_rfc3339(entry.body["confirm_by"])
    due = begin(Rule.FULFILLMENT_CONFIRM, entry.at, confirm_by, state.terms, of=state.fulfillment.offer.seq)
    deadlines = put(drop(state.deadlines, [Rule.FULFILL_BY]), due)
    return replace(state, fulfillment=replace(state.fulfillment, marked_at=entry.at), deadlines=deadlines)


# Support


def _escalated(state: Dispute, entry: Fact) -> Dispute:
    body = entry.body
    return replace(
        state,
        stage=Stage.MEDIATION if state.stage is Stage.NEGOTIATION else state.stage,
        status=Status.UNDER_REVIEW,
        fulfillment=None,
        escalation=Escalation(entry.at, body["rule"], body.get("reason", "")),
        deadlines=drop(state.deadlines, _TALKS),
    )


def _agent_joined(state: Dispute, entry: Fact) -> Dispute:
    author = entry.author
    return replace(state, agent=Agent(author.id, author.role, author.name, entry.at))


def _agent_left(state: Dispute, entry: Fact) -> Dispute:
    agent = UserId(entry.body["agent"])
    recused = state.recused
    if entry.body["cause"] == "recused" and agent not in recused:
        recused = (*recused, agent)
    return replace(state, agent=None, recused=recused)


def _evidence_requested(state: Dispute, entry: Fact) -> Dispute:
    body = entry.body
    request = EvidenceRequest(entry.seq, Role(body["of"]), body["what"], read_rfc3339(body["due_at"]))
    due = begin(Rule.EVIDENCE_REQUEST, entry.at, request.due_at, state.terms, of=entry.seq)
    return replace(state, requests=(*state.requests, request), deadlines=put(state.deadlines, due))


def _recommended(state: Dispute, entry: Fact) -> Dispute:
    return replace(state, recommendation=_ruling(entry))


def _decided(state: Dispute, entry: Fact) -> Dispute:
    return replace(state, decision=_ruling(entry))


def _ruling(entry: Fact) -> Ruling:
    body = entry.body
    return Ruling(
        entry.seq,
        entry.at,
        entry.author.id,
        Outcome(body["outcome"]),
        Resolution(body["resolution"]),
        body.get("amount"),
        tuple(body["reason_codes"]),
        body["statement"],
        tuple(body["evidence"]),
        body.get("final", False),
    )


# The end, and what undoes it


def _resolved(state: Dispute, entry: Fact) -> Dispute:
    body, terms = entry.body, state.terms
    if body["cause"] == "decision" and state.decision is not None and not state.decision.final:
        closing = begin(Rule.APPEAL_WINDOW, entry.at, entry.at + terms.appeal_within, terms)
    else:
        closing = begin(Rule.ROOM_CLOSES, entry.at, entry.at + terms.close_after, terms)
    resolution = body.get("resolution")
    return replace(
        _ended(state, entry),
        status=Status.RESOLVED,
        outcome=Outcome(body["outcome"]),
        resolution=None if resolution is None else Resolution(resolution),
        resolved_amount=body.get("amount"),
        deadlines=put(keep(state.deadlines, Rule.SETTLEMENT_RETRY), closing),
    )


def _withdrawn(state: Dispute, entry: Fact) -> Dispute:
    if "reopen_until" in entry.body:
        window = begin(Rule.REOPEN_WINDOW, entry.at, read_rfc3339(entry.body["reopen_until"]), state.terms)
    else:  # it was reopened before, and that is possible once
        window = begin(Rule.ROOM_CLOSES, entry.at, entry.at + state.terms.close_after, state.terms)
    return replace(
        _ended(state, entry),
        status=Status.WITHDRAWN,
        outcome=Outcome.WITHDRAWN,
        deadlines=put(keep(state.deadlines, Rule.SETTLEMENT_RETRY), window),
    )


def _ended(state: Dispute, entry: Fact) -> Dispute:
    state = replace(state, offers=(), fulfillment=None, requests=(), ended_at=entry.at)
    return settling.settle(state, entry.seq, entry.body)


def _reopened(state: Dispute, entry: Fact) -> Dispute:
    terms, at = state.terms, entry.at
    deadlines: Deadlines = ()
    state = replace(settling.void(_active_again(state)), reopened=True)
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
    if event["type"].startswith("chargeback."):
        return _newest_chargeback(state, read_rfc3339(event["at"]))
    return settling.hear(state, event, entry.at)


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
    state = settling.give_up(state)
    if state.closed:
        return state
    closing = begin(Rule.ROOM_CLOSES, entry.at, entry.at + state.terms.close_after, state.terms, moved_by=entry.seq)
    return replace(state, deadlines=(closing,))


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
    return _requests_met(state, frozenset({body["request"]}))


def _appeal_unanswered(state: Dispute, _: Mapping[str, Any]) -> Dispute:
    return replace(state, deadlines=drop(state.deadlines, [Rule.APPEAL_ANSWER]))


def _payment_asked_again(state: Dispute, body: Mapping[str, Any]) -> Dispute:
    return settling.ask(state, body["entry"])


_NOTICES: Final[Mapping[str, Callable[[Dispute, Mapping[str, Any]], Dispute]]] = {
    "room_closed": _room_closed,
    "evidence_overdue": _evidence_overdue,
    "appeal_unanswered": _appeal_unanswered,
    "payment_asked_again": _payment_asked_again,
}
_CHANGES: Final[Mapping[EntryKind, Callable[[Dispute, Fact], Dispute]]] = {
    EntryKind.MESSAGE: _message,
    EntryKind.DISPUTE_ATTENDED: _attended,
    EntryKind.EVIDENCE_ADDED: _evidence_added,
    EntryKind.PROPOSAL_MADE: _proposal_made,
    EntryKind.PROPOSAL_ACCEPTED: _proposal_accepted,
    EntryKind.PROPOSAL_REJECTED: _proposal_gone,
    EntryKind.PROPOSAL_WITHDRAWN: _proposal_gone,
    EntryKind.PROPOSAL_EXPIRED: _proposal_gone,
    EntryKind.FULFILLMENT_MARKED: _fulfillment_marked,
    EntryKind.DISPUTE_ESCALATED: _escalated,
    EntryKind.AGENT_JOINED: _agent_joined,
    EntryKind.AGENT_LEFT: _agent_left,
    EntryKind.EVIDENCE_REQUESTED: _evidence_requested,
    EntryKind.DECISION_RECOMMENDED: _recommended,
    EntryKind.DECISION_ISSUED: _decided,
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
