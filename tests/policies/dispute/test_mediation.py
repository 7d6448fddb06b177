from datetime import timedelta
from typing import Any

import pytest

from policies.dispute import commands as ask
from policies.dispute.mediation import REQUEST_LONGEST
from policies.dispute.state import Rule
from policies.errors import BadRequest, Conflict, Forbidden, Refused, TooLarge
from policies.instant import rfc3339
from policies.room import SYSTEM
from policies.vocabulary import (
    EntryKind,
    EvidenceKind,
    OrderEventType,
    Resolution,
    Role,
    Stage,
    Status,
    WebhookType,
)
from tests.policies.dispute.story import (
    AGENT,
    AUDITOR,
    BUYER,
    MS,
    OPENED,
    SECOND,
    SELLER,
    SENIOR,
    H,
    Story,
    policy,
)

ESCALATED = EntryKind.DISPUTE_ESCALATED


# How support comes in


@pytest.mark.parametrize(("author", "rule"), [(BUYER, "by_buyer"), (SELLER, "by_seller")])
def test_either_party_escalates_from_24_h(author: Any, rule: str) -> None:
    story = Story().attended().until(OPENED + 24 * H)
    [escalated] = story.did(author, ask.Escalate, "We do not agree.")
    assert escalated.author == author
    assert escalated.body == {"rule": rule, "reason": "We do not agree."}
    state = story.state
    assert (state.stage, state.status) == (Stage.MEDIATION, Status.UNDER_REVIEW)
    assert state.escalation is not None
    assert (state.escalation.rule, state.escalation.reason, state.escalation.at) == (
        rule,
        "We do not agree.",
        story.now,
    )
    assert state.deadlines == ()
    assert [each["rule"] for each in story.told(WebhookType.DISPUTE_ESCALATED)] == [rule]


def test_not_before() -> None:
    story = Story().attended().until(OPENED + 24 * H - MS)
    error = story.refusal(BUYER, ask.Escalate, "Now!")
    assert isinstance(error, Refused)
    assert error.details == {"rule": "escalate_from", "opens_at": rfc3339(OPENED + 24 * H)}
    assert "dispute.escalate" not in story.actions(BUYER)


def test_not_twice() -> None:
    story = Story().escalated()
    assert story.refusal(SELLER, ask.Escalate, "Me too.").details["rule"] == "already_escalated"


def test_with_a_reason() -> None:
    story = Story(policy(note_chars=10)).attended().until(OPENED + 24 * H)
    assert isinstance(story.refusal(BUYER, ask.Escalate, " "), BadRequest)
    assert isinstance(story.refusal(BUYER, ask.Escalate, "x" * 11), TooLarge)
    story.did(BUYER, ask.Escalate, "x" * 10)


@pytest.mark.parametrize("author", [AGENT, SENIOR, AUDITOR])
def test_staff_do_not_call_themselves_in(author: Any) -> None:
    assert isinstance(Story().wait(25 * H).refusal(author, ask.Escalate, "Let me."), Forbidden)


def test_a_seller_who_calls_support_in_has_attended() -> None:
    story = Story(policy(escalate_from="1h")).wait(H)
    written = story.did(SELLER, ask.Escalate, "This buyer is rude.")
    assert [entry.kind for entry in written] == [ESCALATED, EntryKind.DISPUTE_ATTENDED]
    assert story.stands() is Status.UNDER_REVIEW


def test_while_something_is_to_be_done_a_party_may_escalate() -> None:
    story = Story().attended()
    offer = story.offers(SELLER, Resolution.REPLACEMENT)
    story.did(BUYER, ask.AcceptProposal, offer)
    story.until(OPENED + 24 * H).did(BUYER, ask.Escalate, "It is the wrong one again.")
    assert story.stands() is Status.UNDER_REVIEW
    assert story.state.fulfillment is None


def test_a_seller_who_does_not_attend_brings_support_in() -> None:
    story = Story().until(OPENED + 24 * H)
    assert [entry.body["rule"] for entry in story.tick()] == ["seller_attend"]  # it approaches, and is still in time
    assert story.state.stage is Stage.NEGOTIATION
    [escalated] = story.wait(MS).tick()
    assert escalated.author == SYSTEM
    assert escalated.body == {
        "rule": "seller_attend",
        "receipt": {
            "rule": "seller_attend",
            "started_at": rfc3339(OPENED),
            "due_at": rfc3339(OPENED + 24 * H),
        },
    }
    assert (story.state.stage, story.stands()) == (Stage.MEDIATION, Status.UNDER_REVIEW)


