"""What the marketplace is told of an entry. Each request for money carries the key under which it is paid once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from policies.dispute.fact import Fact
from policies.dispute.state import Dispute, Hold, Settlement
from policies.instant import rfc3339
from policies.vocabulary import EntryKind, WebhookType


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """One event of the outbox; ``data`` is plain."""

    type: WebhookType
    data: dict[str, Any]


_TOLD: Final = {
    EntryKind.DISPUTE_OPENED: WebhookType.DISPUTE_OPENED,
    EntryKind.DISPUTE_ATTENDED: WebhookType.DISPUTE_ATTENDED,
    EntryKind.DISPUTE_ESCALATED: WebhookType.DISPUTE_ESCALATED,
    EntryKind.DISPUTE_RESOLVED: WebhookType.DISPUTE_RESOLVED,
    EntryKind.DISPUTE_WITHDRAWN: WebhookType.DISPUTE_WITHDRAWN,
    EntryKind.DISPUTE_REOPENED: WebhookType.DISPUTE_REOPENED,
    EntryKind.DISPUTE_FROZEN: WebhookType.DISPUTE_FROZEN,
    EntryKind.PROPOSAL_MADE: WebhookType.PROPOSAL_MADE,
    EntryKind.PROPOSAL_ACCEPTED: WebhookType.PROPOSAL_ACCEPTED,
    EntryKind.DECISION_ISSUED: WebhookType.DECISION_ISSUED,
    EntryKind.APPEAL_FILED: WebhookType.APPEAL_FILED,
}
_IN_DATA_ALREADY: Final = frozenset(
    {"dispute", "order_id", "order_room", "staff_room", "policy", "checklist", "before"}
)
"""Of the opening: what every event says anyway, or what is of no use outside."""

_OF_ORDER_INSIDE: Final = frozenset({"asked", "version"})
_RENAMED: Final = {"by": "act", "at": "charged_back_at"}
"""What a body says under a name that every event uses for who did it, and for when."""


def told(before: Dispute | None, entry: Fact, after: Dispute) -> list[WebhookEvent]:
    """The events of an entry, in order.

    Args:
        before: the state before the entry; None before the first one.
        entry: the entry.
        after: the state after it.
    """
    events = []
    if entry.kind in _TOLD:
        body = {_RENAMED.get(name, name): value for name, value in entry.body.items() if name not in _IN_DATA_ALREADY}
        if "order" in body:
            body["order"] = {name: value for name, value in body["order"].items() if name not in _OF_ORDER_INSIDE}
        by = {"id": entry.author.id, "role": entry.author.role.value}
        events.append(WebhookEvent(_TOLD[entry.kind], {**_common(entry, after), "by": by, **body}))
    events.extend(_held(entry, after, None if before is None else before.hold))
    known = {} if before is None else {each.seq: each for each in before.settlements}
    for settlement in after.settlements:
        events.extend(_asked(entry, after, known.get(settlement.seq), settlement))
    return events


def _held(entry: Fact, after: Dispute, before: Hold | None) -> Iterator[WebhookEvent]:
    hold = after.hold
    if hold is None or (before is not None and (before.key, before.attempts) == (hold.key, hold.attempts)):
        return
    data = _money(entry, after, hold.amount, hold.key, hold.attempts)
    yield WebhookEvent(WebhookType.PAYMENT_HOLD_REQUESTED, data)


def _asked(entry: Fact, after: Dispute, before: Settlement | None, settlement: Settlement) -> Iterator[WebhookEvent]:
    """The first time, all of it; after a failure, only what failed."""
    if settlement.attempts == (0 if before is None else before.attempts):
        return
    first = before is None or before.attempts == 0
    attempt = settlement.attempts
    if settlement.refund and (first or (before is not None and before.refund_again)):
        data = _money(entry, after, settlement.refund, settlement.key, attempt)
        yield WebhookEvent(WebhookType.PAYMENT_REFUND_REQUESTED, data)
    if settlement.release and (first or (before is not None and before.release_again)):
        data = _money(entry, after, settlement.release, settlement.release_key, attempt)
        yield WebhookEvent(WebhookType.PAYMENT_RELEASE_REQUESTED, data)


def _money(entry: Fact, after: Dispute, amount: int, key: str, attempt: int) -> dict[str, Any]:
    sum_ = {"amount": amount, "currency": after.order.currency}
    return {**_common(entry, after), **sum_, "key": key, "attempt": attempt}


def _common(entry: Fact, after: Dispute) -> dict[str, Any]:
    return {
        "dispute": after.id,
        "order_id": after.order.id,
        "room": after.room,
        "seq": entry.seq,
        "at": rfc3339(entry.at),
        "stage": after.stage.value,
        "status": after.status.value,
    }
