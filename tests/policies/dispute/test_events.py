"""What the marketplace reports: deliveries, chargebacks, and whether money was moved."""

from datetime import timedelta
from typing import Any

import pytest

from policies.dispute import commands as ask
from policies.dispute.state import Rule, Settlement
from policies.errors import Refused
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
from tests.policies.dispute.story import AGENT, BUYER, MS, PAID, SECOND, SELLER, H, Story, policy

T = OrderEventType
REFUND, RELEASE = WebhookType.PAYMENT_REFUND_REQUESTED, WebhookType.PAYMENT_RELEASE_REQUESTED


@pytest.mark.parametrize("kind", [T.DELIVERED, T.DELIVERY_CONFIRMED, T.AUTO_CONFIRMED, T.CANCELED, T.PAYMENT_FAILED])
def test_both_sides_are_told_and_nothing_is_closed(kind: OrderEventType) -> None:
    story = Story().attended()
    before = story.state
    [entry] = story.event(kind, carrier="DHL")
    assert entry.kind is EntryKind.ORDER_UPDATED
    assert entry.author.role is Role.SYSTEM
    assert entry.body["event"]["type"] == kind.value
    assert entry.body["event"]["data"] == {"carrier": "DHL"}
    assert entry.body["event"]["at"] == rfc3339(story.now)
    after = story.state
    assert (after.status, after.deadlines, after.stage) == (before.status, before.deadlines, before.stage)
    assert after.active


def test_where_the_money_is() -> None:
    story = Story()
    story.event(T.PAYMENT_HELD)
    assert story.state.held
    story.event(T.PAYMENT_RELEASED)
    assert not story.state.held


def test_refunds_add_up_to_no_more_than_was_paid() -> None:
    story = Story()
    story.event(T.PAYMENT_REFUNDED, amount=3000)
    story.event(T.PAYMENT_REFUNDED, amount=3000)
    assert (story.state.refunded, story.state.refundable) == (6000, 4000)
    story.event(T.PAYMENT_REFUNDED)
    assert (story.state.refunded, story.state.refundable) == (PAID, 0)


# Chargebacks


def frozen(story: Story | None = None) -> Story:
    story = story or Story().claimed()
    story.event(T.CHARGEBACK_OPENED)
    return story


def test_a_chargeback_freezes_and_is_told() -> None:
    story = Story().claimed()
    updated, entry = story.event(T.CHARGEBACK_OPENED)
    assert entry.kind is EntryKind.DISPUTE_FROZEN
    assert entry.body["event"] == updated.body["event"]["id"]
    assert story.state.frozen
    assert story.state.frozen_at == story.now
    assert len(story.told(WebhookType.DISPUTE_FROZEN)) == 1


def test_while_frozen_no_money_moves() -> None:
    story = Story().claimed()
    offer = story.offers(SELLER, Resolution.PARTIAL_REFUND, 100)
    frozen(story)
    refusals = [
        story.refusal(BUYER, ask.AcceptProposal, offer),
        story.refusal(BUYER, ask.Close, "Never mind."),
        story.refusal(AGENT, ask.Decide, Outcome.BUYER_FAVOR, Resolution.FULL_REFUND, "So.", ("late",)),
    ]
    for error in refusals:
        assert isinstance(error, Refused)
        assert error.details == {"rule": "frozen"}
    assert not {"proposal.accept", "dispute.close"} & story.actions(BUYER).keys()
    assert "decision.issue" not in story.actions(AGENT)


def test_while_frozen_the_talk_goes_on() -> None:
    story = frozen()
    story.says(BUYER, "My bank asked me.")
    fix = story.offers(SELLER, Resolution.REPLACEMENT)
    story.did(BUYER, ask.AcceptProposal, fix)
    assert story.stands() is Status.AWAITING_FULFILLMENT
    story.did(SELLER, ask.MarkFulfilled)
    assert story.refusal(BUYER, ask.ConfirmFulfilled).details["rule"] == "frozen"
    assert "fulfillment.confirm" not in story.actions(BUYER)


