from typing import Any

import pytest

from policies.dispute import commands as ask
from policies.dispute.policy import Policy
from policies.dispute.state import Rule
from policies.errors import BadRequest, Forbidden, Refused, TooLarge
from policies.instant import rfc3339
from policies.vocabulary import (
    EntryKind,
    EvidenceKind,
    OrderEventType,
    Outcome,
    Resolution,
    Role,
    Stage,
    Status,
    Visibility,
    WebhookType,
)
from tests.policies.dispute.story import (
    AGENT,
    AUDITOR,
    BUYER,
    MS,
    PAID,
    SECOND,
    SELLER,
    SENIOR,
    H,
    Story,
    policy,
)

R = Resolution
FAVOURS = {"buyer_favor": SELLER, "seller_favor": BUYER}
"""Outcomes, and who lost."""


@pytest.mark.parametrize(
    ("outcome", "resolution", "amount", "refund", "release"),
    [
        ("buyer_favor", "full_refund", None, PAID, 0),
        ("buyer_favor", "cancel_order", None, PAID, 0),
        ("buyer_favor", "partial_refund", 3000, 3000, 7000),
        ("buyer_favor", "split", 4000, 4000, 6000),
        ("buyer_favor", "delivery_fix", None, 0, PAID),
        ("buyer_favor", "replacement", None, 0, PAID),
        ("seller_favor", "release_to_seller", None, 0, PAID),
        ("compromise", "partial_refund", 3000, 3000, 7000),
        ("compromise", "split", 4000, 4000, 6000),
        ("compromise", "delivery_fix", None, 0, PAID),
        ("compromise", "replacement", None, 0, PAID),
    ],
)
def test_a_decision_resolves(outcome: str, resolution: str, amount: int | None, refund: int, release: int) -> None:
    story = Story().claimed()
    issued, resolved = story.decides(AGENT, outcome, resolution, amount)
    assert (issued.kind, issued.author) == (EntryKind.DECISION_ISSUED, AGENT)
    assert issued.body["outcome"] == outcome
    assert issued.body.get("amount") == (refund or None)
    assert issued.body["final"] is False
    assert issued.body["appeal_until"] == rfc3339(story.now + 72 * H)
    assert resolved.body["cause"] == "decision"
    assert resolved.body["entry"] == issued.seq
    assert resolved.body["outcome"] == outcome
    state = story.state
    assert (state.status, state.outcome, state.resolution) == (
        Status.RESOLVED,
        Outcome(outcome),
        Resolution(resolution),
    )
    assert state.decision is not None
    assert (state.decision.seq, state.decision.agent, state.decision.final) == (issued.seq, AGENT.id, False)
    assert state.settlement is not None
    assert (state.settlement.refund, state.settlement.release) == (refund, release)
    assert [(each.rule, each.due_at) for each in state.deadlines] == [(Rule.APPEAL_WINDOW, story.now + 72 * H)]
    assert [each["amount"] for each in story.told(WebhookType.PAYMENT_REFUND_REQUESTED)] == [refund] * bool(refund)
    assert [each["amount"] for each in story.told(WebhookType.PAYMENT_RELEASE_REQUESTED)] == [release] * bool(release)
    [told] = story.told(WebhookType.DECISION_ISSUED)
    assert told["statement"] == "This is why."


def refused(story: Story, *fields: Any, by: Any = AGENT, kind: Any = ask.Decide) -> Any:
    command = story.ruling(kind, by, *fields)
    values = [getattr(command, name) for name in ("outcome", "resolution", "statement", "reason_codes", "amount")]
    return story.refusal(by, kind, *values)


