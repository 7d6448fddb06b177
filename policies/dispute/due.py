"""What the clock does: deadlines that have passed fire, those that approach are told. Each does so once."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from policies.dispute.deadlines import approaching, passed
from policies.dispute.mediation import escalate_by
from policies.dispute.offers import expire
from policies.dispute.plan import Plan
from policies.dispute.state import Deadline, Rule
from policies.instant import rfc3339
from policies.vocabulary import EntryKind, Seq


def fire(plan: Plan) -> None:
    """Do what is due, in the order in which it became due. Every firing ends or moves its deadline."""
    while (deadline := passed(plan.state, plan.now)) is not None:
        _FIRINGS[deadline.rule](plan, deadline)


def remind(plan: Plan) -> None:
    """Tell what approaches."""
    for deadline in approaching(plan.state, plan.now):
        due_at = rfc3339(deadline.due_at)
        body: dict[str, Any] = {"rule": deadline.rule.value, "due_at": due_at}
        if deadline.of is not None:
            body["of"] = deadline.of
        subject = "" if deadline.of is None else f":{deadline.of}"
        plan.follow(f"approaching:{deadline.rule.value}{subject}:{due_at}", EntryKind.DEADLINE_APPROACHING, body)


def _expire(plan: Plan, deadline: Deadline) -> None:
    expire(plan, _subject(deadline))


def _evidence_overdue(plan: Plan, deadline: Deadline) -> None:
    seq = _subject(deadline)
    [request] = [each for each in plan.state.requests if each.seq == seq]
    body = {"notice": "evidence_overdue", "request": seq, "of": request.of.value}
    plan.follow(f"evidence_overdue:{seq}", EntryKind.NOTICE, body)


def _appeal_unanswered(plan: Plan, deadline: Deadline) -> None:
    body = {"notice": "appeal_unanswered", "appeal": _subject(deadline)}
    plan.follow(f"appeal_unanswered:{rfc3339(deadline.due_at)}", EntryKind.NOTICE, body)


def _close_room(plan: Plan, deadline: Deadline) -> None:
    plan.follow("room_closed", EntryKind.NOTICE, {"notice": "room_closed"})


def _ask_again(plan: Plan, deadline: Deadline) -> None:
    seq = _subject(deadline)
    hold = plan.state.hold
    requests = [*plan.state.settlements, *(() if hold is None else (hold,))]
    [request] = [each for each in requests if each.seq == seq]
    attempt = request.attempts + 1
    body = {"notice": "payment_asked_again", "entry": seq, "key": request.key, "attempt": attempt}
    plan.follow(f"payment_asked_again:{seq}:{attempt}", EntryKind.NOTICE, body)


def _subject(deadline: Deadline) -> Seq:
    if deadline.of is None:
        raise ValueError(f"a deadline of {deadline.rule} is about an entry")
    return deadline.of


_FIRINGS: Final[Mapping[Rule, Callable[[Plan, Deadline], None]]] = {
    Rule.SELLER_ATTEND: escalate_by,
    Rule.NO_UPDATE: escalate_by,
    Rule.FULFILL_BY: escalate_by,
    Rule.FULFILLMENT_CONFIRM: escalate_by,
    Rule.PROPOSAL_EXPIRY: _expire,
    Rule.EVIDENCE_REQUEST: _evidence_overdue,
    Rule.APPEAL_ANSWER: _appeal_unanswered,
    Rule.APPEAL_WINDOW: _close_room,
    Rule.REOPEN_WINDOW: _close_room,
    Rule.ROOM_CLOSES: _close_room,
    Rule.SETTLEMENT_RETRY: _ask_again,
}
