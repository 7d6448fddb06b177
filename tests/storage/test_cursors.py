import asyncio
from datetime import timedelta

import pytest

from policies.vocabulary import RoomId, Seq, UserId
from storage.client import Database
from storage.cursors import Cursor, Cursors
from tests.storage.making import NOW, ROOM

ANNA, BERT = UserId("anna"), UserId("bert")
OTHER = RoomId("order-2")


@pytest.fixture
def cursors(database: Database) -> Cursors:
    return Cursors(database)


def at(delivered: int, read: int) -> Cursor:
    return Cursor(Seq(delivered), Seq(read))


async def test_cursors_of_a_room(cursors: Cursors) -> None:
    beside = [RoomId("order-10"), RoomId("order-"), RoomId("order-1 ")]
    await cursors.advance([(ROOM, ANNA, 3, 2), (ROOM, BERT, 1, 0), *((room, ANNA, 9, 9) for room in beside)])
    assert await cursors.of_room(ROOM) == {ANNA: at(3, 2), BERT: at(1, 0)}
    assert await cursors.of_room(RoomId("order-3")) == {}


async def test_cursors_of_a_user(cursors: Cursors) -> None:
    await cursors.advance([(ROOM, ANNA, 3, 2), (OTHER, ANNA, 5, 5), (OTHER, BERT, 1, 1)])
    assert await cursors.of_user([ROOM, OTHER, RoomId("order-3")], ANNA) == {ROOM: at(3, 2), OTHER: at(5, 5)}
    assert await cursors.of_user([OTHER], ANNA) == {OTHER: at(5, 5)}
    assert await cursors.of_user([], ANNA) == {}


async def test_cursors_only_move_forward(cursors: Cursors) -> None:
    await cursors.advance([(ROOM, ANNA, 5, 2)])
    await cursors.advance([(ROOM, ANNA, 3, 3)])
    await cursors.advance([(ROOM, ANNA, 0, 0)])
    assert await cursors.of_room(ROOM) == {ANNA: at(5, 3)}


async def test_what_was_read_was_received(cursors: Cursors) -> None:
    await cursors.advance([(ROOM, ANNA, 1, 4)])
    assert await cursors.of_room(ROOM) == {ANNA: at(4, 4)}


async def test_last_seen(cursors: Cursors) -> None:
    await cursors.advance([(ROOM, ANNA, 3, 2)])
    await cursors.seen({(ROOM, ANNA): NOW, (ROOM, BERT): NOW})
    await cursors.seen({(ROOM, ANNA): NOW - timedelta(minutes=1), (ROOM, BERT): NOW + timedelta(minutes=1)})
    assert await cursors.of_room(ROOM) == {
        ANNA: Cursor(Seq(3), Seq(2), NOW),
        BERT: Cursor(Seq(0), Seq(0), NOW + timedelta(minutes=1)),
    }


async def test_nothing_to_write_is_nothing(cursors: Cursors) -> None:
    await cursors.advance([])
    await cursors.seen({})
    assert await cursors.of_room(ROOM) == {}


async def test_several_processes_report_the_same_member_at_once(cursors: Cursors) -> None:
    await asyncio.gather(*(cursors.advance([(ROOM, ANNA, n, n // 2), (ROOM, BERT, n, 0)]) for n in range(1, 21)))
    assert await cursors.of_room(ROOM) == {ANNA: at(20, 10), BERT: at(20, 0)}