@pytest.mark.parametrize("kind", [ask.Decide, ask.Recommend])
class TestWhoAndWhen:
    def test_only_the_claiming_agent(self, kind: Any) -> None:
        story = Story().claimed()
        for author in (SECOND, SENIOR):
            error = refused(story, "buyer_favor", "full_refund", by=author, kind=kind)
            assert error.details == {"rule": "not_claimed", "agent": AGENT.id}
        for author in (BUYER, SELLER, AUDITOR):
            assert isinstance(refused(story, "buyer_favor", "full_refund", by=author, kind=kind), Forbidden)

    def test_not_without_a_claim(self, kind: Any) -> None:
        error = refused(Story().escalated(), "buyer_favor", "full_refund", kind=kind)
        assert error.details == {"rule": "not_claimed"}

    def test_not_between_the_parties(self, kind: Any) -> None:
        assert refused(Story(), "buyer_favor", "full_refund", kind=kind).details["rule"] == "not_escalated"

    def test_not_after_the_end(self, kind: Any) -> None:
        story = Story().claimed()
        story.decides(AGENT, "buyer_favor", "full_refund")
        assert refused(story, "seller_favor", "release_to_seller", kind=kind).details["rule"] == "ended"

    @pytest.mark.parametrize(
        ("fields", "name"),
        [
            (("agreed", "full_refund"), "outcome"),
            (("withdrawn", "full_refund"), "outcome"),
            (("chargeback", "full_refund"), "outcome"),
            (("buyer_favor", "partial_refund"), "amount"),
            (("compromise", "split", 0), "amount"),
            (("buyer_favor", "full_refund", 5), "amount"),
            (("seller_favor", "release_to_seller", 5), "amount"),
            (("buyer_favor", "release_to_seller"), "resolution"),
            (("compromise", "release_to_seller"), "resolution"),
            (("compromise", "full_refund"), "resolution"),
            (("compromise", "cancel_order"), "resolution"),
            *((("seller_favor", resolution, 5), "resolution") for resolution in sorted(set(R) - {R.RELEASE_TO_SELLER})),
        ],
    )
    def test_what_cannot_be_decided(self, kind: Any, fields: Any, name: str) -> None:
        error = refused(Story().claimed(), *fields, kind=kind)
        assert isinstance(error, BadRequest)
        assert error.details["field"] == name

    def test_no_more_than_what_is_left(self, kind: Any) -> None:
        story = Story().claimed()
        story.event(OrderEventType.PAYMENT_REFUNDED, amount=9000)
        assert refused(story, "compromise", "split", 1001, kind=kind).details["limit"] == 1000

    @pytest.mark.parametrize(
        ("changed", "error"),
        [
            ({"statement": " "}, BadRequest),
            ({"statement": "x" * 2001}, TooLarge),
            ({"reason_codes": ()}, BadRequest),
            ({"reason_codes": tuple(str(number) for number in range(11))}, BadRequest),
            ({"reason_codes": ("x" * 65,)}, BadRequest),
            ({"reason_codes": ("",)}, BadRequest),
            ({"evidence": tuple(str(number) for number in range(51))}, BadRequest),
            ({"evidence": ("x" * 65,)}, BadRequest),
            ({"evidence": (" ",)}, BadRequest),
        ],
    )
    def test_what_has_to_be_said(self, kind: Any, changed: Any, error: Any) -> None:
        said = {"statement": "Because.", "reason_codes": ("late",), **changed}
        story = Story().claimed()
        assert isinstance(story.refusal(AGENT, kind, Outcome.BUYER_FAVOR, R.FULL_REFUND, **said), error)

    def test_at_the_limits(self, kind: Any) -> None:
        story = Story().claimed()
        codes = tuple(str(number).zfill(64) for number in range(10))
        evidence = tuple(str(number).zfill(64) for number in range(50))
        story.shows(BUYER, *evidence)
        said = {"statement": "x" * 2000, "reason_codes": codes, "evidence": evidence}
        written = story.did(AGENT, kind, Outcome.BUYER_FAVOR, R.FULL_REFUND, **said)
        assert written[0].body["reason_codes"] == list(codes)
        assert written[0].body["evidence"] == list(evidence)


def test_ids_are_named_once() -> None:
    story = Story().claimed().shows(BUYER, "e1", "e2")
    said = {"statement": "Because.", "reason_codes": ("late", "late"), "evidence": ("e1", "e2", "e1")}
    issued, _ = story.did(AGENT, ask.Decide, Outcome.BUYER_FAVOR, R.FULL_REFUND, **said)
    assert (issued.body["reason_codes"], issued.body["evidence"]) == (["late"], ["e1", "e2"])


