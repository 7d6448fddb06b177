from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from policies.dispute import commands as ask
from policies.dispute.state import Rule
from policies.errors import BadRequest, ChatError, Conflict, ErrorCode, Forbidden, Refused, TooLarge
from policies.instant import rfc3339
from policies.vocabulary import (
    EntryKind,
    OrderEventType,
    Outcome,
    Resolution,
    Role,
    Seq,
    Stage,
    Status,
    WebhookType,
)
from tests.policies.dispute.story import AGENT, BUYER, FACTS, MS, PAID, SELLER, SENIOR, H, Story, policy

R = Resolution


@pytest.mark.parametrize("author", [BUYER, SELLER])
@pytest.mark.parametrize(
    ("resolution", "asked", "amount"),
    [
        (R.DELIVERY_FIX, None, None),
        (R.REPLACEMENT, None, None),
        (R.PARTIAL_REFUND, 1, 1),
        (R.PARTIAL_REFUND, PAID - 1, PAID - 1),
        (R.FULL_REFUND, None, PAID),
        (R.FULL_REFUND, PAID, PAID),
    ],
)
def test_an_offer_of_each_kind(author: Any, resolution: R, asked: int | None, amount: int | None) -> None:
    story = Story().attended()
    seq = story.offers(author, resolution, asked, note="How about this?")
    [offer] = story.state.offers
    assert (offer.seq, offer.side, offer.resolution, offer.amount) == (seq, author.role, resolution, amount)
    assert offer.note == "How about this?"
    assert offer.expires_at == story.now + 72 * H
    body = story.last.body
    assert body.get("amount") == amount
    assert body.get("currency") == (None if amount is None else "EUR")
    due = story.state.deadline(Rule.PROPOSAL_EXPIRY, seq)
    assert due is not None
    assert (due.due_at, due.started_at) == (offer.expires_at, story.now)
    assert [each["seq"] for each in story.told(WebhookType.PROPOSAL_MADE)] == [seq]


def offered(*fields: Any, story: Story | None = None, author: Any = BUYER, **more: Any) -> ChatError:
    return (story or Story()).refusal(author, ask.MakeProposal, *fields, **more)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ((R.PARTIAL_REFUND,), "amount"),
        ((R.PARTIAL_REFUND, 0), "amount"),
        ((R.PARTIAL_REFUND, -5), "amount"),
        ((R.FULL_REFUND, PAID - 1), "amount"),
        ((R.FULL_REFUND, PAID + 1), "amount"),
        ((R.DELIVERY_FIX, 1), "amount"),
        ((R.REPLACEMENT, 1), "amount"),
        ((R.PARTIAL_REFUND, 5, "USD"), "currency"),
        ((R.SPLIT, 5), "resolution"),
        ((R.RELEASE_TO_SELLER,), "resolution"),
        ((R.CANCEL_ORDER,), "resolution"),
    ],
)
def test_what_cannot_be_offered(fields: Any, field: str) -> None:
    error = offered(*fields)
    assert isinstance(error, BadRequest)
    assert error.details["field"] == field


def test_less_than_what_was_paid() -> None:
    error = offered(R.PARTIAL_REFUND, PAID)
    assert (error.code, error.details["rule"], error.details["limit"]) == (ErrorCode.REFUSED, "amount_limit", PAID - 1)


def test_no_more_than_what_is_left() -> None:
    story = Story().attended()
    story.event(OrderEventType.PAYMENT_REFUNDED, amount=4000)
    assert story.state.refundable == PAID - 4000
    error = offered(R.PARTIAL_REFUND, PAID - 4000 + 1, story=story)
    assert error.details == {"rule": "amount_limit", "limit": PAID - 4000, "currency": "EUR"}
    story.offers(BUYER, R.PARTIAL_REFUND, PAID - 4000)
    story.offers(SELLER, R.FULL_REFUND)
    assert story.last.body["amount"] == PAID - 4000


@pytest.mark.parametrize("fields", [(R.PARTIAL_REFUND, 1), (R.FULL_REFUND,)])
def test_when_nothing_is_left(fields: Any) -> None:
    story = Story().attended()
    story.event(OrderEventType.PAYMENT_REFUNDED)
    assert offered(*fields, story=story).details["rule"] == "already_refunded"
    story.offers(SELLER, R.REPLACEMENT)


