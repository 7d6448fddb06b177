"""A process that is killed in the middle of a transaction keeps nobody from a room for long."""

import asyncio
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from policies.errors import Unavailable
from storage.abandoned import end_abandoned
from storage.client import Database, MongoConfig, Session, open_database
from storage.errors import NotOffered
from tests.eventually import eventually
from tests.storage.faults import failing

ROOM = "order-1"
KILLED = """
import asyncio, os, sys
from storage.client import MongoConfig, open_database

async def begin():
    database = open_database(MongoConfig(sys.argv[1], sys.argv[2], sys.argv[3]))

    async def work(session):
        await database.collection("cursors").insert_one(
            {"_id": sys.argv[4], "room": sys.argv[4], "user": "u", "delivered": 0, "read": 0}, session=session
        )
        os._exit(9)

    await database.transact(work)

asyncio.run(begin())
"""


def cursor(room: str) -> dict[str, Any]:
    return {"_id": room, "room": room, "user": "u", "delivered": 0, "read": 0}


def begin_and_die(mongo: MongoConfig) -> None:
    command = [sys.executable, "-c", KILLED, mongo.url, mongo.database, mongo.driver, ROOM]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 9, ended.stderr


async def test_what_a_killed_process_had_begun_is_undone_at_once(database: Database, mongo: MongoConfig) -> None:
    await end_abandoned(database, 0.0)
    await asyncio.to_thread(begin_and_die, mongo)
    hasty = open_database(replace(mongo, timeout_s=0.5))
    with pytest.raises(Unavailable):
        await hasty.collection("cursors").insert_one(cursor(ROOM))
    assert await end_abandoned(database, 600.0) == 0
    ended: list[int] = []

    async def end() -> None:
        ended.append(await end_abandoned(database, 0.2))

    await eventually(lambda: sum(ended) > 0, end)
    await hasty.collection("cursors").insert_one(cursor(ROOM))
    assert await database.collection("cursors").find({}) == [cursor(ROOM)]
    assert (sum(ended), await end_abandoned(database, 0.0)) == (1, 0)
    await hasty.close()


async def test_a_process_that_lives_after_all_tries_again(database: Database) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()
    attempts: list[int] = []

    async def work(session: Session) -> None:
        attempts.append(1)
        await database.collection("cursors").insert_one(cursor(ROOM), session=session)
        began.set()
        await go_on.wait()
        await database.collection("cursors").insert_one(cursor("order-2"), session=session)

    slow = asyncio.create_task(database.transact(work))
    await began.wait()
    ended: list[int] = []

    async def end() -> None:
        ended.append(await end_abandoned(database, 0.05))

    await eventually(lambda: sum(ended) > 0, end)
    go_on.set()
    await slow
    assert len(attempts) == 2
    assert {found["_id"] for found in await database.collection("cursors").find({})} == {ROOM, "order-2"}


@pytest.mark.parametrize(("command", "code"), [("aggregate", 13), ("aggregate", 40324)])
async def test_a_mongodb_that_does_not_tell_is_known_by_its_answer(
    command: str, code: int, faulty_database: Database, faulty_url: str
) -> None:
    with failing(faulty_url, command, errorCode=code), pytest.raises(NotOffered, match=str(code)):
        await end_abandoned(faulty_database, 5.0)
    assert await end_abandoned(faulty_database, 5.0) == 0


async def test_any_other_failure_is_temporary(faulty_database: Database, faulty_url: str) -> None:
    with failing(faulty_url, "aggregate", errorCode=8), pytest.raises(Unavailable):
        await end_abandoned(faulty_database, 5.0)
