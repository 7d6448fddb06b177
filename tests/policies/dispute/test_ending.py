from typing import Any

import pytest

from policies.dispute import commands as ask
from policies.dispute.state import Rule
from policies.errors import BadRequest, Forbidden, TooLarge
from policies.instant import rfc3339
from policies.vocabulary import (
    EntryKind,
    OrderEventType,
    Outcome,
    Resolution,
    Role,
    SettlementStatus,
    Stage,
    Status,
    WebhookType,
)
from tests.policies.dispute.story import AGENT, BUYER, MS, PAID, SECOND, SELLER, SENIOR, H, Story, policy

HOLD, RELEASE = WebhookType.PAYMENT_HOLD_REQUESTED, WebhookType.PAYMENT_RELEASE_REQUESTED


def withdrawn(story: Story | None = None) -> Story:
    story = story or Story().attended()
    story.did(BUYER, ask.Close, "It works now.")
    return story


def test_the_buyer_closes_with_a_reason() -> None:
    story = Story().attended().wait(H)
    story.offers(SELLER, Resolution.REPLACEMENT)
    [entry] = story.did(BUYER, ask.Close, "It works now.")
    key = f"{story.state.id}:{entry.seq}"
    assert entry.body == {
        "reason": "It works now.",
        "reopen_until": rfc3339(story.now + 24 * H),
        "settlement": {"key": key, "refund": 0, "release": PAID},
    }
    state = story.state
    assert (state.status, state.outcome, state.offers) == (Status.WITHDRAWN, Outcome.WITHDRAWN, ())
    assert [(each.rule, each.due_at) for each in state.deadlines] == [(Rule.REOPEN_WINDOW, story.now + 24 * H)]
    [released] = story.told(RELEASE)
    assert (released["amount"], released["key"]) == (PAID, f"{key}:release")
    assert len(story.told(WebhookType.DISPUTE_WITHDRAWN)) == 1


@pytest.mark.parametrize("author", [SELLER, AGENT, SENIOR])
def test_nobody_else_does(author: Any) -> None:
    assert isinstance(Story().claimed().refusal(author, ask.Close, "Enough."), Forbidden)
    assert isinstance(withdrawn().refusal(author, ask.Reopen, "Again."), Forbidden)


def test_a_reason_has_to_be_typed() -> None:
    story = Story()
    assert isinstance(story.refusal(BUYER, ask.Close, " "), BadRequest)
    assert isinstance(story.refusal(BUYER, ask.Close, "x" * 2001), TooLarge)
    withdrawn(story)
    assert isinstance(story.refusal(BUYER, ask.Reopen, ""), BadRequest)
    assert isinstance(story.refusal(BUYER, ask.Reopen, "x" * 2001), TooLarge)


def test_at_every_active_stage() -> None:
    withdrawn(Story())
    awaiting = Story().attended()
    offer = awaiting.offers(SELLER, Resolution.REPLACEMENT)
    awaiting.did(BUYER, ask.AcceptProposal, offer)
    withdrawn(awaiting)
    withdrawn(Story().claimed())
    appeal = Story().claimed()
    appeal.decides(AGENT, "seller_favor", "release_to_seller")
    appeal.appeals(BUYER, "e1")
    withdrawn(appeal)


def test_not_twice() -> None:
    assert withdrawn().refusal(BUYER, ask.Close, "Really.").details["rule"] == "ended"


def test_the_buyer_reopens_once_within_24_h() -> None:
    story = withdrawn().wait(24 * H)
    [entry] = story.did(BUYER, ask.Reopen, "It broke again.")
    assert entry.body == {"reason": "It broke again."}
    state = story.state
    assert (state.stage, state.status, state.outcome) == (Stage.NEGOTIATION, Status.WAITING_FOR_SELLER, None)
    assert state.ended_at is None
    assert state.settlement is None
    assert [(each.rule, each.due_at, each.moved_by) for each in state.deadlines] == [
        (Rule.NO_UPDATE, story.now + 72 * H, entry.seq)
    ]
    assert len(story.told(WebhookType.DISPUTE_REOPENED)) == 1
    assert [each["key"] for each in story.told(HOLD)] == [f"{state.id}:1:hold"]  # the rest was released
    withdrawn(story)
    assert story.refusal(BUYER, ask.Reopen, "Again!").details["rule"] == "reopen_once"
    assert "reopen_until" not in story.last.body
    assert [each.rule for each in story.state.deadlines] == [Rule.ROOM_CLOSES]
    assert len(story.told(RELEASE)) == 1


def test_not_after_24_h_whether_the_worker_came_or_not() -> None:
    story = withdrawn()
    closes_at = story.now + 24 * H
    story.until(closes_at + MS)
    error = story.refusal(BUYER, ask.Reopen, "It broke again.")
    assert error.details == {"rule": "reopen_window", "closes_at": rfc3339(closes_at)}
    story.tick()
    assert story.refusal(BUYER, ask.Reopen, "It broke again.").details == error.details


def test_what_has_not_ended_or_was_resolved_is_not_reopened() -> None:
    story = Story().attended()
    assert story.refusal(BUYER, ask.Reopen, "Eh?").details["rule"] == "active"
    offer = story.offers(SELLER, Resolution.FULL_REFUND)
    story.did(BUYER, ask.AcceptProposal, offer)
    assert story.refusal(BUYER, ask.Reopen, "Eh?").details["rule"] == "not_withdrawn"


def test_reopened_before_the_seller_attended_gives_them_their_time_again() -> None:
    story = withdrawn(Story()).wait(20 * H)
    story.did(BUYER, ask.Reopen, "It broke again.")
    attend = story.state.deadline(Rule.SELLER_ATTEND)
    assert attend is not None
    assert attend.due_at == story.state.attend_by == story.now + 24 * H
    story.wait(24 * H + MS).tick()
    assert story.state.stage is Stage.MEDIATION


