"""Showing members what an entry looks like now, when reading it fails, or they come and go meanwhile."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import orjson
import pytest

from chatserver.hub.changes import Changes
from chatserver.hub.live_room import LiveRoom, Membership
from chatserver.hub.publication import Publication
from chatserver.hub.socket import text_frame
from chatserver.rendering import render
from policies.entry import Author, Draft, Entry
from policies.errors import Unavailable
from policies.room import Party, RoomFacts
from policies.vocabulary import CommandId, EntryKind, OrderId, Role, RoomId, RoomKind, Seq, UserId, Visibility
from storage.chain import genesis, head_of, link
from tests.storage.making import NOW, salts

ROOM = RoomId("order-1")
FACTS = RoomFacts(ROOM, RoomKind.ORDER, OrderId("1"), Party(UserId("bo"), "Bo"), Party(UserId("sue"), "Sue"), NOW)
SUE = Author(UserId("sue"), Role.SELLER, "Sue")
ADA = Author(UserId("ada"), Role.AGENT, "Ada")


class Log:
    """A log that fails so often before it answers."""

    def __init__(self, *entries: Entry, failures: int = 0) -> None:
        self.entries = {entry.seq: entry for entry in entries}
        self.failures = failures

    async def read(self, room: RoomId, seq: Seq) -> Entry | None:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise Unavailable("no answer")
        return self.entries.get(seq)


class Someone:
    """A member, and what it was sent."""

    token_role = None
    away = False

    def __init__(self, user: str) -> None:
        self.user_id = UserId(user)
        self.name = user.title()
        self.frames: list[bytes] = []

    def send(self, frame: bytes, *, ephemeral: bool = False) -> None:
        assert not ephemeral
        self.frames.append(frame)

    def close(self, code: Any, reason: str) -> None:
        raise AssertionError("nobody is sent away")

    def left(self, room: RoomId) -> None:
        raise AssertionError("nobody leaves")


class Room:
    """A room with the three of them; ``changes`` shows them what has changed."""

    def __init__(self, log: Log) -> None:
        self.live = LiveRoom(FACTS, 0)
        self.tasks: list[asyncio.Task[None]] = []
        self.changes = Changes(log, {ROOM: self.live}, self._spawn, pause_s=0)
        self.people = {name: Someone(name) for name in ("bo", "sue", "ada")}
        self.memberships: dict[str, Membership] = {}
        for name, role in (("bo", Role.BUYER), ("sue", Role.SELLER), ("ada", Role.AGENT)):
            self.memberships[name] = self.live.members[self.people[name]] = Membership(self.people[name], role)
            self.memberships[name].position.go_live(2, 2)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    async def told(self) -> dict[str, list[bytes]]:
        await asyncio.gather(*self.tasks)
        return {name: each.frames for name, each in self.people.items() if each.frames}


def entries() -> tuple[Entry, Entry]:
    """A withheld message, released by now, and what the log says of that."""
    drafts = [
        Draft(SUE, CommandId("m"), EntryKind.MESSAGE, {"text": "Call me"}, Visibility.WITHHELD),
        Draft(ADA, CommandId("r"), EntryKind.MESSAGE_RELEASED, {"seq": 1, "side": "seller"}),
    ]
    message, released = link(ROOM, genesis(ROOM), drafts, NOW, salts())
    return replace(message, shown=Visibility.ALL), released


def frame(entry: Entry, user: str, role: Role) -> bytes:
    seen = render(entry, UserId(user), role)
    return text_frame(orjson.dumps({"type": "entry.changed", "room": ROOM, "entry": seen}))


async def test_everybody_is_shown_what_they_may_see() -> None:
    message, released = entries()
    room = Room(Log(message))
    room.changes.delivered(room.live, [Publication.of(released)])
    assert await room.told() == {
        "bo": [frame(message, "bo", Role.BUYER)],
        "sue": [frame(message, "sue", Role.SELLER)],
        "ada": [frame(message, "ada", Role.AGENT)],
    }


async def test_what_cannot_be_read_at_once_is_shown_later() -> None:
    message, released = entries()
    log = Log(message, failures=3)
    room = Room(log)
    room.changes.delivered(room.live, [Publication.of(released)])
    assert len(await room.told()) == 3
    assert log.failures == 0


async def test_what_was_shown_last_is_how_it_is() -> None:
    """Two rulings in a row: the answer of the first read comes after that of the second."""
    message, released = entries()
    [redacted] = link(
        ROOM, head_of(released), [Draft(ADA, CommandId("x"), EntryKind.MESSAGE_REDACTED, {"seq": 1})], NOW, salts()
    )

    class Slow(Log):
        """Each answer is of the moment of the question, and the first one takes its time."""

        asked = 0

        async def read(self, room: RoomId, seq: Seq) -> Entry | None:
            found = self.entries[seq]
            self.asked += 1
            for _ in range(20 if self.asked == 1 else 1):
                await asyncio.sleep(0)
            return found

    log = Slow(message)
    room = Room(log)
    room.changes.delivered(room.live, [Publication.of(released)])
    await asyncio.sleep(0)
    hidden = log.entries[Seq(1)] = replace(message, shown=Visibility.WITHHELD)
    room.changes.delivered(room.live, [Publication.of(redacted)])
    assert (await room.told())["bo"][-1] == frame(hidden, "bo", Role.BUYER)


async def test_who_left_or_has_not_come_yet_is_not_told() -> None:
    message, released = entries()
    room = Room(Log(message))
    room.changes.delivered(room.live, [Publication.of(released)])
    del room.live.members[room.people["bo"]]
    room.live.members[room.people["sue"]] = Membership(room.people["sue"], Role.SELLER)  # it joins anew
    assert list(await room.told()) == ["ada"]


async def test_a_room_out_of_service_is_let_go() -> None:
    _, released = entries()
    room = Room(Log(failures=1_000_000))
    room.changes._live = {}
    room.changes.delivered(room.live, [Publication.of(released)])
    assert await room.told() == {}


async def test_who_comes_back_is_shown_what_they_had() -> None:
    message, released = entries()
    room = Room(Log(message))
    bo = room.memberships["bo"]
    room.changes.joined(room.live, bo, None, [message, released], [])  # all of it was read now
    room.changes.joined(room.live, bo, 0, [message, released], [])
    assert await room.told() == {}
    room.changes.joined(room.live, bo, 1, [released], [])
    assert await room.told() == {"bo": [frame(message, "bo", Role.BUYER)]}


async def test_who_catches_up_by_pages_of_history_is_shown_what_they_had() -> None:
    message, released = entries()
    room = Room(Log(message))
    bo = room.memberships["bo"]
    room.changes.read(room.live, bo, 0, [message, released], 0)
    assert await room.told() == {}
    room.changes.read(room.live, bo, 1, [released], 0)
    assert await room.told() == {"bo": [frame(message, "bo", Role.BUYER)]}


async def test_a_page_that_was_read_while_staff_ruled_is_put_right() -> None:
    message, released = entries()
    room = Room(Log(message))
    room.changes.read(room.live, room.memberships["bo"], 0, [replace(message, shown=None), released], 0)
    assert await room.told() == {"bo": [frame(message, "bo", Role.BUYER)]}


@pytest.mark.parametrize("after", [None, 0])
async def test_what_changes_while_a_page_is_read_is_shown_after_it(after: int | None) -> None:
    """The page shows it as it was, and ``entry.changed`` came before the page."""
    message, released = entries()
    room = Room(Log(message))
    room.changes.delivered(room.live, [Publication.of(released)])
    moment = room.changes.moment
    room.changes.read(room.live, room.memberships["bo"], after, [message], moment)
    assert len((await room.told())["bo"]) == 1  # nothing since
    room.changes.delivered(room.live, [Publication.of(released)])
    room.changes.read(room.live, room.memberships["bo"], after, [replace(message, shown=None)], moment)
    assert (await room.told())["bo"] == [frame(message, "bo", Role.BUYER)] * 3
    room.changes.read(room.live, room.memberships["bo"], after, [released], moment)  # of others nothing
    assert len((await room.told())["bo"]) == 3


async def test_who_comes_in_the_moment_of_a_ruling_is_shown_it() -> None:
    """The page was read before, and the stream brought the ruling before the member was there."""
    message, released = entries()
    room = Room(Log(message))
    room.changes.joined(room.live, room.memberships["bo"], None, [message], [Publication.of(released)])
    assert list(await room.told()) == ["bo"]


async def test_other_entries_change_nothing() -> None:
    message, _ = entries()
    room = Room(Log(message))
    room.changes.delivered(room.live, [Publication.of(message)])
    assert room.tasks == []
