import asyncio
import base64
import json
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from pymongo import MongoClient

from policies.errors import BadRequest
from policies.room import Party, RoomFacts
from policies.vocabulary import OrderId, RoomId, RoomKind, UserId
from storage.client import Database, Session
from storage.rooms import NEWEST_FIRST, Rooms, of_user_query
from tests.storage.making import NOW

ANNA = UserId("anna")


@pytest.fixture
def rooms(database: Database) -> Rooms:
    return Rooms(database)


def room(
    number: int, buyer: str, seller: str, created_at: datetime = NOW, kind: RoomKind = RoomKind.ORDER
) -> RoomFacts:
    return RoomFacts(
        id=RoomId(f"{kind}-{number}"),
        kind=kind,
        order_id=OrderId(str(number)),
        buyer=Party(UserId(buyer), buyer.title()),
        seller=Party(UserId(seller), seller.title()),
        created_at=created_at,
    )


async def create(database: Database, rooms: Rooms, *made: RoomFacts) -> None:
    async def work(session: Session) -> None:
        for facts in made:
            await rooms.create(facts, session)

    await database.transact(work)


async def pages(rooms: Rooms, user: UserId, limit: int) -> list[list[str]]:
    found, cursor = [], None
    while True:
        page = await rooms.of_user(user, limit, cursor)
        found.append([facts.order_id for facts in page.rooms])
        cursor = page.cursor
        if cursor is None:
            return [list(map(str, orders)) for orders in found]


async def test_a_room_comes_back_as_it_was_made(database: Database, rooms: Rooms) -> None:
    made = room(1, "anna", "bert")
    await create(database, rooms, made)
    assert await rooms.facts(made.id) == made
    assert await rooms.facts(RoomId("order-2")) is None


async def test_rooms_of_a_user_on_either_side_newest_first(database: Database, rooms: Rooms) -> None:
    day = timedelta(days=1)
    await create(
        database,
        rooms,
        room(1, "anna", "bert", NOW),
        room(2, "bert", "anna", NOW + 3 * day),
        room(3, "bert", "carl", NOW + 4 * day),
        room(4, "anna", "carl", NOW + 2 * day),
    )
    assert await pages(rooms, ANNA, 10) == [["2", "4", "1"]]
    assert await pages(rooms, ANNA, 2) == [["2", "4"], ["1"]]
    assert await pages(rooms, UserId("nobody"), 10) == [[]]


async def test_a_party_never_sees_a_staff_log(database: Database, rooms: Rooms) -> None:
    kinds = (RoomKind.DISPUTE, RoomKind.STAFF, RoomKind.ORDER)
    await create(database, rooms, *(room(1, "anna", "bert", kind=kind) for kind in kinds))
    for user in (ANNA, UserId("bert")):
        assert {facts.id for facts in (await rooms.of_user(user, 10)).rooms} == {"order-1", "dispute-1"}
        assert len((await rooms.of_user(user, 2)).rooms) == 2
        assert (await rooms.of_user(user, 2)).cursor is None


async def test_pages_neither_repeat_nor_skip_rooms_of_the_same_moment(database: Database, rooms: Rooms) -> None:
    same = [room(number, *(("anna", "bert") if number % 2 else ("bert", "anna"))) for number in range(10, 17)]
    await create(database, rooms, *same)
    found = await pages(rooms, ANNA, 3)
    assert [len(page) for page in found] == [3, 3, 1]
    assert [order for page in found for order in page] == [str(number) for number in range(10, 17)]


async def test_a_users_rooms_are_read_in_order_from_the_indexes(
    mongo_url: str, database: Database, rooms: Rooms
) -> None:
    await create(database, rooms, *(room(number, "anna", "bert") for number in range(20)))
    for cursor in (None, (await rooms.of_user(ANNA, 5)).cursor):
        find = {"find": "rooms", "filter": of_user_query(ANNA, cursor), "sort": dict(NEWEST_FIRST), "limit": 5}
        with MongoClient[dict[str, object]](mongo_url) as client:
            plan = json.dumps(client[database.name].command("explain", find), default=str)
        assert "COLLSCAN" not in plan
        assert '"stage": "SORT"' not in plan
        assert '"stage": "SORT_MERGE"' in plan


async def test_a_page_that_is_just_full_is_the_last_one(database: Database, rooms: Rooms) -> None:
    await create(database, rooms, room(1, "anna", "bert"), room(2, "anna", "bert"))
    assert (await rooms.of_user(ANNA, 2)).cursor is None


def cursor(place: str) -> str:
    return base64.urlsafe_b64encode(place.encode()).decode()


@pytest.mark.parametrize("given", ["?", "äöü", "AAAA", cursor("x:y"), cursor("123"), cursor("9" * 30 + ":x"), "A"])
async def test_a_cursor_that_was_not_given_out_is_refused(rooms: Rooms, given: str) -> None:
    with pytest.raises(BadRequest):
        await rooms.of_user(ANNA, 10, given)


async def test_new_parties(database: Database, rooms: Rooms) -> None:
    await create(database, rooms, room(1, "anna", "bert"), room(2, "anna", "bert"))

    async def work(session: Session) -> None:
        await rooms.set_parties(
            RoomId("order-1"), Party(UserId("carl"), "Carl"), Party(UserId("dora"), "Dora"), session
        )

    await database.transact(work)
    first, second = await asyncio.gather(rooms.facts(RoomId("order-1")), rooms.facts(RoomId("order-2")))
    assert first == room(1, "carl", "dora")
    assert second == room(2, "anna", "bert")


async def test_a_dispute_room_keeps_its_parties_and_says_how_it_stands(database: Database, rooms: Rooms) -> None:
    dispute = replace(room(1, "anna", "bert"), id=RoomId("dispute-1"), kind=RoomKind.DISPUTE, unattended=True)
    stands = replace(dispute, closed=True, unattended=False, closes_at=dispute.created_at)
    await create(database, rooms, room(1, "anna", "bert"), dispute)

    async def work(session: Session) -> None:
        await rooms.set_parties(RoomId("order-1"), Party(UserId("carl"), "Carl"), dispute.seller, session)
        await rooms.set_state(stands, session)

    assert await rooms.facts(dispute.id) == dispute
    await database.transact(work)
    assert await rooms.facts(dispute.id) == stands
    assert await rooms.facts(RoomId("order-1")) == room(1, "carl", "bert")