def test_while_an_agreement_is_to_be_fulfilled_there_is_nothing_to_decide() -> None:
    story = Story().claimed()
    offer = story.offers(SELLER, R.REPLACEMENT)
    story.did(BUYER, ask.AcceptProposal, offer)
    error = refused(story, "buyer_favor", "full_refund")
    assert error.details == {"rule": "awaiting_fulfillment", "due_at": rfc3339(story.now + 72 * H)}
    assert "decision.issue" not in story.actions(AGENT)


# The right to be heard


def test_not_before_the_seller_was_heard_or_their_time_is_over() -> None:
    story = Story(policy(escalate_from="1h")).wait(H)
    story.did(BUYER, ask.Escalate, "Help")
    story.claimed()
    due = story.state.opened_at + 24 * H
    error = refused(story, "buyer_favor", "full_refund")
    assert isinstance(error, Refused)
    assert error.details == {"rule": "right_to_be_heard", "side": "seller", "due_at": rfc3339(due)}
    assert "decision.issue" not in story.actions(AGENT)
    story.until(due)
    assert refused(story, "buyer_favor", "full_refund").details["rule"] == "right_to_be_heard"
    story.wait(MS).decides(AGENT, "buyer_favor", "full_refund")


def test_a_seller_who_was_heard_need_not_be_waited_for() -> None:
    story = Story(policy(escalate_from="1h")).wait(H)
    story.did(BUYER, ask.Escalate, "Help")
    story.claimed().attended()
    story.decides(AGENT, "buyer_favor", "full_refund")


@pytest.mark.parametrize("side", [Role.BUYER, Role.SELLER])
def test_a_side_that_was_asked_for_evidence_has_its_time(side: Role) -> None:
    story = Story().claimed()
    story.did(AGENT, ask.RequestEvidence, side, "A photo.")
    due = story.now + 48 * H
    story.until(due)
    error = refused(story, "buyer_favor", "full_refund")
    assert error.details == {"rule": "right_to_be_heard", "side": side.value, "due_at": rfc3339(due)}
    story.wait(MS)
    assert [entry.kind for entry in story.decides(AGENT, "buyer_favor", "full_refund")] == [
        EntryKind.NOTICE,
        EntryKind.DECISION_ISSUED,
        EntryKind.DISPUTE_RESOLVED,
    ]


def test_a_request_that_was_met_need_not_be_waited_for() -> None:
    story = Story().claimed()
    story.did(AGENT, ask.RequestEvidence, Role.SELLER, "A photo.")
    story.did(SELLER, ask.AddEvidence, "e1", EvidenceKind.PHOTO)
    story.decides(AGENT, "buyer_favor", "full_refund")


def test_of_several_the_last_time_is_told() -> None:
    story = Story().claimed()
    for hours in (5, 9, 7):
        story.did(AGENT, ask.RequestEvidence, Role.SELLER, "A photo.", due_at=story.now + hours * H)
    assert refused(story, "buyer_favor", "full_refund").details["due_at"] == rfc3339(story.now + 9 * H)


# Two persons


def rich(**terms: Any) -> Policy:
    return policy(second_person_above={"EUR": 5000}, **terms)


@pytest.mark.parametrize(
    ("fields", "needed"),
    [
        (("compromise", "split", 5000), False),
        (("compromise", "split", 5001), True),
        (("buyer_favor", "full_refund"), True),
        (("seller_favor", "release_to_seller"), True),
    ],
)
def test_above_the_limit_another_agent_has_to_recommend_the_same(fields: Any, needed: bool) -> None:
    story = Story(rich()).claimed(SECOND)
    story.recommends(SECOND, *fields)
    story.did(SECOND, ask.LeaveAsAgent)
    story.did(AGENT, ask.JoinAsAgent)
    story.decides(AGENT, *fields)
    alone = Story(rich()).claimed()
    if needed:
        error = refused(alone, *fields)
        assert error.details == {"rule": "second_person", "limit": 5000, "currency": "EUR"}
    else:
        alone.decides(AGENT, *fields)


@pytest.mark.parametrize("fields", [("buyer_favor", "partial_refund", 1), ("compromise", "split", 4999)])
def test_what_the_seller_gets_counts_too(fields: Any) -> None:
    assert refused(Story(rich()).claimed(), *fields).details["rule"] == "second_person"


