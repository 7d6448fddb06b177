"""What becomes of the money that was asked for: sums that are reported, lost chargebacks, holds that fail."""

from dataclasses import replace
from typing import Any

import pytest

from policies.dispute import commands as ask
from policies.dispute.state import Rule
from policies.vocabulary import DisputeId, EntryKind, OrderEventType, Resolution, SettlementStatus, WebhookType
from tests.policies.dispute.story import AGENT, BUYER, FACTS, MS, PAID, SECOND, SELLER, H, Story, policy
from tests.policies.dispute.test_events import REFUND, RELEASE, agreed, on_appeal, settlement

T = OrderEventType
HOLD = WebhookType.PAYMENT_HOLD_REQUESTED


# What is reported


def test_it_is_done_when_the_sum_reaches_what_was_asked_for() -> None:
    story = agreed()
    key = settlement(story).key
    for amount, refunded in ((0, 0), (1, 1), (2998, 2999)):
        story.event(T.PAYMENT_REFUNDED, key=key, amount=amount)
        assert (settlement(story).refund_done, story.state.refunded) == (False, refunded)
        assert story.state.refundable == PAID - 3000
    story.event(T.PAYMENT_REFUNDED, key=key, amount=1)
    assert settlement(story).refund_done
    wrong: tuple[Any, ...] = (0, -1, 6999, True, "7000")
    for amount in wrong:
        story.event(T.PAYMENT_RELEASED, key=key, amount=amount)
        assert settlement(story).status is SettlementStatus.PENDING
    story.event(T.PAYMENT_RELEASED, key=f"{key}:release", amount=1)
    assert settlement(story).status is SettlementStatus.DONE


def test_more_than_was_asked_for_was_paid_back_too() -> None:
    story = agreed()
    story.event(T.PAYMENT_REFUNDED, key=settlement(story).key, amount=5000)
    assert (story.state.refunded, settlement(story).refund_paid, story.state.refundable) == (5000, 3000, 5000)


@pytest.mark.parametrize(("data", "refunded"), [({"key": "ours"}, 3000), ({}, PAID), ({"key": "theirs"}, PAID)])
def test_a_refund_that_names_no_sum(data: dict[str, Any], refunded: int) -> None:
    """With one of our keys it is that settlement's sum, however often it is told; else all."""
    story = agreed()
    if data.get("key") == "ours":
        data = {"key": settlement(story).key}
    for _ in range(2):
        story.event(T.PAYMENT_REFUNDED, **data)
        assert story.state.refunded == refunded
    assert settlement(story).refund_done == (data.get("key") != "theirs")


def test_partly_paid_what_failed_of_it_is_asked_for_again() -> None:
    story = agreed()
    key = settlement(story).key
    story.event(T.PAYMENT_REFUNDED, key=key, amount=1000)
    story.event(T.PAYMENT_FAILED, key=key)
    story.wait(6 * H + MS).tick()
    assert [(each["amount"], each["attempt"]) for each in story.told(REFUND)] == [(3000, 1), (3000, 2)]
    assert (story.state.refunded, story.state.asked) == (1000, 2000)


def test_what_is_paid_after_it_was_given_up_was_paid_otherwise() -> None:
    story = on_appeal(("buyer_favor", "partial_refund", 3000))
    story.event(T.PAYMENT_FAILED)
    key = story.state.earlier[0].key
    story.event(T.PAYMENT_REFUNDED, key=key, amount=3000)
    assert (story.state.disposable, story.state.buyer_gets) == (7000, 0)


# After the bank has taken the money


@pytest.mark.parametrize("opened", [True, False])
@pytest.mark.parametrize("failed_first", [True, False])
def test_lost_to_the_bank_nothing_is_asked_for_again(opened: bool, failed_first: bool) -> None:
    story = on_appeal(("buyer_favor", "partial_refund", 3000))
    story.decides(SECOND, "buyer_favor", "full_refund")
    asked = len(story.told(REFUND, RELEASE))
    story.wait(H)
    if failed_first:
        story.event(T.PAYMENT_FAILED)
    if opened:
        story.event(T.CHARGEBACK_OPENED)
    story.wait(H).event(T.CHARGEBACK_LOST)
    for each in story.state.settlements:
        story.event(T.PAYMENT_FAILED, key=each.key)
        story.event(T.PAYMENT_FAILED, key=each.release_key)
    assert story.state.deadline(Rule.SETTLEMENT_RETRY) is None
    story.wait(H).event(T.CHARGEBACK_WON)  # whatever the bank says after that
    story.event(T.PAYMENT_FAILED)
    story.wait(100 * H).tick()
    assert len(story.told(REFUND, RELEASE)) == asked


def test_lost_without_a_word_before_it_cannot_be_appealed_or_reopened() -> None:
    story = Story(policy(settle="when_final")).claimed()
    story.decides(AGENT, "buyer_favor", "full_refund")
    story.event(T.CHARGEBACK_LOST)
    assert (story.state.settlement, story.state.charged_back) == (None, True)
    story.shows(SELLER, "e1")
    assert story.refusal(SELLER, ask.FileAppeal, "No!", ("e1",)).details == {"rule": "appeal_window"}
    withdrawn = Story()
    withdrawn.did(BUYER, ask.Close, "It works now.")
    withdrawn.event(T.CHARGEBACK_LOST)
    assert withdrawn.refusal(BUYER, ask.Reopen, "It broke.").details["rule"] == "reopen_window"
    assert withdrawn.event(T.CHARGEBACK_LOST, at=withdrawn.now - H)[1:] == []


