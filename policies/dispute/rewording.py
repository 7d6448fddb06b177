"""What a state repeats of the words of an entry, as everybody may read them now.

Parts of what a party writes may be masked; staff may release them, and take that back. The entry of the log that says
so does not repeat the words, so the state takes them from the entry that it is about, as that is shown by then.
"""

from dataclasses import replace
from typing import Any

from policies.dispute.fact import Fact
from policies.dispute.state import Dispute, Offer
from policies.vocabulary import EntryKind, Seq

_BY_A_PARTY = frozenset({"by_buyer", "by_seller"})
_FIRST = Seq(1)
"""The entry that opens a dispute."""


def repeats(state: Dispute, seq: Seq) -> bool:
    """Whether the state may repeat words of an entry. Of an escalation it does not say which entry it was."""
    offers = [*state.offers, *([state.fulfillment.offer] if state.fulfillment is not None else [])]
    return (
        seq == _FIRST
        or any(each.seq == seq for each in offers)
        or (state.appeal is not None and state.appeal.seq == seq)
        or (state.escalation is not None and state.escalation.rule in _BY_A_PARTY)
    )


def reworded(state: Dispute, entry: Fact) -> Dispute:
    """The state with an entry's words as they are shown to everybody, wherever it repeats them."""
    body = entry.written if entry.released else entry.body
    if entry.kind is EntryKind.DISPUTE_OPENED:
        return replace(state, description=body["description"])
    if entry.kind is EntryKind.PROPOSAL_MADE:
        return _offer_reworded(state, entry.seq, body.get("note", ""))
    escalation, appeal = state.escalation, state.appeal
    if entry.kind is EntryKind.DISPUTE_ESCALATED and escalation is not None and escalation.at == entry.at:
        return replace(state, escalation=replace(escalation, reason=body.get("reason", "")))
    if entry.kind is EntryKind.APPEAL_FILED and appeal is not None and appeal.seq == entry.seq:
        return replace(state, appeal=replace(appeal, reason=body["reason"]))
    return state


def _offer_reworded(state: Dispute, seq: Seq, note: str) -> Dispute:
    def reword(offer: Offer) -> Offer:
        return replace(offer, note=note) if offer.seq == seq else offer

    changes: dict[str, Any] = {"offers": tuple(map(reword, state.offers))}
    if state.fulfillment is not None:
        changes["fulfillment"] = replace(state.fulfillment, offer=reword(state.fulfillment.offer))
    return replace(state, **changes)