def test_who_has_recused_themselves_is_no_second_person() -> None:
    story = Story(rich()).claimed(SECOND)
    story.recommends(SECOND, "buyer_favor", "full_refund")
    story.did(SECOND, ask.LeaveAsAgent, recuse=True)
    story.did(AGENT, ask.JoinAsAgent)
    assert refused(story, "buyer_favor", "full_refund").details["rule"] == "second_person"


def test_nobody_is_their_own_second_person() -> None:
    story = Story(rich()).claimed()
    story.recommends(AGENT, "buyer_favor", "full_refund")
    assert refused(story, "buyer_favor", "full_refund").details["rule"] == "second_person"


@pytest.mark.parametrize(
    "other",
    [("seller_favor", "release_to_seller"), ("buyer_favor", "cancel_order"), ("buyer_favor", "partial_refund", 6000)],
)
def test_another_recommendation_is_not_the_same(other: Any) -> None:
    story = Story(rich()).claimed(SECOND)
    story.recommends(SECOND, *other)
    story.did(SENIOR, ask.JoinAsAgent, take_over=True)
    assert refused(story, "buyer_favor", "full_refund", by=SENIOR).details["rule"] == "second_person"


def test_the_rule_is_by_currency() -> None:
    story = Story(policy(second_person_above={"USD": 1})).claimed()
    story.decides(AGENT, "buyer_favor", "full_refund")


def test_a_recommendation_is_for_staff() -> None:
    story = Story().claimed()
    [entry] = story.recommends(AGENT, "compromise", "split", 100)
    assert entry.visibility is Visibility.WITHHELD
    assert story.state.recommendation is not None
    assert story.state.recommendation.amount == 100
    assert story.stands() is Status.UNDER_REVIEW
    assert story.told(WebhookType.DECISION_ISSUED) == []


# The appeal


def decided(outcome: str = "seller_favor", rules: Policy | None = None) -> Story:
    """In favour of the seller all is released; else 2,000 go back to the buyer."""
    story = Story(rules).claimed().shows(BUYER, "e1")
    ruled = (R.RELEASE_TO_SELLER, None) if outcome == "seller_favor" else (R.SPLIT, 2000)
    resolution, amount = ruled
    story.did(AGENT, ask.Decide, Outcome(outcome), resolution, "This is why.", ("late",), amount, ("e1",))
    return story


@pytest.mark.parametrize(
    ("outcome", "author"),
    [("buyer_favor", SELLER), ("seller_favor", BUYER), ("compromise", BUYER), ("compromise", SELLER)],
)
def test_the_losing_party_appeals(outcome: str, author: Any) -> None:
    story = decided(outcome).wait(H)
    story.shows(author, "e2")
    filed, left = story.did(author, ask.FileAppeal, "That is not true.", ("e1", "e2", "e2"))
    assert filed.body == {
        "reason": "That is not true.",
        "evidence": ["e1", "e2"],
        "answer_by": rfc3339(story.now + 48 * H),
    }
    assert left.body == {"agent": AGENT.id, "cause": "appealed"}
    state = story.state
    assert (state.stage, state.status) == (Stage.APPEAL, Status.UNDER_REVIEW)
    assert state.active
    assert (state.outcome, state.resolution, state.resolved_amount, state.ended_at) == (None, None, None, None)
    assert state.appeal is not None
    assert (state.appeal.side, state.appeal.against, state.appeal.answered) == (author.role, AGENT.id, False)
    assert [(each.rule, each.due_at, each.of) for each in state.deadlines] == [
        (Rule.APPEAL_ANSWER, story.now + 48 * H, filed.seq)
    ]
    assert [each["reason"] for each in story.told(WebhookType.APPEAL_FILED)] == ["That is not true."]


@pytest.mark.parametrize(("outcome", "winner"), [("buyer_favor", BUYER), ("seller_favor", SELLER)])
def test_the_winner_does_not(outcome: str, winner: Any) -> None:
    story = decided(outcome)
    assert story.refusal(winner, ask.FileAppeal, "More!", ("e2",)).details["rule"] == "losing_party"
    assert "dispute.appeal" not in story.actions(winner)


def test_staff_do_not() -> None:
    assert isinstance(decided().refusal(AGENT, ask.FileAppeal, "Oops.", ("e2",)), Forbidden)


