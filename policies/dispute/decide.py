"""What a command writes, or why it is refused."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from policies.dispute import commands, due, ending, events, mediation, offers, rulings, talking
from policies.dispute.commands import Command
from policies.dispute.plan import Plan
from policies.dispute.state import Dispute
from policies.entry import Draft
from policies.errors import Forbidden, RoomClosed
from policies.instant import instant
from policies.screening import Screening
from policies.vocabulary import OrderEventType, Role

_BY_SYSTEM: Final = (commands.LapseClaim, commands.ReportEvent, commands.Tick)
_AFTER_CLOSING: Final = (commands.Reopen, commands.FileAppeal, commands.ReleaseMessage, commands.RedactMessage)
"""The first are refused by their own window, which says more than that the room is closed; what was said in it can
be released and redacted ever after."""


def decide(state: Dispute, command: Command, now: datetime, screening: Screening | None = None) -> list[Draft]:
    """Decide what a command writes.

    What became due before is written first, so that the result does not depend on how late a worker is. When the
    command is refused, nothing is written, and the worker does it. A lost chargeback goes first of all, so that nothing
    is asked for once it is known.

    Args:
        state: the dispute as of its room's last entry.
        command: who asks for what. Its author's role is what they are in this room.
        now: the time that the entries will carry, never before that of the last entry.
        screening: what was found in the command's texts.

    Returns:
        The drafts in order: nothing when there is nothing to do. The entry of the command itself is the one with its
        author and command id; others are the system's and come before or follow from it.

    Raises:
        Refused: a rule says no; ``details["rule"]`` names it, with times in RFC 3339 where they help.
        Forbidden: not for this role.
        Conflict: it was made for an older state; ``details`` hold the present one.
        BadRequest: something is missing or cannot be.
        TooLarge: a text is too long; ``details["limit"]``.
        RoomClosed: the dispute is over for good.
    """
    plan = Plan(state, instant(now), screening, command.author.id, command.command_id)
    if isinstance(command, _BY_SYSTEM) and command.author.role is not Role.SYSTEM:
        raise Forbidden("Only the server itself does this.")
    if not _takes_the_money(command):
        due.fire(plan)
    if plan.state.closed and not isinstance(command, (*_BY_SYSTEM, *_AFTER_CLOSING)):
        raise RoomClosed("This dispute is closed.")
    due_before = len(plan.drafts)
    _DECISIONS[type(command)](plan, command)
    if len(plan.drafts) == due_before and not isinstance(command, commands.Tick):
        return []  # a command that does nothing is not the one to say what is due
    plan.remind()
    return plan.drafts


def _takes_the_money(command: Command) -> bool:
    return isinstance(command, commands.ReportEvent) and command.event.type is OrderEventType.CHARGEBACK_LOST


def _tick(plan: Plan, _: commands.Tick) -> None:
    due.remind(plan)


_DECISIONS: Final[Mapping[type, Callable[[Plan, Any], None]]] = {
    commands.SendMessage: talking.send_message,
    commands.AddEvidence: talking.add_evidence,
    commands.WithdrawEvidence: talking.withdraw_evidence,
    commands.ReleaseMessage: talking.release,
    commands.RedactMessage: talking.redact,
    commands.MakeProposal: offers.make,
    commands.AcceptProposal: offers.accept,
    commands.RejectProposal: offers.reject,
    commands.WithdrawProposal: offers.withdraw,
    commands.MarkFulfilled: offers.mark_fulfilled,
    commands.ConfirmFulfilled: offers.confirm_fulfilled,
    commands.Escalate: mediation.escalate,
    commands.Close: ending.close,
    commands.Reopen: ending.reopen,
    commands.FileAppeal: rulings.appeal,
    commands.JoinAsAgent: mediation.join,
    commands.LeaveAsAgent: mediation.leave,
    commands.LapseClaim: mediation.lapse,
    commands.RequestEvidence: mediation.request_evidence,
    commands.Recommend: rulings.recommend,
    commands.Decide: rulings.decide_case,
    commands.ReportEvent: events.report,
    commands.Tick: _tick,
}
