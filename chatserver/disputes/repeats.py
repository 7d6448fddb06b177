"""Whether a command is one that was carried out before: the same person sent it again, not knowing the answer."""

from datetime import datetime
from typing import Any

from policies.dispute import commands as ask
from policies.dispute.opening import OpenDispute
from policies.entry import Entry
from policies.instant import instant, rfc3339
from policies.vocabulary import EntryKind


def repeats(entry: Entry, command: ask.Command | OpenDispute) -> bool:
    """Whether an entry is what this very command wrote.

    Compared is what the client said, not what was decided on it: the same command may be refused, or mean something
    else, by now. Of an erased entry only the kind is left to compare.
    """
    kind, said = _said(command)
    if entry.kind is not kind:
        return False
    return entry.erased or all(_same(entry.body.get(name), value) for name, value in said.items())


def _same(written: object, said: object) -> bool:
    """What was not said is not compared; an empty text is not written."""
    return said is None or written == said or (said == "" and written is None)


def _time(at: datetime | None) -> str | None:
    return None if at is None else rfc3339(instant(at))


def _said(command: ask.Command | OpenDispute) -> tuple[EntryKind, dict[str, Any]]:
    match command:
        case OpenDispute():
            said: dict[str, Any] = {"reason": command.reason, "description": command.description}
            said |= {"desired_resolution": command.desired_resolution, "amount": command.amount}
            return EntryKind.DISPUTE_OPENED, said
        case ask.SendMessage():
            return EntryKind.MESSAGE, {"text": command.text, "reply_to": command.reply_to}
        case ask.MakeProposal():
            said = {"resolution": command.resolution, "amount": command.amount, "note": command.note}
            return EntryKind.PROPOSAL_MADE, said | {"expires_at": _time(command.expires_at)}
        case ask.AcceptProposal():
            return EntryKind.PROPOSAL_ACCEPTED, {"proposal": command.proposal}
        case ask.RejectProposal():
            return EntryKind.PROPOSAL_REJECTED, {"proposal": command.proposal, "reason": command.reason}
        case ask.WithdrawProposal():
            return EntryKind.PROPOSAL_WITHDRAWN, {"proposal": command.proposal, "reason": command.reason}
        case ask.MarkFulfilled():
            return EntryKind.FULFILLMENT_MARKED, {"note": command.note}
        case ask.ConfirmFulfilled():
            return EntryKind.FULFILLMENT_CONFIRMED, {"note": command.note}
        case ask.Escalate():
            return EntryKind.DISPUTE_ESCALATED, {"reason": command.reason}
        case ask.Close():
            return EntryKind.DISPUTE_WITHDRAWN, {"reason": command.reason}
        case ask.Reopen():
            return EntryKind.DISPUTE_REOPENED, {"reason": command.reason}
        case ask.FileAppeal():
            return EntryKind.APPEAL_FILED, {"reason": command.reason, "evidence": _list(command.evidence)}
        case ask.JoinAsAgent():
            return EntryKind.AGENT_JOINED, {}
        case ask.LeaveAsAgent():
            return EntryKind.AGENT_LEFT, {"reason": command.reason}
        case ask.LapseClaim():
            return EntryKind.AGENT_LEFT, {"agent": command.agent}
        case ask.RequestEvidence():
            said = {"of": command.of, "what": command.what, "due_at": _time(command.due_at)}
            return EntryKind.EVIDENCE_REQUESTED, said
        case ask.Recommend():
            return EntryKind.DECISION_RECOMMENDED, _ruling(command)
        case ask.Decide():
            return EntryKind.DECISION_ISSUED, _ruling(command)
        case ask.AddEvidence():
            return EntryKind.EVIDENCE_ADDED, {"evidence": command.evidence}
        case ask.ReportEvent():
            return EntryKind.ORDER_UPDATED, {}
        case ask.Tick():  # it has no entry of its own
            return EntryKind.NOTICE, {}


def _ruling(command: ask.Recommend | ask.Decide) -> dict[str, Any]:
    return {
        "outcome": command.outcome,
        "resolution": command.resolution,
        "amount": command.amount,
        "statement": command.statement,
        "reason_codes": _list(command.reason_codes),
        "evidence": _list(command.evidence) or None,
    }


def _list(values: tuple[str, ...]) -> list[str]:
    return list(dict.fromkeys(values))
