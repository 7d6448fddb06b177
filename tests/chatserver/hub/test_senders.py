"""What each sender of a room has written lately."""

from datetime import datetime, timedelta

from chatserver.hub.publication import Publication
from chatserver.hub.senders import CHARS, ENTRIES, Senders
from policies.entry import Author, Draft, Entry
from policies.flag import Flag, Mark
from policies.vocabulary import CommandId, EntryKind, Role, RoomId, UserId
from storage.chain import genesis, link
from tests.storage.making import NOW, salts

ROOM = RoomId("order-1")


def written(*said: tuple[str, str], at: datetime = NOW, flag: Flag | None = None) -> list[Publication]:
    drafts = [
        Draft(Author(UserId(user), Role.BUYER, ""), CommandId(text), EntryKind.MESSAGE, {"text": text}, flag=flag)
        for user, text in said
    ]
    return [Publication.of(entry) for entry in link(ROOM, genesis(ROOM), drafts, at, salts())]


def texts(senders: Senders, user: str = "bo", command: str = "new", now: datetime = NOW) -> list[str]:
    return [said.text for said in senders.earlier(user, command, now).said]


def test_it_knows_each_senders_messages_in_order() -> None:
    senders = Senders(8)
    senders.offer(written(("bo", "one"), ("sue", "two"), ("bo", "three")))
    assert texts(senders) == ["one", "three"]
    assert texts(senders, "sue") == ["two"]
    assert texts(senders, "nobody") == []


def test_what_was_there_before_comes_first() -> None:
    room = written(("bo", "one"), ("bo", "two"), ("bo", "three"))
    senders = Senders(8)
    senders.offer(room[1:])  # what the stream brought while the log was read
    senders.begin(room[:2])
    assert texts(senders) == ["one", "two", "three"]


def test_a_message_on_its_way_counts_once() -> None:
    senders = Senders(8)
    senders.sent("bo", "hello", "hello", NOW)
    senders.sent("bo", "hello", "hello", NOW)
    assert texts(senders) == ["hello"]
    senders.offer(written(("bo", "hello")))
    assert texts(senders) == ["hello"]


def test_a_message_sent_again_is_not_its_own_predecessor() -> None:
    senders = Senders(8)
    senders.offer(written(("bo", "one"), ("bo", "two")))
    assert texts(senders, command="two") == ["one"]


def test_it_keeps_no_more_than_it_was_told_to() -> None:
    senders = Senders(3)
    senders.offer(written(*[("bo", f"{number}") for number in range(ENTRIES)]))
    assert texts(senders) == ["61", "62", "63"]
    senders.offer(written(*[("bo", f"{number} again") for number in range(ENTRIES + 10)])[ENTRIES:])
    senders.sent("bo", "long", "x" * (CHARS + 1), NOW)
    assert len(texts(senders)[-1]) == CHARS


def test_who_was_flagged_is_so_for_ten_minutes() -> None:
    for mark, expected in ((Mark.WITHHELD, True), (Mark.WARNED, True), (Mark.MASKED, False), (Mark.NOTED, False)):
        senders = Senders(8)
        senders.offer(written(("bo", "one"), flag=Flag(mark, 90, ())))
        for later, flagged in ((timedelta(minutes=10), expected), (timedelta(minutes=10, milliseconds=1), False)):
            assert senders.earlier("bo", "new", NOW + later).warned is flagged
        assert not senders.earlier("sue", "new", NOW).warned


def test_other_entries_are_passed_over() -> None:
    author = Author(UserId("bo"), Role.BUYER, "")
    drafts = [Draft(author, CommandId("c"), EntryKind.PROPOSAL_MADE, {"note": "n"})]
    entries: list[Entry] = link(ROOM, genesis(ROOM), drafts, NOW, salts())
    senders = Senders(8)
    senders.offer([Publication.of(entry) for entry in entries])
    assert texts(senders) == []
