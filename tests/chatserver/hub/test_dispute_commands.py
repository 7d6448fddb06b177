"""What each frame of a dispute asks of its policy."""

import json
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from chatserver import dispute_frames, protocol
from chatserver.frame_examples import EXAMPLES
from chatserver.hub.dispute_commands import command_of
from policies.dispute import commands
from policies.entry import Author
from policies.vocabulary import CommandId, EvidenceKind, Outcome, Resolution, Role, Seq, UserId

BEA = Author(UserId("bea"), Role.BUYER, "Bea")
LATER = datetime(2026, 2, 3, 9, 30, tzinfo=UTC)


def read(kind: str, **fields: Any) -> Any:
    text = json.dumps({"type": kind, "id": "c1", "room": "dispute-1", **fields})
    return protocol.CLIENT_FRAME.validate_json(text)


def asked(kind: str, **fields: Any) -> commands.Command:
    return command_of(read(kind, **fields), BEA)


RULING: dict[str, Any] = {
    "outcome": "compromise",
    "resolution": "split",
    "amount": 300,
    "reason_codes": ["minor_defect"],
    "statement": "Both are right.",
    "evidence": ["e1", "e2"],
}
RULED: tuple[Any, ...] = (Outcome.COMPROMISE, Resolution.SPLIT, "Both are right.", ("minor_defect",), 300, ("e1", "e2"))
BY = (BEA, CommandId("c1"))


@pytest.mark.parametrize(
    ("kind", "fields", "command"),
    [
        ("proposal.make", {"resolution": "replacement"}, commands.MakeProposal(*BY, Resolution.REPLACEMENT)),
        (
            "proposal.make",
            {
                "resolution": "partial_refund",
                "amount": 5,
                "currency": "EUR",
                "note": "n",
                "expires_at": "2026-02-03T10:30:00+01:00",
            },
            commands.MakeProposal(*BY, Resolution.PARTIAL_REFUND, 5, "EUR", "n", LATER),
        ),
        ("proposal.accept", {"proposal": 7}, commands.AcceptProposal(*BY, Seq(7))),
        ("proposal.reject", {"proposal": 7, "reason": "r"}, commands.RejectProposal(*BY, Seq(7), "r")),
        ("proposal.withdraw", {"proposal": 7, "reason": "r"}, commands.WithdrawProposal(*BY, Seq(7), "r")),
        ("fulfillment.mark", {"note": "n"}, commands.MarkFulfilled(*BY, "n")),
        ("fulfillment.confirm", {}, commands.ConfirmFulfilled(*BY)),
        ("dispute.escalate", {"reason": "r"}, commands.Escalate(*BY, "r")),
        ("dispute.close", {"reason": "r"}, commands.Close(*BY, "r")),
        ("dispute.reopen", {"reason": "r"}, commands.Reopen(*BY, "r")),
        ("dispute.appeal", {"reason": "r", "evidence": ["e"]}, commands.FileAppeal(*BY, "r", ("e",))),
        ("dispute.appeal", {"reason": "r"}, commands.FileAppeal(*BY, "r", ())),
        ("agent.join", {}, commands.JoinAsAgent(*BY)),
        ("agent.join", {"take_over": True}, commands.JoinAsAgent(*BY, take_over=True)),
        ("agent.leave", {}, commands.LeaveAsAgent(*BY)),
        ("agent.leave", {"recuse": True, "reason": "r"}, commands.LeaveAsAgent(*BY, recuse=True, reason="r")),
        (
            "evidence.request",
            {"of": "seller", "what": "w", "due_at": "2026-02-03T09:30:00Z", "kinds": ["photo"]},
            commands.RequestEvidence(*BY, Role.SELLER, "w", LATER, (EvidenceKind.PHOTO,)),
        ),
        ("decision.recommend", RULING, commands.Recommend(*BY, *RULED)),
        ("decision.issue", RULING, commands.Decide(*BY, *RULED)),
    ],
)
def test_a_frame_asks_what_it_says(kind: str, fields: dict[str, Any], command: commands.Command) -> None:
    assert asked(kind, **fields) == command


def test_every_frame_that_changes_a_dispute_asks_something() -> None:
    for frame in get_args(dispute_frames.DisputeChange):
        example = protocol.CLIENT_FRAME.validate_json(json.dumps(EXAMPLES[frame]))
        command = command_of(example, BEA)  # type: ignore[arg-type]
        assert command.command_id == example.id  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("kind", "fields", "most"),
    [
        ("decision.issue", {**RULING, "reason_codes": ["x"] * 10}, {"reason_codes": ["x"] * 11}),
        ("decision.issue", {**RULING, "reason_codes": ["x"]}, {"reason_codes": []}),
        ("decision.issue", {**RULING, "reason_codes": ["x" * 64]}, {"reason_codes": ["x" * 65]}),
        ("decision.issue", {**RULING, "evidence": ["e" * 64] * 100}, {"evidence": ["e"] * 101}),
        ("decision.issue", {**RULING, "evidence": ["e" * 64]}, {"evidence": ["e" * 65]}),
        ("decision.issue", {**RULING, "amount": 2**53 - 1}, {"amount": 2**53}),
        ("decision.issue", {**RULING, "amount": 0}, {"amount": -1}),
        ("decision.issue", {**RULING, "statement": "s"}, {"statement": ""}),
        ("decision.issue", {**RULING, "outcome": "compromise"}, {"outcome": "agreed"}),
        ("proposal.make", {"resolution": "full_refund"}, {"resolution": "split"}),
        ("proposal.make", {"resolution": "full_refund", "currency": "EUR"}, {"currency": "euro"}),
        ("proposal.make", {"resolution": "full_refund", "amount": 1}, {"amount": 1.5}),
        (
            "proposal.make",
            {"resolution": "full_refund", "expires_at": "2026-02-03T09:30:00Z"},
            {"expires_at": "2026-02-03T09:30:00"},
        ),
        ("proposal.accept", {"proposal": 1}, {"proposal": 0}),
        ("proposal.accept", {"proposal": 2**53 - 1}, {"proposal": 2**53}),
        ("dispute.escalate", {"reason": "r"}, {"reason": ""}),
        ("dispute.appeal", {"reason": "r", "evidence": ["e"] * 100}, {"evidence": ["e"] * 101}),
        ("evidence.request", {"of": "buyer", "what": "w"}, {"of": "agent"}),
        ("evidence.request", {"of": "buyer", "what": "w"}, {"what": ""}),
        ("evidence.request", {"of": "buyer", "what": "w", "kinds": ["photo"]}, {"kinds": ["poem"]}),
        ("agent.join", {"take_over": False}, {"take_over": 1}),
        ("note.add", {"text": "t"}, {"text": None}),
    ],
)
def test_what_is_beyond_a_limit_is_no_command(kind: str, fields: dict[str, Any], most: dict[str, Any]) -> None:
    read(kind, **fields)
    with pytest.raises(ValidationError):
        read(kind, **{**fields, **most})
