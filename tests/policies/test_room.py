from dataclasses import replace
from datetime import UTC, datetime

import pytest

from policies.entry import Author, Draft
from policies.errors import BadRequest, ErrorCode, Forbidden, RoomClosed, TooLarge
from policies.room import (
    Party,
    RoomFacts,
    decide_message,
    dispute_of,
    dispute_room,
    may_write,
    order_room,
    role_in_room,
    staff_room,
)
from policies.vocabulary import CommandId, DisputeId, EntryKind, OrderId, Role, RoomId, RoomKind, Seq, UserId

BUYER, SELLER, STRANGER = UserId("buyer-1"), UserId("seller-1"), UserId("somebody")
ROOM = RoomFacts(
    id=RoomId("order-1"),
    kind=RoomKind.ORDER,
    order_id=OrderId("1"),
    buyer=Party(BUYER, "Bo"),
    seller=Party(SELLER, "Sue"),
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)


def decide(
    text: str = "hello",
    *,
    room: RoomFacts = ROOM,
    role: Role = Role.BUYER,
    head: int = 0,
    reply_to: int | None = None,
    evidence: tuple[str, ...] = (),
    max_chars: int = 10,
) -> Draft:
    answered = None if reply_to is None else Seq(reply_to)
    author = Author(BUYER, role, "Bo")
    return decide_message(room, Seq(head), author, CommandId("c1"), text, answered, evidence, max_chars=max_chars)


def test_an_order_room_is_named_after_its_order() -> None:
    assert order_room(OrderId("4711")) == "order-4711"


@pytest.mark.parametrize(
    ("kind", "room", "dispute"),
    [
        (RoomKind.ORDER, order_room(OrderId("4711")), None),
        (RoomKind.DISPUTE, dispute_room(DisputeId("0a1b")), "0a1b"),
        (RoomKind.STAFF, staff_room(DisputeId("0a1b")), "0a1b"),
    ],
)
def test_the_rooms_of_a_dispute_name_it(kind: RoomKind, room: RoomId, dispute: str | None) -> None:
    assert dispute_of(replace(ROOM, id=room, kind=kind)) == dispute


@pytest.mark.parametrize(
    ("user", "token_role", "role"),
    [
        (BUYER, None, Role.BUYER),
        (SELLER, None, Role.SELLER),
        (STRANGER, None, None),
        (STRANGER, Role.AGENT, Role.AGENT),
        (STRANGER, Role.SENIOR_AGENT, Role.SENIOR_AGENT),
        (STRANGER, Role.AUDITOR, Role.AUDITOR),
    ],
)
def test_roles(user: UserId, token_role: Role | None, role: Role | None) -> None:
    assert role_in_room(ROOM, user, token_role) is role


def test_nobody_is_staff_in_their_own_case() -> None:
    assert role_in_room(ROOM, BUYER, Role.SENIOR_AGENT) is Role.BUYER
    assert role_in_room(ROOM, SELLER, Role.AGENT) is Role.SELLER


@pytest.mark.parametrize("claimed", [Role.BUYER, Role.SELLER, Role.SYSTEM])
def test_a_token_cannot_make_anybody_a_party_or_the_system(claimed: Role) -> None:
    assert role_in_room(ROOM, STRANGER, claimed) is None


def test_nobody_is_the_system() -> None:
    assert role_in_room(ROOM, UserId("system"), Role.AGENT) is None
    assert role_in_room(replace(ROOM, buyer=Party(UserId("system"), "x")), UserId("system"), None) is None


def test_who_may_write() -> None:
    in_order_rooms = {role for role in Role if may_write(role, RoomKind.ORDER)}
    assert in_order_rooms == {Role.BUYER, Role.SELLER, Role.AGENT, Role.SENIOR_AGENT}
    assert {role for role in Role if may_write(role, RoomKind.DISPUTE)} == {Role.BUYER, Role.SELLER}
    assert {role for role in Role if may_write(role, RoomKind.STAFF)} == {Role.AGENT, Role.SENIOR_AGENT}


def test_who_has_claimed_a_case_may_write_to_its_parties() -> None:
    in_dispute_rooms = {role for role in Role if may_write(role, RoomKind.DISPUTE, claimed=True)}
    assert in_dispute_rooms == {Role.BUYER, Role.SELLER, Role.AGENT, Role.SENIOR_AGENT}
    room = replace(ROOM, kind=RoomKind.DISPUTE)
    agent = Author(STRANGER, Role.AGENT, "Ada")
    assert decide_message(room, Seq(0), agent, CommandId("c"), "hello", max_chars=10, claimed=True).author == agent
    with pytest.raises(Forbidden):
        decide_message(room, Seq(0), agent, CommandId("c"), "hello", max_chars=10)


@pytest.mark.parametrize("party", [BUYER, SELLER])
def test_to_the_parties_there_is_no_staff_log(party: UserId) -> None:
    log = replace(ROOM, kind=RoomKind.STAFF)
    assert role_in_room(log, party, None) is None
    assert role_in_room(log, party, Role.SENIOR_AGENT) is None, "nor when they are staff"
    assert role_in_room(log, STRANGER, Role.AGENT) is Role.AGENT


def test_a_message_becomes_an_entry_of_its_author() -> None:
    draft = decide("hello")
    assert draft == Draft(Author(BUYER, Role.BUYER, "Bo"), CommandId("c1"), EntryKind.MESSAGE, {"text": "hello"})


def test_a_reply_names_what_it_answers() -> None:
    assert decide(head=3, reply_to=3).body == {"text": "hello", "reply_to": 3}


def test_a_message_names_the_evidence_it_shows() -> None:
    assert decide(evidence=("e1", "e2")).body == {"text": "hello", "evidence": ["e1", "e2"]}


@pytest.mark.parametrize("reply_to", [0, -1, 4])
def test_a_reply_to_what_does_not_exist_is_refused(reply_to: int) -> None:
    with pytest.raises(BadRequest):
        decide(head=3, reply_to=reply_to)


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "\u200b\u200b", "\u00a0", "\u2060 \ufeff", "\0"])
def test_a_message_without_anything_to_see_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        decide(text)


@pytest.mark.parametrize("text", [".", " a ", "👍", "👩‍👩‍👧", "שלום", "\u200f؟"])
def test_text_is_kept_as_it_was_written(text: str) -> None:
    assert decide(text).body == {"text": text}


def test_the_longest_message_is_counted_in_characters() -> None:
    assert decide("ä" * 10).body["text"] == "ä" * 10
    with pytest.raises(TooLarge) as refused:
        decide("ä" * 11)
    assert refused.value.details == {"limit": 10}


def test_a_closed_room_is_read_only() -> None:
    with pytest.raises(RoomClosed) as refused:
        decide(room=replace(ROOM, closed=True))
    assert refused.value.code is ErrorCode.ROOM_CLOSED


def test_an_auditor_only_reads() -> None:
    with pytest.raises(Forbidden):
        decide(role=Role.AUDITOR)
