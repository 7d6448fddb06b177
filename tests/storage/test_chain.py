import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.entry import Author, Draft, Entry
from policies.errors import BadRequest
from policies.vocabulary import CommandId, EntryKind, Role, RoomId, Seq, UserId, Visibility
from storage.chain import (
    Break,
    BreakKind,
    Head,
    Verification,
    genesis,
    head_of,
    link,
    recompute,
    same_content,
    verify,
)
from tests.policies.test_plain import keys, plain
from tests.storage.making import BUYER, NOW, ROOM, SELLER, draft, linked, salts

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ids = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
authors = st.builds(Author, ids.map(UserId), st.sampled_from(Role), text)
drafts = st.builds(
    Draft,
    authors,
    ids.map(CommandId),
    st.sampled_from(EntryKind),
    st.dictionaries(keys, plain, max_size=3),
    st.sampled_from(Visibility),
)
times = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@st.composite
def logs(draw: st.DrawFn) -> list[Entry]:
    """A room's log, written in several appends by servers whose clocks disagree."""
    entries: list[Entry] = []
    head, salt = genesis(ROOM), salts()
    for batch in draw(st.lists(st.lists(drafts, min_size=1, max_size=3), min_size=1, max_size=4)):
        entries += link(ROOM, head, batch, draw(times), salt)
        head = head_of(entries[-1])
    return entries


def erased(entry: Entry) -> Entry:
    return replace(entry, body={}, author=replace(entry.author, name=""), salt=None)


# How each field can be tampered with, and what is found. Each changes the value for certain.
Tampering = Callable[[Entry], Entry]
TAMPERINGS: dict[str, tuple[Tampering, BreakKind]] = {
    "room": (lambda e: replace(e, room=RoomId(e.room + "x")), BreakKind.ROOM),
    "seq": (lambda e: replace(e, seq=Seq(e.seq + 1)), BreakKind.GAP),
    "kind": (lambda e: replace(e, kind=_other(EntryKind, e.kind)), BreakKind.HASH),
    "author.id": (lambda e: replace(e, author=replace(e.author, id=UserId(e.author.id + "x"))), BreakKind.HASH),
    "author.role": (lambda e: replace(e, author=replace(e.author, role=_other(Role, e.author.role))), BreakKind.HASH),
    "author.name": (lambda e: replace(e, author=replace(e.author, name=e.author.name + "x")), BreakKind.CONTENT),
    "at": (lambda e: replace(e, at=e.at + timedelta(milliseconds=1)), BreakKind.HASH),
    "body": (lambda e: replace(e, body={**e.body, "x": e.body.get("x") != 1}), BreakKind.CONTENT),
    "visibility": (lambda e: replace(e, visibility=_other(Visibility, e.visibility)), BreakKind.HASH),
    "command_id": (lambda e: replace(e, command_id=CommandId(e.command_id + "x")), BreakKind.HASH),
    "salt": (lambda e: replace(e, salt=b"another salt 16b"), BreakKind.CONTENT),
    "salt removed": (lambda e: replace(e, salt=None, body={"x": 1}), BreakKind.CONTENT),
    "salt removed, name kept": (
        lambda e: replace(e, salt=None, body={}, author=replace(e.author, name="x")),
        BreakKind.CONTENT,
    ),
    "digest": (lambda e: replace(e, digest=_flipped(e.digest)), BreakKind.HASH),
    "prev_hash": (lambda e: replace(e, prev_hash=_flipped(e.prev_hash)), BreakKind.PREV_HASH),
    "hash": (lambda e: replace(e, hash=_flipped(e.hash)), BreakKind.HASH),
}


def _other(vocabulary: Any, value: Any) -> Any:
    return next(word for word in vocabulary if word is not value)


def _flipped(value: bytes) -> bytes:
    return bytes([value[0] ^ 1]) + value[1:]


@given(logs())
def test_what_was_linked_holds(log: list[Entry]) -> None:
    assert verify(ROOM, log) is None
    assert [entry.seq for entry in log] == list(range(1, len(log) + 1))


@given(logs(), st.data())
def test_a_log_can_be_verified_from_any_place(log: list[Entry], data: st.DataObject) -> None:
    place = data.draw(st.integers(1, len(log)))
    assert verify(ROOM, log[place:], head_of(log[place - 1])) is None


@given(logs())
def test_time_never_goes_back(log: list[Entry]) -> None:
    assert [entry.at for entry in log] == sorted(entry.at for entry in log)


