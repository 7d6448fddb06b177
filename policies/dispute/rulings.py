"""What agents recommend and decide, who has to be heard first, and the one appeal."""

from datetime import datetime
from typing import Any, Final

from policies.dispute import checks
from policies.dispute.commands import Decide, FileAppeal, Recommend
from policies.dispute.ending import resolve
from policies.dispute.mediation import give_up_claim_of
from policies.dispute.plan import Plan
from policies.dispute.state import Dispute, Evidence, Rule, Ruling
from policies.entry import Author, Draft
from policies.errors import BadRequest
from policies.instant import rfc3339
from policies.vocabulary import EntryKind, Outcome, Resolution, Role, Stage, Status, Visibility

RULED: Final = frozenset({Outcome.BUYER_FAVOR, Outcome.SELLER_FAVOR, Outcome.COMPROMISE})
"""What an agent may decide on."""
FITTING: Final = {
    Outcome.BUYER_FAVOR: frozenset(Resolution) - {Resolution.RELEASE_TO_SELLER},
    Outcome.SELLER_FAVOR: frozenset({Resolution.RELEASE_TO_SELLER}),
    Outcome.COMPROMISE: frozenset(
        {Resolution.PARTIAL_REFUND, Resolution.SPLIT, Resolution.DELIVERY_FIX, Resolution.REPLACEMENT}
    ),
}
"""The resolutions that do not contradict an outcome: who may appeal follows from it."""


def recommend(plan: Plan, command: Recommend) -> None:
    """For the agent who decides; the parties see that there is one, not what it says."""
    checks.require_case(plan.state, command.author)
    body, _ = _ruling(plan.state, command)
    kind = EntryKind.DECISION_RECOMMENDED
    plan.add(Draft(command.author, command.command_id, kind, body, Visibility.WITHHELD))


def decide_case(plan: Plan, command: Decide) -> None:
    state, author = plan.state, command.author
    checks.require_case(state, author)  # on appeal that is another agent: the one who decided cannot claim it
    if state.status is Status.AWAITING_FULFILLMENT:
        due_at = None if state.fulfillment is None else state.fulfillment.fulfill_by
        checks.refuse(
            "awaiting_fulfillment", "The parties have agreed; what they agreed on is still due.", due_at=due_at
        )
    checks.require_unfrozen(state)
    _require_heard(state, plan.now)
    body, amount = _ruling(state, command)
    _require_second_person(state, author, command, amount)
    body["final"] = state.stage is Stage.APPEAL
    if not body["final"]:
        body["appeal_until"] = rfc3339(plan.now + state.terms.appeal_within)
    seq = plan.write(author, command.command_id, EntryKind.DECISION_ISSUED, body)
    resolve(plan, "decision", seq, command.outcome, command.resolution, amount)


def appeal(plan: Plan, command: FileAppeal) -> None:
    """Once, by whoever lost, with something new; decided by another agent, for good."""
    state, author = plan.state, command.author
    side = checks.require_party(author, "Only buyer and seller can appeal.")
    decision = state.decision
    if decision is not None and (state.appeal is not None or decision.final):
        checks.refuse("appealed_already", "A decision can be appealed once.")
    if decision is None or state.active or state.resolution is None or state.outcome is not decision.outcome:
        checks.refuse("no_decision", "There is no decision to appeal.")
    if state.deadline(Rule.APPEAL_WINDOW) is None:
        # A chargeback moves the window; when it closed then is in the log.
        closed_at = decision.at + state.terms.appeal_within if state.chargeback_at is None else None
        checks.refuse("appeal_window", "The time to appeal is over.", closes_at=closed_at)
    if side not in losing_sides(decision.outcome):
        checks.refuse("losing_party", "Only the side that the decision went against can appeal.")
    reason = checks.text(command.reason, state.terms.note_chars, "reason")
    evidence = checks.evidence_ids(command.evidence)
    if not any(_is_new(each, side, decision) for each in state.evidence if each.id in evidence):
        checks.refuse("new_evidence_required", "An appeal needs evidence that you have added since the decision.")
    _require_evidence_of(state, evidence)
    answer_by = plan.now + state.terms.appeal_answer_within
    body = {"reason": reason, "evidence": evidence, "answer_by": rfc3339(answer_by)}
    plan.write(author, command.command_id, EntryKind.APPEAL_FILED, body)
    give_up_claim_of(plan, decision.agent, "appealed")