def test_while_frozen_equal_offers_wait() -> None:
    story = frozen()
    first = story.offers(SELLER, Resolution.PARTIAL_REFUND, 100)
    second = story.offers(BUYER, Resolution.PARTIAL_REFUND, 100)
    assert len(story.state.offers) == 2
    *_, accepted, resolved = story.event(T.CHARGEBACK_WON)
    assert (accepted.body["proposal"], accepted.body["matched"]) == (first, second)
    assert resolved.body["settlement"]["refund"] == 100


def test_a_fix_needs_no_money_so_it_is_matched() -> None:
    story = frozen()
    story.offers(SELLER, Resolution.REPLACEMENT)
    story.offers(BUYER, Resolution.REPLACEMENT)
    assert story.stands() is Status.AWAITING_FULFILLMENT


def test_in_negotiation_it_brings_support_in_and_undoes_what_was_to_be_done() -> None:
    story = Story().attended()
    offer = story.offers(SELLER, Resolution.REPLACEMENT)
    story.did(BUYER, ask.AcceptProposal, offer)
    frozen(story)
    assert (story.state.stage, story.stands()) == (Stage.MEDIATION, Status.UNDER_REVIEW)
    assert story.state.fulfillment is None


def test_what_would_escalate_or_close_waits_and_goes_on_by_what_it_waited() -> None:
    story = Story().claimed()
    offer = story.offers(SELLER, Resolution.REPLACEMENT)
    [accepted] = story.did(BUYER, ask.AcceptProposal, offer)
    due_at = accepted.at + 72 * H
    frozen(story.wait(71 * H))
    assert story.state.next_at is None
    assert story.wait(timedelta(days=40)).tick() == []
    updated, unfrozen, extended = story.event(T.CHARGEBACK_WON)
    assert unfrozen.body == {"event": updated.body["event"]["id"], "result": "won"}
    assert extended.kind is EntryKind.DEADLINE_EXTENDED
    later = due_at + timedelta(days=40)
    assert extended.body == {
        "rule": "fulfill_by",
        "due_at": rfc3339(later),
        "was": rfc3339(due_at),
        "cause": "unfrozen",
        "of": offer,
    }
    due = story.state.deadline(Rule.FULFILL_BY)
    assert due is not None
    assert (due.due_at, due.started_at, due.moved_by) == (later, accepted.at, extended.seq)
    assert story.state.fulfillment is not None
    assert story.state.fulfillment.fulfill_by == later
    assert not story.state.frozen
    assert story.state.frozen_at is None
    assert story.until(later).tick() == []
    assert story.wait(MS).tick()[0].body["rule"] == "fulfill_by"


def test_what_began_while_frozen_waited_only_since_then() -> None:
    story = Story().claimed()
    frozen(story).wait(10 * H)
    fix = story.offers(SELLER, Resolution.REPLACEMENT)
    story.did(BUYER, ask.AcceptProposal, fix)
    agreed_at = story.now
    story.wait(5 * H).event(T.CHARGEBACK_WON)
    due = story.state.deadline(Rule.FULFILL_BY)
    assert due is not None
    assert due.due_at == agreed_at + 72 * H + 5 * H


def test_an_offer_still_expires_and_evidence_is_still_due() -> None:
    story = Story().claimed()
    story.offers(SELLER, Resolution.PARTIAL_REFUND, 100)
    story.did(AGENT, ask.RequestEvidence, Role.SELLER, "A photo.")
    frozen(story)
    kinds = [entry.kind for entry in story.wait(80 * H).tick()]
    assert kinds == [EntryKind.NOTICE, EntryKind.PROPOSAL_EXPIRED]
    assert [entry.kind for entry in story.event(T.CHARGEBACK_WON)][2:] == []


def test_frozen_and_unfrozen_in_the_same_moment_moves_nothing() -> None:
    story = Story().claimed()
    story.decides(AGENT, "seller_favor", "release_to_seller")
    frozen(story)
    assert [entry.kind for entry in story.event(T.CHARGEBACK_WON)] == [
        EntryKind.ORDER_UPDATED,
        EntryKind.DISPUTE_UNFROZEN,
    ]


def test_the_sellers_time_to_be_heard_waits_too() -> None:
    story = Story().wait(2 * H)
    frozen(story).wait(100 * H).event(T.CHARGEBACK_WON)
    assert story.state.attend_by == story.state.opened_at + 124 * H
    story.did(AGENT, ask.JoinAsAgent)
    error = story.refusal(AGENT, ask.Decide, Outcome.BUYER_FAVOR, Resolution.FULL_REFUND, "So.", ("late",))
    assert error.details["rule"] == "right_to_be_heard"


