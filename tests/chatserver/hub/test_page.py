"""Pages of entries, bounded in bytes."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from chatserver.hub.page import fit
from policies.entry import Author, Draft, Entry
from policies.vocabulary import CommandId, EntryKind, Role, RoomId, UserId
from storage.chain import genesis, link

ROOM = RoomId("order-1")
BEA = UserId("bea")


def log(*texts: str) -> list[Entry]:
    author = Author(BEA, Role.BUYER, "Bea")
    drafts = [Draft(author, CommandId(f"c{n}"), EntryKind.MESSAGE, {"text": text}) for n, text in enumerate(texts)]
    return link(ROOM, genesis(ROOM), drafts, datetime(2026, 1, 31, tzinfo=UTC), lambda: bytes(16))


def seqs(page: Sequence[orjson.Fragment]) -> list[int]:
    entries: list[dict[str, Any]] = orjson.loads(orjson.dumps(list(page)))
    return [entry["seq"] for entry in entries]


def test_what_fits_is_the_whole_page() -> None:
    page, left_out = fit(log("a", "b", "c"), BEA, Role.BUYER, 10_000)
    assert seqs(page) == [1, 2, 3]
    assert left_out == 0
    assert fit([], BEA, Role.BUYER, 10_000) == ([], 0)


def test_what_does_not_fit_is_left_out_at_the_end_or_at_the_beginning() -> None:
    entries = log(*("x" * 1000 for _ in range(5)))
    size = len(orjson.dumps(orjson.loads(orjson.dumps(fit(entries[:1], BEA, Role.BUYER, 1)[0]))[0]))
    page, left_out = fit(entries, BEA, Role.BUYER, 2 * size)
    assert (seqs(page), left_out) == ([1, 2], 3)
    page, left_out = fit(entries, BEA, Role.BUYER, 2 * size - 1, newest=True)
    assert (seqs(page), left_out) == ([5], 4)
    page, left_out = fit(entries, BEA, Role.BUYER, 2 * size, newest=True)
    assert (seqs(page), left_out) == ([4, 5], 3)


def test_one_entry_is_given_whatever_its_size() -> None:
    page, left_out = fit(log("x" * 4000, "y"), BEA, Role.BUYER, 1024)
    assert (seqs(page), left_out) == ([1], 1)