@pytest.mark.parametrize("what", TAMPERINGS)
@settings(max_examples=20)
@given(logs(), st.data())
def test_tampering_with_any_field_is_found_at_its_place(what: str, log: list[Entry], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(log) - 1))
    tamper, kind = TAMPERINGS[what]
    log[place] = tamper(log[place])
    assert verify(ROOM, log) == Break(ROOM, Seq(place + 1), kind)


@given(logs(), st.data())
def test_a_missing_entry_is_found_where_it_was(log: list[Entry], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(log) - 1))
    del log[place]
    expected = None if place == len(log) else Break(ROOM, Seq(place + 1), BreakKind.GAP)
    assert verify(ROOM, log) == expected  # a cut-off end shows only against a head that somebody kept


@given(logs(), st.data())
def test_a_doubled_entry_is_found(log: list[Entry], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(log) - 1))
    log.insert(place, log[place])
    assert verify(ROOM, log) == Break(ROOM, Seq(place + 2), BreakKind.GAP)


@given(logs(), st.data())
def test_a_rewritten_entry_needs_everything_after_it_rewritten(log: list[Entry], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(log) - 1))
    entry = log[place]
    before = genesis(ROOM) if place == 0 else head_of(log[place - 1])
    forged = Draft(entry.author, entry.command_id, entry.kind, {"text": "forged"}, entry.visibility)
    [log[place]] = link(ROOM, before, [forged], entry.at, lambda: b"another salt 16b")
    expected = None if place == len(log) - 1 else Break(ROOM, Seq(place + 2), BreakKind.PREV_HASH)
    assert verify(ROOM, log) == expected


@given(logs(), st.data())
def test_erasing_keeps_the_chain(log: list[Entry], data: st.DataObject) -> None:
    places = data.draw(st.sets(st.integers(0, len(log) - 1)))
    log = [erased(entry) if place in places else entry for place, entry in enumerate(log)]
    assert verify(ROOM, log) is None


@given(logs(), st.sampled_from(["kind", "author.id", "at", "command_id", "digest", "prev_hash", "hash"]))
def test_what_an_erased_entry_keeps_cannot_be_changed(log: list[Entry], what: str) -> None:
    tamper, kind = TAMPERINGS[what]
    log[-1] = tamper(erased(log[-1]))
    assert verify(ROOM, log) == Break(ROOM, log[-1].seq, kind)


def test_an_entry_dated_back_is_found() -> None:
    first, second = linked("a", "b")
    early = second.at - timedelta(seconds=1)
    back = replace(second, at=early)
    back = replace(back, hash=recompute(back))
    assert verify(ROOM, [first, back]) == Break(ROOM, Seq(2), BreakKind.TIME)


def test_after_a_break_a_verification_stays_where_it_was() -> None:
    verification = Verification(ROOM)
    first, second, third = linked("a", "b", "c")
    assert verification.feed(first) is None
    assert verification.feed(third) == Break(ROOM, Seq(2), BreakKind.GAP)
    assert verification.head == head_of(first)
    assert verification.feed(second) is None


