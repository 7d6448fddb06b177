"""Entries to test with. Salts and times are fixed, so the same call makes the same entry."""

import itertools
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

from policies.entry import Author, Draft, Entry
from policies.vocabulary import CommandId, EntryKind, Role, RoomId, UserId
from storage.chain import Head, genesis, link

NOW: Final = datetime(2026, 1, 31, 9, 30, 0, 250_000, UTC)
ROOM: Final = RoomId("order-1")
BUYER: Final = Author(UserId("buyer-1"), Role.BUYER, "Bo")
SELLER: Final = Author(UserId("seller-1"), Role.SELLER, "Sue")


def salts() -> Callable[[], bytes]:
    """A source of salts, each another."""
    numbers = itertools.count(1)
    return lambda: next(numbers).to_bytes(16, "big")


def draft(command: str = "c1", text: str = "hello", author: Author = BUYER) -> Draft:
    return Draft(author, CommandId(command), EntryKind.MESSAGE, {"text": text})


def linked(
    *commands: str, room: RoomId = ROOM, head: Head | None = None, author: Author = BUYER, now: datetime = NOW
) -> list[Entry]:
    """Messages of one author with these command ids, linked behind a head, by default the first of the room."""
    return link(room, head or genesis(room), [draft(command, author=author) for command in commands], now, salts())


def seqs(entries: Iterable[Entry]) -> list[int]:
    return [entry.seq for entry in entries]