def test_but_not_when_it_was_over_before() -> None:
    story = Story().wait(24 * H + MS)
    story.tick()
    before = story.state.attend_by
    frozen(story).wait(H).event(T.CHARGEBACK_WON)
    assert story.state.attend_by == before


def test_at_the_last_moment_the_seller_still_had_time() -> None:
    story = Story(policy(reminders={})).wait(24 * H)
    frozen(story).wait(H).event(T.CHARGEBACK_WON)
    assert story.state.attend_by == story.state.opened_at + 25 * H


def test_who_was_heard_needs_no_more_time() -> None:
    story = Story().attended()
    before = story.state.attend_by
    frozen(story).wait(H).event(T.CHARGEBACK_WON)
    assert story.state.attend_by == before


def test_lost_ends_it_and_moves_no_money() -> None:
    story = frozen().wait(H)
    [_, unfrozen, resolved] = story.event(T.CHARGEBACK_LOST)
    assert unfrozen.body["result"] == "lost"
    assert resolved.body == {"outcome": "chargeback", "cause": "chargeback", "entry": unfrozen.seq}
    state = story.state
    assert (state.status, state.outcome, state.resolution) == (Status.RESOLVED, Outcome.CHARGEBACK, None)
    assert not state.frozen
    assert state.settlement is None
    assert story.told(REFUND, RELEASE) == []
    assert [(each.rule, each.due_at) for each in state.deadlines] == [(Rule.ROOM_CLOSES, story.now + 72 * H)]
    assert story.refusal(BUYER, ask.FileAppeal, "No!", ("e",)).details["rule"] == "no_decision"


def test_lost_without_having_heard_that_it_was_opened() -> None:
    story = Story().attended()
    updated, resolved = story.event(T.CHARGEBACK_LOST)
    assert resolved.body["entry"] == updated.seq
    assert story.state.outcome is Outcome.CHARGEBACK


def test_events_that_come_late_change_nothing() -> None:
    story = Story().claimed()
    opened_at = story.now
    frozen(story.wait(H))
    story.wait(H).event(T.CHARGEBACK_WON)
    assert not story.state.frozen
    assert [entry.kind for entry in story.event(T.CHARGEBACK_OPENED, at=opened_at)] == [EntryKind.ORDER_UPDATED]
    assert [entry.kind for entry in story.event(T.CHARGEBACK_LOST, at=opened_at)] == [EntryKind.ORDER_UPDATED]
    assert story.state.active
    assert not story.state.frozen


def test_opened_and_lost_in_the_same_millisecond_lost_is_the_last_word() -> None:
    for kinds in ((T.CHARGEBACK_OPENED, T.CHARGEBACK_LOST), (T.CHARGEBACK_LOST, T.CHARGEBACK_OPENED)):
        story = Story().attended()
        for kind in kinds:
            story.event(kind)
        assert not story.state.frozen
        assert story.state.outcome is Outcome.CHARGEBACK


def test_a_second_chargeback_freezes_again_and_one_while_frozen_does_not() -> None:
    story = frozen().wait(H)
    assert [entry.kind for entry in story.event(T.CHARGEBACK_OPENED)] == [EntryKind.ORDER_UPDATED]
    story.wait(H).event(T.CHARGEBACK_WON)
    story.wait(H).event(T.CHARGEBACK_OPENED)
    assert story.state.frozen


def test_won_without_having_been_frozen_is_only_recorded() -> None:
    assert [entry.kind for entry in Story().event(T.CHARGEBACK_WON)] == [EntryKind.ORDER_UPDATED]


def test_after_a_decision_the_window_to_appeal_waits_for_the_bank() -> None:
    story = Story().claimed()
    story.decides(AGENT, "seller_favor", "release_to_seller")
    due_at = story.now + 72 * H
    frozen(story.wait(H)).wait(200 * H)
    assert story.state.stage is Stage.MEDIATION
    assert story.tick() == []
    assert "dispute.appeal" in story.actions(BUYER)
    story.event(T.CHARGEBACK_WON)
    window = story.state.deadline(Rule.APPEAL_WINDOW)
    assert window is not None
    assert window.due_at == due_at + 200 * H
    story.appeals(BUYER, "e1")


