"""What an append costs as the log grows: ``python -m tests.bench.growth [ENTRIES...]``.

A real MongoDB is filled to each size in turn (0, 300,000 and 5,000,000 entries unless told otherwise), and at each the
same durable appends are measured: many rooms at once through the group commit, w=majority, j=true. The rooms that are
measured are spread over the whole key space, as rooms are. 5,000,000 entries take about 3 GB of disk for a while.
"""

import asyncio
import hashlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pymongo import MongoClient, WriteConcern

from chatserver.embedded import Mongod
from policies.entry import Author, Draft
from policies.vocabulary import CommandId, EntryKind, Role, RoomId, UserId
from storage.chain import genesis, head_of, link
from storage.client import MongoConfig, open_database
from storage.commit import GroupCommit
from storage.documents import encode_entry
from storage.room_log import RoomLog
from storage.schema import migrate
from tests.bench.report import table

SIZES: Final = (0, 300_000, 5_000_000)
ROOM_ENTRIES: Final = 50
TOGETHER: Final = 5_000
WRITERS: Final = 256
WINDOWS: Final = 5
WINDOW_S: Final = 3.0
_DATABASE: Final = "bench_growth"
_AUTHOR: Final = Author(UserId("buyer"), Role.BUYER, "Bo")
_TEXT: Final = "It has about as many words as people write when something is wrong with what they bought. "


def main(sizes: Sequence[int]) -> None:
    with tempfile.TemporaryDirectory(prefix="growth-") as folder, Mongod(Path(folder)) as mongod:
        rows = asyncio.run(_measure(mongod.url, sizes))
    print(table(["entries", "appends/s, median", "least", "most", "index MB"], rows))


async def _measure(url: str, sizes: Sequence[int]) -> list[list[str]]:
    database = open_database(MongoConfig(url, _DATABASE, "pymongo"))
    await migrate(database)
    commit = GroupCommit(database)
    log = RoomLog(database, commit)
    rows, filled = [], 0
    for size in sizes:
        filled = await asyncio.to_thread(_fill, url, filled, size)
        rates = await _append(log)
        stats = await database.command({"collStats": "entries"})
        rows.append(
            [
                f"{size:,}",
                *(f"{figure(rates):,.0f}" for figure in (statistics.median, min, max)),
                f"{stats['totalIndexSize'] / 1e6:,.0f}",
            ]
        )
    await commit.close()
    await database.drop()
    await database.close()
    return rows


def _fill(url: str, filled: int, size: int) -> int:
    """Add whole rooms until there are so many entries."""
    with MongoClient[dict[str, object]](url) as client:
        entries = client[_DATABASE].get_collection("entries", write_concern=WriteConcern(w=1, j=False))
        while filled < size:
            documents = []
            for number in range(filled, min(filled + TOGETHER, size), ROOM_ENTRIES):
                room = _room("filled", number)
                drafts = [_draft(place) for place in range(ROOM_ENTRIES)]
                now = datetime.now(UTC)
                documents += [encode_entry(entry) for entry in link(room, genesis(room), drafts, now, _salt)]
            entries.insert_many(documents, ordered=False)
            filled += TOGETHER
    return filled


async def _append(log: RoomLog) -> list[float]:
    """Appends per second, in each of some windows; each writer has rooms of its own."""
    done = 0

    async def write(writer: int) -> None:
        nonlocal done
        turn = 0
        while True:
            room, turn = _room(f"{time.monotonic_ns()}-{writer}", turn), turn + 1
            head = genesis(room)
            for place in range(ROOM_ENTRIES):
                entries = link(room, head, [_draft(place)], datetime.now(UTC), _salt)
                outcome = await log.submit(entries)
                assert outcome.failure is None
                head = head_of(entries[0])
                done += 1

    writers = [asyncio.create_task(write(number)) for number in range(WRITERS)]
    await asyncio.sleep(WINDOW_S)  # everything warm
    rates = []
    for _ in range(WINDOWS):
        before, began = done, time.perf_counter()
        await asyncio.sleep(WINDOW_S)
        rates.append((done - before) / (time.perf_counter() - began))
    for task in writers:
        task.cancel()
    await asyncio.gather(*writers, return_exceptions=True)
    return rates


def _room(kind: str, number: int) -> RoomId:
    return RoomId("order-" + hashlib.sha256(f"{kind}{number}".encode()).hexdigest()[:20])


def _draft(place: int) -> Draft:
    return Draft(_AUTHOR, CommandId(f"c{place}"), EntryKind.MESSAGE, {"text": _TEXT})


def _salt() -> bytes:
    return os.urandom(16)


if __name__ == "__main__":
    main([int(each.replace(",", "").replace("_", "")) for each in sys.argv[1:]] or SIZES)