def test_a_seller_who_was_never_heard_has_their_time_again_before_support_too() -> None:
    story = Story().wait(24 * H + MS)
    story.tick()
    withdrawn(story).wait(H)
    story.did(BUYER, ask.Reopen, "It broke again.")
    assert story.state.attend_by == story.now + 24 * H
    assert story.state.deadlines == ()
    story.did(AGENT, ask.JoinAsAgent)
    error = story.refusal(AGENT, ask.Decide, Outcome.BUYER_FAVOR, Resolution.FULL_REFUND, "So.", ("late",))
    assert error.details["rule"] == "right_to_be_heard"


def test_reopened_in_mediation_stays_with_support() -> None:
    story = withdrawn(Story().claimed())
    story.did(BUYER, ask.Reopen, "It broke again.")
    assert (story.state.stage, story.stands()) == (Stage.MEDIATION, Status.UNDER_REVIEW)
    assert story.state.deadlines == ()
    story.decides(AGENT, "buyer_favor", "full_refund")


def test_reopened_on_appeal_stays_there_and_gives_time_to_answer() -> None:
    story = Story().claimed()
    story.decides(AGENT, "seller_favor", "release_to_seller")
    [filed, _] = story.appeals(BUYER, "e1")
    withdrawn(story).wait(H)
    story.did(BUYER, ask.Reopen, "I thought about it.")
    assert story.state.stage is Stage.APPEAL
    assert [(each.rule, each.due_at, each.of) for each in story.state.deadlines] == [
        (Rule.APPEAL_ANSWER, story.now + 48 * H, filed.seq)
    ]
    assert story.refusal(AGENT, ask.JoinAsAgent).details["rule"] == "another_agent"
    story.says(SELLER, "No comment.")
    story.did(SECOND, ask.JoinAsAgent)
    story.decides(SECOND, "buyer_favor", "full_refund")


@pytest.mark.parametrize(
    ("end", "hours"), [("agreement", 72), ("decision", 72), ("withdrawn", 24), ("withdrawn again", 72), ("appeal", 72)]
)
def test_the_room_closes_when_nothing_can_follow(end: str, hours: int) -> None:
    story = Story().attended()
    if end == "agreement":
        offer = story.offers(SELLER, Resolution.FULL_REFUND)
        story.did(BUYER, ask.AcceptProposal, offer)
    elif end.startswith("withdrawn"):
        withdrawn(story)
        if end == "withdrawn again":
            story.did(BUYER, ask.Reopen, "No.")
            withdrawn(story)
    else:
        story.claimed().decides(AGENT, "seller_favor", "release_to_seller")
        if end == "appeal":
            story.appeals(BUYER, "e1")
            story.says(SELLER, "No comment.")
            story.did(SECOND, ask.JoinAsAgent)
            story.decides(SECOND, "seller_favor", "release_to_seller")
    story.says(BUYER, "Thank you.")  # the room is open until then
    assert story.wait(hours * H).tick() == []
    [closed] = story.wait(MS).tick()
    assert (closed.kind, closed.body) == (EntryKind.NOTICE, {"notice": "room_closed"})
    assert closed.author.role is Role.SYSTEM
    assert story.state.closed
    assert story.state.agent is None
    assert story.state.deadlines == ()
    assert story.tick() == []
    for who in (BUYER, SELLER):
        assert story.actions(who) == {}


def test_money_of_a_withdrawal_may_wait_for_the_window() -> None:
    story = withdrawn(Story(policy(settle="when_final")).attended())
    assert story.told(RELEASE) == []
    assert story.last.body["settlement"]["deferred"] is True
    story.wait(24 * H + MS).tick()
    [released] = story.told(RELEASE)
    assert (released["amount"], released["attempt"]) == (PAID, 1)
    assert story.state.settlement is not None
    assert story.state.settlement.status is SettlementStatus.PENDING


def test_reopened_before_it_was_asked_for_there_is_nothing_to_take_back() -> None:
    story = withdrawn(Story(policy(settle="when_final")).attended())
    reopened = story.did(BUYER, ask.Reopen, "No.")[0].seq
    assert story.told(RELEASE) == []
    assert [each["key"] for each in story.told(HOLD)][1:] == [f"{story.state.id}:{reopened}:hold"]
    withdrawn(story)  # final now
    assert len(story.told(RELEASE)) == 1


def test_an_agreement_is_final_at_once() -> None:
    story = Story(policy(settle="when_final")).attended()
    offer = story.offers(SELLER, Resolution.FULL_REFUND)
    story.did(BUYER, ask.AcceptProposal, offer)
    assert len(story.told(WebhookType.PAYMENT_REFUND_REQUESTED)) == 1


def test_what_was_paid_back_while_it_waited_is_not_asked_for_again() -> None:
    story = Story(policy(settle="when_final")).claimed()
    story.decides(AGENT, "compromise", "split", 6000)
    story.event(OrderEventType.PAYMENT_REFUNDED, amount=7000)
    story.wait(72 * H + MS).tick()
    assert [each["amount"] for each in story.told(WebhookType.PAYMENT_REFUND_REQUESTED)] == [3000]
    assert story.told(RELEASE) == []


def test_when_all_was_paid_back_nothing_is_asked_for() -> None:
    story = Story(policy(settle="when_final")).claimed()
    story.decides(AGENT, "compromise", "split", 6000)
    story.event(OrderEventType.PAYMENT_REFUNDED)
    assert story.state.settlement is None
    story.wait(72 * H + MS).tick()
    assert story.told(WebhookType.PAYMENT_REFUND_REQUESTED, RELEASE) == []