def test_lost_after_the_end_leaves_nothing_to_undo() -> None:
    story = Story(policy(settle="when_final")).claimed()
    story.decides(AGENT, "seller_favor", "release_to_seller")
    frozen(story.wait(H)).wait(H).event(T.CHARGEBACK_LOST)
    assert story.state.outcome is Outcome.SELLER_FAVOR
    assert story.state.settlement is None
    assert [(each.rule, each.due_at) for each in story.state.deadlines] == [(Rule.ROOM_CLOSES, story.now + 72 * H)]
    assert story.refusal(BUYER, ask.FileAppeal, "No!", ("e1",)).details == {"rule": "appeal_window"}
    story.wait(72 * H + MS).tick()
    assert story.state.closed
    assert story.told(REFUND, RELEASE) == []


def test_a_withdrawn_dispute_is_not_reopened_while_frozen_but_afterwards() -> None:
    story = Story().attended()
    story.did(BUYER, ask.Close, "It works now.")
    frozen(story.wait(H)).wait(100 * H)
    assert story.refusal(BUYER, ask.Reopen, "It broke.").details["rule"] == "frozen"
    assert "dispute.reopen" not in story.actions(BUYER)
    story.event(T.CHARGEBACK_WON)
    story.wait(23 * H).did(BUYER, ask.Reopen, "It broke.")


def test_lost_after_withdrawing_it_stays_withdrawn() -> None:
    story = Story().attended()
    story.did(BUYER, ask.Close, "It works now.")
    frozen(story).wait(H).event(T.CHARGEBACK_LOST)
    assert story.state.outcome is Outcome.WITHDRAWN
    assert story.refusal(BUYER, ask.Reopen, "It broke.").details["rule"] == "reopen_window"


# Settling


def agreed(amount: int = 3000, **terms: Any) -> Story:
    story = Story(policy(**terms)).attended()
    offer = story.offers(SELLER, Resolution.PARTIAL_REFUND, amount)
    story.did(BUYER, ask.AcceptProposal, offer)
    return story


def settlement(story: Story) -> Settlement:
    assert story.state.settlement is not None
    return story.state.settlement


def test_it_is_done_when_every_part_was_reported() -> None:
    story = agreed()
    key = settlement(story).key
    assert settlement(story).status is SettlementStatus.PENDING
    story.event(T.PAYMENT_REFUNDED, key=key, amount=3000)
    assert settlement(story).status is SettlementStatus.PENDING
    story.event(T.PAYMENT_RELEASED, key=f"{key}:release")
    assert settlement(story).status is SettlementStatus.DONE
    assert story.state.refunded == 3000


def test_an_event_without_a_key_means_what_was_asked_for() -> None:
    story = agreed()
    story.event(T.PAYMENT_REFUNDED, amount=3000)
    story.event(T.PAYMENT_RELEASED)
    assert settlement(story).status is SettlementStatus.DONE


def test_the_release_may_be_reported_under_the_key_of_the_whole() -> None:
    story = agreed()
    story.event(T.PAYMENT_RELEASED, key=settlement(story).key)
    assert settlement(story).release_done


def test_an_event_of_another_key_settles_nothing() -> None:
    story = agreed()
    for kind in (T.PAYMENT_REFUNDED, T.PAYMENT_RELEASED, T.PAYMENT_FAILED):
        story.event(kind, key="other")
    assert settlement(story).status is SettlementStatus.PENDING
    assert [each.rule for each in story.state.deadlines] == [Rule.ROOM_CLOSES]


def test_what_failed_is_asked_for_again_with_the_same_key() -> None:
    story = agreed()
    key = settlement(story).key
    story.event(T.PAYMENT_RELEASED, key=f"{key}:release")
    story.event(T.PAYMENT_FAILED, key=key)
    assert settlement(story).status is SettlementStatus.FAILED
    due = story.state.deadline(Rule.SETTLEMENT_RETRY)
    assert due is not None
    assert (due.due_at, due.of) == (story.now + 6 * H, settlement(story).seq)
    assert story.wait(6 * H).tick() == []
    [again] = story.wait(MS).tick()
    assert again.body == {
        "notice": "payment_asked_again",
        "entry": settlement(story).seq,
        "key": key,
        "attempt": 2,
    }
    assert settlement(story).status is SettlementStatus.PENDING
    assert [(each["key"], each["attempt"]) for each in story.told(REFUND)] == [(key, 1), (key, 2)]
    assert len(story.told(RELEASE)) == 1
    story.event(T.PAYMENT_REFUNDED, key=key, amount=3000)
    assert settlement(story).status is SettlementStatus.DONE


