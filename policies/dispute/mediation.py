"""Support: how it comes in, who has the case, and what it asks the parties for."""

from datetime import timedelta
from typing import Any, Final

from policies.dispute import checks
from policies.dispute.commands import Escalate, JoinAsAgent, LapseClaim, LeaveAsAgent, RequestEvidence
from policies.dispute.plan import Plan
from policies.dispute.state import Deadline
from policies.errors import BadRequest, Conflict, Forbidden
from policies.instant import instant, rfc3339
from policies.vocabulary import PARTIES, EntryKind, Role, Stage, Status, UserId

REQUEST_LONGEST: Final = timedelta(days=30)
"""The latest that evidence may be asked for, so that a slip of the pen does not stall a case."""


def escalate(plan: Plan, command: Escalate) -> None:
    """A party calls support in."""
    state, author = plan.state, command.author
    side = checks.require_party(author, "Only buyer and seller can call support in.")
    checks.require_active(state)
    if state.stage is not Stage.NEGOTIATION and state.status is not Status.AWAITING_FULFILLMENT:
        checks.refuse("already_escalated", "Support is on this case already.")
    opens_at = state.opened_at + state.terms.escalate_from
    if plan.now < opens_at:
        checks.refuse("escalate_from", "It is too early to call support in.", opens_at=opens_at)
    reason = checks.text(command.reason, state.terms.note_chars, "reason")
    body: dict[str, Any] = {"rule": f"by_{side.value}", "reason": reason}
    seq = plan.write(author, command.command_id, EntryKind.DISPUTE_ESCALATED, body)
    plan.attended(author, "answer", seq)


def escalate_by(plan: Plan, deadline: Deadline) -> None:
    """A deadline has passed and brings support in. The receipt says what it counted from and what moved it."""
    receipt: dict[str, Any] = {
        "rule": deadline.rule.value,
        "started_at": rfc3339(deadline.started_at),
        "due_at": rfc3339(deadline.due_at),
    }
    if deadline.moved_by is not None:
        receipt["moved_by"] = deadline.moved_by
    body = {"rule": deadline.rule.value, "receipt": receipt}
    plan.follow(f"escalated:{deadline.rule.value}:{receipt['due_at']}", EntryKind.DISPUTE_ESCALATED, body)


def join(plan: Plan, command: JoinAsAgent) -> None:
    """Claim the case. The agent who has it already may ask again: nothing is written then."""
    state, author = plan.state, command.author
    checks.require_decider(author)
    checks.require_active(state)
    checks.require_escalated(state)
    if author.id in state.recused:
        checks.refuse("recused", "You have recused yourself from this case.")
    if state.appeal is not None and state.appeal.against == author.id:
        checks.refuse("another_agent", "An appeal is decided by another agent.")
    holder = state.agent
    if holder is not None and holder.id == author.id:
        return
    body: dict[str, Any] = {}
    if holder is not None:
        if not command.take_over:
            raise Conflict("Another agent has claimed this case.", details={"agent": holder.id})
        if author.role is not Role.SENIOR_AGENT:
            raise Forbidden("Only a senior agent can take a case over.")
        _leave(plan, holder.id, "taken_over")
        body["took_over"] = holder.id
    plan.write(author, command.command_id, EntryKind.AGENT_JOINED, body)


def leave(plan: Plan, command: LeaveAsAgent) -> None:
    """The parties are not told why: the reason is for the staff log, where whoever takes the command notes it."""
    state, author = plan.state, command.author
    checks.require_claimed(state, author)
    checks.optional_text(command.reason, state.terms.note_chars, "reason")
    body: dict[str, Any] = {"agent": author.id, "cause": "recused" if command.recuse else "left"}
    plan.write(author, command.command_id, EntryKind.AGENT_LEFT, body)


def lapse(plan: Plan, command: LapseClaim) -> None:
    """The agent disappeared. Nothing to do when somebody else has the case by now, or nobody."""
    holder = plan.state.agent
    if holder is not None and holder.id == command.agent:
        _leave(plan, holder.id, "lapsed")


def give_up_claim_of(plan: Plan, agent: UserId, cause: str) -> None:
    """The agent may not go on with this case."""
    if plan.state.agent is not None and plan.state.agent.id == agent:
        _leave(plan, agent, cause)


def request_evidence(plan: Plan, command: RequestEvidence) -> None:
    state, author = plan.state, command.author
    checks.require_case(state, author)
    if command.of not in PARTIES:
        raise BadRequest("Ask the buyer or the seller.", details={"field": "of"})
    what = checks.text(command.what, state.terms.note_chars, "request")
    due_at = plan.now + state.terms.evidence_within
    if command.due_at is not None:
        due_at, latest = instant(command.due_at), plan.now + REQUEST_LONGEST
        if not plan.now < due_at <= latest:
            message = "Evidence has to be due in the future, and not too late."
            raise BadRequest(message, details={"field": "due_at", "latest": rfc3339(latest)})
    open_ones = sum(not each.met for each in state.requests)
    if open_ones >= state.terms.pending_requests:
        message = "Too many requests for evidence are open; wait for an answer first."
        checks.refuse("pending_requests", message, limit=state.terms.pending_requests)
    body: dict[str, Any] = {"of": command.of.value, "what": what, "due_at": rfc3339(due_at)}
    if command.kinds:
        body["kinds"] = list(dict.fromkeys(kind.value for kind in command.kinds))
    plan.write(author, command.command_id, EntryKind.EVIDENCE_REQUESTED, body)


def _leave(plan: Plan, agent: UserId, cause: str) -> None:
    body = {"agent": agent, "cause": cause}
    plan.follow(f"left:{plan.next_seq}", EntryKind.AGENT_LEFT, body)
