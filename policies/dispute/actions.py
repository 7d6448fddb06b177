"""What one reader of a dispute may do now, and what waits for them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from policies.dispute.checks import DONE_BY_SELLER, other_side
from policies.dispute.ending import appealed_by_other
from policies.dispute.rulings import losing_sides, to_hear
from policies.dispute.state import Deadline, Dispute, Offer, Rule
from policies.instant import instant
from policies.vocabulary import DECIDERS, PARTIES, Resolution, Role, Stage, Status, UserId


@dataclass(frozen=True, slots=True)
class Action:
    """``action`` is the type of the command (or ``evidence.add``, an upload; or ``case_file.export``, the room's
    transcript, offered while a bank is asking for proof). ``mandatory``: a deadline waits for this
    reader to do it, by ``due_at``, and ``rule`` says which."""

    action: str
    mandatory: bool = False
    due_at: datetime | None = None
    rule: str | None = None


def available_actions(state: Dispute, role: Role, user_id: UserId, now: datetime) -> list[Action]:
    """What a reader may do.

    Args:
        state: the dispute.
        role: what the reader is in its room.
        user_id: who they are.
        now: the time.
    """
    now = instant(now)
    actions: list[Action] = []
    if role in PARTIES and not state.closed:
        actions.extend(_of_party(state, role, now))
    if role in DECIDERS:
        actions.extend(_of_staff(state, role, user_id, now))
    if actions and state.frozen:
        actions.append(Action("case_file.export"))
    return actions


def _of_party(state: Dispute, side: Role, now: datetime) -> Iterator[Action]:
    yield _due("message.send", _answer_due(state, side))
    yield _due("evidence.add", _evidence_due(state, side))
    if not state.active:
        yield from _after_the_end(state, side, now)
        return
    if state.offers_of(side) < state.terms.offers_per_side:
        yield Action("proposal.make")
    theirs, own = state.offer_of(other_side(side)), state.offer_of(side)
    if theirs is not None and now <= theirs.expires_at:
        until, rule = theirs.expires_at, Rule.PROPOSAL_EXPIRY.value
        if _acceptable(state, theirs):
            yield Action("proposal.accept", due_at=until, rule=rule)
        yield Action("proposal.reject", due_at=until, rule=rule)
    if own is not None and now <= own.expires_at:
        yield Action("proposal.withdraw", due_at=own.expires_at, rule=Rule.PROPOSAL_EXPIRY.value)
    if state.fulfillment is not None:
        if side is Role.SELLER and state.fulfillment.marked_at is None:
            yield _due("fulfillment.mark", state.deadline(Rule.FULFILL_BY))
        if side is Role.BUYER and not state.frozen:
            yield _due("fulfillment.confirm", state.deadline(Rule.FULFILLMENT_CONFIRM))
    between_them = state.stage is Stage.NEGOTIATION or state.status is Status.AWAITING_FULFILLMENT
    if between_them and now >= state.opened_at + state.terms.escalate_from:
        yield Action("dispute.escalate")
    if side is Role.BUYER and not state.frozen and not appealed_by_other(state, side):
        yield Action("dispute.close")


def _acceptable(state: Dispute, offer: Offer) -> bool:
    """Money moves only while the bank is not deciding, and while there is enough left."""
    if offer.resolution in DONE_BY_SELLER:
        return True
    least = offer.amount if offer.resolution is Resolution.PARTIAL_REFUND else 1
    return not state.frozen and least is not None and least <= state.disposable


def _after_the_end(state: Dispute, side: Role, now: datetime) -> Iterator[Action]:
    reopen = state.deadline(Rule.REOPEN_WINDOW)
    if reopen is not None and side is Role.BUYER and not state.frozen and now <= reopen.due_at:
        yield Action("dispute.reopen", due_at=reopen.due_at, rule=reopen.rule.value)
    window, decision = state.deadline(Rule.APPEAL_WINDOW), state.decision
    if window is None or decision is None or side not in losing_sides(decision.outcome):
        return
    if not state.runs(window) or now <= window.due_at:
        yield Action("dispute.appeal", due_at=window.due_at, rule=window.rule.value)


def _of_staff(state: Dispute, role: Role, user_id: UserId, now: datetime) -> Iterator[Action]:
    yield Action("note.add")
    if state.closed:
        return
    escalated = state.stage is not Stage.NEGOTIATION
    if state.agent is None or state.agent.id != user_id:
        free = state.agent is None or role is Role.SENIOR_AGENT
        against = state.appeal is not None and state.appeal.against == user_id
        if escalated and state.active and free and not against and user_id not in state.recused:
            yield Action("agent.join", mandatory=state.agent is None)
        return
    yield Action("message.send")
    yield Action("evidence.add")
    yield Action("agent.leave")
    if not state.active:
        return
    if sum(not each.met for each in state.requests) < state.terms.pending_requests:
        yield Action("evidence.request")
    yield Action("decision.recommend")
    if state.status is Status.UNDER_REVIEW and not state.frozen and to_hear(state, now) is None:
        yield Action("decision.issue", mandatory=True)


def _due(action: str, deadline: Deadline | None) -> Action:
    if deadline is None:
        return Action(action)
    return Action(action, mandatory=True, due_at=deadline.due_at, rule=deadline.rule.value)


def _answer_due(state: Dispute, side: Role) -> Deadline | None:
    """What this side has to say something by."""
    if state.status is Status.WAITING_FOR_SELLER and side is Role.SELLER:
        return state.deadline(Rule.SELLER_ATTEND) or state.deadline(Rule.NO_UPDATE)
    if state.status is Status.WAITING_FOR_BUYER and side is Role.BUYER:
        return state.deadline(Rule.NO_UPDATE)
    if state.appeal is not None and side is not state.appeal.side:
        return state.deadline(Rule.APPEAL_ANSWER)
    return None


def _evidence_due(state: Dispute, side: Role) -> Deadline | None:
    asked = {request.seq for request in state.requests if request.of is side}
    due = (each for each in state.deadlines if each.rule is Rule.EVIDENCE_REQUEST and each.of in asked)
    return min(due, key=lambda each: each.due_at, default=None)
