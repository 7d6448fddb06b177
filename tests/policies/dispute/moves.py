"""Moves for random play: what a person may do by their available actions, and anything at all by anybody."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from policies.dispute import commands as ask
from policies.dispute.actions import Action, available_actions
from policies.dispute.checks import OFFERED, other_side
from policies.dispute.rulings import FITTING, RULED
from policies.dispute.state import Dispute
from policies.entry import Author
from policies.errors import ChatError
from policies.flag import FlagState
from policies.room import SYSTEM
from policies.verdicts import Target
from policies.vocabulary import (
    PARTIES,
    EntryKind,
    EvidenceKind,
    OrderEventType,
    Outcome,
    Resolution,
    Role,
    Seq,
    Visibility,
)
from tests.policies.dispute.story import AGENT, AUDITOR, BUYER, PAID, SECOND, SELLER, SENIOR

PEOPLE: Final = (BUYER, SELLER, AGENT, SECOND, SENIOR, AUDITOR)
EVERYBODY: Final = (*PEOPLE, SYSTEM)

Fields = dict[str, Any]
Move = tuple[Author, type[Any], Fields]
"""Who, which command, and its fields."""

_TEXTS: Final = ("...", "Sorry.", "It broke.", "?", "No", "no!", "👍", "The lamp does not work.")
_AMOUNTS: Final = (1, 2500, 4000, 6000, 6001, PAID - 1)
_COMMON: Final = frozenset({"message.send", "evidence.add", "dispute.close", "agent.leave"})
"""What is nearly always possible; taken less often, so that play gets further."""
_EVENTS: Final = (*OrderEventType, *(kind for kind in OrderEventType if not kind.value.startswith("chargeback.")))
_PARTS: Final = (Resolution.PARTIAL_REFUND, Resolution.SPLIT)


def a_likely_move(dice: Random, state: Dispute, now: datetime) -> Move | None:
    """One of the available actions of somebody."""
    author = dice.choice(PEOPLE)
    actions = available_actions(state, author.role, author.id, now)
    known = [each for each in actions if each.action in MOVES]
    telling = [each for each in known if each.action not in _COMMON]
    if telling and dice.randint(0, 4):
        known = telling
    return a_move_of(dice, state, author, dice.choice(known)) if known else None


def a_move_of(dice: Random, state: Dispute, author: Author, action: Action) -> Move:
    kind, fields = MOVES[action.action]
    return author, kind, fields(dice, state, author)


def any_move(dice: Random) -> Move:
    """Anybody tries anything, also what they may not."""
    author = dice.choice(EVERYBODY)
    kind = dice.choice(tuple(_WILD))
    return author, kind, _WILD[kind](dice)


BANK_DECIDES: Final = 0.4
"""How often the bank decides next, while it has to: otherwise a freeze would seldom end within a play."""
_OF_THE_BANK: Final = (OrderEventType.CHARGEBACK_WON, OrderEventType.CHARGEBACK_LOST)


def an_event(dice: Random, states: Sequence[Dispute], now: datetime) -> tuple[OrderEventType, datetime, Fields]:
    """Something the marketplace reports of an order with these disputes: its type, when it happened, and its data."""
    decided_soon = any(state.frozen for state in states) and dice.random() < BANK_DECIDES
    kind = dice.choice(_OF_THE_BANK if decided_soon else _EVENTS)
    settled = [each for state in states for each in state.settlements]
    keys = [key for each in settled for key in (each.key, each.release_key)]
    keys.extend(state.hold.key for state in states if state.hold is not None)
    data: Fields = {}
    if keys and dice.randint(0, 1):
        data["key"] = dice.choice([*keys, "other"])
    if kind in (OrderEventType.PAYMENT_REFUNDED, OrderEventType.PAYMENT_RELEASED) and dice.randint(0, 1):
        data["amount"] = _amount(dice)
    return kind, now - timedelta(hours=dice.choice((0, 0, 0, 1, 50))), data


def _amount(dice: Random) -> int:
    return dice.choice(_AMOUNTS) if dice.randint(0, 1) else dice.randint(1, PAID)


def _part(dice: Random, state: Dispute, resolution: Resolution) -> int | None:
    """An amount for a resolution that has one of its own, within what is left."""
    return min(_amount(dice), state.disposable, PAID - 1) if resolution in _PARTS else None


def _offer(dice: Random, state: Dispute, author: Author) -> Fields:
    other, most = state.offer_of(other_side(author.role)), min(state.disposable, PAID - 1)
    if other is not None and (other.amount or 0) <= most and dice.randint(0, 1):  # the same, to cross it
        amount = other.amount if other.resolution in _PARTS else None
        return {"resolution": other.resolution, "amount": amount, "note": other.note}
    moneyless = OFFERED - {Resolution.PARTIAL_REFUND, Resolution.FULL_REFUND}
    resolution = dice.choice(sorted(OFFERED if state.disposable else moneyless))
    return {"resolution": resolution, "amount": _part(dice, state, resolution)}


def _theirs(_: Random, state: Dispute, author: Author) -> Fields:
    offer = state.offer_of(other_side(author.role))
    assert offer is not None
    return {"proposal": offer.seq}


def _own(_: Random, state: Dispute, author: Author) -> Fields:
    offer = state.offer_of(author.role)
    assert offer is not None
    return {"proposal": offer.seq}


def _nothing(_: Random, __: Dispute, ___: Author) -> Fields:
    return {}


def _reason(_: Random, __: Dispute, ___: Author) -> Fields:
    return {"reason": "That is why."}


def _ruling(dice: Random, state: Dispute, _: Author) -> Fields:
    said = state.recommendation
    if said is not None and dice.randint(0, 1) and (said.amount or 0) <= min(state.disposable, PAID - 1):
        amount = said.amount if said.resolution in _PARTS else None
        wanted: Fields = {"outcome": said.outcome, "resolution": said.resolution, "amount": amount}
    else:
        moneyless = {Resolution.RELEASE_TO_SELLER, Resolution.DELIVERY_FIX, Resolution.REPLACEMENT}
        outcome = dice.choice(sorted(RULED))
        fitting = FITTING[outcome] if state.disposable else FITTING[outcome] & moneyless
        resolution = dice.choice(sorted(fitting))
        wanted = {"outcome": outcome, "resolution": resolution, "amount": _part(dice, state, resolution)}
    cited = tuple(each.id for each in state.evidence[:1])
    return {**wanted, "statement": "This is why.", "reason_codes": ("late",), "evidence": cited}


def _appeal(_: Random, state: Dispute, author: Author) -> Fields:
    assert state.decision is not None
    new = [each for each in state.evidence if each.side is author.role and each.seq > state.decision.seq]
    return {"reason": "That is wrong.", "evidence": tuple(each.id for each in new if not each.withdrawn)[:50]}


MOVES: Final[Mapping[str, tuple[type[Any], Callable[[Random, Dispute, Author], Fields]]]] = {
    "message.send": (ask.SendMessage, lambda dice, _, __: {"text": dice.choice(_TEXTS)}),
    "evidence.add": (
        ask.AddEvidence,
        lambda _, state, __: {"evidence": f"e{state.seq}", "kind": EvidenceKind.PHOTO},
    ),
    "proposal.make": (ask.MakeProposal, _offer),
    "proposal.accept": (ask.AcceptProposal, _theirs),
    "proposal.reject": (ask.RejectProposal, _theirs),
    "proposal.withdraw": (ask.WithdrawProposal, _own),
    "fulfillment.mark": (ask.MarkFulfilled, _nothing),
    "fulfillment.confirm": (ask.ConfirmFulfilled, _nothing),
    "dispute.escalate": (ask.Escalate, _reason),
    "dispute.close": (ask.Close, _reason),
    "dispute.reopen": (ask.Reopen, _reason),
    "dispute.appeal": (ask.FileAppeal, _appeal),
    "agent.join": (ask.JoinAsAgent, lambda _, state, __: {"take_over": state.agent is not None}),
    "agent.leave": (ask.LeaveAsAgent, lambda dice, _, __: {"recuse": not dice.randint(0, 5)}),
    "evidence.request": (
        ask.RequestEvidence,
        lambda dice, _, __: {"of": dice.choice(sorted(PARTIES)), "what": "A photo."},
    ),
    "decision.recommend": (ask.Recommend, _ruling),
    "decision.issue": (ask.Decide, _ruling),
}
"""The command of each action, and fields with which it should not be refused."""


def _wild_reason(dice: Random) -> str:
    return dice.choice(("", "Because.", "Because.", "x" * 2001))


def _wild_seq(dice: Random) -> Seq:
    return Seq(dice.randint(1, 60))


def _wild_amount(dice: Random) -> int | None:
    return dice.choice((None, -1, 0, 1, 5000, PAID - 1, PAID, PAID + 1))


def _wild_ruling(dice: Random) -> Fields:
    return {
        "outcome": dice.choice(tuple(Outcome)),
        "resolution": dice.choice(tuple(Resolution)),
        "amount": _wild_amount(dice),
        "statement": _wild_reason(dice),
        "reason_codes": dice.choice(((), ("late",))),
    }


def _wild_verdict(dice: Random) -> Fields:
    """On an entry that could be one of this dispute's, as far as its rules can know."""
    target = Target(
        _wild_seq(dice),
        dice.choice((EntryKind.MESSAGE, EntryKind.MESSAGE, EntryKind.PROPOSAL_MADE)),
        dice.choice(PEOPLE),
        dice.choice(tuple(Visibility)),
        dice.choice((None, None, *Visibility)),
        dice.choice((None, *FlagState)),
        masked=not dice.randint(0, 3),
        speaks=bool(dice.randint(0, 3)),
        erased=not dice.randint(0, 9),
    )
    return {"seq": target.seq, "reason": _wild_reason(dice), "target": dice.choice((target, target, target, None))}