def _is_new(evidence: Evidence, side: Role, decision: Ruling) -> bool:
    return evidence.side is side and evidence.seq > decision.seq and not evidence.withdrawn


def _require_evidence_of(state: Dispute, cited: list[str]) -> None:
    known = {each.id for each in state.evidence}
    if unknown := [each for each in cited if each not in known]:
        message = "Only evidence that was added in this room can be named."
        raise BadRequest(message, details={"field": "evidence", "unknown": unknown})


def losing_sides(outcome: Outcome) -> frozenset[Role]:
    """Whom a decision went against; a compromise, both."""
    if outcome is Outcome.BUYER_FAVOR:
        return frozenset({Role.SELLER})
    if outcome is Outcome.SELLER_FAVOR:
        return frozenset({Role.BUYER})
    return frozenset({Role.BUYER, Role.SELLER})


def to_hear(state: Dispute, now: datetime) -> tuple[Role, datetime] | None:
    """The side that still has to be heard, and until when its time runs; None when the case may be decided."""
    if Role.SELLER not in state.heard and now <= state.attend_by:
        return Role.SELLER, state.attend_by
    waiting = [(request.due_at, request.of) for request in state.requests if not request.met and now <= request.due_at]
    answer = state.deadline(Rule.APPEAL_ANSWER)
    if answer is not None and state.appeal is not None and now <= answer.due_at:
        waiting.append((answer.due_at, checks.other_side(state.appeal.side)))
    if not waiting:
        return None
    due_at, side = max(waiting)
    return side, due_at


def _require_heard(state: Dispute, now: datetime) -> None:
    waiting = to_hear(state, now)
    if waiting is not None:
        side, due_at = waiting
        message = f"The {side.value} has not been heard yet and still has time to answer."
        checks.refuse("right_to_be_heard", message, side=side.value, due_at=due_at)


def _ruling(state: Dispute, command: Recommend | Decide) -> tuple[dict[str, Any], int | None]:
    """The body of a ruling, and what the buyer gets back by it: in all, also what an earlier one asked for already."""
    if command.outcome not in RULED:
        message = "Decide in favour of the buyer, of the seller, or on a compromise."
        raise BadRequest(message, details={"field": "outcome"})
    if command.resolution not in FITTING[command.outcome]:
        message = "This resolution contradicts the outcome."
        raise BadRequest(message, details={"field": "resolution"})
    order = state.order
    amount = checks.paid_back(
        command.resolution, command.amount, paid=order.amount, left=state.disposable, currency=order.currency
    )
    evidence = checks.evidence_ids(command.evidence)
    _require_evidence_of(state, evidence)
    body: dict[str, Any] = {
        "outcome": command.outcome.value,
        "resolution": command.resolution.value,
        **checks.money_body(amount, order.currency),
        "reason_codes": checks.ids(
            command.reason_codes, checks.REASON_CODES, checks.REASON_CODE_CHARS, "reason_codes", least=1
        ),
        "statement": checks.text(command.statement, state.terms.note_chars, "statement"),
        "evidence": evidence,
    }
    return body, amount


def _require_second_person(state: Dispute, author: Author, command: Decide, amount: int | None) -> None:
    """A decision about much money needs the recommendation of the same by another agent, who may have the case. What
    counts is the larger of what the buyer gets and what the seller gets, whatever of it was asked for before."""
    limit = state.terms.second_person_above.get(state.order.currency)
    refund = amount or 0
    if limit is None or max(refund, state.disposable - refund) <= limit:
        return
    said = state.recommendation
    others = {author.id, *state.recused}
    if said is not None and said.agent not in others and _equal(said, command, amount):
        return
    message = "A decision about this much money needs an equal recommendation by another agent first."
    checks.refuse("second_person", message, limit=limit, currency=state.order.currency)


def _equal(said: Ruling, command: Decide, amount: int | None) -> bool:
    return (said.outcome, said.resolution, said.amount) == (command.outcome, command.resolution, amount)