def test_a_currency_that_is_right_may_be_said() -> None:
    Story().offers(BUYER, R.PARTIAL_REFUND, 5, currency="EUR")


def test_a_note_as_long_as_allowed() -> None:
    story = Story(policy(note_chars=10))
    assert isinstance(offered(R.REPLACEMENT, story=story, note="x" * 11), TooLarge)
    story.offers(BUYER, R.REPLACEMENT, note="x" * 10)


def test_an_offer_may_say_when_it_expires() -> None:
    story = Story()
    now = story.now
    for wrong in (now, now - MS, now + timedelta(days=14) + MS):
        error = offered(R.REPLACEMENT, story=story, expires_at=wrong)
        assert error.details == {"field": "expires_at", "latest": rfc3339(now + timedelta(days=14))}
    for right in (now + MS, now + timedelta(days=14)):
        story.offers(BUYER, R.REPLACEMENT, expires_at=right)
        assert story.state.offers[0].expires_at == right


@pytest.mark.parametrize("author", [AGENT, SENIOR])
def test_staff_do_not_offer(author: Any) -> None:
    story = Story().attended()
    offer = story.offers(SELLER, R.REPLACEMENT)
    assert isinstance(offered(R.REPLACEMENT, story=story, author=author), Forbidden)
    for command in (ask.AcceptProposal, ask.RejectProposal, ask.WithdrawProposal):
        assert isinstance(story.refusal(author, command, offer), Forbidden)


def test_a_new_offer_of_a_side_supersedes_its_pending_one() -> None:
    story = Story().attended()
    first = story.offers(SELLER, R.PARTIAL_REFUND, 100)
    second = story.offers(SELLER, R.PARTIAL_REFUND, 200)
    assert story.last.body["supersedes"] == first
    assert [offer.seq for offer in story.state.offers] == [second]
    assert story.state.deadline(Rule.PROPOSAL_EXPIRY, first) is None


def test_both_sides_may_have_an_offer() -> None:
    story = Story().attended()
    theirs = story.offers(SELLER, R.PARTIAL_REFUND, 100)
    mine = story.offers(BUYER, R.PARTIAL_REFUND, 200)
    assert {offer.seq for offer in story.state.offers} == {theirs, mine}
    assert "supersedes" not in story.last.body


@pytest.mark.parametrize(
    ("resolution", "amount", "refund"), [(R.PARTIAL_REFUND, 2500, 2500), (R.FULL_REFUND, None, PAID)]
)
def test_accepting_money_resolves(resolution: R, amount: int | None, refund: int) -> None:
    story = Story().attended()
    offer = story.offers(SELLER, resolution, amount)
    accepted, resolved = story.did(BUYER, ask.AcceptProposal, offer)
    assert accepted.body == {
        "proposal": offer,
        "resolution": resolution.value,
        "amount": refund,
        "currency": "EUR",
    }
    assert resolved.author.role is Role.SYSTEM
    assert resolved.body["cause"] == "agreement"
    assert resolved.body["entry"] == accepted.seq
    key = f"{story.state.id}:{resolved.seq}"
    assert resolved.body["settlement"] == {"key": key, "refund": refund, "release": PAID - refund}
    state = story.state
    assert (state.status, state.outcome, state.resolution) == (Status.RESOLVED, Outcome.AGREED, resolution)
    assert state.resolved_amount == refund
    assert state.offers == ()
    assert not state.active
    assert [(each.rule, each.due_at) for each in state.deadlines] == [(Rule.ROOM_CLOSES, story.now + 72 * H)]
    [asked] = story.told(WebhookType.PAYMENT_REFUND_REQUESTED)
    assert (asked["amount"], asked["currency"], asked["key"], asked["attempt"]) == (refund, "EUR", key, 1)
    released = story.told(WebhookType.PAYMENT_RELEASE_REQUESTED)
    assert [each["amount"] for each in released] == ([] if refund == PAID else [PAID - refund])


