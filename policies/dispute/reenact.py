"""From the entry of a past dispute back to the command that it came from."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from policies.dispute.commands import (
    AcceptProposal,
    AddEvidence,
    Close,
    Command,
    ConfirmFulfilled,
    Decide,
    Escalate,
    FileAppeal,
    JoinAsAgent,
    LapseClaim,
    LeaveAsAgent,
    MakeProposal,
    MarkFulfilled,
    Recommend,
    RejectProposal,
    ReleaseMessage,
    Reopen,
    ReportEvent,
    RequestEvidence,
    SendMessage,
    WithdrawEvidence,
    WithdrawProposal,
)
from policies.dispute.fact import Fact
from policies.dispute.policy import Terms
from policies.entry import Author
from policies.instant import read_rfc3339
from policies.order import OrderEvent
from policies.verdicts import Target
from policies.vocabulary import (
    CommandId,
    EntryKind,
    EvidenceKind,
    OrderEventType,
    Outcome,
    Resolution,
    Role,
    Seq,
    UserId,
    Visibility,
)

_CHARS: Final = 1_000_000
"""A text that was accepted once is not too long."""
_LAPSED: Final = "lapsed"


def command_of(entry: Fact, terms: Terms, places: Mapping[Seq, Seq]) -> Command | None:
    """The command of an entry; None for what follows from others, or from the clock.

    Args:
        entry: of a dispute's room, not the first.
        terms: those that it was written under: a time that they give was not asked for.
        places: where the entries are that it may name. One that is not there is named as 0, which is none.
    """
    if entry.author.role is Role.SYSTEM:
        return _of_system(entry)
    made = _COMMANDS.get(entry.kind)
    return None if made is None else made(_Told(entry, terms, places))


def _of_system(entry: Fact) -> Command | None:
    body, author, command_id = entry.body, entry.author, CommandId(f"past:{entry.seq}")
    if entry.kind is EntryKind.ORDER_UPDATED:
        event = body["event"]
        past = OrderEvent(event["id"], OrderEventType(event["type"]), read_rfc3339(event["at"]), event["data"])
        return ReportEvent(author, command_id, past)
    if entry.kind is EntryKind.AGENT_LEFT and body["cause"] == _LAPSED:
        return LapseClaim(author, command_id, body["agent"])
    return None


class _Told:
    """What an entry tells of its command."""

    def __init__(self, entry: Fact, terms: Terms, places: Mapping[Seq, Seq]) -> None:
        self.body = entry.body
        self.asked = entry.author, CommandId(f"past:{entry.seq}")
        self.at = entry.at
        self.seq = entry.seq
        self.terms = terms
        self._places = places

    def place(self, name: str) -> Seq:
        return self._places.get(self.body[name], Seq(0))

    def time(self, name: str, unless_after: timedelta) -> datetime | None:
        """A time that was asked for, or None when it is the one that the terms give."""
        at = read_rfc3339(self.body[name])
        return None if at == self.at + unless_after else at

    def text(self, name: str) -> str:
        # Erased content is gone; something was said there.
        return str(self.body.get(name, f"(erased {self.seq})"))


def _message(told: _Told) -> Command:
    reply_to = told.place("reply_to") if "reply_to" in told.body else 0
    evidence = tuple(told.body.get("evidence", ()))
    return SendMessage(*told.asked, told.text("text"), Seq(reply_to) if reply_to else None, _CHARS, evidence)


def _proposal(told: _Told) -> Command:
    body = told.body
    expires_at = told.time("expires_at", told.terms.offer_expires)
    return MakeProposal(
        *told.asked,
        Resolution(body["resolution"]),
        body.get("amount"),
        body.get("currency"),
        body.get("note", ""),
        expires_at,
    )


def _request(told: _Told) -> Command:
    due_at = told.time("due_at", told.terms.evidence_within)
    kinds = tuple(map(EvidenceKind, told.body.get("kinds", ())))
    return RequestEvidence(*told.asked, Role(told.body["of"]), told.text("what"), due_at, kinds)


def _ruling(make: type[Recommend] | type[Decide]) -> Callable[[_Told], Command]:
    def command(told: _Told) -> Command:
        body = told.body
        return make(
            *told.asked,
            Outcome(body["outcome"]),
            Resolution(body["resolution"]),
            told.text("statement"),
            tuple(body["reason_codes"]),
            body.get("amount"),
            tuple(body.get("evidence", ())),
        )

    return command


def _leave(told: _Told) -> Command:
    return LeaveAsAgent(*told.asked, told.body["cause"] == "recused", told.body.get("reason", ""))


def _evidence(told: _Told) -> Command:
    body: Mapping[str, Any] = told.body
    return AddEvidence(*told.asked, body["evidence"], EvidenceKind(body["kind"]), body)


def _release(told: _Told) -> Command | None:
    """Only one that counts changes anything."""
    if not told.body.get("counts"):
        return None
    author = Author(UserId(""), Role(told.body["side"]), "")
    target = Target(
        told.place("seq"),
        EntryKind.MESSAGE,
        author,
        Visibility.WITHHELD,
        None,
        None,
        masked=False,
        speaks=True,
        erased=False,
    )
    return ReleaseMessage(*told.asked, target.seq, told.body.get("reason", ""), target)


_COMMANDS: Final[Mapping[EntryKind, Callable[[_Told], Command | None]]] = {
    EntryKind.MESSAGE_RELEASED: _release,
    EntryKind.MESSAGE: _message,
    EntryKind.EVIDENCE_ADDED: _evidence,
    EntryKind.EVIDENCE_WITHDRAWN: lambda told: WithdrawEvidence(
        *told.asked, told.body["evidence"], told.body.get("reason", "")
    ),
    EntryKind.EVIDENCE_REQUESTED: _request,
    EntryKind.PROPOSAL_MADE: _proposal,
    EntryKind.PROPOSAL_ACCEPTED: lambda told: AcceptProposal(*told.asked, told.place("proposal")),
    EntryKind.PROPOSAL_REJECTED: lambda told: RejectProposal(
        *told.asked, told.place("proposal"), told.body.get("reason", "")
    ),
    EntryKind.PROPOSAL_WITHDRAWN: lambda told: WithdrawProposal(
        *told.asked, told.place("proposal"), told.body.get("reason", "")
    ),
    EntryKind.FULFILLMENT_MARKED: lambda told: MarkFulfilled(*told.asked, told.body.get("note", "")),
    EntryKind.FULFILLMENT_CONFIRMED: lambda told: ConfirmFulfilled(*told.asked, told.body.get("note", "")),
    EntryKind.DISPUTE_ESCALATED: lambda told: Escalate(*told.asked, told.text("reason")),
    EntryKind.AGENT_JOINED: lambda told: JoinAsAgent(*told.asked, "took_over" in told.body),
    EntryKind.AGENT_LEFT: _leave,
    EntryKind.DECISION_RECOMMENDED: _ruling(Recommend),
    EntryKind.DECISION_ISSUED: _ruling(Decide),
    EntryKind.DISPUTE_WITHDRAWN: lambda told: Close(*told.asked, told.text("reason")),
    EntryKind.DISPUTE_REOPENED: lambda told: Reopen(*told.asked, told.text("reason")),
    EntryKind.APPEAL_FILED: lambda told: FileAppeal(*told.asked, told.text("reason"), tuple(told.body["evidence"])),
}
