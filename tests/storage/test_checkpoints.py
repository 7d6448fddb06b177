import pytest

from policies.vocabulary import RoomId
from storage.chain import genesis, head_of
from storage.checkpoints import Checkpoints
from storage.client import Database
from storage.rooms import Rooms
from tests.storage.making import ROOM, linked
from tests.storage.test_rooms import create, room


@pytest.fixture
def checkpoints(database: Database) -> Checkpoints:
    return Checkpoints(database)


async def test_verified_heads_are_kept(checkpoints: Checkpoints) -> None:
    first, second = (head_of(entry) for entry in linked("a", "b"))
    other = genesis(RoomId("order-2"))
    await checkpoints.advance([(ROOM, first), (RoomId("order-2"), other)])
    await checkpoints.advance([(ROOM, second)])
    await checkpoints.advance([])
    asked = [ROOM, RoomId("order-2"), RoomId("order-3")]
    assert await checkpoints.verified(asked) == {ROOM: second, RoomId("order-2"): other}


async def test_a_round_goes_through_all_rooms_and_begins_again(database: Database, checkpoints: Checkpoints) -> None:
    await create(database, Rooms(database), *(room(number, "anna", "bert") for number in (1, 2, 3)))
    assert await checkpoints.next_rooms(2) == ["order-1", "order-2"]
    assert await checkpoints.next_rooms(2) == ["order-1", "order-2"]  # until it moves on
    await checkpoints.proceed(RoomId("order-2"))
    assert await checkpoints.next_rooms(2) == ["order-3"]
    await checkpoints.proceed(RoomId("order-3"))
    assert await checkpoints.next_rooms(2) == []
    await checkpoints.proceed(None)
    assert await checkpoints.next_rooms(2) == ["order-1", "order-2"]
