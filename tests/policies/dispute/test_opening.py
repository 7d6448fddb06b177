from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from policies.dispute import commands as ask
from policies.dispute.evolve import evolve
from policies.dispute.opening import Eligibility, eligibility, open_dispute
from policies.dispute.policy import Opening, Policy, Terms
from policies.dispute.state import Rule
from policies.errors import BadRequest, ChatError, ErrorCode, Forbidden, Refused, TooLarge
from policies.instant import rfc3339
from policies.order import Chargeback, OrderState, Payment, Seller
from policies.room import SYSTEM
from policies.vocabulary import (
    DisputeId,
    EntryKind,
    EvidenceKind,
    OrderEventType,
    Reason,
    Resolution,
    Role,
    Seq,
    Stage,
    Status,
    TrustLevel,
    WebhookType,
)
from tests.policies.dispute.story import (
    AGENT,
    BUYER,
    FACTS,
    MS,
    OPENED,
    PAID,
    PLACED,
    SELLER,
    H,
    Story,
    opening,
    policy,
)

POLICY = Policy()
NEW = OrderState()


def refused(order_state: OrderState = NEW, now: Any = OPENED, **said: Any) -> ChatError:
    try:
        open_dispute(FACTS, order_state, opening(**said), POLICY, now, talked=True)
    except ChatError as error:
        return error
    raise AssertionError("it was not refused")


def test_opening_starts_a_negotiation_that_waits_for_the_seller() -> None:
    story = Story()
    state = story.state
    assert (state.stage, state.status) == (Stage.NEGOTIATION, Status.WAITING_FOR_SELLER)
    assert state.active
    assert state.room == f"dispute-{state.id}"
    assert state.attended_at is None
    assert state.heard == {Role.BUYER}
    assert state.opened_at == OPENED
    assert story.kinds == [EntryKind.DISPUTE_OPENED]


def test_the_first_entry_pins_what_holds_for_the_dispute() -> None:
    rules = Policy(version="v7", terms=Terms(attend_within="1h", second_person_above={"EUR": 5}))
    state = OrderState(delivered_at=PLACED + 10 * MS, refunded=300)
    story = Story(rules, order_state=state, desired_resolution=Resolution.PARTIAL_REFUND, amount=500)
    opened = story.entries[0]
    assert opened.author == BUYER
    assert opened.body["policy"]["version"] == "v7"
    assert opened.body["policy"]["terms"]["attend_within"] == 3600
    assert opened.body["order_room"] == "order-1"
    assert opened.body["staff_room"] == f"staff-{story.state.id}"
    assert opened.body["order"]["delivered_at"] == rfc3339(PLACED + 10 * MS)
    assert "confirmed_at" not in opened.body["order"]
    assert opened.body["checklist"] == {"buyer": ["photo", "video"], "seller": ["photo", "document"]}
    assert story.state.terms == rules.terms
    assert story.state.policy_version == "v7"
    assert story.state.checklist.buyer == (EvidenceKind.PHOTO, EvidenceKind.VIDEO)
    assert (story.state.desired_resolution, story.state.desired_amount) == (Resolution.PARTIAL_REFUND, 500)
    assert story.state.order.delivered_at == PLACED + 10 * MS
    assert story.state.refundable == PAID - 300


def test_it_starts_the_clocks_with_receipts() -> None:
    state = Story().state
    assert [(each.rule, each.due_at) for each in state.deadlines] == [
        (Rule.SELLER_ATTEND, OPENED + 24 * H),
        (Rule.NO_UPDATE, OPENED + 72 * H),
    ]
    for deadline in state.deadlines:
        assert (deadline.started_at, deadline.moved_by, deadline.of) == (OPENED, None, None)
    assert state.next_at == OPENED + 18 * H  # the reminder, six hours before
    assert state.attend_by == OPENED + 24 * H


def test_the_marketplace_is_told_and_asked_to_hold_the_payment() -> None:
    story = Story(order_state=OrderState(refunded=1000))
    assert [each.type for each in story.webhooks] == [WebhookType.DISPUTE_OPENED, WebhookType.PAYMENT_HOLD_REQUESTED]
    [hold] = story.told(WebhookType.PAYMENT_HOLD_REQUESTED)
    assert (hold["amount"], hold["currency"], hold["key"]) == (PAID - 1000, "EUR", f"{story.state.id}:1:hold")
    [told] = story.told(WebhookType.DISPUTE_OPENED)
    assert told["reason"] == "defective"
    assert told["order_id"] == "1"
    assert "policy" not in told


