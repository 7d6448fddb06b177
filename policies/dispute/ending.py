"""How a dispute ends: resolved, withdrawn by the buyer, reopened once, and at last closed."""

from typing import Any

from policies.dispute import checks
from policies.dispute.commands import Close, Reopen
from policies.dispute.plan import Plan
from policies.dispute.settling import division
from policies.dispute.state import Dispute, Rule
from policies.errors import Forbidden
from policies.instant import rfc3339
from policies.vocabulary import EntryKind, Outcome, Resolution, Role, Seq, Status


def resolve(
    plan: Plan, cause: str, entry: Seq, outcome: Outcome, resolution: Resolution | None, amount: int | None = None
) -> None:
    """Write the end that entry ``entry`` brought, and ask for the money unless it has to wait until the end is final.

    ``amount`` is what the buyer gets back by this dispute in all, the seller the rest: asked for is what they were not
    asked to get before. A chargeback moves no money: the bank has.
    """
    state = plan.state
    body: dict[str, Any] = {"outcome": outcome.value, "cause": cause, "entry": entry}
    if resolution is not None:
        body["resolution"] = resolution.value
    body |= checks.money_body(amount, state.order.currency)
    if outcome is not Outcome.CHARGEBACK:
        final = cause != "decision" or (state.decision is not None and state.decision.final)
        deferred = state.terms.settle == "when_final" and not final
        body |= division(state, plan.next_seq, amount or 0, deferred=deferred)
    plan.follow(f"resolved:{entry}", EntryKind.DISPUTE_RESOLVED, body)


def close(plan: Plan, command: Close) -> None:
    state = plan.state
    if command.author.role is not Role.BUYER:
        raise Forbidden("Only the buyer can close a dispute.")
    checks.require_active(state)
    checks.require_unfrozen(state)
    if appealed_by_other(state, Role.BUYER):
        checks.refuse("appeal_pending", "The seller has appealed; another agent has to decide about that first.")
    body: dict[str, Any] = {"reason": checks.text(command.reason, state.terms.note_chars, "reason")}
    final = state.reopened
    if not final:
        body["reopen_until"] = rfc3339(plan.now + state.terms.reopen_within)
    deferred = state.terms.settle == "when_final" and not final
    body |= division(state, plan.next_seq, None, deferred=deferred)
    plan.write(command.author, command.command_id, EntryKind.DISPUTE_WITHDRAWN, body)


def appealed_by_other(state: Dispute, side: Role) -> bool:
    """Whether the other side's appeal is undecided."""
    return state.active and state.appeal is not None and state.appeal.side is not side


def reopen(plan: Plan, command: Reopen) -> None:
    """That no other dispute of the order is active by now is for the order to say, not for this one."""
    state = plan.state
    if command.author.role is not Role.BUYER:
        raise Forbidden("Only the buyer can reopen a dispute.")
    if state.active:
        checks.refuse("active", "This dispute has not ended.")
    if state.status is not Status.WITHDRAWN:
        checks.refuse("not_withdrawn", "Only a dispute that its buyer closed can be reopened.")
    if state.reopened:
        checks.refuse("reopen_once", "A dispute can be reopened once.")
    if state.deadline(Rule.REOPEN_WINDOW) is None:
        closed_at = None
        if state.ended_at is not None and state.chargeback_at is None:  # a chargeback moves the window
            closed_at = state.ended_at + state.terms.reopen_within
        checks.refuse("reopen_window", "The time to reopen this dispute is over.", closes_at=closed_at)
    checks.require_unfrozen(state)
    body = {"reason": checks.text(command.reason, state.terms.note_chars, "reason")}
    plan.write(command.author, command.command_id, EntryKind.DISPUTE_REOPENED, body)