def test_attending_at_the_last_moment_is_in_time() -> None:
    story = Story().until(OPENED + 24 * H).attended()
    assert story.state.stage is Stage.NEGOTIATION
    late = Story().until(OPENED + 24 * H + MS).attended()
    assert late.state.stage is Stage.MEDIATION


def test_three_days_of_silence_bring_support_in_with_a_receipt() -> None:
    story = Story().attended().wait(5 * H)
    [said] = story.says(BUYER, "Any news?")
    story.wait(72 * H)
    assert [entry.kind for entry in story.tick()] == [EntryKind.DEADLINE_APPROACHING]
    [escalated] = story.wait(MS).tick()
    assert escalated.body["receipt"] == {
        "rule": "no_update",
        "started_at": rfc3339(said.at),
        "due_at": rfc3339(said.at + 72 * H),
        "moved_by": said.seq,
    }


@pytest.mark.parametrize("rule", ["seller_attend", "no_update"])
def test_other_durations_are_configuration(rule: str) -> None:
    story = Story(policy(attend_within="2h", update_within="1h") if rule == "no_update" else policy(attend_within="1h"))
    [escalated] = story.wait(H + MS).tick()
    assert escalated.body["rule"] == rule


def test_a_party_and_the_clock_at_the_same_moment_escalate_once() -> None:
    story = Story().until(OPENED + 24 * H + MS)
    error = story.refusal(BUYER, ask.Escalate, "No answer.")
    assert error.details["rule"] == "already_escalated"
    assert [entry.kind for entry in story.tick()] == [ESCALATED]


def test_an_end_and_an_escalation_at_the_same_moment_have_one_winner() -> None:
    story = Story().attended().until(OPENED + 24 * H)
    offer = story.offers(SELLER, Resolution.PARTIAL_REFUND, 100)
    story.did(BUYER, ask.AcceptProposal, offer)
    assert story.refusal(SELLER, ask.Escalate, "No way.").details["rule"] == "ended"


# Who has the case


def test_an_agent_claims_the_case() -> None:
    story = Story().escalated()
    [joined] = story.did(AGENT, ask.JoinAsAgent)
    assert (joined.kind, joined.author, joined.body) == (EntryKind.AGENT_JOINED, AGENT, {})
    agent = story.state.agent
    assert agent is not None
    assert (agent.id, agent.role, agent.name, agent.since) == (AGENT.id, Role.AGENT, "Ada", story.now)


def test_claiming_again_is_nothing_new() -> None:
    story = Story().claimed()
    assert story.did(AGENT, ask.JoinAsAgent) == []


def test_only_writing_staff_claim() -> None:
    story = Story().escalated()
    for author in (BUYER, SELLER, AUDITOR, SYSTEM):
        assert isinstance(story.refusal(author, ask.JoinAsAgent), Forbidden)
    story.did(SENIOR, ask.JoinAsAgent)


def test_not_between_the_parties_and_not_after_the_end() -> None:
    story = Story().attended()
    assert story.refusal(AGENT, ask.JoinAsAgent).details["rule"] == "not_escalated"
    story.escalated().did(BUYER, ask.Close, "Solved.")
    assert story.refusal(AGENT, ask.JoinAsAgent).details["rule"] == "ended"


def test_a_held_case_is_a_conflict_that_names_the_agent() -> None:
    story = Story().claimed()
    for author in (SECOND, SENIOR):
        error = story.refusal(author, ask.JoinAsAgent)
        assert isinstance(error, Conflict)
        assert error.details == {"agent": AGENT.id}


def test_a_senior_agent_takes_over() -> None:
    story = Story().claimed()
    assert isinstance(story.refusal(SECOND, ask.JoinAsAgent, take_over=True), Forbidden)
    left, joined = story.did(SENIOR, ask.JoinAsAgent, take_over=True)
    assert left.body == {"agent": AGENT.id, "cause": "taken_over"}
    assert left.author == SYSTEM
    assert joined.body == {"took_over": AGENT.id}
    assert story.state.agent is not None
    assert story.state.agent.id == SENIOR.id


