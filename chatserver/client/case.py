"""A dispute, as an application acts in it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from chatserver.client.frames import Notice, command
from chatserver.protocol import (
    AgentJoin,
    AgentLeave,
    DecisionIssue,
    DecisionRecommend,
    DisputeAppeal,
    DisputeClose,
    DisputeCommand,
    DisputeEscalate,
    DisputeReopen,
    EvidenceRequest,
    FulfillmentConfirm,
    FulfillmentMark,
    NoteAdd,
    ProposalAccept,
    ProposalMake,
    ProposalReject,
    ProposalWithdraw,
)
from policies.errors import BadRequest
from policies.vocabulary import EvidenceKind, Resolution

C = TypeVar("C", bound=DisputeCommand)


@dataclass(frozen=True, slots=True)
class Sent:
    """The server's acknowledgement of what was written: it is stored durably at this place of the room.

    ``room`` is the room that was written to, except for a staff note: that is in the staff log. ``duplicate``: the
    server had it already, from an earlier try under the same ``command_id``. ``at`` is aware UTC. ``notice``: its text
    breaks a rule of the platform, and what became of it; show your user its ``message``.
    """

    room: str
    command_id: str
    seq: int
    entry_id: str
    at: datetime
    duplicate: bool
    notice: Notice | None = None


class Case:
    """What can be done about the dispute of a room; ``Room.case``.

    Each method writes one entry and waits until it is stored durably. Like messages, commands are sent again under the
    same id until they are acknowledged, one after the other with the room's messages; give ``command_id`` to make the
    same try again after the wait was cancelled. What the rules of the dispute forbid raises ``Refused`` with
    ``details["rule"]``; who may not do it at all gets ``Forbidden``; ``Conflict`` says that the dispute has changed
    meanwhile. ``Room.available_actions`` says beforehand what is possible. Amounts are in minor units.
    """

    def __init__(
        self, room: str, write: Callable[[DisputeCommand], Awaitable[Sent]], new_id: Callable[[], str]
    ) -> None:
        self._room = room
        self._write = write
        self._new_id = new_id

    # Parties

    async def propose(
        self,
        resolution: str,
        *,
        amount: int | None = None,
        currency: str | None = None,
        note: str = "",
        expires_at: datetime | None = None,
        command_id: str | None = None,
    ) -> Sent:
        """Make an offer: ``delivery_fix``, ``replacement``, ``partial_refund`` (with an amount) or ``full_refund``.

        It supersedes your own pending offer. An equal offer of the other side makes it an agreement at once.
        """
        return await self._do(
            ProposalMake,
            "proposal.make",
            command_id,
            resolution=resolution,
            amount=amount,
            currency=currency,
            note=note,
            expires_at=expires_at,
        )

    async def accept(self, proposal: int, *, command_id: str | None = None) -> Sent:
        """Accept the other side's offer, named by the seq of its entry.

        Raises:
            Conflict: it is not pending any more.
        """
        return await self._do(ProposalAccept, "proposal.accept", command_id, proposal=proposal)

    async def reject(self, proposal: int, reason: str = "", *, command_id: str | None = None) -> Sent:
        """Turn the other side's offer down."""
        return await self._do(ProposalReject, "proposal.reject", command_id, proposal=proposal, reason=reason)

    async def withdraw(self, proposal: int, reason: str = "", *, command_id: str | None = None) -> Sent:
        """Take your own offer back."""
        return await self._do(ProposalWithdraw, "proposal.withdraw", command_id, proposal=proposal, reason=reason)

    async def mark_fulfilled(self, note: str = "", *, command_id: str | None = None) -> Sent:
        """As the seller: what was agreed is done."""
        return await self._do(FulfillmentMark, "fulfillment.mark", command_id, note=note)

    async def confirm_fulfilled(self, note: str = "", *, command_id: str | None = None) -> Sent:
        """As the buyer: what was agreed has arrived."""
        return await self._do(FulfillmentConfirm, "fulfillment.confirm", command_id, note=note)

    async def escalate(self, reason: str, *, command_id: str | None = None) -> Sent:
        """Bring support in."""
        return await self._do(DisputeEscalate, "dispute.escalate", command_id, reason=reason)

    async def close(self, reason: str, *, command_id: str | None = None) -> Sent:
        """As the buyer: withdraw the dispute."""
        return await self._do(DisputeClose, "dispute.close", command_id, reason=reason)

    async def reopen(self, reason: str, *, command_id: str | None = None) -> Sent:
        """As the buyer: go on with a dispute that was withdrawn."""
        return await self._do(DisputeReopen, "dispute.reopen", command_id, reason=reason)

    async def appeal(self, reason: str, evidence: Sequence[str], *, command_id: str | None = None) -> Sent:
        """As the losing party: ask for another agent's decision, with the ids of new evidence."""
        return await self._do(DisputeAppeal, "dispute.appeal", command_id, reason=reason, evidence=list(evidence))

    # Staff

    async def claim(self, *, take_over: bool = False, command_id: str | None = None) -> Sent:
        """Take the case. It stays claimed while the room is joined."""
        return await self._do(AgentJoin, "agent.join", command_id, take_over=take_over)

    async def release(self, reason: str = "", *, recuse: bool = False, command_id: str | None = None) -> Sent:
        """Give the case back; ``recuse``: for good, because of a conflict of interest."""
        return await self._do(AgentLeave, "agent.leave", command_id, reason=reason, recuse=recuse)

    async def request_evidence(
        self,
        of: str,
        what: str,
        *,
        due_at: datetime | None = None,
        kinds: Sequence[str] = (),
        command_id: str | None = None,
    ) -> Sent:
        """Ask ``buyer`` or ``seller`` for evidence."""
        return await self._do(
            EvidenceRequest,
            "evidence.request",
            command_id,
            of=of,
            what=what,
            due_at=due_at,
            kinds=[_word(EvidenceKind, kind) for kind in kinds],
        )

    async def recommend(
        self,
        outcome: str,
        resolution: str,
        statement: str,
        reason_codes: Sequence[str],
        *,
        amount: int | None = None,
        evidence: Sequence[str] = (),
        command_id: str | None = None,
    ) -> Sent:
        """Say what another agent should decide; the arguments are those of ``decide``."""
        return await self._do(
            DecisionRecommend,
            "decision.recommend",
            command_id,
            outcome=outcome,
            resolution=_word(Resolution, resolution),
            statement=statement,
            reason_codes=list(reason_codes),
            amount=amount,
            evidence=list(evidence),
        )

    async def decide(
        self,
        outcome: str,
        resolution: str,
        statement: str,
        reason_codes: Sequence[str],
        *,
        amount: int | None = None,
        evidence: Sequence[str] = (),
        command_id: str | None = None,
    ) -> Sent:
        """Decide the dispute.

        Args:
            outcome: ``buyer_favor``, ``seller_favor`` or ``compromise``.
            resolution: any of ``policies.vocabulary.Resolution``.
            statement: plain words for both parties.
            reason_codes: 1 to 10 codes of the marketplace's own.
            amount: what goes back to the buyer, with ``partial_refund`` and ``split``.
            evidence: ids of the evidence it rests on.
        """
        return await self._do(
            DecisionIssue,
            "decision.issue",
            command_id,
            outcome=outcome,
            resolution=_word(Resolution, resolution),
            statement=statement,
            reason_codes=list(reason_codes),
            amount=amount,
            evidence=list(evidence),
        )

    async def add_note(self, text: str, *, command_id: str | None = None) -> Sent:
        """Write a note for staff alone."""
        return await self._do(NoteAdd, "note.add", command_id, text=text)

    async def _do(self, model: type[C], name: str, command_id: str | None, **fields: object) -> Sent:
        request = command(model, type=name, id=command_id or self._new_id(), room=self._room, **fields)
        return await self._write(request)


def _word(vocabulary: type[EvidenceKind] | type[Resolution], word: str) -> object:
    """A word of a closed vocabulary, as the frames hold it."""
    try:
        return vocabulary(word)
    except ValueError:
        known = ", ".join(each.value for each in vocabulary)
        raise BadRequest(f"{word!r} is none of: {known}.") from None