def test_a_buyer_who_has_not_talked_is_nudged_never_blocked() -> None:
    story = Story(talked=False)
    assert story.kinds == [EntryKind.DISPUTE_OPENED, EntryKind.NOTICE]
    assert story.last.body == {"notice": "talk_first", "order_room": "order-1"}
    assert story.state.active


@pytest.mark.parametrize("author", [SELLER, AGENT, replace(BUYER, id=SELLER.id), replace(SELLER, id=BUYER.id)])
def test_only_the_buyer_opens(author: Any) -> None:
    assert isinstance(refused(author=author), Forbidden)


def test_not_before_the_order_is_old_enough() -> None:
    error = refused(now=PLACED + timedelta(minutes=15) - MS)
    assert isinstance(error, Refused)
    opens_at = rfc3339(PLACED + timedelta(minutes=15))
    assert error.details == {"rule": "too_early", "opens_at": opens_at, "fallback": "order_room"}
    assert Story(now=PLACED + timedelta(minutes=15)).state.active


@pytest.mark.parametrize(
    ("level", "days"), [(TrustLevel.UNVERIFIED, 14), (TrustLevel.VERIFIED, 4), (TrustLevel.TRUSTED, 1)]
)
def test_after_confirmed_delivery_the_window_depends_on_the_sellers_trust(level: TrustLevel, days: int) -> None:
    facts = replace(FACTS, seller=Seller(SELLER.id, "Sue", level))
    confirmed = OrderState(delivery_confirmed_at=PLACED + H)
    closes_at = PLACED + H + timedelta(days=days)
    assert eligibility(facts, confirmed, POLICY, closes_at) == Eligibility(True, closes_at=closes_at)
    assert eligibility(facts, confirmed, POLICY, closes_at + MS) == Eligibility(
        False, "window_passed", closes_at=closes_at, fallback="order_room"
    )
    assert Story(facts=facts, order_state=confirmed, now=closes_at).state.active
    with pytest.raises(Refused) as late:
        Story(facts=facts, order_state=confirmed, now=closes_at + MS)
    assert late.value.details == {
        "rule": "window_passed",
        "closes_at": rfc3339(closes_at),
        "fallback": "order_room",
    }


def test_delivered_but_not_confirmed_has_no_end() -> None:
    delivered = OrderState(delivered_at=PLACED)
    assert eligibility(FACTS, delivered, POLICY, PLACED + timedelta(days=900)) == Eligibility(True)


@pytest.mark.parametrize(
    ("order_state", "rule"),
    [
        (OrderState(canceled_at=PLACED), "order_canceled"),
        (OrderState(refunded=PAID), "already_refunded"),
        (OrderState(chargeback=Chargeback.LOST, chargeback_at=PLACED), "charged_back"),
    ],
)
def test_where_there_is_nothing_to_settle(order_state: OrderState, rule: str) -> None:
    assert eligibility(FACTS, order_state, POLICY, OPENED) == Eligibility(False, rule, fallback="order_room")
    error = refused(order_state)
    assert (error.code, error.details["rule"], error.details["fallback"]) == (ErrorCode.REFUSED, rule, "order_room")


def test_partly_paid_back_is_still_disputed() -> None:
    assert eligibility(FACTS, OrderState(refunded=PAID - 1), POLICY, OPENED).allowed


def test_a_free_order_may_be_disputed_for_a_fix() -> None:
    story = Story(facts=replace(FACTS, amount=0), desired_resolution=Resolution.DELIVERY_FIX)
    assert story.state.refundable == 0


def test_the_windows_of_the_policy_in_force_count() -> None:
    rules = Policy(opening=Opening(not_before="2h"))
    assert eligibility(FACTS, NEW, rules, OPENED).rule == "too_early"