def test_a_failed_release_is_asked_for_again_alone() -> None:
    story = agreed()
    key = settlement(story).key
    story.event(T.PAYMENT_FAILED, key=f"{key}:release")
    story.wait(6 * H + MS).tick()
    assert len(story.told(REFUND)) == 1
    assert [each["attempt"] for each in story.told(RELEASE)] == [1, 2]


def test_a_failure_without_a_key_means_both() -> None:
    story = agreed()
    story.event(T.PAYMENT_FAILED)
    story.wait(6 * H + MS).tick()
    assert [each["attempt"] for each in story.told(REFUND)] == [1, 2]
    assert [each["attempt"] for each in story.told(RELEASE)] == [1, 2]


def test_where_only_a_release_was_asked_for_the_bare_key_means_it() -> None:
    story = Story().attended()
    story.did(BUYER, ask.Close, "It works now.")
    story.event(T.PAYMENT_FAILED, key=settlement(story).key)
    assert settlement(story).release_failed


def test_reported_failed_twice_it_is_asked_for_once() -> None:
    story = agreed()
    story.event(T.PAYMENT_FAILED)
    first = story.state.deadlines
    story.wait(H).event(T.PAYMENT_FAILED)
    assert story.state.deadlines == first


def test_paid_after_all_it_is_not_asked_for_again() -> None:
    story = agreed()
    key = settlement(story).key
    story.event(T.PAYMENT_FAILED, key=key)
    story.event(T.PAYMENT_REFUNDED, key=key, amount=3000)
    assert story.state.deadline(Rule.SETTLEMENT_RETRY) is None
    story.wait(7 * H).tick()
    assert len(story.told(REFUND)) == 1


def test_what_is_done_cannot_fail() -> None:
    story = agreed()
    story.event(T.PAYMENT_REFUNDED, amount=3000)
    story.event(T.PAYMENT_RELEASED)
    story.event(T.PAYMENT_FAILED)
    assert settlement(story).status is SettlementStatus.DONE


@pytest.mark.parametrize("retries", [0, 2])
def test_it_is_asked_for_a_limited_number_of_times(retries: int) -> None:
    story = agreed(settlement_retries=retries, close_after="30d")
    for _ in range(retries + 3):
        story.event(T.PAYMENT_FAILED)
        story.wait(7 * H).tick()
    assert [each["attempt"] for each in story.told(REFUND)] == list(range(1, retries + 2))
    assert settlement(story).status is SettlementStatus.FAILED


def test_it_goes_on_after_the_room_is_closed() -> None:
    story = agreed(settlement_retry="100h")
    story.event(T.PAYMENT_FAILED, key=settlement(story).key)
    story.wait(73 * H).tick()
    assert story.state.closed
    assert story.state.next_at is not None
    story.wait(30 * H).tick()
    assert len(story.told(REFUND)) == 2
    [told] = story.event(T.PAYMENT_REFUNDED, key=settlement(story).key, amount=3000)
    assert told.kind is EntryKind.ORDER_UPDATED
    assert settlement(story).refund_done


@pytest.mark.parametrize("kind", [T.DELIVERED, T.CHARGEBACK_OPENED, T.CHARGEBACK_LOST, T.PAYMENT_HELD])
def test_nothing_else_is_written_into_a_closed_room(kind: OrderEventType) -> None:
    story = agreed()
    story.event(T.PAYMENT_REFUNDED, amount=3000)
    story.event(T.PAYMENT_RELEASED)
    story.wait(73 * H).tick()
    assert story.state.closed
    assert story.event(kind) == []