_WILD: Final[Mapping[type[Any], Callable[[Random], Fields]]] = {
    ask.SendMessage: lambda dice: {"text": dice.choice(_TEXTS), "reply_to": dice.choice((None, _wild_seq(dice)))},
    ask.AddEvidence: lambda dice: {"evidence": dice.choice(("", "e1")), "kind": dice.choice(tuple(EvidenceKind))},
    ask.WithdrawEvidence: lambda dice: {"evidence": dice.choice(("e1", f"e{dice.randint(1, 60)}"))},
    ask.MakeProposal: lambda dice: {
        "resolution": dice.choice(tuple(Resolution)),
        "amount": _wild_amount(dice),
        "note": _wild_reason(dice),
    },
    ask.AcceptProposal: lambda dice: {"proposal": _wild_seq(dice)},
    ask.RejectProposal: lambda dice: {"proposal": _wild_seq(dice), "reason": _wild_reason(dice)},
    ask.WithdrawProposal: lambda dice: {"proposal": _wild_seq(dice), "reason": _wild_reason(dice)},
    ask.MarkFulfilled: lambda dice: {"note": _wild_reason(dice)},
    ask.ConfirmFulfilled: lambda dice: {"note": _wild_reason(dice)},
    ask.Escalate: lambda dice: {"reason": _wild_reason(dice)},
    ask.Close: lambda dice: {"reason": _wild_reason(dice)},
    ask.Reopen: lambda dice: {"reason": _wild_reason(dice)},
    ask.FileAppeal: lambda dice: {"reason": _wild_reason(dice), "evidence": dice.choice(((), ("e1",), ("e1", "e3")))},
    ask.JoinAsAgent: lambda dice: {"take_over": bool(dice.randint(0, 1))},
    ask.LeaveAsAgent: lambda dice: {"recuse": bool(dice.randint(0, 1)), "reason": _wild_reason(dice)},
    ask.LapseClaim: lambda dice: {"agent": dice.choice(PEOPLE).id},
    ask.RequestEvidence: lambda dice: {"of": dice.choice(tuple(Role)), "what": _wild_reason(dice)},
    ask.Recommend: _wild_ruling,
    ask.Decide: _wild_ruling,
    ask.ReleaseMessage: _wild_verdict,
    ask.RedactMessage: _wild_verdict,
    ask.Tick: lambda _: {},
}

RULES_OF_REFUSALS: Final = frozenset(
    {
        "active",
        "already_escalated",
        "already_marked",
        "already_refunded",
        "amount_limit",
        "another_agent",
        "appeal_window",
        "appeal_pending",
        "appealed_already",
        "awaiting_fulfillment",
        "charged_back",
        "decided",
        "ended",
        "erased",
        "escalate_from",
        "frozen",
        "losing_party",
        "new_evidence_required",
        "no_decision",
        "not_a_message",
        "not_a_partys",
        "not_awaiting_fulfillment",
        "not_claimed",
        "not_escalated",
        "not_withdrawn",
        "offer_limit",
        "order_canceled",
        "pending_requests",
        "recused",
        "reopen_once",
        "reopen_window",
        "right_to_be_heard",
        "second_person",
        "settlement_waits",
        "too_early",
        "too_many_disputes",
        "window_passed",
    }
)
"""Every rule by which something is refused."""


def is_explained(error: ChatError) -> bool:
    """Whether a person is told in a sentence why not, and a program by which rule."""
    sentence = error.message.endswith(".") and error.message[0].isupper()
    return sentence and (error.code.value != "refused" or error.details["rule"] in RULES_OF_REFUSALS)