@pytest.mark.parametrize("resolution", [R.DELIVERY_FIX, R.REPLACEMENT])
def test_accepting_a_fix_or_a_replacement_waits_for_it(resolution: R) -> None:
    story = Story().attended()
    offer = story.offers(BUYER, resolution)
    [accepted] = story.did(SELLER, ask.AcceptProposal, offer)
    assert accepted.body == {"proposal": offer, "resolution": resolution.value}
    state = story.state
    assert state.status is Status.AWAITING_FULFILLMENT
    assert state.fulfillment is not None
    assert state.fulfillment.fulfill_by == story.now + 72 * H
    assert [each.rule for each in state.deadlines] == [Rule.FULFILL_BY]
    assert story.told(WebhookType.PAYMENT_REFUND_REQUESTED, WebhookType.PAYMENT_RELEASE_REQUESTED) == []


def test_nobody_accepts_their_own() -> None:
    story = Story().attended()
    mine, theirs = story.offers(BUYER, R.REPLACEMENT), story.offers(SELLER, R.PARTIAL_REFUND, 5)
    assert isinstance(story.refusal(BUYER, ask.AcceptProposal, mine), Forbidden)
    assert isinstance(story.refusal(BUYER, ask.RejectProposal, mine), Forbidden)
    assert isinstance(story.refusal(BUYER, ask.WithdrawProposal, theirs), Forbidden)


def test_accepting_what_was_superseded_meanwhile_is_a_conflict_that_says_what_is_pending() -> None:
    story = Story().attended()
    first = story.offers(SELLER, R.PARTIAL_REFUND, 3000)
    second = story.offers(SELLER, R.PARTIAL_REFUND, 1000)
    error = story.refusal(BUYER, ask.AcceptProposal, first)
    assert isinstance(error, Conflict)
    assert error.details["status"] == "waiting_for_buyer"
    [pending] = error.details["offers"]
    assert (pending["proposal"], pending["side"], pending["amount"]) == (second, "seller", 1000)
    assert (pending["resolution"], pending["currency"]) == ("partial_refund", "EUR")
    assert pending["expires_at"] == rfc3339(story.now + 72 * H)


@pytest.mark.parametrize("gone", ["withdrawn", "rejected", "expired", "never"])
def test_accepting_what_is_not_pending_any_more(gone: str) -> None:
    story = Story().attended()
    offer = story.offers(SELLER, R.PARTIAL_REFUND, 3000)
    if gone == "withdrawn":
        story.did(SELLER, ask.WithdrawProposal, offer, "A mistake.")
    elif gone == "rejected":
        story.did(BUYER, ask.RejectProposal, offer)
    elif gone == "expired":
        story.wait(60 * H).says(BUYER, "Let me think.")
        story.wait(12 * H + MS)
    else:
        offer = Seq(1)
    for command in (ask.AcceptProposal, ask.RejectProposal):
        assert isinstance(story.refusal(BUYER, command, offer), Conflict)
    assert isinstance(story.refusal(SELLER, ask.WithdrawProposal, offer), Conflict)


def test_accepting_at_the_last_moment_is_in_time() -> None:
    story = Story().attended()
    offer = story.offers(SELLER, R.PARTIAL_REFUND, 3000)
    story.wait(72 * H).did(BUYER, ask.AcceptProposal, offer)
    assert story.stands() is Status.RESOLVED


def test_an_offer_expires_by_the_clock_and_is_told() -> None:
    story = Story().attended()
    offer = story.offers(SELLER, R.PARTIAL_REFUND, 3000, expires_at=story.now + H)
    assert story.wait(H).tick() == []
    [expired] = story.wait(MS).tick()
    assert (expired.kind, expired.body) == (EntryKind.PROPOSAL_EXPIRED, {"proposal": offer})
    assert story.state.offers == ()
    assert story.tick() == []


def test_rejecting_and_withdrawing() -> None:
    story = Story().attended()
    offer = story.offers(SELLER, R.PARTIAL_REFUND, 3000)
    [rejected] = story.did(BUYER, ask.RejectProposal, offer, "Too little.")
    assert rejected.body == {"proposal": offer, "reason": "Too little."}
    assert story.state.offers == ()
    assert story.stands() is Status.WAITING_FOR_SELLER
    offer = story.offers(SELLER, R.PARTIAL_REFUND, 4000)
    [withdrawn] = story.did(SELLER, ask.WithdrawProposal, offer)
    assert withdrawn.body == {"proposal": offer}
    assert [each.rule for each in story.state.deadlines] == [Rule.NO_UPDATE]


