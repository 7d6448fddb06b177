"""Many disputes at once, as the worker reads and writes them; and those that a worker cannot deal with."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from policies.dispute.state import Dispute
from policies.vocabulary import DisputeId, Seq, Status
from storage.chain import Head, head_of
from storage.client import Database, Session
from storage.disputes import Change, Current, Disputes
from storage.room_log import RoomLog
from tests.storage.disputes import HOUR, dispute
from tests.storage.making import NOW, linked

ENOUGH = 1_000
MINUTE = timedelta(minutes=1)


@pytest.fixture
def disputes(database: Database, log: RoomLog) -> Disputes:
    return Disputes(database, log)


async def create(database: Database, disputes: Disputes, log: RoomLog, *numbers: int, messages: int = 0) -> list[Head]:
    """Disputes whose rooms hold an entry each, and messages after it; the heads."""
    heads = []
    for number in numbers:
        made = dispute(number)

        async def work(session: Session, made: Dispute = made) -> None:
            await disputes.create(made, 0, session)

        await database.transact(work)
        entries = linked(*map(str, range(1 + messages)), room=made.room, now=NOW)
        assert (await log.submit(entries)).failure is None
        heads.append(head_of(entries[-1]))
    return heads


def ids(*numbers: int) -> list[DisputeId]:
    return [dispute(number).id for number in numbers]


async def read(disputes: Disputes, *numbers: int, limit: int = ENOUGH) -> dict[DisputeId, Current]:
    return {each.dispute.id: each for each in await disputes.current_of(ids(*numbers), limit)}


async def test_the_current_states_of_several_are_read_together(
    database: Database, disputes: Disputes, log: RoomLog
) -> None:
    heads = await create(database, disputes, log, 1, 2)
    heads += await create(database, disputes, log, 3, messages=2)
    currents = await read(disputes, 1, 2, 3, 4)
    assert [currents[each].head for each in ids(1, 2, 3)] == heads
    assert list(currents) == ids(1, 2, 3)
    for number in (1, 2, 3):
        assert currents[dispute(number).id] == await disputes.current(dispute(number).id)
    assert await disputes.current_of([], ENOUGH) == []


async def test_those_that_do_not_fit_are_left_out(database: Database, disputes: Disputes, log: RoomLog) -> None:
    await create(database, disputes, log, 1, 2, messages=4)
    assert list(await read(disputes, 1, 2, limit=11)) == ids(1, 2)
    assert list(await read(disputes, 1, 2, limit=10)) == ids(1)
    assert list(await read(disputes, 1, 2, limit=5)) == []


@pytest.mark.parametrize(
    ("collection", "query", "damage"),
    [
        ("disputes", {"_id": dispute(2).id}, {"$set": {"state.status": "nonsense"}}),
        ("entries", {"room": dispute(2).room, "seq": 1}, {"$set": {"seq": 9}}),
        ("entries", {"room": dispute(2).room, "seq": 2}, {"$set": {"kind": "nonsense"}}),
        ("entries", {"room": dispute(2).room, "seq": 2}, {"$set": {"kind": "proposal.made"}}),
    ],
)
async def test_a_faulty_one_does_not_keep_the_others_from_being_read(
    database: Database, disputes: Disputes, log: RoomLog, collection: str, query: Any, damage: Any
) -> None:
    await create(database, disputes, log, 1, 2, 3, messages=1)
    assert await database.collection(collection).update_one(query, damage) == 1
    assert list(await read(disputes, 1, 2, 3)) == ids(1, 3)


async def test_several_snapshots_are_brought_up_to_what_was_seen(
    database: Database, disputes: Disputes, log: RoomLog
) -> None:
    await create(database, disputes, log, 1, 2, messages=1)
    currents = list((await read(disputes, 1, 2)).values())
    ahead = dispute(2, seq=Seq(9))
    await advance(database, disputes, [Change(ahead, 0, 0)])
    await disputes.put_each_later(currents)
    await disputes.put_each_later([])
    stored = [await disputes.get(each) for each in ids(1, 2)]
    assert [each and each.dispute.seq for each in stored] == [2, 9]


async def advance(database: Database, disputes: Disputes, changes: Sequence[Change]) -> bool:
    class Undone(Exception):
        """As the ledger does: one that cannot advance undoes them all."""

    async def work(session: Session) -> None:
        if not await disputes.advance_each(changes, session):
            raise Undone

    try:
        await database.transact(work)
    except Undone:
        return False
    return True


async def test_several_advance_together_or_not_at_all(database: Database, disputes: Disputes, log: RoomLog) -> None:
    await create(database, disputes, log, 1, 2)
    first, second = (replace(dispute(number), seq=Seq(5), status=Status.WAITING_FOR_BUYER) for number in (1, 2))
    late = dispute(2, seq=Seq(1))
    assert not await advance(database, disputes, [Change(first, 0, 2), Change(late, 0, 1)])
    assert not await advance(database, disputes, [Change(first, 0, 2), Change(dispute(3, seq=Seq(5)), 0, 1)])
    stored = await disputes.get(first.id)
    assert stored is not None
    assert stored.dispute == dispute(1)
    assert await advance(database, disputes, [Change(first, 0, 2), Change(second, 0, 1)])
    assert [await disputes.get(each) for each in ids(1, 2)] == [
        type(stored)(first, 2),
        type(stored)(second, 1),
    ]


async def test_each_is_claimed_by_itself_and_some_are_avoided(
    database: Database, disputes: Disputes, log: RoomLog
) -> None:
    await create(database, disputes, log, 1, 2, 3, 4)
    now = NOW + 24 * HOUR
    assert await disputes.claim_due(now, now + HOUR, 10, "w", ids(1, 2, 3)) == ids(4)
    assert await disputes.claim_each(now, now + HOUR, 1, "w", ids(1)) == (ids(2), [])
    assert await disputes.claim_each(now, now + HOUR, 10, "w") == (ids(1, 3), [])
    assert await disputes.claim_each(now, now + HOUR, 10, "w") == ([], [])
    assert await disputes.claim_due(now + HOUR, now + 2 * HOUR, 10, "other") == ids(1, 2, 3, 4)


async def test_one_that_fails_is_put_aside_for_longer_each_time(
    database: Database, disputes: Disputes, log: RoomLog
) -> None:
    await create(database, disputes, log, 1)
    now, pauses = NOW + 24 * HOUR, (MINUTE, 5 * MINUTE)
    for pause in (MINUTE, 5 * MINUTE, 5 * MINUTE):
        assert await disputes.claim_due(now, now + HOUR, 10, "w") == ids(1)
        assert await disputes.put_aside(dispute(1).id, "w", now, pauses) == pause
        assert await disputes.claim_due(now + pause - timedelta(milliseconds=1), now + HOUR, 10, "w") == []
        now += pause
    await advance(database, disputes, [Change(dispute(1, seq=Seq(2)), 0, 0)])
    assert await disputes.claim_due(now, now + HOUR, 10, "w") == ids(1)
    assert await disputes.put_aside(dispute(1).id, "w", now, pauses) == MINUTE, "it has worked in between"


async def test_one_that_was_written_since_is_not_put_aside(
    database: Database, disputes: Disputes, log: RoomLog
) -> None:
    await create(database, disputes, log, 1)
    now = NOW + 24 * HOUR
    assert await disputes.claim_due(now, now + HOUR, 10, "w") == ids(1)
    await advance(database, disputes, [Change(dispute(1, seq=Seq(2)), 0, 0)])
    await disputes.put_aside(dispute(1).id, "w", now, (HOUR,))
    assert await disputes.next_due() == dispute(1).next_at
    await disputes.put_aside(DisputeId("none"), "w", now, (HOUR,))


async def test_the_latest_disputes_since_a_time(
    database: Database, disputes: Disputes, log: RoomLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.disputes.READ_THROUGH", 2)
    order = (3, 1, 5, 2, 4)
    for hour, number in enumerate(order):
        made = dispute(number, opened_at=NOW + hour * HOUR)

        async def work(session: Session, made: Dispute = made) -> None:
            await disputes.create(made, 0, session)

        await database.transact(work)
    assert await disputes.opened_since(NOW, 10) == ids(*reversed(order))
    assert await disputes.opened_since(NOW + 3 * HOUR, 10) == ids(4, 2)
    assert await disputes.opened_since(NOW + 3 * HOUR + timedelta(milliseconds=1), 10) == ids(4)
    assert await disputes.opened_since(NOW, 2) == ids(4, 2)
    assert await disputes.opened_since(NOW + 5 * HOUR, 2) == []