@pytest.mark.parametrize("evidence", [(), ("e1",), ("invented",), ("theirs",), ("taken back",), ("e1", "theirs")])
def test_without_new_evidence_of_ones_own_it_is_refused(evidence: Any) -> None:
    story = decided().shows(SELLER, "theirs").shows(BUYER, "taken back")
    story.did(BUYER, ask.WithdrawEvidence, "taken back")
    error = story.refusal(BUYER, ask.FileAppeal, "No!", evidence)
    assert error.details["rule"] == "new_evidence_required"


def test_beside_it_only_evidence_of_the_room_is_named() -> None:
    story = decided().shows(SELLER, "theirs").shows(BUYER, "new")
    error = story.refusal(BUYER, ask.FileAppeal, "No!", ("new", "invented"))
    assert isinstance(error, BadRequest)
    assert error.details == {"field": "evidence", "unknown": ["invented"]}
    story.did(BUYER, ask.FileAppeal, "No!", ("new", "theirs", "e1"))


@pytest.mark.parametrize("kind", [ask.Decide, ask.Recommend])
def test_a_ruling_cites_only_evidence_of_the_room(kind: Any) -> None:
    story = Story().claimed().shows(SELLER, "e1")
    said = {"statement": "Because.", "reason_codes": ("late",)}
    error = story.refusal(AGENT, kind, Outcome.BUYER_FAVOR, R.FULL_REFUND, **said, evidence=("e1", "e2"))
    assert error.details == {"field": "evidence", "unknown": ["e2"]}
    story.did(SELLER, ask.WithdrawEvidence, "e1")  # staff still see it
    story.did(AGENT, kind, Outcome.BUYER_FAVOR, R.FULL_REFUND, **said, evidence=("e1",))


def test_an_appeal_has_a_reason() -> None:
    story = decided()
    assert isinstance(story.refusal(BUYER, ask.FileAppeal, "", ("e2",)), BadRequest)
    assert isinstance(story.refusal(BUYER, ask.FileAppeal, "x" * 2001, ("e2",)), TooLarge)
    assert isinstance(story.refusal(BUYER, ask.FileAppeal, "x", tuple(str(n) for n in range(51))), BadRequest)


def test_at_the_last_moment_and_not_later() -> None:
    decided().wait(72 * H).appeals(BUYER, "e2")
    story = decided()
    closes_at = story.now + 72 * H
    story.until(closes_at + MS)
    error = story.refusal(BUYER, ask.FileAppeal, "No!", ("e2",))
    assert error.details == {"rule": "appeal_window", "closes_at": rfc3339(closes_at)}
    story.tick()
    assert story.state.closed
    assert story.refusal(BUYER, ask.FileAppeal, "No!", ("e2",)).details == error.details


def test_what_was_not_decided_cannot_be_appealed() -> None:
    story = Story()
    assert story.refusal(BUYER, ask.FileAppeal, "No!", ("e",)).details["rule"] == "no_decision"
    story.attended()
    offer = story.offers(SELLER, R.PARTIAL_REFUND, 5)
    story.did(BUYER, ask.AcceptProposal, offer)
    assert story.refusal(BUYER, ask.FileAppeal, "No!", ("e",)).details["rule"] == "no_decision"


def appealed() -> Story:
    story = decided()
    story.appeals(BUYER, "e2")
    return story


def test_another_agent_has_to_take_it() -> None:
    story = appealed()
    assert story.refusal(AGENT, ask.JoinAsAgent).details["rule"] == "another_agent"
    assert "agent.join" not in story.actions(AGENT)
    assert "agent.join" in story.actions(SECOND)
    story.did(SECOND, ask.JoinAsAgent)


def test_an_agent_who_did_not_decide_keeps_the_case() -> None:
    story = decided()
    story.did(AGENT, ask.LeaveAsAgent)
    written = story.appeals(BUYER, "e2")
    assert [entry.kind for entry in written] == [EntryKind.APPEAL_FILED]