def test_taking_over_what_nobody_has_is_claiming() -> None:
    story = Story().escalated()
    [joined] = story.did(AGENT, ask.JoinAsAgent, take_over=True)
    assert joined.body == {}


def test_giving_the_case_back() -> None:
    story = Story().claimed()
    [left] = story.did(AGENT, ask.LeaveAsAgent, reason="Lunch.")
    assert left.body == {"agent": AGENT.id, "cause": "left"}  # why is for the staff log
    assert story.state.agent is None
    story.did(AGENT, ask.JoinAsAgent)


@pytest.mark.parametrize("author", [SECOND, SENIOR])
def test_only_the_holder_gives_back(author: Any) -> None:
    error = Story().claimed().refusal(author, ask.LeaveAsAgent)
    assert error.details == {"rule": "not_claimed", "agent": AGENT.id}
    assert isinstance(Story().claimed().refusal(BUYER, ask.LeaveAsAgent), Forbidden)
    assert Story().escalated().refusal(AGENT, ask.LeaveAsAgent).details == {"rule": "not_claimed"}


def test_recusal_is_for_good() -> None:
    story = Story().claimed()
    [left] = story.did(AGENT, ask.LeaveAsAgent, recuse=True, reason="The seller is my cousin.")
    assert left.body["cause"] == "recused"
    assert story.state.recused == (AGENT.id,)
    assert story.refusal(AGENT, ask.JoinAsAgent).details["rule"] == "recused"
    assert "agent.join" not in story.actions(AGENT)
    story.did(SECOND, ask.JoinAsAgent)


def test_the_reason_of_leaving_is_limited() -> None:
    story = Story(policy(note_chars=5)).claimed()
    assert isinstance(story.refusal(AGENT, ask.LeaveAsAgent, reason="x" * 6), TooLarge)


def test_a_claim_lapses() -> None:
    story = Story().claimed()
    [left] = story.did(SYSTEM, ask.LapseClaim, AGENT.id)
    assert left.body == {"agent": AGENT.id, "cause": "lapsed"}
    assert story.state.agent is None
    assert story.did(SYSTEM, ask.LapseClaim, AGENT.id) == []


def test_a_claim_of_somebody_else_does_not_lapse_with_it() -> None:
    story = Story().claimed()
    story.did(SENIOR, ask.JoinAsAgent, take_over=True)
    assert story.did(SYSTEM, ask.LapseClaim, AGENT.id) == []
    assert story.state.agent is not None


@pytest.mark.parametrize("author", [BUYER, AGENT, SENIOR])
def test_only_the_server_lapses_claims_ticks_and_reports(author: Any) -> None:
    story = Story().claimed()
    assert isinstance(story.refusal(author, ask.LapseClaim, AGENT.id), Forbidden)
    assert isinstance(story.refusal(author, ask.Tick), Forbidden)
    assert isinstance(story.refusal(author, ask.ReportEvent, None), Forbidden)


# Asking for evidence


def test_an_agent_asks_a_side_for_evidence() -> None:
    story = Story().claimed()
    kinds = (EvidenceKind.PHOTO, EvidenceKind.VIDEO, EvidenceKind.PHOTO)
    [asked] = story.did(AGENT, ask.RequestEvidence, Role.SELLER, "A photo of the parcel.", kinds=kinds)
    assert asked.body == {
        "of": "seller",
        "what": "A photo of the parcel.",
        "due_at": rfc3339(story.now + 48 * H),
        "kinds": ["photo", "video"],
    }
    [request] = story.state.requests
    assert (request.seq, request.of, request.what, request.met) == (
        asked.seq,
        Role.SELLER,
        "A photo of the parcel.",
        False,
    )
    due = story.state.deadline(Rule.EVIDENCE_REQUEST, asked.seq)
    assert due is not None
    assert due.due_at == request.due_at


