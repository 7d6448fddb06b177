"""What the marketplace reports of the order while it is disputed, and after.

Every event is told to both sides. A confirmed delivery or a cancellation ends nothing by itself: the dispute is theirs
to end. A chargeback freezes the money until the bank has decided.
"""

from datetime import datetime
from typing import Any, Final

from policies.dispute.commands import ReportEvent
from policies.dispute.conclusion import is_news
from policies.dispute.ending import resolve
from policies.dispute.offers import match_equal
from policies.dispute.plan import Plan
from policies.dispute.settling import answers, awaits_payment
from policies.dispute.state import PAUSED_WHILE_FROZEN, Dispute
from policies.instant import rfc3339
from policies.order import OrderEvent
from policies.vocabulary import EntryKind, OrderEventType, Outcome, Stage

_CHARGEBACKS: Final = frozenset(
    {OrderEventType.CHARGEBACK_OPENED, OrderEventType.CHARGEBACK_WON, OrderEventType.CHARGEBACK_LOST}
)


def report(plan: Plan, command: ReportEvent) -> None:
    state, event = plan.state, command.event
    if state.closed and not _still_matters(state, event):
        return  # the order room has it; here nobody could read it any more
    plan.write(command.author, command.command_id, EntryKind.ORDER_UPDATED, {"event": event_body(event)})
    if event.type in _CHARGEBACKS and is_news(state, event.type, event.at):
        _chargeback(plan, event)


def event_body(event: OrderEvent) -> dict[str, Any]:
    """An event as both sides read it."""
    return {"id": event.id, "type": event.type.value, "at": rfc3339(event.at), "data": dict(event.data)}


def _still_matters(state: Dispute, event: OrderEvent) -> bool:
    """Whether an event changes what is asked for after the room was closed."""
    return answers(state, event.type, event.data) or (event.type in _CHARGEBACKS and awaits_payment(state))


def _chargeback(plan: Plan, event: OrderEvent) -> None:
    if event.type is OrderEventType.CHARGEBACK_OPENED:
        if not plan.state.frozen:
            _freeze(plan, event)
        return
    frozen_at = plan.state.frozen_at
    if frozen_at is not None:
        result = "won" if event.type is OrderEventType.CHARGEBACK_WON else "lost"
        plan.follow(f"unfrozen:{event.id}", EntryKind.DISPUTE_UNFROZEN, {"event": event.id, "result": result})
        if result == "won":
            _go_on(plan, frozen_at)
            if plan.state.active:
                match_equal(plan)
    if event.type is OrderEventType.CHARGEBACK_LOST and plan.state.active:
        resolve(plan, "chargeback", plan.state.seq, Outcome.CHARGEBACK, None)


def _freeze(plan: Plan, event: OrderEvent) -> None:
    body: dict[str, Any] = {"event": event.id, "at": rfc3339(event.at)}
    seq = plan.follow(f"frozen:{event.id}", EntryKind.DISPUTE_FROZEN, body)
    if plan.state.active and plan.state.stage is Stage.NEGOTIATION:
        plan.follow(f"escalated:chargeback:{seq}", EntryKind.DISPUTE_ESCALATED, {"rule": "chargeback"})


def _go_on(plan: Plan, frozen_at: datetime) -> None:
    """What waited for the bank gets the time back that passed since."""
    seq = plan.state.seq
    for deadline in plan.state.deadlines:
        if deadline.rule not in PAUSED_WHILE_FROZEN:
            continue
        waited = plan.now - max(frozen_at, deadline.started_at)
        if not waited:
            continue
        due_at = deadline.due_at + waited
        body: dict[str, Any] = {
            "rule": deadline.rule.value,
            "due_at": rfc3339(due_at),
            "was": rfc3339(deadline.due_at),
            "cause": "unfrozen",
        }
        if deadline.of is not None:
            body["of"] = deadline.of
        subject = "" if deadline.of is None else f":{deadline.of}"
        plan.follow(f"extended:{seq}:{deadline.rule.value}{subject}", EntryKind.DEADLINE_EXTENDED, body)
