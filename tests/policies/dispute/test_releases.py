"""Messages that were withheld and are released, or redacted: what that means for a dispute."""

from dataclasses import replace
from typing import Any

import pytest

from policies.dispute import commands as ask
from policies.dispute.decide import decide
from policies.dispute.dry_run import dry_run
from policies.dispute.fact import Foreseen
from policies.dispute.policy import parse_policy
from policies.dispute.state import Rule
from policies.entry import Author
from policies.errors import Forbidden, NotFound, Refused
from policies.flag import Flag, FlagState, Mark
from policies.room import SYSTEM
from policies.screening import Screening
from policies.verdicts import Target
from policies.vocabulary import EntryKind, EvidenceKind, Role, Status, Visibility
from tests.policies.dispute.story import AGENT, AUDITOR, BUYER, MS, SELLER, H, Story

WITHHOLDING = Screening(Flag(Mark.WITHHELD, 90, ()), Visibility.WITHHELD)


def withheld(story: Story, author: Author, text: str = "Call me") -> Target:
    """A message that the other side does not see; what staff know of it."""
    command = story.command(author, ask.SendMessage, text)
    [entry] = story._write(decide(story.state, command, story.now, WITHHOLDING))
    return target(entry)


def target(entry: Foreseen, **changes: Any) -> Target:
    known = Target(
        entry.seq,
        entry.kind,
        entry.author,
        entry.visibility,
        None,
        FlagState.OPEN,
        masked=False,
        speaks=True,
        erased=False,
    )
    return replace(known, **changes)


def releases(story: Story, about: Target, author: Author = AGENT) -> list[Foreseen]:
    return story.did(author, ask.ReleaseMessage, about.seq, "A false alarm", about)


def test_what_is_withheld_counts_from_its_release() -> None:
    story = Story().wait(2 * H)
    about = withheld(story, SELLER)
    assert story.state.attended_at is None
    released, attended = releases(story.wait(3 * H), about)
    assert released.body == {"seq": about.seq, "side": "seller", "reason": "A false alarm", "counts": True}
    assert attended.kind is EntryKind.DISPUTE_ATTENDED
    assert attended.author == SYSTEM
    assert attended.body == {"by": "message", "entry": about.seq}
    assert story.state.attended_at == story.now
    assert story.stands() is Status.WAITING_FOR_BUYER
    assert story.state.deadline(Rule.SELLER_ATTEND) is None


def test_a_release_starts_the_silence_anew_and_the_receipt_names_it() -> None:
    story = Story().attended().wait(30 * H)
    about = withheld(story, BUYER)
    before = story.state.deadline(Rule.NO_UPDATE)
    [released] = releases(story.wait(10 * H), about)
    after = story.state.deadline(Rule.NO_UPDATE)
    assert before is not None
    assert after is not None
    assert (after.due_at - before.due_at, after.moved_by) == (40 * H, released.seq)
    assert story.stands() is Status.WAITING_FOR_SELLER


def test_a_release_answers_an_appeal() -> None:
    story = Story().claimed()
    story.decides(AGENT, "buyer_favor", "full_refund")
    story.did(SELLER, ask.AddEvidence, "new", EvidenceKind.PHOTO)
    story.did(SELLER, ask.FileAppeal, "No!", ("new",))
    about = withheld(story, BUYER)
    assert story.state.appeal is not None
    assert not story.state.appeal.answered
    releases(story, about)
    assert story.state.appeal.answered


@pytest.mark.parametrize(
    "known",
    [
        {"shown": Visibility.WITHHELD},  # it was released before, and redacted
        {"visibility": Visibility.ALL, "shown": Visibility.WITHHELD},  # it was seen, and redacted
        {"speaks": False},
    ],
)
def test_what_has_counted_does_not_count_again(known: dict[str, Any]) -> None:
    story = Story().wait(H)
    about = withheld(story, SELLER)
    before = story.state
    [released] = releases(story.wait(H), replace(about, **known))
    assert "counts" not in released.body
    assert replace(story.state, seq=before.seq) == before


def test_a_release_after_the_deadline_does_not_undo_it() -> None:
    story = Story().wait(H)
    about = withheld(story, SELLER)
    story.until(story.state.attend_by + MS)
    written = releases(story, about)
    assert [entry.kind for entry in written] == [
        EntryKind.DISPUTE_ESCALATED,
        EntryKind.MESSAGE_RELEASED,
        EntryKind.DISPUTE_ATTENDED,
    ]
    assert story.stands() is Status.UNDER_REVIEW
    assert story.state.heard == {Role.BUYER, Role.SELLER}


