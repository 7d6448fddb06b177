from datetime import UTC, datetime, timedelta

import pytest

from policies.vocabulary import UserId
from storage.client import Database
from storage.revocations import Revocation, Revocations
from tests.storage.making import NOW

ANNA, BERT = UserId("anna"), UserId("bert")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def revocations(database: Database) -> Revocations:
    return Revocations(database)


async def test_a_user_is_revoked_until_it_is_lifted(revocations: Revocations) -> None:
    assert await revocations.revoked_at(ANNA) is None
    await revocations.revoke(ANNA, NOW)
    assert await revocations.revoked_at(ANNA) == NOW
    assert await revocations.revoked_at(BERT) is None
    assert await revocations.lift(ANNA)
    assert await revocations.revoked_at(ANNA) is None
    assert not await revocations.lift(ANNA)


async def test_revoking_again_counts_from_then(revocations: Revocations) -> None:
    await revocations.revoke(ANNA, NOW)
    await revocations.revoke(ANNA, NOW + MINUTE)
    assert await revocations.since(NOW) == (Revocation(ANNA, NOW + MINUTE),)


async def test_a_process_catches_up_on_what_it_missed(revocations: Revocations) -> None:
    await revocations.revoke(BERT, NOW + MINUTE)
    await revocations.revoke(ANNA, NOW)
    assert await revocations.since(NOW) == (Revocation(ANNA, NOW), Revocation(BERT, NOW + MINUTE))
    assert await revocations.since(NOW + MINUTE) == (Revocation(BERT, NOW + MINUTE),)
    assert await revocations.since(NOW + 2 * MINUTE) == ()


async def test_one_that_is_of_no_more_use_is_removed_by_mongodb(database: Database, revocations: Revocations) -> None:
    """Its clean-up runs once a minute; here it is checked that it has what it needs."""
    expiry = datetime(2100, 1, 1, tzinfo=UTC)
    await revocations.revoke(ANNA, NOW, expires_at=expiry)
    [found] = await database.collection("revocations").find({})
    assert found["expires_at"] == expiry
    indexes = (await database.command({"listIndexes": "revocations"}))["cursor"]["firstBatch"]
    assert [index["key"] for index in indexes if index.get("expireAfterSeconds") == 0] == [{"expires_at": 1}]


async def test_one_without_an_end_replaces_one_with(database: Database, revocations: Revocations) -> None:
    await revocations.revoke(ANNA, NOW, expires_at=datetime(2100, 1, 1, tzinfo=UTC))
    await revocations.revoke(ANNA, NOW)
    [found] = await database.collection("revocations").find({})
    assert "expires_at" not in found
