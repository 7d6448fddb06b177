"""What is known of evidence, kept and found again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from policies.evidence import Announcement, EvidenceId, MediaType
from policies.vocabulary import DisputeId, EvidenceKind, Role, RoomId, Seq, UserId
from storage.client import Database
from storage.evidence import Evidence, EvidenceState, EvidenceStore, Seen
from storage.holds import Hold, Holds
from storage.object_store import StoredObject

NOW = datetime(2026, 2, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ROOM, OTHER = RoomId("dispute-1"), RoomId("dispute-2")
ADA, SHOP = UserId("ada"), UserId("shop")


def piece(number: int, **changed: object) -> Evidence:
    said = Announcement("a.png", "image/png", 100, f"{number:064x}", EvidenceKind.PHOTO, "", None, "")
    evidence = Evidence(
        id=EvidenceId(f"e{number}"),
        room=ROOM,
        dispute=DisputeId("1"),
        uploader=ADA,
        uploader_name="Ada",
        role=Role.BUYER,
        said=said,
        media_type=MediaType.PNG,
        state=EvidenceState.ANNOUNCED,
        announced_at=NOW + number * HOUR,
        touched_at=NOW + number * HOUR,
    )
    return replace(evidence, **changed)  # type: ignore[arg-type]


@pytest.fixture
def known(database: Database) -> EvidenceStore:
    return EvidenceStore(database)


async def keep(known: EvidenceStore, *pieces: Evidence) -> None:
    for each in pieces:
        await known.add(each)


async def test_a_piece_is_found_as_it_was_kept(known: EvidenceStore) -> None:
    bare = piece(1)
    full = piece(
        2,
        dispute=None,
        upload="u1",
        original=StoredObject("sealed/dispute-1/e2", 100, '"etag"', "v1"),
        shown=StoredObject("shown/dispute-1/e2", 90, '"other"'),
        thumbnail=StoredObject("thumbnails/dispute-1/e2", 9, '"small"', "v2"),
        seen=Seen(64, 48, NOW - HOUR, ("https://example.org", "+49 30 1")),
        seq=Seq(7),
        rule="infected",
        withdrawn_at=NOW + HOUR,
        leftover=True,
        said=replace(bare.said, captured_at=NOW - HOUR, caption="ein Paket", origin="camera"),
    )
    await keep(known, bare, full)
    assert await known.get(bare.id) == bare
    assert await known.get(full.id) == full
    assert await known.get(EvidenceId("e3")) is None
    assert await known.several([bare.id, full.id, EvidenceId("e3")]) == {bare.id: bare, full.id: full}


async def test_a_piece_goes_on_once(known: EvidenceStore) -> None:
    before = piece(1)
    await keep(known, before)
    sealing = before.now(EvidenceState.SEALING, NOW + 2 * HOUR)
    assert await known.advance(before, sealing)
    assert not await known.advance(before, before.now(EvidenceState.REFUSED, NOW + 2 * HOUR))
    same_state = sealing.now(EvidenceState.SEALING, NOW + 3 * HOUR)
    assert await known.advance(sealing, same_state)
    assert not await known.advance(sealing, sealing.now(EvidenceState.SEALED, NOW + 3 * HOUR))
    assert await known.get(before.id) == same_state


async def test_a_side_is_counted_by_room_and_uploads_by_person(known: EvidenceStore) -> None:
    states = list(EvidenceState)
    await keep(known, *(piece(number, state=state) for number, state in enumerate(states)))
    await keep(
        known,
        piece(20, uploader=UserId("ada's brother")),
        piece(21, role=Role.SELLER, uploader=SHOP),
        piece(22, room=OTHER),
    )
    assert await known.counts(ROOM, Role.BUYER, ADA) == (5, {EvidenceKind.PHOTO: 5}, 1)
    assert await known.counts(ROOM, Role.SELLER, SHOP) == (1, {EvidenceKind.PHOTO: 1}, 1)
    assert await known.counts(OTHER, Role.SELLER, SHOP) == (0, {}, 0)
    video = replace(piece(23).said, kind=EvidenceKind.VIDEO)
    await keep(known, piece(23, said=video), piece(24, said=video, state=EvidenceState.REFUSED))
    assert await known.counts(ROOM, Role.BUYER, ADA) == (6, {EvidenceKind.PHOTO: 5, EvidenceKind.VIDEO: 1}, 2)


async def test_what_is_sealed_is_found_by_room_and_by_bytes(known: EvidenceStore) -> None:
    sealed = [piece(number, state=EvidenceState.SEALED) for number in (3, 1, 2)]
    same = piece(4, state=EvidenceState.SEALED, room=OTHER, said=sealed[0].said)
    await keep(known, *sealed, same, piece(5), piece(6, said=sealed[0].said))
    assert [each.id for each in await known.of_room(ROOM)] == ["e1", "e2", "e3"]
    assert await known.alike(sealed[0]) == [same]
    assert await known.alike(sealed[1]) == []


async def test_what_a_side_has_added_is_known_by_kind(known: EvidenceStore) -> None:
    video = replace(piece(0).said, kind=EvidenceKind.VIDEO)
    await keep(
        known,
        piece(1, state=EvidenceState.SEALED),
        piece(2, state=EvidenceState.SEALED),
        piece(3, state=EvidenceState.DELETED, role=Role.SELLER, said=video),
        piece(4, state=EvidenceState.SEALED, role=Role.SELLER, withdrawn_at=NOW),
        piece(5, said=video),
        piece(6, state=EvidenceState.SEALED, room=OTHER, said=video),
    )
    assert await known.kinds(ROOM) == {(Role.BUYER, EvidenceKind.PHOTO), (Role.SELLER, EvidenceKind.VIDEO)}


async def test_what_was_left_behind_is_found_the_longest_first(known: EvidenceStore) -> None:
    await keep(known, piece(3), piece(1), piece(2), piece(0, state=EvidenceState.SEALED))
    before = NOW + 3 * HOUR
    assert [each.id for each in await known.unfinished(EvidenceState.ANNOUNCED, before, 10)] == ["e1", "e2"]
    assert [each.id for each in await known.unfinished(EvidenceState.ANNOUNCED, before, 1)] == ["e1"]
    assert await known.unfinished(EvidenceState.QUARANTINED, before, 10) == []


async def test_what_has_objects_left_is_found(known: EvidenceStore) -> None:
    gone = {"state": EvidenceState.REFUSED, "leftover": True}
    await keep(known, piece(2, **gone), piece(1, **gone), piece(0, state=EvidenceState.REFUSED))
    assert [each.id for each in await known.leftovers(NOW + 2 * HOUR, 10)] == ["e1"]
    assert [each.id for each in await known.leftovers(NOW + 3 * HOUR, 10)] == ["e1", "e2"]
    first = piece(1, **gone)
    assert await known.advance(first, replace(first, leftover=False))
    assert [each.id for each in await known.leftovers(NOW + 3 * HOUR, 10)] == ["e2"]


async def test_what_is_sealed_is_looked_at_when_it_is_time(known: EvidenceStore) -> None:
    await keep(known, *(piece(number, state=EvidenceState.SEALED) for number in (1, 2)), piece(0))
    assert await known.to_look_at(NOW, 10) == []
    assert [each.id for each in await known.to_look_at(NOW + 2 * HOUR, 10)] == ["e1", "e2"]
    await known.look_later(EvidenceId("e1"), NOW + 9 * HOUR)
    assert [each.id for each in await known.to_look_at(NOW + 8 * HOUR, 10)] == ["e2"]
    assert [each.id for each in await known.to_look_at(NOW + 9 * HOUR, 1)] == ["e2"]
    withdrawn = piece(1, state=EvidenceState.SEALED)
    await known.advance(withdrawn, withdrawn.now(EvidenceState.SEALED, NOW + 2 * HOUR))
    assert [each.id for each in await known.to_look_at(NOW + 8 * HOUR, 10)] == ["e2"]  # that has not changed


async def test_all_of_a_person_is_found(known: EvidenceStore) -> None:
    await keep(known, piece(1), piece(2, room=OTHER), piece(3, room=OTHER), piece(4, uploader=SHOP, room=RoomId("z")))
    assert await known.rooms_of(ADA) == [ROOM, OTHER]
    assert [each.id for each in await known.of_uploader(OTHER, ADA)] == ["e2", "e3"]
    assert await known.rooms_of(UserId("nobody")) == []


async def test_all_there_is_comes_in_pages(known: EvidenceStore) -> None:
    await keep(known, *(piece(number) for number in (2, 1, 3)))
    first = await known.after(None, 2)
    assert [each.id for each in first] == ["e1", "e2"]
    assert [each.id for each in await known.after(first[-1].id, 2)] == ["e3"]
    assert await known.after(EvidenceId("e3"), 2) == []


async def test_a_hold_stands_until_it_is_lifted(database: Database) -> None:
    holds = Holds(database)
    hold = Hold(DisputeId("1"), ADA, Role.SENIOR_AGENT, "a lawsuit", NOW)
    assert await holds.of(hold.dispute) is None
    assert not await holds.any_of([])
    await holds.put(hold)
    assert await holds.of(hold.dispute) == hold
    again = replace(hold, by=SHOP, reason="another one", since=NOW + HOUR)
    await holds.put(again)
    assert await holds.of(hold.dispute) == replace(again, since=NOW)
    assert await holds.any_of([DisputeId("2"), DisputeId("1")])
    assert not await holds.any_of([DisputeId("2")])
    assert await holds.lift(hold.dispute)
    assert not await holds.lift(hold.dispute)
    assert await holds.of(hold.dispute) is None
