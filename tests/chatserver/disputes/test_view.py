"""What a party sees of a dispute, and what only staff see."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
from jsonschema import Draft202012Validator

from chatserver.asyncapi import document
from chatserver.disputes.view import actions_view, dispute_view
from chatserver.settings import Settings
from policies.dispute.policy import Checklist
from policies.dispute.state import (
    Agent,
    Appeal,
    Deadline,
    Dispute,
    Escalation,
    EvidenceRequest,
    Fulfillment,
    Offer,
    Rule,
    Ruling,
    Settlement,
)
from policies.instant import rfc3339
from policies.vocabulary import (
    EvidenceKind,
    Outcome,
    Resolution,
    Role,
    Seq,
    SettlementStatus,
    Stage,
    Status,
    UserId,
)
from tests.storage.disputes import HOUR, dispute
from tests.storage.making import NOW

PARTIES = (Role.BUYER, Role.SELLER)
FULL = (Role.AGENT, Role.SENIOR_AGENT, Role.AUDITOR, Role.SYSTEM)
OFFER = Offer(Seq(4), Role.SELLER, Resolution.PARTIAL_REFUND, 500, "for the scratch", NOW + 72 * HOUR)
FIX = Offer(Seq(5), Role.BUYER, Resolution.DELIVERY_FIX, None, "", NOW + 72 * HOUR)


def ruling(seq: int, agent: str, *, final: bool = False) -> Ruling:
    return Ruling(
        Seq(seq),
        NOW,
        UserId(agent),
        Outcome.COMPROMISE,
        Resolution.SPLIT,
        700,
        ("minor_defect",),
        "Both are right.",
        ("e1",),
        final,
    )


def everything() -> Dispute:
    """A dispute in which every part that there may be is there."""
    return replace(
        dispute(),
        checklist=Checklist(buyer=(EvidenceKind.PHOTO,), seller=(EvidenceKind.TRACKING,)),
        desired_amount=900,
        stage=Stage.APPEAL,
        status=Status.UNDER_REVIEW,
        frozen=True,
        frozen_at=NOW,
        attended_at=NOW,
        offers=(OFFER, FIX),
        fulfillment=Fulfillment(FIX, NOW + 72 * HOUR, NOW),
        escalation=Escalation(NOW, "no_update", ""),
        agent=Agent(UserId("kim-1"), Role.AGENT, "Kim", NOW),
        recused=(UserId("lee-2"),),
        requests=(EvidenceRequest(Seq(9), Role.SELLER, "a picture", NOW + 48 * HOUR),),
        recommendation=ruling(10, "mo-3"),
        decision=ruling(11, "kim-1"),
        appeal=Appeal(Seq(13), NOW, Role.BUYER, "new facts", ("e2",), UserId("kim-1")),
        outcome=Outcome.COMPROMISE,
        resolution=Resolution.SPLIT,
        resolved_amount=700,
        ended_at=NOW,
        settlement=Settlement(Seq(12), "d:12", 700, 1299),
        earlier=(Settlement(Seq(8), "d:8", 0, 100, release_paid=100),),
        deadlines=(
            Deadline(Rule.NO_UPDATE, NOW + 72 * HOUR, NOW, NOW + 60 * HOUR, Seq(7)),
            Deadline(Rule.PROPOSAL_EXPIRY, NOW + 24 * HOUR, NOW, of=Seq(4)),
        ),
    )


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    schemas = document(Settings(), "test")["components"]["schemas"]
    for each in schemas.values():
        if "properties" in each:
            each["additionalProperties"] = False  # a field that no schema names is a misspelt one
    return Draft202012Validator(
        {"$ref": "#/components/schemas/Dispute", "components": {"schemas": schemas}},
        format_checker=Draft202012Validator.FORMAT_CHECKER,
    )


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("state", [dispute(), dispute(due=None), everything()], ids=["new", "idle", "everything"])
def test_what_is_shown_is_as_published(schema: Draft202012Validator, state: Dispute, role: Role) -> None:
    view = json.loads(json.dumps(dispute_view(state, role)))
    assert [error.message for error in schema.iter_errors(view)] == []


def test_a_party_sees_nothing_that_is_the_staffs() -> None:
    state = everything()
    for role in PARTIES:
        view = dispute_view(state, role)
        assert not {"staff_room", "recused", "recommendation"} & view.keys()
        assert view["agent"] == {"name": "Kim", "since": rfc3339(NOW)}
        assert not {"agent"} & view["decision"].keys()
        assert not {"against"} & view["appeal"].keys()
        told = json.dumps(view)
        assert not any(secret in told for secret in ("kim-1", "lee-2", "mo-3", "staff-"))
    assert dispute_view(state, Role.BUYER) == dispute_view(state, Role.SELLER)


def test_staff_and_the_back_end_see_everything() -> None:
    state = everything()
    views = [dispute_view(state, role) for role in FULL]
    assert all(view == views[0] for view in views)
    assert views[0]["staff_room"] == f"staff-{state.id}"
    assert views[0]["recused"] == ["lee-2"]
    assert views[0]["recommendation"]["agent"] == "mo-3"
    assert views[0]["decision"]["agent"] == views[0]["appeal"]["against"] == views[0]["agent"]["id"] == "kim-1"
    party = dispute_view(state, Role.BUYER)
    assert party.keys() < views[0].keys()


def test_a_deadline_comes_with_its_receipt_the_soonest_first() -> None:
    first, second = dispute_view(everything(), Role.BUYER)["deadlines"]
    assert first == {
        "rule": "proposal_expiry",
        "due_at": rfc3339(NOW + 24 * HOUR),
        "started_at": rfc3339(NOW),
        "of": 4,
    }
    assert second == {
        "rule": "no_update",
        "due_at": rfc3339(NOW + 72 * HOUR),
        "started_at": rfc3339(NOW),
        "moved_by": 7,
        "paused": True,
    }
    thawed = dispute_view(replace(everything(), frozen=False), Role.BUYER)
    assert not any("paused" in deadline for deadline in thawed["deadlines"])


def test_the_checklist_says_which_side_can_help() -> None:
    assert dispute_view(everything(), Role.BUYER)["evidence_checklist"] == [
        {"side": "buyer", "kind": "photo"},
        {"side": "seller", "kind": "tracking"},
    ]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "pending"),
        ({"refund_paid": 700}, "pending"),
        ({"release_paid": 1299}, "pending"),
        ({"refund_paid": 699, "release_paid": 1299}, "pending"),
        ({"refund_paid": 700, "release_failed": True}, "failed"),
        ({"refund_failed": True}, "failed"),
        ({"refund_paid": 700, "release_paid": 1299}, "done"),
    ],
)
def test_money_is_never_said_to_be_paid_before_it_is(changes: dict[str, Any], status: str) -> None:
    settlement = replace(cast(Settlement, everything().settlement), **changes)
    view = dispute_view(replace(everything(), settlement=settlement), Role.BUYER)
    assert view["settlement"]["status"] == status
    assert settlement.status is SettlementStatus(status)


def test_what_is_to_be_taken_back_is_shown() -> None:
    assert "reversal" not in dispute_view(everything(), Role.BUYER)["settlement"]
    settlement = replace(cast(Settlement, everything().settlement), release_reversal=700)
    view = dispute_view(replace(everything(), settlement=settlement), Role.BUYER)
    assert view["settlement"]["reversal"] == {"release": 700}


def test_while_it_goes_on_what_the_buyer_can_get_in_all_is_shown() -> None:
    """On appeal the first decision's money is part of that; after the end what is left is."""
    order = replace(dispute().order, amount=2000)
    earlier = (Settlement(Seq(8), "d:8", 500, 0),)
    appealed = replace(dispute(), order=order, earlier=earlier)
    assert dispute_view(appealed, Role.BUYER)["refundable"] == 2000
    ended = replace(appealed, status=Status.RESOLVED)
    assert dispute_view(ended, Role.BUYER)["refundable"] == 1500


