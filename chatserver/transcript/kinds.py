"""What each kind of entry says."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from chatserver.transcript.phrases import person, seconds_in_words, sentence, value_in_words, when, words_of
from chatserver.transcript.wording import Body, Fact, Tone, Words
from policies.dispute.policy import Terms
from policies.entry import MASKED
from policies.vocabulary import EntryKind

_DURATIONS: Final = {name for name, field in Terms.model_fields.items() if field.annotation is timedelta} | {
    "reminders"
}

Said = tuple[Tone, str, str]
"""Tone, heading, and what somebody wrote."""


def words(kind: EntryKind, content: Mapping[str, Any], currency: str) -> Words:
    """An entry in words.

    Args:
        content: its body, if that is there.
        currency: of the order, for amounts that name none.
    """
    body = Body(content, currency)
    tone, title, text = _KINDS[kind](body)
    hidden = body.inner(MASKED)
    hidden.fact("Parts hidden of", "fields", words_of)
    hidden.name("digest")  # it is for programs
    hidden.rest()
    body.rest()
    return Words(tone, title, text, tuple(body.facts))


def tone(kind: EntryKind) -> Tone:
    """How an entry stands out whose content is not there."""
    return _KINDS[kind](Body({}, ""))[0]


def _message(body: Body) -> Said:
    body.entry("In reply to", "reply_to")
    text = body.text("text")
    body.fact("Evidence", "evidence")
    return Tone.MESSAGE, "", text


def _evidence_added(body: Body) -> Said:
    kind, caption = body.word("kind"), body.text("caption")
    body.fact("Evidence", "evidence")
    body.fact("File", "filename")
    body.fact("Type", "content_type")
    body.fact("Size", "size", lambda value: f"{value:,} bytes" if type(value) is int else value_in_words(value))
    body.code("SHA-256", "sha256")
    body.fact("Captured", "captured_at", when)
    return Tone.EVIDENCE, f"Evidence: {kind}" if kind else "Evidence", caption


def _evidence_withdrawn(body: Body) -> Said:
    return Tone.EVIDENCE, "Evidence withdrawn", body.text("reason")


def _evidence_requested(body: Body) -> Said:
    side, what = body.word("of", "a party"), body.text("what")
    body.fact("Due", "due_at", when)
    body.fact("Kinds", "kinds", words_of)
    return Tone.EVIDENCE, f"Evidence requested from the {side}", what


def _opened(body: Body) -> Said:
    reason, description = body.word("reason"), body.text("description")
    body.fact("Wanted", "desired_resolution", words_of)
    body.amount("Amount wanted")
    _order(body.inner("order"))
    for side in ("buyer", "seller"):
        party = body.inner(side)
        name, user = party.name("name"), party.name("id")
        if name or user:
            body.facts.append(Fact(sentence(side), person(name, user)))
        party.rest()
    body.fact("Dispute", "dispute")
    body.fact("Order", "order_id")
    body.fact("Order room", "order_room")
    body.fact("Staff log", "staff_room")
    policy = body.inner("policy")
    policy.fact("Policy", "version")
    policy.fact("Terms", "terms", _terms)
    policy.rest()
    checklist = body.inner("checklist")
    checklist.fact("Helpful from the buyer", "buyer", words_of)
    checklist.fact("Helpful from the seller", "seller", words_of)
    checklist.rest()
    return Tone.EVENT, f"Dispute opened: {reason}" if reason else "Dispute opened", description


def _order(order: Body) -> None:
    order.fact("Order title", "title")
    order.fact("Category", "category", words_of)
    order.amount("Order amount")
    order.amount("Refunded before", "refunded")
    order.fact("Placed", "placed_at", when)
    order.fact("Delivered", "delivered_at", when)
    order.fact("Delivery confirmed", "confirmed_at", when)
    order.fact("Trust level of the seller", "trust_level", words_of)
    order.rest()


def _terms(terms: object) -> str:
    if not isinstance(terms, dict):
        return value_in_words(terms)
    told = []
    for name, value in terms.items():
        if isinstance(value, dict):
            inner = ", ".join(f"{words_of(key)} {_term(name, each)}" for key, each in value.items())
            told.append(f"{words_of(name)}: {inner or 'none'}")
        else:
            told.append(f"{words_of(name)} {_term(name, value)}")
    return "; ".join(told)


def _term(name: str, value: object) -> str:
    return _seconds(value) if name in _DURATIONS else value_in_words(value)


def _seconds(value: object) -> str:
    return seconds_in_words(value) if type(value) is int else value_in_words(value)


def _attended(body: Body) -> Said:
    body.fact("By", "by", words_of)
    body.entry("With", "entry")
    return Tone.EVENT, "The seller has answered", ""


def _made(body: Body) -> Said:
    resolution, note = body.word("resolution"), body.text("note")
    body.amount("Amount")
    body.fact("Expires", "expires_at", when)
    body.entry("Instead of", "supersedes")
    return Tone.OFFER, f"Offer: {resolution}" if resolution else "Offer", note


def _accepted(body: Body) -> Said:
    resolution = body.word("resolution")
    body.entry("Offer", "proposal")
    body.entry("Met by the equal offer", "matched")
    body.amount("Amount")
    return Tone.OFFER, f"Offer accepted: {resolution}" if resolution else "Offer accepted", ""


def _offer_ended(title: str) -> Callable[[Body], Said]:
    def told(body: Body) -> Said:
        body.entry("Offer", "proposal")
        return Tone.OFFER, title, body.text("reason")

    return told


def _marked(body: Body) -> Said:
    body.fact("To be confirmed by", "confirm_by", when)
    return Tone.EVENT, "The seller says: done as agreed", body.text("note")


def _confirmed(body: Body) -> Said:
    return Tone.EVENT, "The buyer confirms: received as agreed", body.text("note")


_BY_PARTY: Final = {"by_buyer": "by the buyer", "by_seller": "by the seller"}


def _escalated(body: Body) -> Said:
    rule, reason = body.name("rule"), body.text("reason")
    if rule in _BY_PARTY:
        title = f"Escalated to support {_BY_PARTY[rule]}"
    else:
        title = f"Escalated to support by rule: {words_of(rule)}" if rule else "Escalated to support"
    _receipt(body.inner("receipt"))
    return Tone.ESCALATION, title, reason


def _receipt(body: Body) -> None:
    body.fact("Deadline", "rule", words_of)
    body.fact("Counted from", "started_at", when)
    body.fact("Was due", "due_at", when)
    body.entry("Moved by", "moved_by")
    body.rest()


def _agent_joined(body: Body) -> Said:
    body.fact("Took over from", "took_over")
    return Tone.EVENT, "A support agent has taken the case", ""


def _agent_left(body: Body) -> Said:
    body.fact("Agent", "agent")
    body.fact("Cause", "cause", words_of)
    return Tone.EVENT, "The support agent has left the case", body.text("reason")


def _ruling(title: str) -> Callable[[Body], Said]:
    def told(body: Body) -> Said:
        outcome, statement = body.word("outcome"), body.text("statement")
        body.fact("Resolution", "resolution", words_of)
        body.amount("Amount")
        body.fact("Reasons", "reason_codes")
        body.fact("Evidence", "evidence")
        body.fact("Final", "final")
        body.fact("Appeal until", "appeal_until", when)
        return Tone.DECISION, f"{title}: {outcome}" if outcome else title, statement

    return told


def _resolved(body: Body) -> Said:
    outcome = body.word("outcome")
    body.fact("Resolution", "resolution", words_of)
    settlement = body.inner("settlement")
    body.amount("Amount")
    body.fact("Cause", "cause", words_of)
    body.entry("Because of", "entry")
    settlement.amount("Refund to the buyer", "refund")
    settlement.amount("Release to the seller", "release")
    settlement.code("Payment key", "key")
    settlement.rest()
    reversal = body.inner("reversal")
    reversal.amount("To take back from the buyer", "refund")
    reversal.amount("To take back from the seller", "release")
    reversal.rest()
    return Tone.DECISION, f"Dispute resolved: {outcome}" if outcome else "Dispute resolved", ""


def _withdrawn(body: Body) -> Said:
    body.fact("May be reopened until", "reopen_until", when)
    return Tone.EVENT, "Dispute withdrawn by the buyer", body.text("reason")


def _reopened(body: Body) -> Said:
    return Tone.EVENT, "Dispute reopened by the buyer", body.text("reason")


def _frozen(title: str) -> Callable[[Body], Said]:
    def told(body: Body) -> Said:
        body.fact("Event", "event")
        body.fact("Result", "result", words_of)
        return Tone.ESCALATION, title, ""

    return told


def _appeal(body: Body) -> Said:
    reason = body.text("reason")
    body.fact("New evidence", "evidence")
    body.fact("Answer due", "answer_by", when)
    return Tone.ESCALATION, "Appeal", reason


def _approaching(body: Body) -> Said:
    rule = body.word("rule")
    body.fact("Due", "due_at", when)
    body.entry("About", "of")
    return Tone.DEADLINE, f"Deadline approaching: {rule}" if rule else "Deadline approaching", ""


def _extended(body: Body) -> Said:
    rule = body.word("rule")
    body.fact("Due", "due_at", when)
    body.fact("Was due", "was", when)
    body.fact("Cause", "cause", words_of)
    body.entry("About", "of")
    return Tone.DEADLINE, f"Deadline extended: {rule}" if rule else "Deadline extended", ""


def _about_message(title: str) -> Callable[[Body], Said]:
    def told(body: Body) -> Said:
        body.entry("About", "seq")
        body.fact("Of", "side", words_of)
        body.fact("Counts as said from now on", "counts")
        return Tone.EVENT, title, body.text("reason")

    return told


def _order_updated(body: Body) -> Said:
    event = body.inner("event")
    kind = event.word("type")
    event.fact("Happened", "at", when)
    event.fact("Event", "id")
    data = event.inner("data")
    data.amount("Amount")
    data.rest()
    event.rest()
    body.fact("Changed", "changed", words_of)
    return Tone.EVENT, f"Order: {kind}" if kind else "Order changed", ""


_NOTICES: Final = {
    "talk_first": "Buyer and seller have not talked about the order yet: many problems are solved there",
    "room_closed": "The room is closed: nothing can be added",
    "evidence_overdue": "Requested evidence did not come in time",
    "appeal_unanswered": "The appeal was not answered in time",
    "payment_asked_again": "The marketplace was asked for a failed payment again",
    "contact": "A reminder",
    "conduct": "A reminder",
    "slow_mode": "Slow mode",
}


def _notice(body: Body) -> Said:
    name, text = body.name("notice"), body.text("text")
    body.entry("About", "about")
    body.fact("Order room", "order_room")
    body.entry("Request", "request")
    body.fact("Of", "of", words_of)
    body.fact("Wait between two messages", "every_s", _seconds)
    return Tone.EVENT, _NOTICES.get(name, f"Notice: {words_of(name)}") if name else "Notice", text


_KINDS: Final[dict[EntryKind, Callable[[Body], Said]]] = {
    EntryKind.MESSAGE: _message,
    EntryKind.EVIDENCE_ADDED: _evidence_added,
    EntryKind.EVIDENCE_WITHDRAWN: _evidence_withdrawn,
    EntryKind.EVIDENCE_REQUESTED: _evidence_requested,
    EntryKind.DISPUTE_OPENED: _opened,
    EntryKind.DISPUTE_ATTENDED: _attended,
    EntryKind.PROPOSAL_MADE: _made,
    EntryKind.PROPOSAL_ACCEPTED: _accepted,
    EntryKind.PROPOSAL_REJECTED: _offer_ended("Offer rejected"),
    EntryKind.PROPOSAL_WITHDRAWN: _offer_ended("Offer withdrawn"),
    EntryKind.PROPOSAL_EXPIRED: _offer_ended("Offer expired"),
    EntryKind.FULFILLMENT_MARKED: _marked,
    EntryKind.FULFILLMENT_CONFIRMED: _confirmed,
    EntryKind.DISPUTE_ESCALATED: _escalated,
    EntryKind.AGENT_JOINED: _agent_joined,
    EntryKind.AGENT_LEFT: _agent_left,
    EntryKind.DECISION_RECOMMENDED: _ruling("Recommendation"),
    EntryKind.DECISION_ISSUED: _ruling("Decision"),
    EntryKind.DISPUTE_RESOLVED: _resolved,
    EntryKind.DISPUTE_WITHDRAWN: _withdrawn,
    EntryKind.DISPUTE_REOPENED: _reopened,
    EntryKind.DISPUTE_FROZEN: _frozen("Frozen by a chargeback: money stays where it is"),
    EntryKind.DISPUTE_UNFROZEN: _frozen("No longer frozen"),
    EntryKind.APPEAL_FILED: _appeal,
    EntryKind.DEADLINE_APPROACHING: _approaching,
    EntryKind.DEADLINE_EXTENDED: _extended,
    EntryKind.MESSAGE_REDACTED: _about_message("Withheld by support"),
    EntryKind.MESSAGE_RELEASED: _about_message("Released by support"),
    EntryKind.ORDER_UPDATED: _order_updated,
    EntryKind.NOTICE: _notice,
}
