"""Moves for random play: what a person may do by their available actions, and anything at all by anybody."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from hypothesis import strategies as st

from policies.dispute import commands as ask
from policies.dispute.actions import Action, available_actions
from policies.dispute.checks import OFFERED, other_side
from policies.dispute.rulings import RULED
from policies.dispute.state import Dispute
from policies.entry import Author
from policies.errors import ChatError
from policies.room import SYSTEM
from policies.vocabulary import PARTIES, EvidenceKind, OrderEventType, Outcome, Resolution, Role, Seq
from tests.policies.dispute.story import AGENT, AUDITOR, BUYER, PAID, SECOND, SELLER, SENIOR

PEOPLE: Final = (BUYER, SELLER, AGENT, SECOND, SENIOR, AUDITOR)
EVERYBODY: Final = (*PEOPLE, SYSTEM)

Draw = Callable[[st.SearchStrategy[Any]], Any]
Move = tuple[Author, type[Any], dict[str, Any]]

_TEXTS: Final = st.sampled_from(["...", "Sorry.", "It broke.", "?", "No", "no!", "👍", "The lamp does not work."])
_AMOUNTS: Final = st.one_of(st.sampled_from([1, 2500, 5000, 5001, PAID - 1]), st.integers(1, PAID))
_EVIDENCE: Final = st.sampled_from([("e1",), ("e2",), ("e1", "e3")])


_COMMON: Final = frozenset({"message.send", "evidence.add", "dispute.close", "agent.leave"})
"""What is nearly always possible; taken less often, so that play gets further."""
_EVENTS: Final = (*OrderEventType, *(kind for kind in OrderEventType if not kind.value.startswith("chargeback.")))


def with_amount(resolution: Resolution, draw: Draw, left: int) -> int | None:
    if resolution not in (Resolution.PARTIAL_REFUND, Resolution.SPLIT):
        return None
    return max(1, min(int(draw(_AMOUNTS)), left))


def a_likely_move(draw: Draw, state: Dispute, now: datetime) -> Move | None:
    """One of the available actions of somebody."""
    author = draw(st.sampled_from(PEOPLE))
    actions = available_actions(state, author.role, author.id, now)
    known = [each for each in actions if each.action in MOVES]
    telling = [each for each in known if each.action not in _COMMON]
    if telling and draw(st.integers(0, 4)):
        known = telling
    if not known:
        return None
    return a_move_of(draw, state, author, draw(st.sampled_from(known)))


def a_move_of(draw: Draw, state: Dispute, author: Author, action: Action) -> Move:
    kind, fields = MOVES[action.action]
    return author, kind, fields(draw, state, author)


def any_move(draw: Draw, state: Dispute, _: datetime) -> Move:
    """Anybody tries anything, also what they may not."""
    author = draw(st.sampled_from(EVERYBODY))
    kind = draw(st.sampled_from(sorted(_WILD, key=lambda each: each.__name__)))
    return author, kind, draw(_WILD[kind])


def an_event(draw: Draw, state: Dispute, now: datetime) -> tuple[OrderEventType, datetime, dict[str, Any]]:
    kind = draw(st.sampled_from(_EVENTS))
    keys = [key for each in state.settlements for key in (each.key, each.release_key)]
    data: dict[str, Any] = {}
    if keys and draw(st.booleans()):
        data["key"] = draw(st.sampled_from([*keys, "other"]))
    if kind is OrderEventType.PAYMENT_REFUNDED and draw(st.booleans()):
        data["amount"] = draw(_AMOUNTS)
    return kind, now - timedelta(hours=draw(st.sampled_from([0, 0, 0, 1, 50]))), data


def _offer(draw: Draw, state: Dispute, author: Author) -> dict[str, Any]:
    other = state.offer_of(other_side(author.role))
    if other is not None and draw(st.booleans()):  # the same, to cross it
        amount = other.amount if other.resolution is Resolution.PARTIAL_REFUND else None
        return {"resolution": other.resolution, "amount": amount}
    kinds = sorted(OFFERED if state.refundable > 1 else OFFERED - {Resolution.PARTIAL_REFUND, Resolution.FULL_REFUND})
    resolution = draw(st.sampled_from(kinds))
    return {"resolution": resolution, "amount": with_amount(resolution, draw, min(state.refundable, PAID - 1))}


def _theirs(_: Draw, state: Dispute, author: Author) -> dict[str, Any]:
    offer = state.offer_of(other_side(author.role))
    assert offer is not None
    return {"proposal": offer.seq}


def _own(_: Draw, state: Dispute, author: Author) -> dict[str, Any]:
    offer = state.offer_of(author.role)
    assert offer is not None
    return {"proposal": offer.seq}


def _nothing(_: Draw, __: Dispute, ___: Author) -> dict[str, Any]:
    return {}


def _reason(_: Draw, __: Dispute, ___: Author) -> dict[str, Any]:
    return {"reason": "That is why."}


def _appeal(_: Draw, state: Dispute, __: Author) -> dict[str, Any]:
    return {"reason": "That is wrong.", "evidence": (f"new{state.seq}",)}


def _claim(_: Draw, state: Dispute, __: Author) -> dict[str, Any]:
    return {"take_over": state.agent is not None}


def _ruling(draw: Draw, state: Dispute, _: Author) -> dict[str, Any]:
    said = state.recommendation
    if said is not None and draw(st.booleans()):
        partial = said.resolution in (Resolution.PARTIAL_REFUND, Resolution.SPLIT)
        wanted = {"outcome": said.outcome, "resolution": said.resolution, "amount": said.amount if partial else None}
    else:
        none_left = {Resolution.RELEASE_TO_SELLER, Resolution.DELIVERY_FIX, Resolution.REPLACEMENT}
        resolution = draw(st.sampled_from(sorted(set(Resolution) if state.refundable > 1 else none_left)))
        amount = with_amount(resolution, draw, min(state.refundable, PAID - 1))
        wanted = {"outcome": draw(st.sampled_from(sorted(RULED))), "resolution": resolution, "amount": amount}
    return {**wanted, "statement": "This is why.", "reason_codes": ("late",), "evidence": ("e1",)}


MOVES: Final[Mapping[str, tuple[type[Any], Callable[[Draw, Dispute, Author], dict[str, Any]]]]] = {
    "message.send": (ask.SendMessage, lambda draw, _, __: {"text": draw(_TEXTS)}),
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
    "agent.join": (ask.JoinAsAgent, _claim),
    "agent.leave": (ask.LeaveAsAgent, lambda draw, _, __: {"recuse": draw(st.integers(0, 5)) == 0}),
    "evidence.request": (
        ask.RequestEvidence,
        lambda draw, _, __: {"of": draw(st.sampled_from(sorted(PARTIES))), "what": "A photo."},
    ),
    "decision.recommend": (ask.Recommend, _ruling),
    "decision.issue": (ask.Decide, _ruling),
}
"""The command of each action, and fields with which it should not be refused."""

_SEQS: Final = st.integers(1, 60).map(Seq)
_REASONS: Final = st.sampled_from(["", "Because.", "x" * 2001])
_WILD_AMOUNTS: Final = st.one_of(st.none(), st.integers(-5, PAID + 5))
_WILD: Final[Mapping[type[Any], st.SearchStrategy[dict[str, Any]]]] = {
    ask.SendMessage: st.fixed_dictionaries({"text": _TEXTS, "reply_to": st.none() | _SEQS}),
    ask.AddEvidence: st.fixed_dictionaries(
        {"evidence": st.sampled_from(["", "e1"]), "kind": st.sampled_from(EvidenceKind)}
    ),
    ask.MakeProposal: st.fixed_dictionaries(
        {"resolution": st.sampled_from(Resolution), "amount": _WILD_AMOUNTS, "note": _REASONS}
    ),
    ask.AcceptProposal: st.fixed_dictionaries({"proposal": _SEQS}),
    ask.RejectProposal: st.fixed_dictionaries({"proposal": _SEQS, "reason": _REASONS}),
    ask.WithdrawProposal: st.fixed_dictionaries({"proposal": _SEQS, "reason": _REASONS}),
    ask.MarkFulfilled: st.fixed_dictionaries({"note": _REASONS}),
    ask.ConfirmFulfilled: st.fixed_dictionaries({"note": _REASONS}),
    ask.Escalate: st.fixed_dictionaries({"reason": _REASONS}),
    ask.Close: st.fixed_dictionaries({"reason": _REASONS}),
    ask.Reopen: st.fixed_dictionaries({"reason": _REASONS}),
    ask.FileAppeal: st.fixed_dictionaries({"reason": _REASONS, "evidence": st.just(()) | _EVIDENCE}),
    ask.JoinAsAgent: st.fixed_dictionaries({"take_over": st.booleans()}),
    ask.LeaveAsAgent: st.fixed_dictionaries({"recuse": st.booleans(), "reason": _REASONS}),
    ask.LapseClaim: st.fixed_dictionaries({"agent": st.sampled_from([each.id for each in PEOPLE])}),
    ask.RequestEvidence: st.fixed_dictionaries({"of": st.sampled_from(Role), "what": _REASONS}),
    ask.Recommend: st.fixed_dictionaries(
        {
            "outcome": st.sampled_from(Outcome),
            "resolution": st.sampled_from(Resolution),
            "amount": _WILD_AMOUNTS,
            "statement": _REASONS,
            "reason_codes": st.sampled_from([(), ("late",)]),
        }
    ),
    ask.Decide: st.fixed_dictionaries(
        {
            "outcome": st.sampled_from(Outcome),
            "resolution": st.sampled_from(Resolution),
            "amount": _WILD_AMOUNTS,
            "statement": _REASONS,
            "reason_codes": st.sampled_from([(), ("late",)]),
        }
    ),
    ask.Tick: st.just({}),
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
        "appealed_already",
        "awaiting_fulfillment",
        "ended",
        "escalate_from",
        "frozen",
        "losing_party",
        "new_evidence_required",
        "no_decision",
        "not_awaiting_fulfillment",
        "not_claimed",
        "not_escalated",
        "not_withdrawn",
        "pending_requests",
        "recused",
        "reopen_once",
        "reopen_window",
        "right_to_be_heard",
        "second_person",
    }
)
"""Every rule by which a running dispute refuses something."""


def is_explained(error: ChatError) -> bool:
    """Whether a person is told in a sentence why not, and a program by which rule."""
    sentence = error.message.endswith(".") and error.message[0].isupper()
    return sentence and (error.code.value != "refused" or error.details["rule"] in RULES_OF_REFUSALS)
