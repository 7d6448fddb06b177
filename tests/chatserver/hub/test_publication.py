"""An entry on its way to the sockets."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatserver.hub.publication import Publication
from chatserver.rendering import render
from policies.entry import Author, Draft, Entry
from policies.flag import Cause, CauseKind, Flag, Mark
from policies.vocabulary import CommandId, EntryKind, Role, RoomId, UserId, Visibility
from storage.chain import genesis, link
from tests.storage.making import NOW, salts

ROOM = RoomId("order-1")

TEXTS = st.text(st.sampled_from('ab"\\{}:,é\n') | st.characters(codec="utf-8"), max_size=12) | st.just(
    '"body":{"text":"a"}}}'
)
VALUES = st.recursive(
    TEXTS | st.integers(-5, 5) | st.none(), lambda inner: st.dictionaries(st.sampled_from(["text", "body"]), inner)
)
BODIES = st.dictionaries(st.sampled_from(["text", "body", "reply_to"]), VALUES, max_size=3)


def entry(body: dict[str, Any], visibility: Visibility) -> Entry:
    author = Author(UserId("bea"), Role.BUYER, "Bea")
    draft = Draft(author, CommandId("c"), EntryKind.MESSAGE, body, visibility)
    return link(ROOM, genesis(ROOM), [draft], NOW, salts())[0]


@given(BODIES, BODIES, st.sampled_from(Visibility))
def test_what_it_holds_is_told_from_anything_else(
    body: dict[str, Any], other: dict[str, Any], visibility: Visibility
) -> None:
    publication = Publication.of(entry(body, visibility))
    assert publication.holds(body)
    assert publication.holds(dict(reversed(body.items())))
    assert publication.holds(other) is (body == other)
    assert Publication.from_fields(publication.fields()).holds(body)


FLAG = Flag(Mark.WITHHELD, 90, (Cause(CauseKind.CONTACT, "phone", "text", 3, 9, 90, "phone.number"),))


def flagged() -> list[Entry]:
    """Entries of which not everybody sees the same."""
    author = Author(UserId("bea"), Role.BUYER, "Bea")
    withheld = Draft(author, CommandId("a"), EntryKind.MESSAGE, {"text": "0151 1"}, Visibility.WITHHELD, FLAG)
    warned = Draft(author, CommandId("b"), EntryKind.MESSAGE, {"text": "a"}, flag=replace(FLAG, mark=Mark.WARNED))
    masked = Draft(
        author,
        CommandId("c"),
        EntryKind.PROPOSAL_MADE,
        {"amount": 5, "note": "my •••"},
        flag=replace(FLAG, mark=Mark.MASKED),
        whole={"note": "my 123"},
    )
    entries = link(ROOM, genesis(ROOM), [withheld, warned, masked], NOW, salts())
    shown = [replace(each, shown=Visibility.ALL) for each in entries]
    return [*entries, *shown, replace(entries[1], shown=Visibility.WITHHELD, flag=None)]


@pytest.mark.parametrize("made", flagged())
@pytest.mark.parametrize(
    ("user", "role"), [("bea", Role.BUYER), ("sam", Role.SELLER), ("kim", Role.AGENT), ("lee", Role.AUDITOR)]
)
def test_every_reader_is_sent_what_they_read_in_the_history(made: Entry, user: str, role: Role) -> None:
    published = Publication.of(made)
    for publication in (published, Publication.from_fields(orjson.loads(orjson.dumps(published.fields())))):
        frame = publication.frame_for(user, role)
        sent = orjson.loads(frame[frame.index(b"{") :])
        assert sent["entry"] == render(made, UserId(user), role)
        assert publication.frame_for(user, role) is frame  # made once
        assert (publication.mark, publication.partial) == ("" if made.flag is None else made.flag.mark.value, True)


def test_what_is_masked_is_held_as_it_was_written() -> None:
    made = flagged()[2]
    assert Publication.of(made).holds({"amount": 5, "note": "my 123"})
    assert not Publication.of(made).holds({"amount": 5, "note": "my 124"})