def test_a_reason_as_long_as_allowed() -> None:
    story = Story(policy(note_chars=10)).attended()
    offer = story.offers(SELLER, R.REPLACEMENT)
    assert isinstance(story.refusal(BUYER, ask.RejectProposal, offer, "x" * 11), TooLarge)
    assert isinstance(story.refusal(SELLER, ask.WithdrawProposal, offer, "x" * 11), TooLarge)
    story.did(BUYER, ask.RejectProposal, offer, "x" * 10)


@pytest.mark.parametrize(
    ("resolution", "amount"), [(R.PARTIAL_REFUND, 2000), (R.FULL_REFUND, None), (R.REPLACEMENT, None)]
)
def test_two_equal_offers_that_cross_are_an_agreement(resolution: R, amount: int | None) -> None:
    story = Story().attended()
    older = story.offers(SELLER, resolution, amount)
    written = story.did(BUYER, ask.MakeProposal, resolution, amount)
    made, accepted = written[:2]
    assert accepted.kind is EntryKind.PROPOSAL_ACCEPTED
    assert accepted.author.role is Role.SYSTEM
    assert accepted.body["proposal"] == older
    assert accepted.body["matched"] == made.seq
    assert story.state.offers == ()
    expected = Status.AWAITING_FULFILLMENT if resolution is R.REPLACEMENT else Status.RESOLVED
    assert story.stands() is expected


def test_the_first_act_of_the_seller_may_be_to_offer_the_same() -> None:
    story = Story()
    story.offers(BUYER, R.PARTIAL_REFUND, 2000)
    written = story.did(SELLER, ask.MakeProposal, R.PARTIAL_REFUND, 2000)
    assert [entry.kind for entry in written] == [
        EntryKind.PROPOSAL_MADE,
        EntryKind.DISPUTE_ATTENDED,
        EntryKind.PROPOSAL_ACCEPTED,
        EntryKind.DISPUTE_RESOLVED,
    ]


@pytest.mark.parametrize("mine", [(R.PARTIAL_REFUND, 2001), (R.FULL_REFUND, None), (R.REPLACEMENT, None)])
def test_offers_that_differ_do_not_match(mine: Any) -> None:
    story = Story().attended()
    story.offers(SELLER, R.PARTIAL_REFUND, 2000)
    story.offers(BUYER, *mine)
    assert len(story.state.offers) == 2


def test_an_equal_offer_that_has_expired_does_not_match() -> None:
    story = Story().attended()
    story.offers(SELLER, R.PARTIAL_REFUND, 2000, expires_at=story.now + H)
    written = story.wait(H + MS).did(BUYER, ask.MakeProposal, R.PARTIAL_REFUND, 2000)
    assert [entry.kind for entry in written] == [EntryKind.PROPOSAL_EXPIRED, EntryKind.PROPOSAL_MADE]


def test_two_full_refunds_match_whatever_was_paid_back_between_them() -> None:
    story = Story().attended()
    story.offers(SELLER, R.FULL_REFUND)
    story.event(OrderEventType.PAYMENT_REFUNDED, amount=1000)
    story.offers(BUYER, R.FULL_REFUND)
    assert story.state.resolved_amount == PAID - 1000


def test_a_full_refund_pays_what_is_left_when_it_is_accepted() -> None:
    story = Story().attended()
    offer = story.offers(SELLER, R.FULL_REFUND)
    story.event(OrderEventType.PAYMENT_REFUNDED, amount=1000)
    story.did(BUYER, ask.AcceptProposal, offer)
    [asked] = story.told(WebhookType.PAYMENT_REFUND_REQUESTED)
    assert asked["amount"] == PAID - 1000


def test_an_offer_of_more_than_is_left_by_now_cannot_be_accepted() -> None:
    story = Story().attended()
    offer = story.offers(SELLER, R.PARTIAL_REFUND, 5000)
    story.event(OrderEventType.PAYMENT_REFUNDED, amount=6000)
    error = story.refusal(BUYER, ask.AcceptProposal, offer)
    assert (error.code, error.details["limit"]) == (ErrorCode.REFUSED, 4000)
    assert "proposal.accept" not in story.actions(BUYER)


