"""Past disputes under a changed policy."""

import contextlib
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.dispute import commands as ask
from policies.dispute.dry_run import Change, Difference, DryRun, dry_run
from policies.dispute.policy import Policy, parse_policy
from policies.errors import ChatError
from policies.order import Chargeback, OrderState
from policies.room import SYSTEM
from policies.vocabulary import EvidenceKind, OrderEventType, Resolution, Role, Seq
from tests.policies.dispute.moves import a_likely_move, an_event
from tests.policies.dispute.story import (
    AGENT,
    BUYER,
    MS,
    OPENED,
    PAID,
    PLACED,
    SECOND,
    SELLER,
    SENIOR,
    H,
    Story,
    policy,
)

LATER = OPENED + 60 * 24 * H
"""When the dry run is made."""


def changed(**terms: Any) -> Policy:
    return parse_policy({"version": "changed", "terms": terms})


def tried(story: Story, **terms: Any) -> DryRun:
    return dry_run(story.entries, changed(**terms), LATER)


def found(story: Story, **terms: Any) -> list[Difference]:
    """What differs, but for the number of reminders."""
    ran = tried(story, **terms)
    assert ran.doubtful == ()
    return [each for each in ran.differences if each.change is not Change.REMINDERS]


def negotiated() -> Story:
    """Offers of all sorts, and an agreement."""
    story = Story()
    story.says(SELLER, "!!!")
    story.attended()
    first = story.wait(H).offers(SELLER, Resolution.PARTIAL_REFUND, 1_000)
    story.did(BUYER, ask.RejectProposal, first, "Too little")
    second = story.wait(H).offers(SELLER, Resolution.PARTIAL_REFUND, 2_000, expires_at=story.now + 30 * H)
    story.did(SELLER, ask.WithdrawProposal, second)
    third = story.wait(H).offers(BUYER, Resolution.PARTIAL_REFUND, 5_000)
    story.did(SELLER, ask.SendMessage, "Fine", reply_to=third, evidence=("e1",))
    story.did(SELLER, ask.AcceptProposal, third)
    return story


def fulfilled() -> Story:
    story = Story().attended()
    offer = story.offers(SELLER, Resolution.REPLACEMENT, note="A new one")
    story.did(BUYER, ask.AcceptProposal, offer)
    story.wait(10 * H).did(SELLER, ask.MarkFulfilled, "Sent")
    story.wait(40 * H).did(BUYER, ask.ConfirmFulfilled)
    return story


def decided() -> Story:
    """Support comes in, asks, hands over, recommends, decides; the loser appeals and somebody else decides."""
    story = Story().claimed()
    story.did(AGENT, ask.RequestEvidence, Role.SELLER, "A photo", kinds=(EvidenceKind.PHOTO,))
    story.wait(H).did(SELLER, ask.AddEvidence, "e1", EvidenceKind.PHOTO, {"evidence": "e1", "kind": "photo"})
    story.did(AGENT, ask.RequestEvidence, Role.BUYER, "A film", due_at=story.now + 20 * H)
    story.wait(21 * H).tick()
    story.did(AGENT, ask.LeaveAsAgent, reason="End of my shift")
    story.did(SECOND, ask.JoinAsAgent)
    story.recommends(SECOND, "buyer_favor", "partial_refund", 3_000)
    story.did(SENIOR, ask.JoinAsAgent, take_over=True)
    story.decides(SENIOR, "buyer_favor", "partial_refund", 3_000)
    story.wait(30 * H).appeals(SELLER, "e2", reason="Look again")
    story.did(AGENT, ask.JoinAsAgent)
    story.wait(49 * H).tick()
    story.decides(AGENT, "compromise", "split", 4_000)
    return story


def vanished() -> Story:
    """An agent who disappears, a buyer who gives up and comes back, a chargeback that is won."""
    story = Story().claimed()
    story.wait(H).did(SYSTEM, ask.LapseClaim, AGENT.id)
    story.did(BUYER, ask.Close, "Enough")
    story.wait(2 * H).did(BUYER, ask.Reopen, "Not enough")
    story.event(OrderEventType.CHARGEBACK_OPENED)
    story.wait(90 * H).event(OrderEventType.CHARGEBACK_WON)
    return story