def outsider_hash(entry: Entry) -> tuple[bytes, bytes]:
    """Digest and hash as somebody writes them who has only the module's docstring and the standard library."""

    def canonical(value: Any) -> bytes:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    content = {"body": entry.body, "name": entry.author.name}
    digest = hashlib.sha256((entry.salt or b"") + canonical(content)).digest()
    at = entry.at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{entry.at.microsecond // 1000:03d}Z"
    metadata = [
        entry.room,
        entry.seq,
        str(entry.kind),
        entry.author.id,
        str(entry.author.role),
        at,
        str(entry.visibility),
        entry.command_id,
        digest.hex(),
    ]
    prefix = b"dispute-chat.entry.v1\n" + entry.prev_hash
    return digest, hashlib.sha256(prefix + canonical(metadata)).digest()


@given(logs())
def test_an_outsider_computes_the_same(log: list[Entry]) -> None:
    previous = hashlib.sha256(b"dispute-chat.room.v1\n" + ROOM.encode()).digest()
    for entry in log:
        assert entry.prev_hash == previous
        assert (entry.digest, entry.hash) == outsider_hash(entry)
        previous = entry.hash


def test_the_format_does_not_change() -> None:
    """Logs that exist must verify for ever: if this fails, the format needs a new version tag."""
    [entry] = link(RoomId("order-4711"), genesis(RoomId("order-4711")), [draft("c1", "Grüße\n")], NOW, salts())
    assert entry.prev_hash.hex() == "7d1a9fbe0fcd98294b5e0a9a75e05ac995e1f2d1ddbaffb125aca6a73e5c6279"
    assert entry.digest.hex() == "a07f9a385f64d643547385445416838aa8d71ed7ca20ec5e40acd71382eea684"
    assert entry.hash.hex() == "a243e7d575855c834200aa0cc1fb4479a300d38cea37b6cdcbb7c1794e43ce57"
    assert entry.id == entry.hash.hex()[:32]


def test_a_servers_slow_clock_does_not_turn_time_back() -> None:
    head = Head(Seq(7), b"h" * 32, NOW)
    assert linked("a", head=head, now=NOW - timedelta(hours=1))[0].at == NOW


def test_times_are_utc_milliseconds() -> None:
    local = datetime(2026, 1, 31, 10, 30, 0, 250_999, timezone(timedelta(hours=1)))
    assert linked("a", now=local)[0].at == NOW


def test_what_cannot_be_hashed_alike_everywhere_is_not_linked() -> None:
    with pytest.raises(BadRequest):
        link(ROOM, genesis(ROOM), [Draft(BUYER, CommandId("c"), EntryKind.NOTICE, {"amount": 0.1})], NOW, salts())


def test_ids_that_would_make_two_keys_alike_are_not_linked() -> None:
    with pytest.raises(ValueError, match="author"):
        linked("c", author=replace(BUYER, id=UserId("a\x1fb")))
    with pytest.raises(ValueError, match="room"):
        linked("c", room=RoomId("a\x1fb"))


def test_a_retry_has_the_same_content() -> None:
    [entry] = link(
        ROOM, genesis(ROOM), [Draft(BUYER, CommandId("c"), EntryKind.NOTICE, {"a": 1, "b": 2})], NOW, salts()
    )
    again = Draft(BUYER, CommandId("c"), EntryKind.NOTICE, {"b": 2, "a": 1})
    assert same_content(entry, again)
    assert same_content(entry, replace(again, visibility=Visibility.WITHHELD, author=replace(SELLER, name="new")))
    assert not same_content(entry, replace(again, body={"a": 1, "b": 3}))
    assert not same_content(entry, replace(again, body={"a": 1, "b": True}))
    assert not same_content(entry, replace(again, kind=EntryKind.MESSAGE))


def masked() -> Entry:
    made = Draft(BUYER, CommandId("c"), EntryKind.MESSAGE, {"text": "pin ••••"}, whole={"text": "pin 1234"})
    return link(ROOM, genesis(ROOM), [made], NOW, salts())[0]


def test_what_is_masked_can_be_checked_by_those_who_may_see_it() -> None:
    entry = masked()
    assert entry.whole is not None
    content = json.dumps({"text": "pin 1234"}, separators=(",", ":")).encode()
    digest = hashlib.sha256(entry.whole.salt + content).hexdigest()
    assert entry.body == {"text": "pin ••••", "masked": {"fields": ["text"], "digest": digest}}
    assert entry.whole.salt != entry.salt  # who knows the one cannot guess what the other hides
    assert verify(ROOM, [entry]) is None
    assert verify(ROOM, [replace(entry, whole=None)]) is None  # as the other side sees it
    other = replace(entry, whole=replace(entry.whole, texts={"text": "pin 1235"}))
    assert verify(ROOM, [other]) == Break(ROOM, Seq(1), BreakKind.CONTENT)
    assert verify(ROOM, [replace(erased(entry), whole=entry.whole)]) == Break(ROOM, Seq(1), BreakKind.CONTENT)


def test_a_retry_says_what_was_written_whatever_was_masked() -> None:
    plain, hidden = draft("c", "pin 1234"), Draft(BUYER, CommandId("c"), EntryKind.MESSAGE, {"text": "p"})
    assert same_content(masked(), plain)
    assert same_content(masked(), replace(hidden, whole={"text": "pin 1234"}))
    assert not same_content(masked(), draft("c", "pin ••••"))
    [shown] = link(ROOM, genesis(ROOM), [plain], NOW, salts())
    assert same_content(shown, replace(hidden, whole={"text": "pin 1234"}))


def test_of_an_erased_entry_only_the_kind_can_be_compared() -> None:
    [entry] = linked("c")
    assert same_content(erased(entry), draft("c", "something else"))
    assert not same_content(erased(entry), replace(draft("c"), kind=EntryKind.NOTICE))
