from dataclasses import replace
from typing import Any

import pytest

from policies.dispute.evolve import STATE_KINDS, Unreplayable, evolve, replay
from policies.dispute.fact import Foreseen
from policies.dispute.state import Rule
from policies.room import SYSTEM
from policies.vocabulary import EntryKind, Resolution, Seq, Status, Visibility
from tests.policies.dispute.story import BUYER, SELLER, H, Story


def following(story: Story, kind: EntryKind, **body: Any) -> Foreseen:
    return Foreseen(Seq(story.state.seq + 1), kind, SYSTEM, story.now, body, Visibility.ALL)


def test_a_room_without_entries_has_no_dispute() -> None:
    with pytest.raises(Unreplayable):
        replay([])


def test_it_begins_with_its_opening() -> None:
    story = Story().attended()
    with pytest.raises(Unreplayable):
        replay(story.entries[1:])


def test_entries_follow_each_other() -> None:
    story = Story().attended()
    with pytest.raises(Unreplayable):
        replay([story.entries[0], story.entries[2]])
    with pytest.raises(Unreplayable):
        evolve(story.state, story.entries[-1])


@pytest.mark.parametrize("kind", sorted(STATE_KINDS - {EntryKind.AGENT_JOINED, EntryKind.FULFILLMENT_CONFIRMED}))
def test_what_was_erased_is_not_guessed(kind: EntryKind) -> None:
    """Kinds that carry no state of their own may be empty; the others say that they cannot be replayed."""
    story = Story().attended()
    silent = {
        EntryKind.EVIDENCE_WITHDRAWN,
        EntryKind.DISPUTE_ATTENDED,
        EntryKind.DISPUTE_FROZEN,
        EntryKind.DISPUTE_OPENED,
        EntryKind.DISPUTE_REOPENED,
        EntryKind.MESSAGE_REDACTED,
        EntryKind.MESSAGE_RELEASED,
    }
    entry = following(story, kind)
    if kind in silent:
        assert evolve(story.state, entry).seq == entry.seq
    else:
        with pytest.raises(Unreplayable):
            evolve(story.state, entry)


def test_an_erased_message_stays_a_message() -> None:
    story = Story()
    story.says(BUYER, "My name is Bo.")
    erased = replace(story.last, body={})
    assert replay([*story.entries[:-1], erased]).last_update_at == story.now


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (EntryKind.PROPOSAL_ACCEPTED, {"proposal": 99}),
        (EntryKind.FULFILLMENT_MARKED, {"confirm_by": "2026-01-01T00:00:00.000Z"}),
        (EntryKind.APPEAL_FILED, {"reason": "", "evidence": [], "answer_by": "2026-01-01T00:00:00.000Z"}),
        (EntryKind.DEADLINE_EXTENDED, {"rule": "fulfill_by", "due_at": "2026-01-01T00:00:00.000Z"}),
    ],
)
def test_what_does_not_follow_is_not_replayed(kind: EntryKind, body: dict[str, Any]) -> None:
    story = Story()
    with pytest.raises(Unreplayable):
        evolve(story.state, following(story, kind, **body))


def test_a_notice_that_is_not_known_changes_nothing() -> None:
    story = Story()
    after = evolve(story.state, following(story, EntryKind.NOTICE, notice="something new"))
    assert after == replace(story.state, seq=after.seq)


def test_a_withheld_message_neither_answers_nor_starts_the_silence_again() -> None:
    story = Story().attended().wait(H)
    withheld = replace(
        following(story, EntryKind.MESSAGE, text="Call me"), author=BUYER, visibility=Visibility.WITHHELD
    )
    after = evolve(story.state, withheld)
    assert after.status is Status.WAITING_FOR_BUYER
    assert after.deadline(Rule.NO_UPDATE) == story.state.deadline(Rule.NO_UPDATE)


def test_the_state_says_up_to_which_entry_it_holds() -> None:
    story = Story().attended()
    story.offers(SELLER, Resolution.REPLACEMENT)
    assert [state.seq for state in story.states] == [entry.seq for entry in story.entries]