@pytest.mark.parametrize("settle", ["at_once", "when_final"])
def test_lost_before_a_late_worker_came_nothing_is_asked_for_any_more(settle: str) -> None:
    story = Story(policy(settle=settle)).claimed()
    story.decides(AGENT, "buyer_favor", "full_refund")
    story.event(T.PAYMENT_FAILED)
    asked = len(story.told(REFUND, RELEASE))
    story.wait(100 * H).event(T.CHARGEBACK_LOST)
    story.wait(100 * H).tick()
    assert len(story.told(REFUND, RELEASE)) == asked


def test_on_appeal_too() -> None:
    story = on_appeal(("buyer_favor", "partial_refund", 3000))
    story.event(T.CHARGEBACK_LOST)
    story.event(T.PAYMENT_FAILED, key=story.state.earlier[0].key)
    story.wait(7 * H).tick()
    assert len(story.told(REFUND)) == 1


# The payment is held meanwhile


def test_a_hold_that_failed_is_asked_for_again() -> None:
    story = Story(policy(settlement_retries=2))
    [asked] = story.told(HOLD)
    key = asked["key"]
    story.event(T.PAYMENT_FAILED)  # of something else
    assert story.state.deadline(Rule.SETTLEMENT_RETRY) is None
    for attempt in (1, 2, 3):
        story.event(T.PAYMENT_FAILED, key=key)
        due = story.state.deadline(Rule.SETTLEMENT_RETRY)
        assert (due is None) == (attempt == 3)
        again = story.wait(6 * H + MS).tick()
        assert [each.body for each in again if each.kind is EntryKind.NOTICE] == [
            {"notice": "payment_asked_again", "entry": 1, "key": key, "attempt": attempt + 1}
        ] * (attempt < 3)
    assert [(each["key"], each["amount"], each["attempt"]) for each in story.told(HOLD)] == [
        (key, PAID, 1),
        (key, PAID, 2),
        (key, PAID, 3),
    ]
    assert not story.state.held


def test_a_hold_that_worked_after_all_is_not_asked_for_again() -> None:
    story = Story()
    story.event(T.PAYMENT_FAILED, key=story.told(HOLD)[0]["key"])
    story.event(T.PAYMENT_HELD)
    assert story.state.held
    assert story.state.deadline(Rule.SETTLEMENT_RETRY) is None
    story.event(T.PAYMENT_FAILED, key=story.told(HOLD)[0]["key"])  # it came late
    assert story.state.deadline(Rule.SETTLEMENT_RETRY) is None


def test_after_the_end_there_is_nothing_to_hold() -> None:
    story = Story().attended()
    story.event(T.PAYMENT_FAILED, key=story.told(HOLD)[0]["key"])
    story.did(BUYER, ask.Close, "It works now.")
    assert story.state.deadline(Rule.SETTLEMENT_RETRY) is None
    story.event(T.PAYMENT_FAILED, key=story.told(HOLD)[0]["key"])
    assert [each.rule for each in story.state.deadlines] == [Rule.REOPEN_WINDOW]
    assert len(story.told(HOLD)) == 1


def test_of_a_free_order_nothing_is_held() -> None:
    facts = replace(FACTS, amount=0)
    assert Story(facts=facts, desired_resolution=Resolution.REPLACEMENT).told(HOLD) == []


# Across the disputes of an order


def test_what_was_released_before_is_taken_back_for_what_a_later_dispute_gives_the_buyer() -> None:
    first = Story()
    first.did(BUYER, ask.Close, "It works now.")
    second = Story(now=first.now, earlier=first.state, dispute=DisputeId("e" * 20)).attended()
    second.did(BUYER, ask.AcceptProposal, second.offers(SELLER, Resolution.PARTIAL_REFUND, 3000))
    resolved = second.last.body
    assert (resolved["settlement"]["refund"], resolved["settlement"]["release"]) == (3000, 0)
    assert resolved["reversal"] == {"release": 3000}
    assert second.told(RELEASE) == []
    third = Story(now=second.now, earlier=second.state, dispute=DisputeId("f" * 20))
    assert (third.state.number, third.state.seller_gets, third.state.disposable) == (3, 7000, 7000)


def test_reopened_what_was_released_is_not_released_again() -> None:
    story = Story().attended()
    story.did(BUYER, ask.Close, "It works now.")
    story.did(BUYER, ask.Reopen, "It broke.")
    story.did(BUYER, ask.AcceptProposal, story.offers(SELLER, Resolution.PARTIAL_REFUND, 4000))
    assert [each["amount"] for each in story.told(RELEASE)] == [PAID]
    assert [each["amount"] for each in story.told(REFUND)] == [4000]
    assert story.last.body["reversal"] == {"release": 4000}


def test_what_failed_for_good_before_is_there_to_be_asked_for_again() -> None:
    first = Story(policy(settlement_retries=0))
    first.did(BUYER, ask.Close, "It works now.")
    first.event(T.PAYMENT_FAILED)
    second = Story(now=first.now, earlier=first.state, dispute=DisputeId("e" * 20))
    assert second.state.seller_gets == 0
    second.did(BUYER, ask.Close, "It does.")
    assert [each["amount"] for each in second.told(RELEASE)] == [PAID]
