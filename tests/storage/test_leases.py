import asyncio
from datetime import timedelta

import pytest

from storage.client import Database
from storage.leases import Leases
from tests.storage.making import NOW

MINUTE = timedelta(minutes=1)
SOON, LATER = NOW + MINUTE / 2, NOW + MINUTE


@pytest.fixture
def leases(database: Database) -> Leases:
    return Leases(database)


async def test_a_lease_has_one_holder(leases: Leases) -> None:
    assert await leases.acquire("sweep", "a", NOW, MINUTE)
    assert not await leases.acquire("sweep", "b", SOON, MINUTE)
    assert await leases.acquire("sweep", "a", SOON, MINUTE)
    assert await leases.acquire("other", "b", SOON, MINUTE)


async def test_an_expired_lease_can_be_taken(leases: Leases) -> None:
    await leases.acquire("sweep", "a", NOW, MINUTE)
    assert await leases.acquire("sweep", "b", LATER, MINUTE)
    assert not await leases.renew("sweep", "a", LATER, MINUTE)
    assert not await leases.acquire("sweep", "a", LATER, MINUTE)


async def test_a_renewed_lease_lasts(leases: Leases) -> None:
    await leases.acquire("sweep", "a", NOW, MINUTE)
    assert await leases.renew("sweep", "a", SOON, MINUTE)
    assert not await leases.acquire("sweep", "b", LATER, MINUTE)


async def test_a_lease_that_expired_cannot_be_renewed_even_when_nobody_took_it(leases: Leases) -> None:
    await leases.acquire("sweep", "a", NOW, MINUTE)
    assert not await leases.renew("sweep", "a", LATER, MINUTE)


async def test_a_released_lease_is_free(leases: Leases) -> None:
    await leases.acquire("sweep", "a", NOW, MINUTE)
    assert not await leases.release("sweep", "b")
    assert await leases.release("sweep", "a")
    assert not await leases.release("sweep", "a")
    assert await leases.acquire("sweep", "b", NOW, MINUTE)


async def test_of_many_who_want_it_one_gets_it(leases: Leases) -> None:
    for when in (NOW, LATER):
        got = await asyncio.gather(*(leases.acquire("sweep", f"{when}-{n}", when, MINUTE) for n in range(10)))
        assert sum(got) == 1
