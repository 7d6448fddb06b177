import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from chatserver.hub.tasks import end
from chatserver.hub.unread_marks import UnreadMarks
from policies.entry import Draft, Entry
from policies.errors import Unavailable
from policies.vocabulary import CommandId, EntryKind, RoomId
from storage.chain import genesis, link
from tests.chatserver.moving_time import NOW, HandClock
from tests.eventually import eventually
from tests.storage.making import BUYER, salts

ROOM, OTHER = RoomId("order-1"), RoomId("order-2")
HALF = timedelta(seconds=30)


class Marks:
    """Where marks are kept; away while it is told to be."""

    def __init__(self) -> None:
        self.stored: list[dict[RoomId, datetime]] = []
        self.away = False

    async def mark(self, rooms: Mapping[RoomId, datetime]) -> None:
        if self.away:
            raise Unavailable("away")
        if rooms:
            self.stored.append(dict(rooms))


def entries(room: RoomId, kind: EntryKind = EntryKind.MESSAGE) -> Sequence[Entry]:
    return link(room, genesis(room), [Draft(BUYER, CommandId("c"), kind, {"text": "hi"})], NOW, salts())


Spawn = Callable[[Coroutine[Any, Any, None]], object]


@pytest.fixture
async def spawn() -> AsyncIterator[Spawn]:
    tasks: list[asyncio.Task[None]] = []

    def start(work: Coroutine[Any, Any, None]) -> None:
        tasks.append(asyncio.create_task(work))

    yield start
    await end(*tasks)


async def test_rooms_are_marked_together_and_once_in_a_while(spawn: Spawn) -> None:
    store, clock = Marks(), HandClock()
    marks = UnreadMarks(store, clock, HALF, spawn)
    for _ in range(100):
        marks.note(entries(ROOM))
        marks.note(entries(OTHER))
    await eventually(lambda: store.stored == [{ROOM: NOW, OTHER: NOW}])
    clock.advance(29.999)
    marks.note(entries(ROOM))
    clock.advance(0.001)
    marks.note(entries(ROOM))
    await eventually(lambda: len(store.stored) == 2)
    assert store.stored[1] == {ROOM: NOW + HALF}


async def test_only_messages_mark(spawn: Spawn) -> None:
    store = Marks()
    marks = UnreadMarks(store, HandClock(), HALF, spawn)
    for kind in EntryKind:
        if kind is not EntryKind.MESSAGE:
            marks.note(entries(ROOM, kind))
    await marks.flush()
    assert store.stored == []


async def test_what_the_database_did_not_take_is_stored_later(spawn: Spawn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatserver.hub.unread_marks.RETRY_S", 0.01)
    store = Marks()
    store.away = True
    marks = UnreadMarks(store, HandClock(), HALF, spawn)
    marks.note(entries(ROOM))
    with pytest.raises(Unavailable):
        await marks.flush()
    await asyncio.sleep(0.1)
    marks.note(entries(OTHER))
    store.away = False
    await eventually(lambda: bool(store.stored))
    assert store.stored == [{ROOM: NOW, OTHER: NOW}]


async def test_a_planned_stop_takes_nothing_along(spawn: Spawn) -> None:
    store = Marks()
    marks = UnreadMarks(store, HandClock(), HALF, lambda work: work.close())
    marks.note(entries(ROOM))
    await marks.flush()
    assert store.stored == [{ROOM: NOW}]


async def test_it_remembers_so_many_rooms(spawn: Spawn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatserver.hub.unread_marks.REMEMBERED", 2)
    store = Marks()
    marks = UnreadMarks(store, HandClock(), HALF, spawn)
    rooms = [RoomId(f"order-{number}") for number in range(3)]
    for room in rooms:
        marks.note(entries(room))
    await marks.flush()
    marks.note(entries(rooms[2]))
    marks.note(entries(rooms[0]))
    await marks.flush()
    assert store.stored == [dict.fromkeys(rooms, NOW), {rooms[0]: NOW}]
