"""The course of a dispute, entry by entry: talking, offers, doing what was agreed, and support."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from policies.dispute.acts import fingerprint
from policies.dispute.checks import DONE_BY_SELLER
from policies.dispute.deadlines import begin, drop, put
from policies.dispute.fact import Fact, Unreplayable
from policies.dispute.state import (
    TALKS,
    Agent,
    Dispute,
    Escalation,
    Evidence,
    EvidenceRequest,
    Fulfillment,
    Offer,
    Rule,
    Ruling,
)
from policies.instant import read_rfc3339
from policies.vocabulary import EntryKind, EvidenceKind, Outcome, Resolution, Role, Seq, Stage, Status, UserId

SEEN_MOST: Final = 500
"""Texts remembered while the seller has not attended; enough for any talk, and a bound for the snapshot."""


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
    kind = EvidenceKind(entry.body["kind"])
    if (added := entry.body.get("evidence")) is not None:
        state = replace(state, evidence=(*state.evidence, Evidence(added, side, entry.seq)))
    waiting = (each for each in state.requests if each.of is side and not each.met)
    return requests_met(state, frozenset(each.seq for each in waiting if not each.kinds or kind in each.kinds))


def _evidence_withdrawn(state: Dispute, entry: Fact) -> Dispute:
    gone = entry.body.get("evidence")
    evidence = tuple(replace(each, withdrawn=True) if each.id == gone else each for each in state.evidence)
    return replace(state, evidence=evidence)


def requests_met(state: Dispute, met: frozenset[Seq]) -> Dispute:
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
    state = replace(state, offers=offers, deadlines=put(deadlines, expiry))
    if side is Role.BUYER:
        return replace(state, buyer_offers=state.buyer_offers + 1)
    return replace(state, seller_offers=state.seller_offers + 1)


def _proposal_gone(state: Dispute, entry: Fact) -> Dispute:
    seq = entry.body["proposal"]
    offers = tuple(each for each in state.offers if each.seq != seq)
    return replace(state, offers=offers, deadlines=drop(state.deadlines, [Rule.PROPOSAL_EXPIRY], seq))


def _proposal_accepted(state: Dispute, entry: Fact) -> Dispute:
    seq = entry.body["proposal"]
    accepted = next((each for each in state.offers if each.seq == seq), None)
    if accepted is None:
        raise Unreplayable(f"there is no pending offer {seq}")
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
        deadlines=put(drop(deadlines, TALKS), due),
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
        deadlines=drop(state.deadlines, TALKS),
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
    kinds = tuple(map(EvidenceKind, body.get("kinds", ())))
    request = EvidenceRequest(entry.seq, Role(body["of"]), body["what"], read_rfc3339(body["due_at"]), kinds=kinds)
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


CHANGES: Final[Mapping[EntryKind, Callable[[Dispute, Fact], Dispute]]] = {
    EntryKind.MESSAGE: _message,
    EntryKind.DISPUTE_ATTENDED: _attended,
    EntryKind.EVIDENCE_ADDED: _evidence_added,
    EntryKind.EVIDENCE_WITHDRAWN: _evidence_withdrawn,
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
}