def charged_back() -> Story:
    """The bank was asking before the dispute was opened: support is in it, and no money moves, from its beginning."""
    story = Story(order_state=OrderState(chargeback=Chargeback.OPEN, chargeback_at=OPENED - H), talked=False)
    story.attended()
    story.did(AGENT, ask.JoinAsAgent)
    story.wait(90 * H).event(OrderEventType.CHARGEBACK_WON)
    story.decides(AGENT, "seller_favor", "release_to_seller")
    return story


STORIES: list[Callable[[], Story]] = [negotiated, fulfilled, decided, vanished, charged_back]


@pytest.mark.parametrize("story", STORIES)
def test_under_the_same_terms_everything_is_as_it_was(story: Callable[[], Story]) -> None:
    played = story()
    ran = dry_run(played.entries, Policy(), LATER)
    assert (ran.differences, ran.doubtful) == ((), ())
    assert (ran.dispute, ran.opened_at, ran.policy_version) == (played.state.id, OPENED, "default")


def test_a_dispute_that_would_be_one_too_many() -> None:
    first = Story()
    first.did(BUYER, ask.Close, "Enough")
    second = Story(earlier=first.state)
    for most, rules in ((1, ["too_many_disputes"]), (2, [])):
        ran = dry_run(second.entries, parse_policy({"opening": {"disputes_per_order": most}}), LATER)
        assert [each.rule for each in ran.differences if each.change is Change.NOT_OPENED] == rules
    assert dry_run(first.entries, parse_policy({"opening": {"disputes_per_order": 1}}), LATER).differences == ()


def test_how_late_a_worker_was_makes_no_difference() -> None:
    story = Story().wait(30 * H)
    story.tick()
    assert found(story) == []


@pytest.mark.parametrize(
    ("within", "change", "after"),
    [("12h", Change.EARLIER, OPENED + 12 * H + MS), ("36h", Change.LATER, OPENED + 36 * H + MS)],
)
def test_a_deadline_fires_earlier_or_later(within: str, change: Change, after: Any) -> None:
    story = Story().wait(24 * H + MS)
    story.tick()
    [difference] = found(story, attend_within=within)
    what = "dispute.escalated (seller_attend)"
    assert difference == Difference(change, what, None, "seller_attend", OPENED + 24 * H + MS, after)


def test_a_deadline_that_is_still_ahead_is_later() -> None:
    story = Story().wait(24 * H + MS)
    story.tick()
    ran = dry_run(story.entries, changed(attend_within="48h"), OPENED + 30 * H)
    [difference] = [each for each in ran.differences if each.change is not Change.REMINDERS]
    assert (difference.change, difference.after) == (Change.LATER, OPENED + 48 * H)


def test_a_deadline_that_somebody_beats_never_fires() -> None:
    story = Story().wait(24 * H + MS)
    story.tick()
    story.wait(H).attended()
    differences = found(story, attend_within="30h")
    assert [(each.change, each.rule) for each in differences if each.rule == "seller_attend"] == [
        (Change.NEVER, "seller_attend")
    ]


def test_a_deadline_fires_that_nobody_had_to_fear() -> None:
    story = Story().wait(20 * H).attended()
    differences = found(story, attend_within="19h", update_within="3650d")
    assert (
        Difference(Change.ADDED, "dispute.escalated (seller_attend)", None, "seller_attend", None, OPENED + 19 * H + MS)
        in differences
    )


def test_an_offer_that_would_have_expired_is_not_accepted() -> None:
    story = Story().attended()
    offer = story.offers(SELLER, Resolution.PARTIAL_REFUND, 1_000)
    accepted = story.wait(20 * H).did(BUYER, ask.AcceptProposal, offer)[0]
    differences = found(story, offer_expires="19h")
    assert Difference(Change.REFUSED, "proposal.accepted", accepted.seq, "conflict", story.now) in differences
    [expired] = [each for each in differences if each.what == "proposal.expired"]
    assert (expired.change, expired.seq, expired.after) == (Change.ADDED, offer, OPENED + 19 * H + MS)


def test_an_offer_that_asked_for_its_time_keeps_it() -> None:
    story = Story().attended()
    offer = story.offers(SELLER, Resolution.PARTIAL_REFUND, 1_000, expires_at=story.now + 30 * H)
    story.wait(20 * H).did(BUYER, ask.AcceptProposal, offer)
    assert found(story, offer_expires="19h") == []


