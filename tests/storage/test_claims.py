from datetime import timedelta

import pytest

from policies.vocabulary import DisputeId, UserId
from storage.claims import Claim, Claims
from storage.client import Database
from tests.storage.making import NOW

ADA, EVE = UserId("ada"), UserId("eve")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def claims(database: Database) -> Claims:
    return Claims(database)


async def hold(database: Database, claims: Claims, *held: Claim) -> None:
    for claim in held:
        await database.transact(lambda session, claim=claim: claims.hold(claim, session))  # type: ignore[misc]


def claim(number: int, agent: UserId = ADA, minutes: int = 1) -> Claim:
    return Claim(DisputeId(f"d{number}"), agent, NOW + minutes * MINUTE)


async def test_what_has_run_out_the_longest_first(database: Database, claims: Claims) -> None:
    await hold(database, claims, claim(1, minutes=3), claim(2, minutes=1), claim(3, minutes=2), claim(4, minutes=9))
    assert await claims.expired(NOW + MINUTE - timedelta(milliseconds=1), 10) == []
    assert await claims.expired(NOW + 3 * MINUTE, 10) == [claim(2), claim(3, minutes=2), claim(1, minutes=3)]
    assert await claims.expired(NOW + 3 * MINUTE, 2) == [claim(2), claim(3, minutes=2)]


async def test_a_new_claim_takes_the_place_of_another(database: Database, claims: Claims) -> None:
    await hold(database, claims, claim(1), claim(1, EVE, 5))
    assert await claims.expired(NOW + 9 * MINUTE, 10) == [claim(1, EVE, 5)]


async def test_a_released_one_is_gone(database: Database, claims: Claims) -> None:
    await hold(database, claims, claim(1), claim(2))
    await database.transact(lambda session: claims.release(DisputeId("d1"), session))
    await database.transact(lambda session: claims.release(DisputeId("d3"), session))
    assert await claims.expired(NOW + 9 * MINUTE, 10) == [claim(2)]


async def test_an_agent_renews_what_it_still_has(database: Database, claims: Claims) -> None:
    await hold(database, claims, claim(1), claim(2, EVE), claim(3, minutes=9))
    wanted = [DisputeId(name) for name in ("d1", "d2", "d3", "d4")]
    await claims.renew(ADA, wanted, NOW + 5 * MINUTE)
    assert await claims.expired(NOW + 9 * MINUTE, 10) == [claim(2, EVE), claim(1, minutes=5), claim(3, minutes=9)]


@pytest.mark.parametrize(("agent", "minutes", "ended"), [(ADA, 1.0, True), (ADA, 0.999, False), (EVE, 5.0, False)])
async def test_only_the_lease_that_has_run_out_is_ended(
    database: Database, claims: Claims, agent: UserId, minutes: float, ended: bool
) -> None:
    await hold(database, claims, claim(1))
    at = NOW + minutes * MINUTE
    name = DisputeId("d1")
    assert await database.transact(lambda session: claims.end_expired(name, agent, at, session)) is ended
    assert (await claims.expired(NOW + 9 * MINUTE, 10) == []) is ended


async def test_where_there_is_no_lease_none_has_run_out(database: Database, claims: Claims) -> None:
    name = DisputeId("d1")
    assert not await database.transact(lambda session: claims.end_expired(name, ADA, NOW, session))
