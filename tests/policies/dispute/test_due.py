"""The clock: what is due fires once, in order, however late the worker is; what approaches is told once."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from policies.dispute import commands as ask
from policies.dispute.decide import decide
from policies.dispute.state import Deadline, Rule
from policies.instant import rfc3339
from policies.room import SYSTEM
from policies.vocabulary import CommandId, EntryKind, Resolution, Role, Stage, Status
from tests.policies.dispute.story import AGENT, BUYER, MS, OPENED, SELLER, H, Story, policy

TICK = ask.Tick(SYSTEM, CommandId("t"))


def test_nothing_due_writes_nothing() -> None:
    assert Story().tick() == []


def test_what_approaches_is_told_once() -> None:
    story = Story().until(OPENED + 18 * H - MS)
    assert story.tick() == []
    [told] = story.wait(MS).tick()
    assert told.kind is EntryKind.DEADLINE_APPROACHING
    assert told.author == SYSTEM
    assert told.body == {"rule": "seller_attend", "due_at": rfc3339(OPENED + 24 * H)}
    assert story.tick() == []
    assert story.state.next_at == OPENED + 24 * H


def test_a_deadline_that_moved_is_told_again() -> None:
    story = Story().attended().wait(60 * H)
    assert [entry.body["rule"] for entry in story.tick()] == ["no_update"]
    story.says(BUYER, "Hello?")
    assert story.wait(59 * H).tick() == []
    assert [entry.body["rule"] for entry in story.wait(H).tick()] == ["no_update"]


def test_rules_without_a_reminder_are_not_told() -> None:
    story = Story(policy(reminders={}))
    assert story.state.next_at == OPENED + 24 * H
    assert story.until(OPENED + 24 * H).tick() == []


def test_a_reminder_longer_than_the_time_itself_is_not_told() -> None:
    story = Story(policy(attend_within="6h"))
    deadline = story.state.deadline(Rule.SELLER_ATTEND)
    assert deadline is not None
    assert deadline.remind_at is None


def test_what_was_missed_by_the_worker_is_not_told_any_more_it_fires() -> None:
    [escalated] = Story().wait(30 * H).tick()
    assert escalated.kind is EntryKind.DISPUTE_ESCALATED


def test_the_entries_are_written_when_the_worker_comes_and_the_receipt_says_when_it_was_due() -> None:
    story = Story().wait(30 * H)
    [escalated] = story.tick()
    assert escalated.at == OPENED + 30 * H
    assert escalated.body["receipt"]["due_at"] == rfc3339(OPENED + 24 * H)


def test_several_that_are_due_fire_in_order() -> None:
    story = Story().claimed()
    later = story.offers(SELLER, Resolution.PARTIAL_REFUND, 100, expires_at=story.now + 2 * H)
    sooner = story.offers(BUYER, Resolution.PARTIAL_REFUND, 200, expires_at=story.now + H)
    story.did(AGENT, ask.RequestEvidence, Role.BUYER, "A photo.", due_at=story.now + 3 * H)
    written = story.wait(100 * H).tick()
    assert [entry.kind for entry in written] == [
        EntryKind.PROPOSAL_EXPIRED,
        EntryKind.PROPOSAL_EXPIRED,
        EntryKind.NOTICE,
    ]
    assert [entry.body["proposal"] for entry in written[:2]] == [sooner, later]
    assert story.state.deadlines == ()
    assert story.tick() == []


def test_an_escalation_ends_the_others_that_would_escalate() -> None:
    story = Story(policy(attend_within="72h"))  # and 72 h of silence end at the same moment
    [escalated] = story.wait(72 * H + MS).tick()
    assert escalated.body["rule"] == "no_update"
    assert story.state.stage is Stage.MEDIATION


def test_deciding_the_same_tick_twice_gives_the_same_entries() -> None:
    """Two workers on the same state write under the same ids, so the log takes them once."""
    story = Story().wait(30 * H)
    assert decide(story.state, TICK, story.now) == decide(story.state, TICK, story.now + 5 * H)


def test_a_command_after_a_deadline_first_does_what_was_due() -> None:
    story = Story().wait(24 * H + MS)
    written = story.says(BUYER, "Hello?")
    assert [entry.kind for entry in written] == [EntryKind.DISPUTE_ESCALATED, EntryKind.MESSAGE]


def test_a_refused_command_leaves_what_is_due_to_the_worker() -> None:
    story = Story().wait(24 * H + MS)
    story.refusal(BUYER, ask.Escalate, "Now!")
    assert [entry.kind for entry in story.tick()] == [EntryKind.DISPUTE_ESCALATED]


def test_a_command_that_does_nothing_writes_nothing() -> None:
    """So that who asks again for what they have already gets the first answer, not somebody else's entries."""
    story = Story().claimed()
    story.did(AGENT, ask.RequestEvidence, Role.BUYER, "A photo.")
    story.wait(48 * H + MS)
    assert story.did(AGENT, ask.JoinAsAgent) == []
    assert len(story.tick()) == 1


def test_a_command_tells_no_reminders() -> None:
    story = Story().until(OPENED + 20 * H)
    assert [entry.kind for entry in story.says(BUYER, "Hello?")] == [EntryKind.MESSAGE]
    assert [entry.kind for entry in story.tick()] == [EntryKind.DEADLINE_APPROACHING]


def test_a_request_whose_time_is_over_and_an_offer_at_the_same_moment() -> None:
    story = Story().claimed()
    due_at = story.now + H
    story.did(AGENT, ask.RequestEvidence, Role.BUYER, "A photo.", due_at=due_at)
    story.offers(SELLER, Resolution.REPLACEMENT, expires_at=due_at)
    assert story.until(due_at).tick() == []
    assert len(story.wait(MS).tick()) == 2


def test_an_appeal_that_is_not_answered_is_told_and_approached() -> None:
    story = Story().claimed()
    story.decides(AGENT, "seller_favor", "release_to_seller")
    [filed, _] = story.appeals(BUYER, "e1")
    [told] = story.wait(36 * H).tick()
    assert told.body["rule"] == "appeal_answer"
    [unanswered] = story.wait(12 * H + MS).tick()
    assert unanswered.body == {"notice": "appeal_unanswered", "appeal": filed.seq}
    assert story.stands() is Status.UNDER_REVIEW
    assert story.state.next_at is None


def test_the_ids_follow_from_the_cause() -> None:
    due_at = rfc3339(OPENED + 24 * H)
    story = Story().until(OPENED + 20 * H)
    [approaching] = decide(story.state, TICK, story.now)
    assert approaching.command_id == f"approaching:seller_attend:{due_at}"
    [escalated] = decide(story.state, TICK, story.now + 5 * H)
    assert escalated.command_id == f"escalated:seller_attend:{due_at}"


@pytest.mark.parametrize("field", ["remind_at", "due_at"])
def test_next_at_is_the_first_thing_to_happen(field: str) -> None:
    deadline = Deadline(Rule.NO_UPDATE, OPENED + 2 * H, OPENED, remind_at=OPENED + H if field == "remind_at" else None)
    assert deadline.next_at == getattr(deadline, field)


def test_a_state_at_rest_has_no_next_time() -> None:
    story = Story().claimed()
    assert story.state.next_at is None


def test_firings_are_about_an_entry_where_they_have_to_be() -> None:
    story = Story()
    broken: Any = replace(story.state, deadlines=(Deadline(Rule.PROPOSAL_EXPIRY, OPENED, OPENED - timedelta(1)),))
    with pytest.raises(ValueError, match="about an entry"):
        decide(broken, TICK, OPENED + MS)