@pytest.mark.parametrize("kind", [ask.ReleaseMessage, ask.RedactMessage])
def test_a_closed_room_is_still_looked_after(kind: type[Any]) -> None:
    story = Story()
    [said] = story.says(BUYER, "Hello")
    about = withheld(story, SELLER)
    story.did(BUYER, ask.Close, "It works.")
    while story.state.next_at is not None:
        story.until(story.state.next_at + MS).tick()
    assert story.state.closed
    seq = (about if kind is ask.ReleaseMessage else target(said)).seq
    [written] = story.did(AGENT, kind, seq, "Why", about if kind is ask.ReleaseMessage else target(said))
    assert written.body["seq"] == seq
    assert story.state.attended_at is None


def test_redacting_takes_nothing_back() -> None:
    story = Story()
    said, _ = story.says(SELLER, "Let me see.")
    before = story.state
    [redacted] = story.did(AGENT, ask.RedactMessage, said.seq, "Insulting", target(said, flag=None))
    assert redacted.kind is EntryKind.MESSAGE_REDACTED
    assert redacted.body == {"seq": said.seq, "side": "seller", "reason": "Insulting"}
    assert replace(story.state, seq=before.seq) == before


def withheld_evidence(story: Story, author: Author) -> Target:
    """A picture whose code leads elsewhere, say."""
    command = story.command(author, ask.AddEvidence, "e1", EvidenceKind.PHOTO)
    [entry] = story._write(decide(story.state, command, story.now, WITHHOLDING))
    return target(entry)


def test_withheld_evidence_counts_from_its_release() -> None:
    story = Story().wait(2 * H)
    about = withheld_evidence(story, SELLER)
    assert story.state.attended_at is None
    released, attended = releases(story.wait(3 * H), about)
    assert released.body == {"seq": about.seq, "side": "seller", "reason": "A false alarm", "counts": True}
    assert attended.body == {"by": "evidence", "entry": about.seq}
    assert story.stands() is Status.WAITING_FOR_BUYER
    story.wait(H).says(BUYER, "Thanks")
    policy = parse_policy({"terms": {"attend_within": "6h"}})
    assert dry_run(story.entries, policy, story.now).differences == ()


def test_evidence_is_redacted_and_released_and_counts_once() -> None:
    story = Story()
    added, _ = story.did(SELLER, ask.AddEvidence, "e1", EvidenceKind.PHOTO)
    before = story.state
    [redacted] = story.did(AGENT, ask.RedactMessage, added.seq, "An address", target(added, flag=None))
    assert redacted.kind is EntryKind.MESSAGE_REDACTED
    assert redacted.body == {"seq": added.seq, "side": "seller", "reason": "An address"}
    hidden = target(added, flag=None, shown=Visibility.WITHHELD)
    assert story.did(AGENT, ask.RedactMessage, added.seq, "An address", hidden) == []
    [released] = releases(story, hidden)
    assert released.body == {"seq": added.seq, "side": "seller", "reason": "A false alarm"}
    assert replace(story.state, seq=before.seq) == before  # it was seen, and what it set going stays


def test_doing_nothing_writes_nothing() -> None:
    story = Story()
    about = withheld(story, SELLER)
    assert releases(story, replace(about, shown=Visibility.ALL, flag=FlagState.RELEASED)) == []
    assert story.did(AGENT, ask.RedactMessage, about.seq, "Why", about) == []  # it is hidden; only its flag changes


@pytest.mark.parametrize("who", [BUYER, SELLER, AUDITOR])
@pytest.mark.parametrize("kind", [ask.ReleaseMessage, ask.RedactMessage])
def test_only_support_rules_on_messages(who: Author, kind: type[Any]) -> None:
    story = Story()
    about = withheld(story, SELLER)
    assert isinstance(story.refusal(who, kind, about.seq, "Why", about), Forbidden)


def test_what_is_not_there_or_no_partys_cannot_be_ruled_on() -> None:
    story = Story()
    assert isinstance(story.refusal(AGENT, ask.ReleaseMessage, 99, "", None), NotFound)
    opened = target(story.entries[0], flag=None)
    refused = story.refusal(AGENT, ask.RedactMessage, 1, "Why", opened)
    assert isinstance(refused, Refused)
    assert refused.details["rule"] == "not_a_message"
    about = withheld(story, SELLER)
    for changes, rule in (({"author": AGENT}, "not_a_partys"), ({"erased": True}, "erased")):
        refused = story.refusal(AGENT, ask.ReleaseMessage, about.seq, "", replace(about, **changes))
        assert refused.details["rule"] == rule


def test_a_dry_run_knows_what_was_withheld_and_released() -> None:
    story = Story().wait(2 * H)
    about = withheld(story, SELLER)
    releases(story.wait(3 * H), about)
    story.wait(H).says(BUYER, "Thanks")
    until = story.now + H
    assert dry_run(story.entries, parse_policy({"terms": {"attend_within": "6h"}}), until).differences == ()
    earlier = dry_run(story.entries, parse_policy({"terms": {"attend_within": "4h"}}), until)
    assert any(each.rule == "seller_attend" for each in earlier.differences)