def test_lost_to_the_bank_after_the_room_was_closed_it_is_not_asked_for_again() -> None:
    story = agreed(settlement_retry="100h")
    story.event(T.PAYMENT_FAILED)
    story.wait(73 * H).tick()
    assert story.state.closed
    [told] = story.event(T.CHARGEBACK_LOST)
    assert told.kind is EntryKind.ORDER_UPDATED
    assert story.state.deadlines == ()
    assert story.event(T.CHARGEBACK_WON, at=story.now - H) == []


def test_while_frozen_it_is_not_asked_for_again() -> None:
    story = agreed()
    story.event(T.PAYMENT_FAILED)
    frozen(story).wait(50 * H)
    assert story.tick() == []
    story.event(T.CHARGEBACK_WON)
    story.wait(6 * H + MS).tick()
    assert len(story.told(REFUND)) == 2


def test_lost_to_the_bank_it_is_not_asked_for_again() -> None:
    story = agreed()
    story.event(T.PAYMENT_FAILED)
    frozen(story).wait(H).event(T.CHARGEBACK_LOST)
    story.wait(7 * H).tick()
    assert len(story.told(REFUND)) == 1
    assert settlement(story).status is SettlementStatus.FAILED


def on_appeal(first: tuple[str, str, int | None]) -> Story:
    """Decided by one agent, appealed and answered, before another agent."""
    story = Story().claimed()
    story.decides(AGENT, *first)
    loser, winner = (BUYER, SELLER) if first[0] == "seller_favor" else (SELLER, BUYER)
    story.appeals(loser, "e1")
    story.says(winner, "No comment.")
    story.did(SECOND, ask.JoinAsAgent)
    return story


def test_what_fails_on_appeal_is_left_to_the_last_decision() -> None:
    story = on_appeal(("buyer_favor", "partial_refund", 3000))
    assert story.state.refundable == 7000
    story.event(T.PAYMENT_FAILED)
    assert story.state.refundable == PAID
    assert story.state.next_at is None
    story.decides(SECOND, "buyer_favor", "full_refund")
    assert [each["amount"] for each in story.told(REFUND)] == [3000, PAID]


def test_what_failed_before_the_appeal_is_too() -> None:
    story = Story().claimed()
    story.decides(AGENT, "buyer_favor", "partial_refund", 3000)
    story.event(T.PAYMENT_FAILED)
    story.appeals(SELLER, "e1")
    assert story.state.refundable == PAID
    story.wait(7 * H).tick()
    assert len(story.told(REFUND)) == 1


def test_a_release_of_the_first_decision_is_not_asked_for_again_when_the_buyer_gets_the_money() -> None:
    story = on_appeal(("seller_favor", "release_to_seller", None))
    story.decides(SECOND, "buyer_favor", "full_refund")
    assert [each["amount"] for each in story.told(REFUND)] == [PAID]
    story.event(T.PAYMENT_FAILED, key=story.state.earlier[0].release_key)
    story.wait(7 * H).tick()
    assert [each["amount"] for each in story.told(RELEASE)] == [PAID]


def test_a_refund_that_fails_after_the_final_decision_is_asked_for_again_when_it_stands() -> None:
    story = on_appeal(("buyer_favor", "partial_refund", 3000))
    story.decides(SECOND, "buyer_favor", "full_refund")
    first = story.state.earlier[0]
    story.event(T.PAYMENT_FAILED, key=first.key)
    story.event(T.PAYMENT_FAILED, key=first.release_key)  # the final decision took it back
    story.wait(6 * H + MS).tick()
    assert len(story.told(RELEASE)) == 1
    assert [(each["key"], each["amount"]) for each in story.told(REFUND)] == [
        (first.key, 3000),
        (settlement(story).key, 7000),
        (first.key, 3000),
    ]


def test_reopened_what_failed_of_the_withdrawal_is_not_asked_for_again() -> None:
    story = Story().attended()
    story.did(BUYER, ask.Close, "It works now.")
    key = settlement(story).release_key
    story.event(T.PAYMENT_FAILED, key=key)
    story.did(BUYER, ask.Reopen, "It broke.")
    assert (story.state.seller_gets, story.state.settlement) == (0, None)
    assert story.state.deadline(Rule.SETTLEMENT_RETRY) is None
    offer = story.offers(SELLER, Resolution.PARTIAL_REFUND, 4000)
    story.did(BUYER, ask.AcceptProposal, offer)
    assert (settlement(story).refund, settlement(story).release) == (4000, 6000)
