"""A dispute's state without the words of one side."""

from dataclasses import replace

from policies.dispute.state import Dispute
from policies.vocabulary import Role


def forget(state: Dispute, side: Role) -> Dispute:
    """The state of a dispute that has ended, without what a party has said and is called; what was decided stays.

    Args:
        side: ``buyer`` or ``seller``.
    """
    if side is Role.BUYER:
        state = replace(state, buyer=replace(state.buyer, name=""), description="")
    else:
        state = replace(state, seller=replace(state.seller, name=""))
    if state.escalation is not None and state.escalation.rule == f"by_{side.value}":
        state = replace(state, escalation=replace(state.escalation, reason=""))
    if state.appeal is not None and state.appeal.side is side:
        state = replace(state, appeal=replace(state.appeal, reason=""))
    offers = tuple(replace(each, note="") if each.side is side else each for each in state.offers)
    return replace(state, offers=offers)
