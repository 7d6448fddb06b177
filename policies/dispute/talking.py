"""Messages and evidence in a dispute room, as far as they change its state."""

from typing import Any, Final

from policies.dispute import checks
from policies.dispute.acts import is_real_act
from policies.dispute.commands import AddEvidence, RedactMessage, ReleaseMessage, SendMessage, WithdrawEvidence
from policies.dispute.plan import Plan
from policies.dispute.state import Dispute, Rule
from policies.evidence import may_add
from policies.plain import require_plain
from policies.room import RoomFacts, decide_message
from policies.verdicts import Effect, Verdict, announcement, judge
from policies.vocabulary import PARTIES, EntryKind, RoomKind

_CLOSING: Final = frozenset({Rule.ROOM_CLOSES, Rule.APPEAL_WINDOW, Rule.REOPEN_WINDOW})
"""What closes the room when it passes."""


def send_message(plan: Plan, command: SendMessage) -> None:
    """A message; the seller's first real one attends. Agents write while they hold the claim."""
    state, author = plan.state, command.author
    claimed = state.agent is not None and state.agent.id == author.id
    draft = decide_message(
        room_facts(state),
        state.seq,
        author,
        command.command_id,
        command.text,
        command.reply_to,
        command.evidence,
        max_chars=command.max_chars,
        claimed=claimed,
    )
    real = is_real_act(command.text, state.seen)
    seq = plan.add(draft)
    if real:
        plan.attended(author, "message", seq)


def add_evidence(plan: Plan, command: AddEvidence) -> None:
    """Evidence was verified. After the end too, as long as the room is open: an appeal needs new evidence."""
    author = command.author
    if author.role not in PARTIES:
        checks.require_claimed(plan.state, author)
    [evidence] = checks.evidence_ids([command.evidence])
    body: dict[str, Any] = {**command.body, "evidence": evidence, "kind": command.kind.value}
    require_plain(body)
    seq = plan.write(author, command.command_id, EntryKind.EVIDENCE_ADDED, body)
    plan.attended(author, "evidence", seq)


def withdraw_evidence(plan: Plan, command: WithdrawEvidence) -> None:
    """The seal stays, and staff still see it. It is no update of the dispute: nothing was said."""
    may_add(room_facts(plan.state), command.author.role)
    [evidence] = checks.evidence_ids([command.evidence])
    body: dict[str, Any] = {"evidence": evidence}
    if reason := checks.optional_text(command.reason, plan.state.terms.note_chars, "reason"):
        body["reason"] = reason
    plan.write(command.author, command.command_id, EntryKind.EVIDENCE_WITHDRAWN, body)


def release(plan: Plan, command: ReleaseMessage) -> None:
    """What was withheld counts from now on as what it is: a false alarm costs nobody anything."""
    target = command.target
    effect = judge(Verdict.RELEASE, target, command.author.role, command.reason)
    if target is None or effect is not Effect.SHOWN:
        return
    draft = announcement(Verdict.RELEASE, target, command.author, command.command_id, command.reason)
    plan.add(draft)
    if "counts" in draft.body:
        by = "evidence" if target.kind is EntryKind.EVIDENCE_ADDED else "message"
        plan.attended(target.author, by, target.seq)


def redact(plan: Plan, command: RedactMessage) -> None:
    """Hidden from the other side. What it has set going stays: it was seen."""
    target = command.target
    effect = judge(Verdict.REDACT, target, command.author.role, command.reason)
    if target is not None and effect is Effect.SHOWN:
        plan.add(announcement(Verdict.REDACT, target, command.author, command.command_id, command.reason))


def room_facts(state: Dispute) -> RoomFacts:
    """What the rules of rooms need to know of a dispute's room."""
    closing = (each.due_at for each in state.deadlines if each.rule in _CLOSING and state.runs(each))
    return RoomFacts(
        state.room,
        RoomKind.DISPUTE,
        state.order.id,
        state.buyer,
        state.seller,
        state.opened_at,
        closed=state.closed,
        unattended=state.attended_at is None,
        closes_at=min(closing, default=None),
    )