@pytest.mark.parametrize(
    ("said", "error", "field"),
    [
        ({"description": ""}, BadRequest, "description"),
        ({"description": " \u200b\n"}, BadRequest, "description"),
        ({"description": "x" * 4001}, TooLarge, "description"),
        ({"description": "a\ud800"}, BadRequest, "description"),
        ({"desired_resolution": Resolution.SPLIT, "amount": 1}, BadRequest, "desired_resolution"),
        ({"desired_resolution": Resolution.RELEASE_TO_SELLER}, BadRequest, "desired_resolution"),
        ({"desired_resolution": Resolution.CANCEL_ORDER}, BadRequest, "desired_resolution"),
        ({"desired_resolution": Resolution.PARTIAL_REFUND}, BadRequest, "amount"),
        ({"desired_resolution": Resolution.PARTIAL_REFUND, "amount": 0}, BadRequest, "amount"),
        ({"desired_resolution": Resolution.FULL_REFUND, "amount": PAID - 1}, BadRequest, "amount"),
        ({"desired_resolution": Resolution.REPLACEMENT, "amount": 1}, BadRequest, "amount"),
    ],
)
def test_what_has_to_be_said(said: dict[str, Any], error: type[ChatError], field: str) -> None:
    caught = refused(**said)
    assert type(caught) is error
    assert caught.details["field"] == field


def test_a_partial_refund_is_less_than_what_was_paid() -> None:
    error = refused(desired_resolution=Resolution.PARTIAL_REFUND, amount=PAID)
    assert error.details == {"rule": "amount_limit", "limit": PAID - 1, "currency": "EUR"}
    assert Story(desired_resolution=Resolution.PARTIAL_REFUND, amount=PAID - 1).state.desired_amount == PAID - 1


def test_a_description_as_long_as_allowed() -> None:
    assert len(Story(description="x" * 4000).state.description) == 4000


def test_a_reason_without_a_checklist_has_an_empty_one() -> None:
    assert Story(reason=Reason.OTHER).state.checklist.of(Role.BUYER) == ()


def test_while_the_bank_decides_it_opens_frozen_and_with_support() -> None:
    story = Story(order_state=OrderState(chargeback=Chargeback.OPEN, chargeback_at=PLACED))
    assert story.kinds == [EntryKind.DISPUTE_OPENED, EntryKind.DISPUTE_FROZEN, EntryKind.DISPUTE_ESCALATED]
    state = story.state
    assert (state.stage, state.status, state.frozen) == (Stage.MEDIATION, Status.UNDER_REVIEW, True)
    assert state.escalation is not None
    assert state.escalation.rule == "chargeback"
    assert state.chargeback_at == PLACED
    assert state.deadlines == ()


# After an earlier dispute of the same order


def agreed_on(amount: int) -> Story:
    story = Story().attended()
    offer = story.offers(SELLER, Resolution.PARTIAL_REFUND, amount)
    story.did(BUYER, ask.AcceptProposal, offer)
    return story


def again(story: Story, **more: Any) -> Story:
    return Story(now=story.now, earlier=story.state, dispute=DisputeId("e" * 20), **more)


def test_what_was_asked_for_before_is_not_there_to_be_asked_for_again() -> None:
    first = agreed_on(3000)
    second = again(first)
    assert second.entries[0].body["order"]["asked"] == 3000
    assert second.state.refundable == PAID - 3000
    assert second.told(WebhookType.PAYMENT_HOLD_REQUESTED) == []  # the rest was released
    third = again(second)
    assert third.state.refundable == PAID - 3000


def test_when_it_is_reported_as_paid_it_counts_once() -> None:
    first = agreed_on(3000)
    second = again(first)
    assert first.state.settlement is not None
    second.event(OrderEventType.PAYMENT_REFUNDED, key=first.state.settlement.key, amount=3000)
    assert (second.state.refunded, second.state.asked, second.state.refundable) == (3000, 0, PAID - 3000)
    second.event(OrderEventType.PAYMENT_REFUNDED, amount=1000)
    assert second.state.refundable == PAID - 4000


def test_paid_before_the_second_one_it_counts_once_too() -> None:
    first = agreed_on(3000)
    first.event(OrderEventType.PAYMENT_REFUNDED, amount=3000)
    second = again(first, order_state=OrderState(refunded=3000))
    assert (second.state.asked, second.state.refundable) == (0, PAID - 3000)


def test_when_all_was_asked_for_there_is_nothing_to_dispute() -> None:
    first = Story().attended()
    offer = first.offers(SELLER, Resolution.FULL_REFUND)
    first.did(BUYER, ask.AcceptProposal, offer)
    assert eligibility(FACTS, NEW, POLICY, first.now, first.state).rule == "already_refunded"