def test_an_offer_says_what_it_is_of() -> None:
    money, thing = dispute_view(everything(), Role.SELLER)["offers"]
    assert (money["seq"], money["side"], money["amount"], money["note"]) == (4, "seller", 500, "for the scratch")
    assert not {"amount", "note"} & thing.keys()


def test_actions_are_the_readers_own() -> None:
    state = replace(dispute(), offers=(OFFER,))
    buyer = {each["action"] for each in actions_view(state, Role.BUYER, UserId("bo"), NOW)}
    seller = {each["action"] for each in actions_view(state, Role.SELLER, UserId("sue"), NOW)}
    assert "proposal.accept" in buyer - seller
    assert "proposal.withdraw" in seller - buyer
    assert actions_view(state, Role.AUDITOR, UserId("ann"), NOW) == []


def test_an_action_says_until_when_and_why() -> None:
    state = replace(dispute(), offers=(OFFER,))
    (accept,) = [
        each for each in actions_view(state, Role.BUYER, UserId("bo"), NOW) if each["action"] == "proposal.accept"
    ]
    assert accept["due_at"] == rfc3339(OFFER.expires_at)
    assert accept["rule"] == "proposal_expiry"
    late = actions_view(state, Role.BUYER, UserId("bo"), OFFER.expires_at + timedelta(milliseconds=1))
    assert "proposal.accept" not in {each["action"] for each in late}
