"""The commands of a dispute, from a connection's frame to what its policy is asked."""

from typing import TypeVar, assert_never

from chatserver import dispute_frames as frames
from policies.dispute import commands
from policies.entry import Author
from policies.vocabulary import CommandId, Outcome, Resolution, Role, Seq

R = TypeVar("R", commands.Recommend, commands.Decide)


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
