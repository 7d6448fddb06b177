"""Whether an entry is what a command wrote when it was sent before.

A decision adds to an entry what the moment gave it: when an offer expires, under which key the money moves. So a retry
after a lost answer is known by what the person said, not by comparing whole bodies.
"""

from typing import Any

from policies.dispute import commands
from policies.dispute.commands import Command
from policies.dispute.events import event_body
from policies.dispute.fact import Fact
from policies.dispute.opening import OpenDispute
from policies.instant import instant, read_rfc3339
from policies.vocabulary import EntryKind


def same_command(command: Command | OpenDispute, entry: Fact) -> bool:
    """Whether ``entry``, found under the author and command id of ``command``, says what the command says.

    Of an erased entry (no body left) only the kind is compared.
    """
    kind, said = _said(command)
    if kind is not entry.kind:
        return False
    if not entry.body:
        return True
    return all(entry.written.get(name) == value for name, value in said.items()) and _same_times(command, entry)


def _same_times(command: Command | OpenDispute, entry: Fact) -> bool:
    if isinstance(command, commands.MakeProposal) and command.expires_at is not None:
        return read_rfc3339(entry.body["expires_at"]) == instant(command.expires_at)
    if isinstance(command, commands.RequestEvidence) and command.due_at is not None:
        return read_rfc3339(entry.body["due_at"]) == instant(command.due_at)
    return True


def _said(command: Command | OpenDispute) -> tuple[EntryKind | None, dict[str, Any]]:
    """The kind of the command's own entry, and the fields that the person chose. Left out means nothing was said."""
    match command:
        case OpenDispute():
            said: dict[str, Any] = {
                "reason": command.reason.value,
                "description": command.description,
                "desired_resolution": command.desired_resolution.value,
            }
            if command.amount is not None:
                said["amount"] = command.amount
            return EntryKind.DISPUTE_OPENED, said
        case commands.SendMessage(text=text, reply_to=reply_to, evidence=evidence):
            return EntryKind.MESSAGE, {"text": text, "reply_to": reply_to, "evidence": list(evidence) or None}
        case commands.MakeProposal():
            said = {"resolution": command.resolution.value, "note": command.note or None}
            if command.amount is not None:
                said["amount"] = command.amount
            return EntryKind.PROPOSAL_MADE, said
        case commands.AcceptProposal(proposal=proposal):
            return EntryKind.PROPOSAL_ACCEPTED, {"proposal": proposal}
        case commands.RejectProposal(proposal=proposal, reason=reason):
            return EntryKind.PROPOSAL_REJECTED, {"proposal": proposal, "reason": reason or None}
        case commands.WithdrawProposal(proposal=proposal, reason=reason):
            return EntryKind.PROPOSAL_WITHDRAWN, {"proposal": proposal, "reason": reason or None}
        case commands.MarkFulfilled(note=note):
            return EntryKind.FULFILLMENT_MARKED, {"note": note or None}
        case commands.ConfirmFulfilled(note=note):
            return EntryKind.FULFILLMENT_CONFIRMED, {"note": note or None}
        case commands.Escalate(reason=reason):
            return EntryKind.DISPUTE_ESCALATED, {"reason": reason}
        case commands.Close(reason=reason):
            return EntryKind.DISPUTE_WITHDRAWN, {"reason": reason}
        case commands.Reopen(reason=reason):
            return EntryKind.DISPUTE_REOPENED, {"reason": reason}
        case commands.FileAppeal(reason=reason, evidence=evidence):
            return EntryKind.APPEAL_FILED, {"reason": reason, "evidence": list(dict.fromkeys(evidence))}
        case _:
            return _said_by_staff(command)


def _said_by_staff(command: Command | OpenDispute) -> tuple[EntryKind | None, dict[str, Any]]:
    match command:
        case commands.JoinAsAgent():
            return EntryKind.AGENT_JOINED, {}
        case commands.LeaveAsAgent(recuse=recuse):
            return EntryKind.AGENT_LEFT, {"cause": "recused" if recuse else "left"}
        case commands.RequestEvidence(of=side, what=what, kinds=kinds):
            asked = list(dict.fromkeys(kind.value for kind in kinds))
            return EntryKind.EVIDENCE_REQUESTED, {"of": side.value, "what": what, "kinds": asked or None}
        case commands.Recommend():
            return EntryKind.DECISION_RECOMMENDED, _ruling(command)
        case commands.Decide():
            return EntryKind.DECISION_ISSUED, _ruling(command)
        case commands.AddEvidence(evidence=evidence, kind=kind):
            return EntryKind.EVIDENCE_ADDED, {**command.body, "evidence": evidence, "kind": kind.value}
        case commands.WithdrawEvidence(evidence=evidence, reason=reason):
            return EntryKind.EVIDENCE_WITHDRAWN, {"evidence": evidence, "reason": reason or None}
        case commands.ReleaseMessage(seq=seq, reason=reason):
            return EntryKind.MESSAGE_RELEASED, {"seq": seq, "reason": reason or None}
        case commands.RedactMessage(seq=seq, reason=reason):
            return EntryKind.MESSAGE_REDACTED, {"seq": seq, "reason": reason or None}
        case commands.ReportEvent(event=event):
            return EntryKind.ORDER_UPDATED, {"event": event_body(event)}
        case _:  # the clock and lapsed claims write nothing under their own id
            return None, {}


def _ruling(command: commands.Recommend | commands.Decide) -> dict[str, Any]:
    said: dict[str, Any] = {
        "outcome": command.outcome.value,
        "resolution": command.resolution.value,
        "reason_codes": list(dict.fromkeys(command.reason_codes)),
        "statement": command.statement,
        "evidence": list(dict.fromkeys(command.evidence)),
    }
    if command.amount is not None:
        said["amount"] = command.amount
    return said