def test_who_calls_support_too_early_is_refused() -> None:
    story = Story().escalated()
    differences = found(story, escalate_from="25h")
    refused = [each for each in differences if each.change is Change.REFUSED]
    assert [(each.what, each.rule) for each in refused] == [("dispute.escalated", "escalate_from")]


def test_a_decision_about_much_money_needs_a_second_person_and_the_rest_goes_on() -> None:
    story = Story().claimed()
    decision = story.decides(AGENT, "buyer_favor", "full_refund")[0]
    expected = Difference(Change.SECOND_PERSON, "decision.issued", decision.seq, "second_person", story.now)
    assert found(story, second_person_above={"EUR": PAID - 1}) == [expected]
    assert found(story, second_person_above={"EUR": PAID}) == []
    assert found(story, second_person_above={"USD": 1}) == []


def test_a_decision_needs_one_person_only() -> None:
    story = Story(Policy(terms=changed(second_person_above={"EUR": 10}).terms)).claimed(SECOND)
    story.recommends(SECOND, "buyer_favor", "full_refund")
    story.did(SENIOR, ask.JoinAsAgent, take_over=True)
    decision = story.decides(SENIOR, "buyer_favor", "full_refund")[0]
    assert found(story, second_person_above={"EUR": 10}) == []
    assert found(story) == [Difference(Change.ONE_PERSON, "decision.issued", decision.seq, "second_person", story.now)]


@pytest.mark.parametrize(
    ("opening", "rule"),
    [({"not_before": "2h"}, "too_early"), ({"windows": {"verified": "29m"}}, "window_passed"), ({}, None)],
)
def test_whether_it_could_have_been_opened(opening: dict[str, Any], rule: str | None) -> None:
    confirmed = OrderState(delivered_at=PLACED, delivery_confirmed_at=OPENED - timedelta(minutes=30))
    story = Story(order_state=confirmed)
    ran = dry_run(story.entries, parse_policy({"opening": opening}), OPENED + H)
    assert [(each.change, each.rule, each.seq) for each in ran.differences] == (
        [] if rule is None else [(Change.NOT_OPENED, rule, Seq(1))]
    )


def test_other_reminders_are_counted() -> None:
    story = Story().wait(24 * H + MS)
    story.tick()
    ran = tried(story, reminders={"seller_attend": 0})
    assert [(each.change, each.before, each.after) for each in ran.differences] == [(Change.REMINDERS, 1, 0)]


def test_an_erased_text_counts_as_said() -> None:
    story = Story().attended()
    erased = [
        entry
        if entry.author is not SELLER
        else type(entry)(entry.seq, entry.kind, entry.author, entry.at, {}, entry.visibility)
        for entry in story.entries
    ]
    assert dry_run(erased, Policy(), LATER).differences == ()


def wait(story: Story, hours: float) -> None:
    """Let time pass with a worker that is never late."""
    until = story.now + timedelta(hours=hours)
    while (due_at := story.state.next_at) is not None and due_at < until:
        story.until(max(story.now, due_at))
        if not story.tick():
            story.until(max(story.now, due_at + MS)).tick()
    story.until(max(until, story.now))


def play(dice: Random) -> tuple[Story, Policy]:
    """A dispute in which people do what they may, in any order."""
    rules = policy(second_person_above=dice.choice([{}, {"EUR": 3_000}]), settle=dice.choice(["at_once", "when_final"]))
    story = Story(rules, replayed=0)
    for _ in range(dice.randint(5, 60)):
        what = dice.random()
        if what < 0.1:
            kind, at, data = an_event(dice, [story.state], story.now)
            story.event(kind, at, **data)
        elif what < 0.4:
            wait(story, dice.choice([0, 1, 1, 5, 25, 73]))
        elif (move := a_likely_move(dice, story.state, story.now)) is not None:
            author, command, fields = move
            with contextlib.suppress(ChatError):
                story.did(author, command, **fields)
    return story, rules


@given(st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_whatever_has_happened_is_played_as_it_was_and_can_be_played_otherwise(dice: Random) -> None:
    story, rules = play(dice)
    same = dry_run(story.entries, rules, story.now)
    assert (same.differences, same.doubtful) == ((), ())
    times = ("attend_within", "update_within", "offer_expires", "fulfill_within", "confirm_within", "appeal_within")
    other = changed(**{name: dice.choice(["1s", "1h", "30h", "90h"]) for name in times})
    assert dry_run(story.entries, other, story.now).dispute == story.state.id
