"""Disputes to test with."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from policies.dispute.policy import Checklist, Terms
from policies.dispute.state import Deadline, Dispute, OrderSnapshot, Rule
from policies.room import Party, dispute_room
from policies.vocabulary import (
    DisputeId,
    OrderCategory,
    OrderId,
    Reason,
    Resolution,
    Role,
    RoomId,
    Seq,
    Stage,
    Status,
    TrustLevel,
    UserId,
)
from tests.storage.making import NOW

HOUR = timedelta(hours=1)


def dispute(number: int = 1, *, due: timedelta | None = 24 * HOUR, **changes: Any) -> Dispute:
    """A dispute opened ``NOW``, in which one thing is due some time later, or nothing."""
    name = DisputeId(f"{number:020x}")
    deadlines = () if due is None else (Deadline(Rule.SELLER_ATTEND, NOW + due, NOW),)
    opened = Dispute(
        id=name,
        room=dispute_room(name),
        seq=Seq(1),
        order=OrderSnapshot(
            id=OrderId(f"o{number}"),
            room=RoomId(f"order-o{number}"),
            title="A lamp",
            category=OrderCategory.ITEM,
            amount=1999,
            currency="EUR",
            placed_at=NOW - 48 * HOUR,
            delivered_at=None,
            confirmed_at=None,
            trust_level=TrustLevel.VERIFIED,
        ),
        buyer=Party(UserId("bo"), "Bo"),
        seller=Party(UserId("sue"), "Sue"),
        reason=Reason.DEFECTIVE,
        description="It does not light.",
        desired_resolution=Resolution.FULL_REFUND,
        desired_amount=None,
        policy_version="default",
        terms=Terms(),
        checklist=Checklist(),
        opened_at=NOW,
        stage=Stage.NEGOTIATION,
        status=Status.WAITING_FOR_SELLER,
        deadlines=deadlines,
        last_update_at=NOW,
        attend_by=NOW + 24 * HOUR,
        heard=frozenset({Role.BUYER}),
    )
    return replace(opened, **changes)