def test_the_parties_may_still_agree_while_support_is_on_the_case() -> None:
    story = Story().claimed()
    offer = story.offers(SELLER, R.PARTIAL_REFUND, 1000)
    assert story.stands() is Status.UNDER_REVIEW
    story.did(BUYER, ask.AcceptProposal, offer)
    assert story.state.outcome is Outcome.AGREED
    assert story.state.agent is not None  # may say goodbye until the room closes


@pytest.mark.parametrize("command", [ask.MakeProposal, ask.AcceptProposal, ask.RejectProposal, ask.WithdrawProposal])
def test_after_the_end_there_is_nothing_to_offer(command: Any) -> None:
    story = Story()
    story.did(BUYER, ask.Close, "It works now.")
    field = R.REPLACEMENT if command is ask.MakeProposal else Seq(1)
    error = story.refusal(BUYER, command, field)
    assert isinstance(error, Refused)
    assert error.details == {"rule": "ended", "status": "withdrawn"}


# Doing what was agreed


def agreed(story: Story | None = None) -> Story:
    story = story or Story().attended()
    offer = story.offers(SELLER, R.REPLACEMENT)
    story.did(BUYER, ask.AcceptProposal, offer)
    return story


def test_the_seller_marks_and_the_buyer_confirms() -> None:
    story = agreed().wait(H)
    [marked] = story.did(SELLER, ask.MarkFulfilled, "Sent today.")
    assert marked.body == {"note": "Sent today.", "confirm_by": rfc3339(story.now + 72 * H)}
    assert story.stands() is Status.AWAITING_FULFILLMENT
    assert [(each.rule, each.due_at) for each in story.state.deadlines] == [
        (Rule.FULFILLMENT_CONFIRM, story.now + 72 * H)
    ]
    confirmed, resolved = story.wait(H).did(BUYER, ask.ConfirmFulfilled, "Thanks!")
    assert confirmed.body == {"note": "Thanks!"}
    assert resolved.body["cause"] == "fulfillment"
    assert resolved.body["resolution"] == "replacement"
    assert resolved.body["settlement"]["release"] == PAID
    assert story.state.outcome is Outcome.AGREED
    assert story.told(WebhookType.PAYMENT_REFUND_REQUESTED) == []
    [released] = story.told(WebhookType.PAYMENT_RELEASE_REQUESTED)
    assert released["amount"] == PAID


def test_the_buyer_may_confirm_before_it_is_marked() -> None:
    story = agreed()
    story.did(BUYER, ask.ConfirmFulfilled)
    assert story.stands() is Status.RESOLVED


def test_each_does_their_own_part() -> None:
    story = agreed()
    assert isinstance(story.refusal(BUYER, ask.MarkFulfilled), Forbidden)
    assert isinstance(story.refusal(SELLER, ask.ConfirmFulfilled), Forbidden)
    assert isinstance(story.refusal(AGENT, ask.MarkFulfilled), Forbidden)
    assert isinstance(story.refusal(AGENT, ask.ConfirmFulfilled), Forbidden)


def test_it_is_marked_once() -> None:
    story = agreed()
    story.did(SELLER, ask.MarkFulfilled)
    assert story.refusal(SELLER, ask.MarkFulfilled).details["rule"] == "already_marked"


def test_without_an_agreement_there_is_nothing_to_mark() -> None:
    story = Story().attended()
    assert story.refusal(SELLER, ask.MarkFulfilled).details["rule"] == "not_awaiting_fulfillment"
    assert story.refusal(BUYER, ask.ConfirmFulfilled).details["rule"] == "not_awaiting_fulfillment"


def test_a_missed_date_brings_support_in() -> None:
    story = agreed()
    offer_seq = story.state.fulfillment.offer.seq if story.state.fulfillment else None
    assert [entry.kind for entry in story.wait(72 * H).tick()] == [EntryKind.DEADLINE_APPROACHING]
    [escalated] = story.wait(MS).tick()
    assert escalated.kind is EntryKind.DISPUTE_ESCALATED
    assert escalated.body["rule"] == "fulfill_by"
    assert (story.state.stage, story.state.status) == (Stage.MEDIATION, Status.UNDER_REVIEW)
    assert story.state.fulfillment is None
    assert offer_seq is not None


def test_marking_at_the_last_moment_is_in_time_and_later_is_not() -> None:
    story = agreed().wait(72 * H)
    story.did(SELLER, ask.MarkFulfilled)
    late = agreed().wait(72 * H + MS)
    assert late.refusal(SELLER, ask.MarkFulfilled).details["rule"] == "not_awaiting_fulfillment"