def test_after_a_decision_there_is_no_further_dispute() -> None:
    """Nor could a buyer keep the seller from appealing by opening another one."""
    first = Story().claimed()
    first.decides(AGENT, "buyer_favor", "partial_refund", 3000)
    due_at = first.now + 72 * H
    told = Eligibility(False, "decided", fallback="order_room")
    assert eligibility(FACTS, NEW, POLICY, due_at, first.state) == told
    with pytest.raises(Refused) as refused:
        again(first)
    assert refused.value.details == {"rule": "decided", "fallback": "order_room"}
    assert eligibility(FACTS, NEW, POLICY, due_at + MS, first.state) == told
    first.wait(72 * H + MS).tick()
    assert eligibility(FACTS, NEW, POLICY, first.now, first.state) == told


def test_when_an_appeal_ended_by_agreement_or_withdrawal_another_one_may_be_opened() -> None:
    for agree in (True, False):
        first = Story().claimed()
        first.decides(AGENT, "seller_favor", "release_to_seller")
        first.appeals(BUYER, "e1")
        if agree:
            first.did(BUYER, ask.AcceptProposal, first.offers(SELLER, Resolution.PARTIAL_REFUND, 100))
        else:
            first.did(BUYER, ask.Close, "Never mind.")
        assert again(first).state.number == 2


def test_an_order_has_a_limited_number_of_disputes() -> None:
    story, rules = Story(), Policy(opening=Opening(disputes_per_order=2))
    story.did(BUYER, ask.Close, "It works now.")
    story = again(story, rules=rules)
    assert story.state.number == 2
    story.did(BUYER, ask.Close, "It works now.")
    told = Eligibility(False, "too_many_disputes", fallback="order_room")
    assert eligibility(FACTS, NEW, rules, story.now, story.state) == told


def test_while_the_money_of_a_withdrawal_waits_a_new_dispute_does_too() -> None:
    """Or both would ask for it."""
    story = Story(policy(settle="when_final"))
    story.did(BUYER, ask.Close, "It works now.")
    due_at = story.now + 24 * H
    told = Eligibility(False, "settlement_waits", opens_at=due_at, fallback="order_room")
    assert eligibility(FACTS, NEW, POLICY, due_at, story.state) == told
    assert eligibility(FACTS, NEW, POLICY, due_at + MS, story.state).allowed  # the worker only has to come yet
    second = again(story.wait(24 * H + MS))
    assert second.state.seller_gets == PAID
    story.tick()
    assert [each["amount"] for each in story.told(WebhookType.PAYMENT_RELEASE_REQUESTED)] == [PAID]
    second.did(BUYER, ask.Close, "It does.")
    assert second.told(WebhookType.PAYMENT_RELEASE_REQUESTED) == []


def test_what_the_bank_had_decided_before_is_known() -> None:
    story = Story(order_state=OrderState(chargeback=Chargeback.WON, chargeback_at=OPENED - H))
    [told] = story.event(OrderEventType.CHARGEBACK_OPENED, at=OPENED - 2 * H)
    assert told.kind is EntryKind.ORDER_UPDATED
    assert (story.state.frozen, story.state.chargeback_at) == (False, OPENED - H)


def test_where_the_money_was_is_known() -> None:
    assert Story(order_state=OrderState(payment=Payment.HELD)).state.held
    assert not Story(order_state=OrderState(payment=Payment.RELEASED)).state.held


def test_an_opening_that_says_only_how_much_was_asked_for_still_replays() -> None:
    """As rooms have it that are older than keys."""
    story = again(agreed_on(3000))
    opened = story.entries[0]
    state = evolve(None, replace(opened, body={name: said for name, said in opened.body.items() if name != "before"}))
    assert (state.asked, state.number, state.seller_gets) == (3000, 1, 0)
    event: dict[str, Any] = {"id": "x", "type": "payment.refunded", "at": rfc3339(OPENED), "data": {"key": "d:6"}}
    data: dict[str, Any] = {"event": event}
    heard = evolve(state, replace(opened, seq=Seq(2), kind=EntryKind.ORDER_UPDATED, author=SYSTEM, body=data))
    assert heard.refunded == PAID
    event["data"] = {"key": "d:6", "amount": 3000}
    heard = evolve(state, replace(opened, seq=Seq(2), kind=EntryKind.ORDER_UPDATED, author=SYSTEM, body=data))
    assert (heard.refunded, heard.asked, heard.refundable) == (3000, 0, PAID - 3000)


def test_after_a_withdrawal_or_an_agreement_another_one_may_be_opened() -> None:
    first = Story()
    first.did(BUYER, ask.Close, "It works now.")
    assert again(first).state.active
    assert again(agreed_on(1)).state.active
