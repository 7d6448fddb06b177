"""What people, the marketplace and the clock may ask of a dispute. Who asks is part of every command.

``role`` of the author is what they are in this room (``role_in_room``), never what a client claims. The command id is
the idempotency key of the entry that the command writes; entries that follow from it are the system's and carry ids
that follow from it too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from policies.entry import Author
from policies.order import OrderEvent
from policies.verdicts import Target
from policies.vocabulary import CommandId, EvidenceKind, Outcome, Resolution, Role, Seq


@dataclass(frozen=True, slots=True)
class Asked:
    """By whom, under which idempotency key."""

    author: Author
    command_id: CommandId


@dataclass(frozen=True, slots=True)
class SendMessage(Asked):
    """A message of the dispute room; only while it may change the state does it come this way."""

    text: str
    reply_to: Seq | None = None
    max_chars: int = 4000
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MakeProposal(Asked):
    """``amount`` and ``currency`` belong to a partial refund; a full refund may say them, if they are right."""

    resolution: Resolution
    amount: int | None = None
    currency: str | None = None
    note: str = ""
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AcceptProposal(Asked):
    proposal: Seq


@dataclass(frozen=True, slots=True)
class RejectProposal(Asked):
    proposal: Seq
    reason: str = ""


@dataclass(frozen=True, slots=True)
class WithdrawProposal(Asked):
    proposal: Seq
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MarkFulfilled(Asked):
    note: str = ""


@dataclass(frozen=True, slots=True)
class ConfirmFulfilled(Asked):
    note: str = ""


@dataclass(frozen=True, slots=True)
class Escalate(Asked):
    reason: str


@dataclass(frozen=True, slots=True)
class Close(Asked):
    """The buyer withdraws the dispute."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reopen(Asked):
    reason: str


@dataclass(frozen=True, slots=True)
class FileAppeal(Asked):
    reason: str
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JoinAsAgent(Asked):
    """Claim the case; ``take_over``: even though another agent has it (a senior agent may)."""

    take_over: bool = False


@dataclass(frozen=True, slots=True)
class LeaveAsAgent(Asked):
    """Give the case back; ``recuse``: for good, because of a conflict of interest."""

    recuse: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LapseClaim(Asked):
    """The system: the claiming agent has disappeared. Refused quietly when another agent has the case by now."""

    agent: str


@dataclass(frozen=True, slots=True)
class RequestEvidence(Asked):
    of: Role
    what: str
    due_at: datetime | None = None
    kinds: tuple[EvidenceKind, ...] = ()


@dataclass(frozen=True, slots=True)
class Recommend(Asked):
    outcome: Outcome
    resolution: Resolution
    statement: str
    reason_codes: tuple[str, ...]
    amount: int | None = None
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decide(Asked):
    outcome: Outcome
    resolution: Resolution
    statement: str
    reason_codes: tuple[str, ...]
    amount: int | None = None
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AddEvidence(Asked):
    """Evidence was verified and sealed; ``body`` is what its entry holds."""

    evidence: str
    kind: EvidenceKind
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WithdrawEvidence(Asked):
    """Whoever added a piece of evidence hides it from the other party. Whose it is was checked before."""

    evidence: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RuleOnMessage(Asked):
    """Staff say of an entry of a party that everybody may see it, or that the other side must not.

    ``target`` is the entry as it is now; the state does not know. Whoever carries the command out fills it in.
    """

    seq: Seq
    reason: str = ""
    target: Target | None = None


@dataclass(frozen=True, slots=True)
class ReleaseMessage(RuleOnMessage):
    """Nothing was wrong with it: it counts from now on."""


@dataclass(frozen=True, slots=True)
class RedactMessage(RuleOnMessage):
    """It must not be seen."""


@dataclass(frozen=True, slots=True)
class ReportEvent(Asked):
    """An event of the order, as the marketplace reported it."""

    event: OrderEvent


@dataclass(frozen=True, slots=True)
class Tick(Asked):
    """The clock: do what is due."""


Command = (
    SendMessage
    | MakeProposal
    | AcceptProposal
    | RejectProposal
    | WithdrawProposal
    | MarkFulfilled
    | ConfirmFulfilled
    | Escalate
    | Close
    | Reopen
    | FileAppeal
    | JoinAsAgent
    | LeaveAsAgent
    | LapseClaim
    | RequestEvidence
    | Recommend
    | Decide
    | AddEvidence
    | WithdrawEvidence
    | ReleaseMessage
    | RedactMessage
    | ReportEvent
    | Tick
)
