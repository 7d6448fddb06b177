"""An entry on its way to the sockets."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chatserver.hub.publication import Publication
from policies.entry import Author, Draft, Entry
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
