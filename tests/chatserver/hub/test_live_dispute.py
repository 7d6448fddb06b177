"""The dispute of a live room goes along with the room's stream, and says when there is something to tell."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chatserver.hub.live_dispute import LiveDispute, fact_of, visibly_changed
from chatserver.hub.publication import Publication
from policies.dispute.evolve import Unreplayable, evolve
from policies.dispute.state import Deadline, Dispute, Rule
from policies.entry import Author, Draft, Entry
from policies.room import SYSTEM
from policies.vocabulary import CommandId, EntryKind, Role, Seq, Status, UserId, Visibility
from storage.chain import Head, genesis, link
from tests.storage.disputes import HOUR, dispute
from tests.storage.making import NOW

BO = Author(UserId("bo"), Role.BUYER, "Bo")
SUE = Author(UserId("sue"), Role.SELLER, "Sue")


def attended() -> Dispute:
    """A dispute in which both sides talk."""
    return replace(
        dispute(due=None),
        attended_at=NOW,
        status=Status.WAITING_FOR_BUYER,
        deadlines=(Deadline(Rule.NO_UPDATE, NOW + 72 * HOUR, NOW),),
    )


def said(state: Dispute, *drafts: Draft) -> list[Entry]:
    """Entries that follow the state's, a minute after the last update."""
    head = Head(state.seq, genesis(state.room).hash, NOW)
    return link(state.room, head, drafts, state.last_update_at + timedelta(minutes=1), lambda: bytes(16))


def message(author: Author, text: str, number: int = 1) -> Draft:
    return Draft(author, CommandId(f"c{number}"), EntryKind.MESSAGE, {"text": text})


def offer(author: Author, number: int = 9) -> Draft:
    body: dict[str, Any] = {"resolution": "replacement", "expires_at": "2026-02-28T00:00:00.000Z"}
    return Draft(author, CommandId(f"o{number}"), EntryKind.PROPOSAL_MADE, body)


def published(entries: list[Entry]) -> list[Publication]:
    return [Publication.of(entry) for entry in entries]


@pytest.mark.parametrize(
    "draft",
    [
        message(SUE, 'hello \u2028 "quoted"'),
        offer(BO),
        Draft(SYSTEM, CommandId("n"), EntryKind.NOTICE, {"notice": "talk_first"}),
        Draft(SUE, CommandId("w"), EntryKind.MESSAGE, {"text": "call me"}, Visibility.WITHHELD),
    ],
)
def test_what_travels_between_processes_changes_a_dispute_as_the_entry_does(draft: Draft) -> None:
    state = attended()
    (entry,) = said(state, draft)
    publication = Publication.from_fields(Publication.of(entry).fields())
    assert evolve(state, fact_of(publication)) == evolve(state, entry)


def test_a_state_follows_the_stream() -> None:
    state = attended()
    entries = said(state, message(BO, "one"), offer(SUE), message(SUE, "two"))
    live = LiveDispute(state)
    assert live.take(published(entries))
    expected = state
    for entry in entries:
        expected = evolve(expected, entry)
    assert live.state == expected
    assert live.state.seq == 4


def test_what_was_read_with_the_state_is_not_taken_again() -> None:
    state = attended()
    entries = said(state, offer(SUE), message(SUE, "two"))
    live = LiveDispute(evolve(state, entries[0]))
    live.take(published(entries))
    assert live.state == evolve(evolve(state, entries[0]), entries[1])
    before = live.state
    assert not live.take(published(entries))
    assert live.state is before


def test_a_gap_stops_it_until_it_is_read_anew() -> None:
    state = attended()
    entries = said(state, offer(SUE), message(BO, "x"), message(BO, "y", 2))
    live = LiveDispute(state)
    assert not live.take(published(entries[1:]))
    assert live.behind
    assert live.state is state
    assert not live.take(published(entries))
    assert live.state is state
    caught_up = state
    for entry in entries:
        caught_up = evolve(caught_up, entry)
    assert live.take_anew(caught_up)
    assert not live.behind
    assert live.state == caught_up


def test_the_part_before_a_gap_counts() -> None:
    state = attended()
    entries = said(state, offer(SUE), message(BO, "x"), message(BO, "y", 2))
    live = LiveDispute(state)
    assert live.take(published([entries[0], entries[2]]))
    assert live.behind
    assert live.state == evolve(state, entries[0])


def test_an_entry_that_says_nothing_is_a_fault_to_whoever_asks() -> None:
    state = attended()
    (entry,) = said(state, Draft(SYSTEM, CommandId("x"), EntryKind.PROPOSAL_EXPIRED, {}))
    with pytest.raises(Unreplayable):
        LiveDispute(state).take(published([entry]))


def test_a_message_that_puts_off_the_deadline_is_nothing_to_tell() -> None:
    state = attended()
    (entry,) = said(state, message(SUE, "still here"))
    live = LiveDispute(state)
    assert not live.take(published([entry]))
    (silence,) = live.state.deadlines
    assert silence.moved_by == 2


def test_a_message_that_turns_the_waiting_around_is() -> None:
    state = attended()
    (entry,) = said(state, message(BO, "what now?"))
    live = LiveDispute(state)
    assert live.take(published([entry]))
    assert live.state.status is Status.WAITING_FOR_SELLER


def test_a_quiet_entry_that_changes_nothing_is_nothing_to_tell() -> None:
    state = attended()
    (entry,) = said(state, Draft(SYSTEM, CommandId("n"), EntryKind.NOTICE, {"notice": "talk_first"}))
    assert not LiveDispute(state).take(published([entry]))


def test_after_an_act_a_moved_deadline_is_told() -> None:
    before = attended()
    later = Deadline(Rule.NO_UPDATE, NOW + 80 * HOUR, NOW, moved_by=Seq(2))
    after = replace(before, seq=Seq(2), deadlines=(later,), last_update_at=NOW + HOUR)
    assert visibly_changed(before, after, quiet=False)
    assert not visibly_changed(before, after, quiet=True)


def test_what_is_remembered_of_texts_is_not_visible() -> None:
    before = dispute()
    after = replace(before, seq=Seq(2), seen=("digest",), last_update_at=NOW)
    assert not visibly_changed(before, after, quiet=False)


def ruling(kind: EntryKind, about: int, number: int) -> Draft:
    ada = Author(UserId("ada"), Role.AGENT, "Ada")
    return Draft(ada, CommandId(f"r{number}"), kind, {"seq": about, "side": "seller"})


@pytest.mark.parametrize("kind", [EntryKind.MESSAGE_RELEASED, EntryKind.MESSAGE_REDACTED])
def test_words_that_staff_have_ruled_on_are_read_anew(kind: EntryKind) -> None:
    """The stream says that they are shown otherwise, and not how."""
    state = attended()
    entries = said(
        state, offer(SUE), message(SUE, "two"), ruling(kind, state.seq + 2, 1), ruling(kind, state.seq + 1, 2)
    )
    live = LiveDispute(state)
    live.take(published(entries[:3]))
    assert not live.behind  # of a message no words are part of the state
    live.take(published(entries[3:]))
    assert live.behind
    reworded = replace(live.state, offers=(replace(live.state.offers[0], note="as agreed"),))
    assert live.take_anew(reworded)
