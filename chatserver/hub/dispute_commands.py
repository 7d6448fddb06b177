"""The commands of a dispute, from a connection's frame to the answer."""

import asyncio
from typing import TypeVar, assert_never

import orjson

from chatserver import dispute_frames as frames
from chatserver.hub import answers
from chatserver.hub.hub import Hub
from chatserver.hub.live_room import LiveRoom, Membership
from chatserver.hub.socket import text_frame
from chatserver.hub.writer import Submission, Written
from policies.dispute import commands
from policies.entry import Author
from policies.errors import BadRequest, ChatError, Forbidden
from policies.names import shown_name
from policies.vocabulary import PARTIES, CommandId, Outcome, Resolution, Role, RoomId, RoomKind, Seq

DisputeFrame = frames.DisputeChange | frames.NoteAdd
R = TypeVar("R", commands.Recommend, commands.Decide)


async def carry_out(hub: Hub, live: LiveRoom, membership: Membership, frame: DisputeFrame) -> bytes:
    """Do what a member of a dispute's room asks; returns the ``ack``.

    Raises:
        BadRequest: the room is none of a dispute.
        ChatError: as ``LiveDisputes.change``, or what became of the note.
    """
    if live.facts.kind is not RoomKind.DISPUTE:
        raise BadRequest("This is not a dispute's room.", details={"field": "room"})
    if isinstance(frame, frames.NoteAdd):
        staff, note = await _add_note(hub, live, membership, frame.id, frame.text)
        return answers.ack(frame.id, staff, note)
    role = membership.role
    author = Author(membership.user_id, role, shown_name(membership.member.name, role))
    found = await hub.screening.texts(live, texts_of(frame)) if author.role in PARTIES else None
    written = await hub.disputes.change(live.facts, command_of(frame, author), found)
    if isinstance(frame, frames.AgentLeave) and frame.reason.strip():
        await _add_note(hub, live, membership, frame.id, _why(frame))
    if written is None:  # there was nothing to do
        return text_frame(orjson.dumps({"type": "ack", "id": frame.id, "room": frame.room}))
    return answers.ack(frame.id, frame.room, written)


def texts_of(frame: frames.DisputeChange) -> dict[str, str]:
    """What a party says in a frame, by the names that it has in the body of its entry."""
    match frame:
        case frames.ProposalMake() | frames.FulfillmentMark() | frames.FulfillmentConfirm():
            return {"note": frame.note}
        case (
            frames.ProposalReject()
            | frames.ProposalWithdraw()
            | frames.DisputeEscalate()
            | frames.DisputeClose()
            | frames.DisputeReopen()
            | frames.DisputeAppeal()
        ):
            return {"reason": frame.reason}
    return {}


def _why(frame: frames.AgentLeave) -> str:
    return f"{'Recused' if frame.recuse else 'Left the case'}: {frame.reason}"


async def _add_note(
    hub: Hub, live: LiveRoom, membership: Membership, command_id: str, text: str
) -> tuple[RoomId, Written]:
    """A note is a message of the staff log, and goes the way of messages. Sent again it is the same note."""
    staff = live.staff_log
    if staff is None:
        raise Forbidden("Notes are the staff's.")
    outcome: asyncio.Future[Written | ChatError] = asyncio.get_running_loop().create_future()

    def done(answer: Written | ChatError) -> None:
        if not outcome.done():  # or the connection is gone
            outcome.set_result(answer)

    author = membership.member
    hub.submit(
        staff,
        Submission(staff.id, author.user_id, author.name, author.token_role, CommandId(command_id), text, None, done),
    )
    answer = await outcome
    if isinstance(answer, ChatError):
        raise answer
    return staff.id, answer


def command_of(frame: frames.DisputeChange, author: Author) -> commands.Command:
    """What a frame asks of its dispute.

    Args:
        author: who sent it, with their role in the room.
    """
    by = (author, CommandId(frame.id))
    match frame:
        case frames.ProposalMake():
            resolution = Resolution(frame.resolution)
            return commands.MakeProposal(*by, resolution, frame.amount, frame.currency, frame.note, frame.expires_at)
        case frames.ProposalAccept():
            return commands.AcceptProposal(*by, Seq(frame.proposal))
        case frames.ProposalReject():
            return commands.RejectProposal(*by, Seq(frame.proposal), frame.reason)
        case frames.ProposalWithdraw():
            return commands.WithdrawProposal(*by, Seq(frame.proposal), frame.reason)
        case frames.FulfillmentMark():
            return commands.MarkFulfilled(*by, frame.note)
        case frames.FulfillmentConfirm():
            return commands.ConfirmFulfilled(*by, frame.note)
        case frames.DisputeEscalate():
            return commands.Escalate(*by, frame.reason)
        case frames.DisputeClose():
            return commands.Close(*by, frame.reason)
        case frames.DisputeReopen():
            return commands.Reopen(*by, frame.reason)
        case frames.DisputeAppeal():
            return commands.FileAppeal(*by, frame.reason, tuple(frame.evidence))
        case frames.AgentJoin():
            return commands.JoinAsAgent(*by, frame.take_over)
        case frames.AgentLeave():
            return commands.LeaveAsAgent(*by, frame.recuse, frame.reason)
        case frames.EvidenceRequest():
            return commands.RequestEvidence(*by, Role(frame.of), frame.what, frame.due_at, tuple(frame.kinds))
        case frames.DecisionRecommend():
            return _ruling(commands.Recommend, frame, author)
        case frames.DecisionIssue():
            return _ruling(commands.Decide, frame, author)
    assert_never(frame)


def _ruling(kind: type[R], frame: frames.Ruling, author: Author) -> R:
    return kind(
        author,
        CommandId(frame.id),
        Outcome(frame.outcome),
        frame.resolution,
        frame.statement,
        tuple(frame.reason_codes),
        frame.amount,
        tuple(frame.evidence),
    )