def test_silence_never_confirms() -> None:
    story = agreed()
    story.did(SELLER, ask.MarkFulfilled)
    [told] = story.wait(60 * H).tick()
    assert told.body["rule"] == "fulfillment_confirm"
    [escalated] = story.wait(12 * H + MS).tick()
    assert escalated.body["rule"] == "fulfillment_confirm"
    assert story.state.outcome is None
    assert story.told(WebhookType.PAYMENT_RELEASE_REQUESTED) == []


def test_talking_does_not_move_the_date() -> None:
    story = agreed()
    before = story.state.deadlines
    story.wait(H).says(BUYER, "Is it on its way?")
    assert story.state.deadlines == before
    assert story.stands() is Status.AWAITING_FULFILLMENT


def test_something_else_may_be_agreed_meanwhile() -> None:
    story = agreed()
    offer = story.offers(SELLER, R.PARTIAL_REFUND, 3000)
    story.did(BUYER, ask.AcceptProposal, offer)
    assert story.state.resolution is R.PARTIAL_REFUND
    assert story.state.fulfillment is None


def test_a_fix_agreed_on_before_support_is_done_or_goes_back_to_support() -> None:
    story = agreed(Story().claimed())
    assert (story.state.stage, story.stands()) == (Stage.MEDIATION, Status.AWAITING_FULFILLMENT)
    story.wait(72 * H + MS).tick()
    assert (story.state.stage, story.stands()) == (Stage.MEDIATION, Status.UNDER_REVIEW)
    assert story.state.agent is not None


def test_a_free_order_ends_without_money() -> None:
    story = Story(facts=replace(FACTS, amount=0), desired_resolution=R.REPLACEMENT).attended()
    agreed(story).did(BUYER, ask.ConfirmFulfilled)
    assert story.state.settlement is None
    assert "settlement" not in story.last.body


# Limits, and what else keeps offers from matching


def test_a_side_makes_a_limited_number_of_offers() -> None:
    story = Story(policy(offers_per_side=2)).attended()
    for _ in range(2):
        assert "proposal.make" in story.actions(SELLER)
        story.offers(SELLER, R.PARTIAL_REFUND, 100)
    refused = story.refusal(SELLER, ask.MakeProposal, R.PARTIAL_REFUND, 100)
    assert refused.details == {"rule": "offer_limit", "limit": 2}
    assert "proposal.make" not in story.actions(SELLER)
    story.did(BUYER, ask.RejectProposal, story.state.offers[0].seq)
    assert story.refusal(SELLER, ask.MakeProposal, R.REPLACEMENT).details["rule"] == "offer_limit"
    story.offers(BUYER, R.PARTIAL_REFUND, 200)  # the other side has its own


@pytest.mark.parametrize("resolution", [R.DELIVERY_FIX, R.REPLACEMENT])
def test_what_the_seller_has_to_do_matches_only_with_equal_notes(resolution: R) -> None:
    story = Story().attended()
    story.offers(SELLER, resolution, note="A used one; you pay for the parcel.")
    story.offers(BUYER, resolution, note="A new one.")
    assert len(story.state.offers) == 2
    story.offers(BUYER, resolution, note="A used one; you pay for the parcel. ")
    assert story.stands() is Status.AWAITING_FULFILLMENT


def test_offers_of_money_match_whatever_their_notes() -> None:
    story = Story().attended()
    story.offers(SELLER, R.PARTIAL_REFUND, 100, note="Sorry.")
    story.offers(BUYER, R.PARTIAL_REFUND, 100, note="Fine.")
    assert story.stands() is Status.RESOLVED


def test_equal_offers_that_no_money_is_left_for_stay_pending() -> None:
    story = Story().attended()
    story.offers(SELLER, R.PARTIAL_REFUND, 3000)
    story.event(OrderEventType.CHARGEBACK_OPENED)
    story.offers(BUYER, R.PARTIAL_REFUND, 3000)
    story.event(OrderEventType.PAYMENT_REFUNDED, amount=PAID - 2999)
    story.wait(H).event(OrderEventType.CHARGEBACK_WON)
    assert len(story.state.offers) == 2