def test_the_other_side_is_heard_first() -> None:
    story = appealed()
    due = story.now + 48 * H
    story.did(SECOND, ask.JoinAsAgent)
    story.says(BUYER, "I am right.")
    story.says(SELLER, "...")
    error = refused(story, "buyer_favor", "full_refund", by=SECOND)
    assert error.details == {"rule": "right_to_be_heard", "side": "seller", "due_at": rfc3339(due)}
    assert story.actions(SELLER)["message.send"].mandatory
    story.says(SELLER, "You are not.")
    assert story.state.deadlines == ()
    story.decides(SECOND, "seller_favor", "release_to_seller")


def test_or_its_time_is_over() -> None:
    story = appealed()
    story.did(SECOND, ask.JoinAsAgent)
    story.wait(48 * H + MS)
    written = story.decides(SECOND, "buyer_favor", "full_refund")
    assert written[0].body["notice"] == "appeal_unanswered"
    assert story.state.outcome is Outcome.BUYER_FAVOR


def test_evidence_answers_too() -> None:
    story = appealed()
    story.did(SELLER, ask.AddEvidence, "e3", EvidenceKind.PHOTO)
    assert story.state.appeal is not None
    assert story.state.appeal.answered


def test_the_second_decision_is_final() -> None:
    story = appealed()
    story.did(SECOND, ask.JoinAsAgent)
    story.says(SELLER, "No comment.")
    issued, _ = story.decides(SECOND, "seller_favor", "release_to_seller")
    assert issued.body["final"] is True
    assert "appeal_until" not in issued.body
    assert story.state.decision is not None
    assert story.state.decision.final
    assert [(each.rule, each.due_at) for each in story.state.deadlines] == [(Rule.ROOM_CLOSES, story.now + 72 * H)]
    error = story.refusal(BUYER, ask.FileAppeal, "No!", ("e9",))
    assert error.details["rule"] == "appealed_already"


def test_while_it_is_appealed_it_cannot_be_appealed_again() -> None:
    assert appealed().refusal(BUYER, ask.FileAppeal, "No!", ("e9",)).details["rule"] == "appealed_already"


def test_the_parties_may_still_agree_on_appeal_and_that_is_final() -> None:
    story = appealed()
    offer = story.offers(SELLER, R.PARTIAL_REFUND, 1000)
    story.did(BUYER, ask.AcceptProposal, offer)
    assert story.state.outcome is Outcome.AGREED
    assert [each.rule for each in story.state.deadlines] == [Rule.ROOM_CLOSES]
    assert story.refusal(BUYER, ask.FileAppeal, "No!", ("e9",)).details["rule"] == "appealed_already"


TOTALS = [
    # what the first decision gave back, the final one, and what is asked for then: refund, release, reversal
    (0, PAID, PAID, 0, {"release": PAID}),
    (0, 3000, 3000, 0, {"release": 3000}),
    (0, 0, None, None, None),
    (2000, PAID, PAID - 2000, 0, {"release": PAID - 2000}),
    (2000, 2000, None, None, None),
    (2000, 500, 0, 1500, {"refund": 1500}),
    (2000, 0, 0, 2000, {"refund": 2000}),
    (PAID, PAID, None, None, None),
    (PAID, 3000, 0, 7000, {"refund": 7000}),
    (PAID, 0, 0, PAID, {"refund": PAID}),
]


def giving(amount: int) -> tuple[str, str, int | None]:
    """A ruling that gives the buyer so much."""
    if amount == PAID:
        return "buyer_favor", "full_refund", None
    return ("compromise", "split", amount) if amount else ("seller_favor", "release_to_seller", None)


@pytest.mark.parametrize("paid", [False, True])
@pytest.mark.parametrize(("first", "final", "refund", "release", "reversal"), TOTALS)
def test_a_final_decision_is_total(
    first: int, final: int, refund: int | None, release: int | None, reversal: Any, paid: bool
) -> None:
    """Asked for is only what was not asked for before; what is not theirs any more, the marketplace takes back."""
    story = Story().claimed()
    story.decides(AGENT, *giving(first))
    before = story.state.settlement
    assert before is not None
    if paid:
        story.event(OrderEventType.PAYMENT_REFUNDED, key=before.key, amount=first)
        story.event(OrderEventType.PAYMENT_RELEASED, key=before.release_key)
    loser = SELLER if first == PAID else BUYER
    story.appeals(loser, "e2")
    story.did(SECOND, ask.JoinAsAgent)
    story.wait(48 * H + MS)
    *_, resolved = story.decides(SECOND, *giving(final))
    assert story.state.resolved_amount == (final or None)
    assert resolved.body.get("reversal") == reversal
    assert story.told(WebhookType.DISPUTE_RESOLVED)[-1].get("reversal") == reversal
    if refund is None:
        assert "settlement" not in resolved.body
        assert story.state.settlement is None
    else:
        assert (resolved.body["settlement"]["refund"], resolved.body["settlement"]["release"]) == (refund, release)
    assert (story.state.buyer_gets, story.state.seller_gets) == (final, PAID - final)
    [earlier] = story.state.earlier
    assert (earlier.buyer_gets, earlier.seller_gets) == (min(first, final), PAID - max(first, final))


