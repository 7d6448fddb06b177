"""What a reader may do. That every action shown works, and nothing else does, is tested by random play."""

import pytest

from policies.dispute import commands as ask
from policies.dispute.actions import Action
from policies.entry import Author
from policies.room import SYSTEM
from policies.vocabulary import OrderEventType, Resolution, Role
from tests.policies.dispute.story import AGENT, AUDITOR, BUYER, MS, OPENED, SECOND, SELLER, SENIOR, H, Story

TALK = {"message.send", "evidence.add"}


def test_just_opened() -> None:
    story = Story()
    assert story.actions(BUYER).keys() == TALK | {"proposal.make", "dispute.close"}
    assert story.actions(SELLER).keys() == TALK | {"proposal.make"}
    for staff in (AGENT, SENIOR):
        assert story.actions(staff).keys() == {"note.add"}
    for reader in (AUDITOR, SYSTEM):
        assert story.actions(reader) == {}


def test_the_seller_has_to_say_something() -> None:
    story = Story()
    waiting = story.actions(SELLER)["message.send"]
    assert waiting == Action("message.send", mandatory=True, due_at=OPENED + 24 * H, rule="seller_attend")
    assert not story.actions(BUYER)["message.send"].mandatory


def test_then_the_buyer() -> None:
    story = Story().attended()
    assert not story.actions(SELLER)["message.send"].mandatory
    waiting = story.actions(BUYER)["message.send"]
    assert waiting == Action("message.send", mandatory=True, due_at=story.now + 72 * H, rule="no_update")
    story.says(BUYER, "So what?")
    assert story.actions(SELLER)["message.send"].rule == "no_update"


def test_an_offer_waits_for_an_answer_until_it_expires() -> None:
    story = Story().attended()
    story.offers(SELLER, Resolution.PARTIAL_REFUND, 100)
    due_at = story.now + 72 * H
    assert story.actions(BUYER)["proposal.accept"] == Action("proposal.accept", False, due_at, "proposal_expiry")
    assert story.actions(BUYER)["proposal.reject"].due_at == due_at
    assert story.actions(SELLER)["proposal.withdraw"].due_at == due_at
    assert "proposal.accept" not in story.actions(SELLER)
    story.until(due_at + MS)  # before the worker has said so
    assert not {"proposal.accept", "proposal.reject"} & story.actions(BUYER).keys()
    assert "proposal.withdraw" not in story.actions(SELLER)


def test_what_was_agreed_has_to_be_done_and_confirmed() -> None:
    story = Story().attended()
    offer = story.offers(SELLER, Resolution.REPLACEMENT)
    story.did(BUYER, ask.AcceptProposal, offer)
    due_at = story.now + 72 * H
    assert story.actions(SELLER)["fulfillment.mark"] == Action("fulfillment.mark", True, due_at, "fulfill_by")
    assert story.actions(BUYER)["fulfillment.confirm"] == Action("fulfillment.confirm")
    story.wait(H).did(SELLER, ask.MarkFulfilled)
    assert "fulfillment.mark" not in story.actions(SELLER)
    confirm = story.actions(BUYER)["fulfillment.confirm"]
    assert confirm == Action("fulfillment.confirm", True, story.now + 72 * H, "fulfillment_confirm")


def test_support_may_be_called_in_from_24_h() -> None:
    story = Story().attended().until(OPENED + 24 * H)
    assert "dispute.escalate" in story.actions(BUYER)
    assert "dispute.escalate" in story.actions(SELLER)
    story.escalated()
    assert "dispute.escalate" not in story.actions(BUYER)


def test_a_case_waits_for_an_agent() -> None:
    story = Story().escalated()
    assert story.actions(AGENT)["agent.join"] == Action("agent.join", mandatory=True)
    story.claimed()
    assert story.actions(AGENT).keys() == {
        "note.add",
        "message.send",
        "evidence.add",
        "agent.leave",
        "evidence.request",
        "decision.recommend",
        "decision.issue",
    }
    assert story.actions(AGENT)["decision.issue"].mandatory
    assert story.actions(SECOND).keys() == {"note.add"}
    assert story.actions(SENIOR)["agent.join"] == Action("agent.join")  # takes over


def test_evidence_that_was_asked_for_has_to_be_added() -> None:
    story = Story().claimed()
    story.did(AGENT, ask.RequestEvidence, Role.SELLER, "A photo.", due_at=story.now + 9 * H)
    story.did(AGENT, ask.RequestEvidence, Role.SELLER, "Another.", due_at=story.now + 5 * H)
    add = story.actions(SELLER)["evidence.add"]
    assert add == Action("evidence.add", True, story.now + 5 * H, "evidence_request")
    assert not story.actions(BUYER)["evidence.add"].mandatory
    assert "decision.issue" not in story.actions(AGENT)
    story.wait(9 * H)
    assert "decision.issue" not in story.actions(AGENT)
    story.wait(MS)  # and before the worker has said so
    assert "decision.issue" in story.actions(AGENT)


@pytest.mark.parametrize(("outcome", "loser"), [("buyer_favor", SELLER), ("seller_favor", BUYER)])
def test_who_lost_may_appeal(outcome: str, loser: Author) -> None:
    story = Story().claimed()
    ruled = ("release_to_seller", None) if outcome == "seller_favor" else ("split", 100)
    story.decides(AGENT, outcome, *ruled)
    due_at = story.now + 72 * H
    assert story.actions(loser)["dispute.appeal"] == Action("dispute.appeal", False, due_at, "appeal_window")
    assert story.actions(loser).keys() == TALK | {"dispute.appeal"}
    winner = BUYER if loser is SELLER else SELLER
    assert story.actions(winner).keys() == TALK
    assert story.actions(AGENT).keys() == {"note.add", "message.send", "evidence.add", "agent.leave"}
    story.until(due_at + MS)
    assert "dispute.appeal" not in story.actions(loser)


def test_who_closed_may_reopen() -> None:
    story = Story().attended()
    story.did(BUYER, ask.Close, "It works now.")
    due_at = story.now + 24 * H
    assert story.actions(BUYER)["dispute.reopen"] == Action("dispute.reopen", False, due_at, "reopen_window")
    assert "dispute.reopen" not in story.actions(SELLER)
    story.until(due_at + MS)
    assert "dispute.reopen" not in story.actions(BUYER)


def test_a_closed_room_leaves_notes_to_staff() -> None:
    story = Story().claimed()
    story.decides(AGENT, "buyer_favor", "full_refund")
    story.wait(73 * H).tick()
    assert story.actions(AGENT).keys() == {"note.add"}
    assert story.actions(BUYER) == {}


def test_the_window_to_appeal_waits_with_the_bank() -> None:
    story = Story().claimed()
    story.decides(AGENT, "seller_favor", "release_to_seller")
    story.event(OrderEventType.CHARGEBACK_OPENED)
    assert "dispute.appeal" in story.wait(500 * H).actions(BUYER)


def test_while_the_bank_decides_the_case_file_is_offered_to_show_it() -> None:
    story = Story().claimed()
    assert "case_file.export" not in story.actions(SELLER)
    story.event(OrderEventType.CHARGEBACK_OPENED)
    for who in (BUYER, SELLER, AGENT, SENIOR):
        assert story.actions(who)["case_file.export"] == Action("case_file.export")
    story.wait(H).event(OrderEventType.CHARGEBACK_WON)
    assert "case_file.export" not in story.actions(SELLER)
