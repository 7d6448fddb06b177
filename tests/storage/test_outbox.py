from datetime import timedelta

import pytest
from pymongo.errors import BulkWriteError

from policies.vocabulary import DisputeId, WebhookType
from storage.client import Database
from storage.outbox import Outbox, OutboxEvent, decode_event
from tests.storage.making import NOW

DISPUTE = DisputeId("d1")


def event(n: int, dispute: DisputeId = DISPUTE) -> OutboxEvent:
    kind = WebhookType.DISPUTE_OPENED if n == 1 else WebhookType.PROPOSAL_MADE
    return OutboxEvent(dispute, n, kind, {"amount": 500, "by": {"id": "bo"}}, NOW + timedelta(seconds=n))


async def put(database: Database, *events: OutboxEvent) -> None:
    await database.transact(lambda session: Outbox(database).put(events, session))


async def kept(database: Database) -> list[OutboxEvent]:
    found = await database.collection("outbox").find({}, sort=[("_id", 1)])
    return [decode_event(document) for document in found]


async def test_events_come_back_as_they_were_put(database: Database) -> None:
    await put(database, event(1), event(2))
    await put(database)
    await put(database, event(3))
    assert await kept(database) == [event(1), event(2), event(3)]


async def test_an_events_id_is_its_disputes_and_its_number() -> None:
    assert event(7).id == "d1:7"


async def test_a_number_is_given_once(database: Database) -> None:
    await put(database, event(1), event(1, DisputeId("d2")))
    with pytest.raises(BulkWriteError):
        await put(database, event(2), event(1))
    assert await kept(database) == [event(1), event(1, DisputeId("d2"))]