def test_what_was_paid_back_otherwise_is_not_there_to_be_ruled_on() -> None:
    story = Story().claimed()
    story.decides(AGENT, "compromise", "split", 2000)
    assert story.state.settlement is not None
    story.event(OrderEventType.PAYMENT_REFUNDED, key=story.state.settlement.key, amount=2500)
    story.appeals(BUYER, "e2")
    story.did(SECOND, ask.JoinAsAgent)
    story.wait(48 * H + MS)
    assert refused(story, "compromise", "split", PAID - 499, by=SECOND).details["limit"] == PAID - 500
    *_, resolved = story.decides(SECOND, "buyer_favor", "full_refund")
    assert resolved.body["amount"] == PAID - 500
    assert resolved.body["settlement"]["refund"] == PAID - 2500
    assert resolved.body["reversal"] == {"release": PAID - 2000}


def test_two_persons_look_at_the_total() -> None:
    story = Story(rich()).claimed()
    story.decides(AGENT, "compromise", "split", 5000)
    story.appeals(BUYER, "e2")
    story.did(SECOND, ask.JoinAsAgent)
    story.wait(48 * H + MS)
    assert refused(story, "compromise", "split", 5001, by=SECOND).details["rule"] == "second_person"
    assert refused(story, "compromise", "split", 4999, by=SECOND).details["rule"] == "second_person"
    story.decides(SECOND, "compromise", "split", 5000)


def test_what_a_decision_takes_back_is_not_asked_for_again_when_it_fails() -> None:
    story = Story(policy(settlement_retries=3)).claimed()
    story.decides(AGENT, "buyer_favor", "full_refund")
    assert story.state.settlement is not None
    key = story.state.settlement.key
    story.appeals(SELLER, "e2")
    story.did(SECOND, ask.JoinAsAgent)
    story.wait(48 * H + MS)
    story.decides(SECOND, "seller_favor", "release_to_seller")
    story.event(OrderEventType.PAYMENT_FAILED, key=key)
    assert story.state.deadline(Rule.SETTLEMENT_RETRY) is None
    story.wait(7 * H).tick()
    assert len(story.told(WebhookType.PAYMENT_REFUND_REQUESTED)) == 1


def test_the_buyer_cannot_keep_the_sellers_appeal_from_being_decided() -> None:
    story = decided("buyer_favor")
    story.appeals(SELLER, "e2")
    assert story.refusal(BUYER, ask.Close, "Thanks.").details["rule"] == "appeal_pending"
    assert "dispute.close" not in story.actions(BUYER)
    own = decided()
    own.appeals(BUYER, "e2")
    assert "dispute.close" in own.actions(BUYER)
    own.did(BUYER, ask.Close, "Never mind.")


def test_money_that_waits_until_it_is_final_is_asked_for_once() -> None:
    story = decided(rules=policy(settle="when_final"))
    assert story.state.settlement is not None
    assert story.state.settlement.attempts == 0
    story.appeals(BUYER, "e2")
    assert story.state.settlements == ()
    assert story.state.refundable == PAID
    story.did(SECOND, ask.JoinAsAgent)
    story.says(SELLER, "No comment.")
    story.decides(SECOND, "buyer_favor", "full_refund")
    assert [each["amount"] for each in story.told(WebhookType.PAYMENT_REFUND_REQUESTED)] == [PAID]
    assert story.told(WebhookType.PAYMENT_RELEASE_REQUESTED) == []
