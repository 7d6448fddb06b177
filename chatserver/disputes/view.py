"""How a dispute looks to its readers: the only place that decides what of its state a party sees."""

from datetime import datetime
from typing import Any, Final

from chatserver.rendering import FULL_VIEW
from policies.dispute.actions import available_actions
from policies.dispute.state import (
    Agent,
    Appeal,
    Deadline,
    Dispute,
    EvidenceRequest,
    Fulfillment,
    Offer,
    OrderSnapshot,
    Ruling,
    Settlement,
)
from policies.instant import rfc3339
from policies.room import Party, staff_room
from policies.vocabulary import Role, UserId

_SIDES: Final = (Role.BUYER, Role.SELLER)


def dispute_view(state: Dispute, role: Role) -> dict[str, Any]:
    """A dispute as ``protocol.Dispute`` for a reader, ready for JSON. All who are staff see the same, and so do both
    parties; to a party an agent is no more than a name.

    Args:
        role: of the reader in the dispute's room; ``system`` for the marketplace's back end, which sees what staff see.
    """
    whole = role in FULL_VIEW
    view: dict[str, Any] = {
        "id": state.id,
        "room": state.room,
        "seq": state.seq,
        "order": _order(state.order),
        "buyer": _party(state.buyer),
        "seller": _party(state.seller),
        "reason": state.reason.value,
        "description": state.description,
        "desired_resolution": state.desired_resolution.value,
        "policy_version": state.policy_version,
        "evidence_checklist": [
            {"side": side.value, "kind": kind.value} for side in _SIDES for kind in state.checklist.of(side)
        ],
        "opened_at": rfc3339(state.opened_at),
        "stage": state.stage.value,
        "status": state.status.value,
        "frozen": state.frozen,
        "held": state.held,
        "closed": state.closed,
        "reopened": state.reopened,
        "last_update_at": rfc3339(state.last_update_at),
        "refundable": state.disposable if state.active else state.refundable,
        "deadlines": [
            _deadline(each, paused=not state.runs(each))
            for each in sorted(state.deadlines, key=lambda deadline: deadline.due_at)
        ],
        "offers": [_offer(each) for each in state.offers],
        "requests": [_request(each) for each in state.requests],
    }
    view |= _present(
        desired_amount=state.desired_amount,
        frozen_at=_time(state.frozen_at),
        attended_at=_time(state.attended_at),
        fulfillment=state.fulfillment and _fulfillment(state.fulfillment),
        escalation=state.escalation
        and {
            "at": rfc3339(state.escalation.at),
            "rule": state.escalation.rule,
            "reason": state.escalation.reason,
        },
        agent=state.agent and _agent(state.agent, whole),
        decision=state.decision and _ruling(state.decision, whole),
        appeal=state.appeal and _appeal(state.appeal, whole),
        outcome=state.outcome and state.outcome.value,
        resolution=state.resolution and state.resolution.value,
        resolved_amount=state.resolved_amount,
        ended_at=_time(state.ended_at),
        settlement=state.settlement and _settlement(state.settlement),
        earlier_settlements=[_settlement(each) for each in state.earlier] or None,
    )
    if whole:
        view["staff_room"] = staff_room(state.id)
        view["recused"] = list(state.recused)
        if state.recommendation is not None:
            view["recommendation"] = _ruling(state.recommendation, whole)
    return view


def actions_view(state: Dispute, role: Role, user: UserId, now: datetime) -> list[dict[str, Any]]:
    """What a reader may do, each as ``protocol.AvailableAction``, ready for JSON.

    Args:
        role: of the reader in the dispute's room.
        now: the time, aware.
    """
    return [
        {
            "action": each.action,
            "mandatory": each.mandatory,
            **_present(due_at=_time(each.due_at), rule=each.rule and str(each.rule)),
        }
        for each in available_actions(state, role, user, now)
    ]


def _order(order: OrderSnapshot) -> dict[str, Any]:
    return {
        "id": order.id,
        "room": order.room,
        "title": order.title,
        "category": order.category.value,
        "amount": order.amount,
        "currency": order.currency,
        "placed_at": rfc3339(order.placed_at),
        "trust_level": order.trust_level.value,
        "refunded": order.refunded,
        **_present(delivered_at=_time(order.delivered_at), confirmed_at=_time(order.confirmed_at)),
    }


def _party(party: Party) -> dict[str, Any]:
    return {"id": party.id, "name": party.name}


def _deadline(deadline: Deadline, *, paused: bool) -> dict[str, Any]:
    return {
        "rule": deadline.rule.value,
        "due_at": rfc3339(deadline.due_at),
        "started_at": rfc3339(deadline.started_at),
        **_present(moved_by=deadline.moved_by, of=deadline.of, paused=paused or None),
    }


def _offer(offer: Offer) -> dict[str, Any]:
    return {
        "seq": offer.seq,
        "side": offer.side.value,
        "resolution": offer.resolution.value,
        "expires_at": rfc3339(offer.expires_at),
        **_present(amount=offer.amount, note=offer.note or None),
    }


def _fulfillment(fulfillment: Fulfillment) -> dict[str, Any]:
    return {
        "offer": _offer(fulfillment.offer),
        "fulfill_by": rfc3339(fulfillment.fulfill_by),
        **_present(marked_at=_time(fulfillment.marked_at)),
    }


def _agent(agent: Agent, whole: bool) -> dict[str, Any]:
    shown = {"name": agent.name, "since": rfc3339(agent.since)}
    return {"id": agent.id, "role": agent.role.value, **shown} if whole else shown


def _request(request: EvidenceRequest) -> dict[str, Any]:
    return {
        "seq": request.seq,
        "of": request.of.value,
        "what": request.what,
        "due_at": rfc3339(request.due_at),
        "met": request.met,
        "kinds": [kind.value for kind in request.kinds],
    }


def _ruling(ruling: Ruling, whole: bool) -> dict[str, Any]:
    return {
        "seq": ruling.seq,
        "at": rfc3339(ruling.at),
        "outcome": ruling.outcome.value,
        "resolution": ruling.resolution.value,
        "reason_codes": list(ruling.reason_codes),
        "statement": ruling.statement,
        "evidence": list(ruling.evidence),
        "final": ruling.final,
        **_present(amount=ruling.amount, agent=ruling.agent if whole else None),
    }


def _appeal(appeal: Appeal, whole: bool) -> dict[str, Any]:
    return {
        "seq": appeal.seq,
        "at": rfc3339(appeal.at),
        "side": appeal.side.value,
        "reason": appeal.reason,
        "evidence": list(appeal.evidence),
        "answered": appeal.answered,
        **_present(against=appeal.against if whole else None),
    }


def _settlement(settlement: Settlement) -> dict[str, Any]:
    reversal = {"refund": settlement.refund_reversal, "release": settlement.release_reversal}
    return {
        "status": settlement.status.value,
        "refund": settlement.refund,
        "release": settlement.release,
        "refund_done": settlement.refund_done,
        "release_done": settlement.release_done,
        "attempts": settlement.attempts,
        **_present(reversal={name: amount for name, amount in reversal.items() if amount} or None),
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else rfc3339(at)


def _present(**fields: Any) -> dict[str, Any]:
    """The fields that are there."""
    return {name: value for name, value in fields.items() if value is not None}