def test_the_agent_may_say_when_it_is_due() -> None:
    story = Story().claimed()
    for wrong in (story.now, story.now - MS, story.now + REQUEST_LONGEST + MS):
        error = story.refusal(AGENT, ask.RequestEvidence, Role.BUYER, "A photo.", due_at=wrong)
        assert error.details == {"field": "due_at", "latest": rfc3339(story.now + REQUEST_LONGEST)}
    for right in (story.now + MS, story.now + REQUEST_LONGEST):
        story.did(AGENT, ask.RequestEvidence, Role.BUYER, "A photo.", due_at=right)


def test_what_to_ask_for_has_to_be_said() -> None:
    story = Story(policy(note_chars=5)).claimed()
    assert isinstance(story.refusal(AGENT, ask.RequestEvidence, Role.BUYER, " "), BadRequest)
    assert isinstance(story.refusal(AGENT, ask.RequestEvidence, Role.BUYER, "x" * 6), TooLarge)
    assert isinstance(story.refusal(AGENT, ask.RequestEvidence, Role.AGENT, "x"), BadRequest)
    story.did(AGENT, ask.RequestEvidence, Role.BUYER, "x" * 5)


@pytest.mark.parametrize("author", [SECOND, SENIOR])
def test_only_the_claiming_agent_asks(author: Any) -> None:
    error = Story().claimed().refusal(author, ask.RequestEvidence, Role.BUYER, "A photo.")
    assert error.details["rule"] == "not_claimed"
    assert isinstance(Story().claimed().refusal(BUYER, ask.RequestEvidence, Role.SELLER, "A photo."), Forbidden)


def test_as_many_at_once_as_allowed() -> None:
    story = Story(policy(pending_requests=2)).claimed()
    for _ in range(2):
        story.did(AGENT, ask.RequestEvidence, Role.BUYER, "A photo.")
    error = story.refusal(AGENT, ask.RequestEvidence, Role.SELLER, "Another.")
    assert error.details == {"rule": "pending_requests", "limit": 2}
    assert "evidence.request" not in story.actions(AGENT)
    story.did(BUYER, ask.AddEvidence, "e1", EvidenceKind.PHOTO)
    story.did(AGENT, ask.RequestEvidence, Role.SELLER, "Another.")


def test_evidence_meets_the_requests_to_its_side() -> None:
    story = Story().claimed()
    story.did(AGENT, ask.RequestEvidence, Role.BUYER, "A photo.")
    story.did(AGENT, ask.RequestEvidence, Role.SELLER, "A photo.")
    story.did(AGENT, ask.AddEvidence, "e0", EvidenceKind.DOCUMENT)
    assert [request.met for request in story.state.requests] == [False, False]
    story.did(BUYER, ask.AddEvidence, "e1", EvidenceKind.PHOTO)
    assert [(request.of, request.met) for request in story.state.requests] == [
        (Role.BUYER, True),
        (Role.SELLER, False),
    ]
    assert len(story.state.deadlines) == 1


def test_evidence_that_does_not_come_is_told_and_waited_for_no_longer() -> None:
    story = Story().claimed()
    [asked] = story.did(AGENT, ask.RequestEvidence, Role.SELLER, "A photo.")
    assert [entry.kind for entry in story.wait(48 * H).tick()] == [EntryKind.DEADLINE_APPROACHING]
    assert story.last.body["of"] == asked.seq
    [overdue] = story.wait(MS).tick()
    assert overdue.body == {"notice": "evidence_overdue", "request": asked.seq, "of": "seller"}
    assert story.state.requests[0].met
    assert story.state.deadlines == ()
    assert story.tick() == []


def test_several_requests_become_due_at_once_in_order() -> None:
    story = Story().claimed()
    late, soon = (
        story.did(AGENT, ask.RequestEvidence, Role.SELLER, "A photo.", due_at=story.now + days * timedelta(days=1))[0]
        for days in (2, 1)
    )
    written = story.wait(72 * H).tick()
    assert [entry.body["request"] for entry in written] == [soon.seq, late.seq]


def test_a_chargeback_in_negotiation_brings_support_in() -> None:
    story = Story().attended()
    written = story.event(OrderEventType.CHARGEBACK_OPENED)
    assert [entry.kind for entry in written] == [EntryKind.ORDER_UPDATED, EntryKind.DISPUTE_FROZEN, ESCALATED]
    assert written[-1].body == {"rule": "chargeback"}
