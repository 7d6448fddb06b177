"""What each sender of a room has written lately."""

from dataclasses import replace
from datetime import datetime, timedelta

from chatserver.hub.publication import Publication
from chatserver.hub.senders import CHARS, Senders
from chatserver.reminders import ENTRIES
from policies.entry import Author, Draft, Entry
from policies.flag import Cause, CauseKind, Flag, FlagState, Mark
from policies.vocabulary import CommandId, EntryKind, Role, RoomId, UserId
from storage.chain import genesis, head_of, link
from tests.storage.making import NOW, salts

ROOM = RoomId("order-1")
BO = Author(UserId("bo"), Role.BUYER, "")
NONE: frozenset[CauseKind] = frozenset()


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


def test_what_a_sender_writes_by_another_process_counts_in_its_place() -> None:
    room = written(("bo", "one"), ("bo", "two"), ("bo", "three"))
    senders = Senders(8)
    senders.sent("bo", "one", "one", NOW)
    senders.offer(room[:2])  # the second came by another process
    senders.sent("bo", "three", "three", NOW)
    senders.offer(room[2:])
    assert texts(senders) == ["one", "two", "three"]
    assert senders.last("bo", "new") == NOW
    assert senders.last("bo", "two") is None


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


CAUSE = Cause(CauseKind.CONTACT, "phone", "text", 0, 3, 90, "phone.number")
CONTACT = frozenset({CauseKind.CONTACT})


def reminded(senders: Senders, now: datetime, user: str = "bo") -> frozenset[CauseKind]:
    return senders.earlier(user, "new", now).reminded


def test_who_was_reminded_is_so_for_ten_minutes() -> None:
    for mark in Mark:
        expected = NONE if mark is Mark.NOTED else CONTACT
        senders = Senders(8)
        senders.offer(written(("bo", "one"), flag=Flag(mark, 90, (CAUSE,))))
        assert reminded(senders, NOW + timedelta(minutes=10)) == expected
        assert reminded(senders, NOW + timedelta(minutes=10, milliseconds=1)) == NONE
        assert reminded(senders, NOW, "sue") == NONE


def test_of_secrets_nobody_is_reminded() -> None:
    senders = Senders(8)
    card = Cause(CauseKind.SECRET, "card", "text", 0, 16, 100, "secret.card")
    senders.offer(written(("bo", "one"), flag=Flag(Mark.MASKED, 100, (card,))))
    assert reminded(senders, NOW) == NONE
    senders.sent("bo", "two", "two", NOW)
    senders.found("bo", "two", Flag(Mark.MASKED, 100, (card, CAUSE)), NOW)
    assert reminded(senders, NOW) == CONTACT


def test_what_is_found_in_a_message_on_its_way_counts_for_those_after_it() -> None:
    senders = Senders(8)
    for mark, expected in ((Mark.NOTED, NONE), (Mark.WITHHELD, CONTACT)):
        senders.sent("bo", "one", "one", NOW)
        senders.found("bo", "one", Flag(mark, 90, (CAUSE,)), NOW)
        assert reminded(senders, NOW) == expected
    assert senders.earlier("bo", "one", NOW).reminded == NONE, "sent again it is what it was"
    senders.offer(written(("bo", "one"), at=NOW + timedelta(seconds=1), flag=Flag(Mark.WITHHELD, 90, (CAUSE,))))
    assert reminded(senders, NOW + timedelta(minutes=10)) == CONTACT
    assert reminded(senders, NOW + timedelta(minutes=10, seconds=1)) == NONE


def test_nobody_is_reminded_of_what_only_the_author_is_told() -> None:
    flood = Cause(CauseKind.CONDUCT, "flooding", "text", 0, 0, 100, "conduct.flooding")
    senders = Senders(8)
    senders.offer(written(("bo", "one"), flag=Flag(Mark.WARNED, 100, (flood,))))
    assert reminded(senders, NOW) == NONE


def test_who_goes_on_is_reminded_again_after_ten_minutes() -> None:
    flag = Flag(Mark.WARNED, 90, (CAUSE,))
    drafts = [Draft(BO, CommandId(f"{number}"), EntryKind.MESSAGE, {"text": "t"}, flag=flag) for number in range(3)]
    entries: list[Entry] = []
    senders = Senders(8)
    for minutes, draft in zip((0, 6, 12), drafts, strict=True):
        head = head_of(entries[-1]) if entries else genesis(ROOM)
        entries += link(ROOM, head, [draft], NOW + timedelta(minutes=minutes), salts())
        senders.offer([Publication.of(entries[-1])])
        assert reminded(senders, entries[-1].at) == CONTACT
    assert reminded(senders, NOW + timedelta(minutes=22)) == CONTACT  # since the third
    assert reminded(senders, NOW + timedelta(minutes=23)) == NONE


def test_a_false_alarm_is_held_against_nobody() -> None:
    flag = Flag(Mark.WITHHELD, 90, (CAUSE,))
    staff = Author(UserId("ada"), Role.AGENT, "Ada")
    drafts = [
        Draft(BO, CommandId("one"), EntryKind.MESSAGE, {"text": "one"}, flag=flag),
        Draft(staff, CommandId("release"), EntryKind.MESSAGE_RELEASED, {"seq": 1, "side": "buyer"}),
    ]
    one, released = link(ROOM, genesis(ROOM), drafts, NOW, salts())
    senders = Senders(8)
    senders.offer([Publication.of(one)])
    assert reminded(senders, NOW) == CONTACT
    senders.offer([Publication.of(released)])
    assert reminded(senders, NOW) == NONE
    late = Senders(8)  # on a process that reads it later
    late.begin([Publication.of(replace(one, flag=replace(flag, state=FlagState.RELEASED))), Publication.of(released)])
    assert reminded(late, NOW) == NONE


def test_who_wrote_last_and_when() -> None:
    senders = Senders(8)
    assert senders.last("bo", "one") is None
    senders.offer(written(("bo", "one"), ("sue", "two")))
    later = NOW + timedelta(seconds=5)
    senders.sent("bo", "three", "three", later)
    assert senders.last("bo", "new") == later
    assert senders.last("sue", "new") == NOW
    assert senders.last("bo", "one") is None  # sent again
    assert senders.last("nobody", "new") is None


def test_other_entries_are_passed_over() -> None:
    author = Author(UserId("bo"), Role.BUYER, "")
    drafts = [Draft(author, CommandId("c"), EntryKind.PROPOSAL_MADE, {"note": "n"})]
    entries: list[Entry] = link(ROOM, genesis(ROOM), drafts, NOW, salts())
    senders = Senders(8)
    senders.offer([Publication.of(entry) for entry in entries])
    assert texts(senders) == []


def test_a_masked_note_reminds_as_a_message_does() -> None:
    senders = Senders(8)
    flag = Flag(Mark.MASKED, 96, (Cause(CauseKind.CONTACT, "phone", "note", 0, 5, 96, "phone.run"),))
    offer = Draft(BO, CommandId("offer"), EntryKind.PROPOSAL_MADE, {"note": "\u2022"}, flag=flag, whole={"note": "1"})
    message = Draft(BO, CommandId("hello"), EntryKind.MESSAGE, {"text": "hello"})
    senders.offer([Publication.of(entry) for entry in link(ROOM, genesis(ROOM), [offer, message], NOW, salts())])
    assert senders.earlier("bo", "new", NOW).reminded == {CauseKind.CONTACT}
    assert texts(senders) == ["hello"]
