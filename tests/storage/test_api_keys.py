from datetime import timedelta

import pytest

from policies.vocabulary import ApiScope
from storage.api_keys import ApiKey, ApiKeys
from storage.client import Database
from tests.storage.making import NOW

SECRET = bytes(range(32))
SCOPES = [ApiScope.ORDERS_WRITE, ApiScope.DISPUTES_READ]


@pytest.fixture
def keys(database: Database) -> ApiKeys:
    return ApiKeys(database)


async def test_a_key_opens_what_it_was_made_for(keys: ApiKeys) -> None:
    made, key = await keys.create("shop", SCOPES, SECRET, NOW)
    assert key == "dck_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert made == ApiKey(made.id, "shop", frozenset(SCOPES), NOW)
    assert await keys.check(key) == made


@pytest.mark.parametrize("given", ["", "dck_", "dck_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9", "\ud800"])
async def test_other_strings_open_nothing(keys: ApiKeys, given: str) -> None:
    await keys.create("shop", SCOPES, SECRET, NOW)
    assert await keys.check(given) is None


async def test_the_key_itself_is_not_kept(database: Database, keys: ApiKeys) -> None:
    made, key = await keys.create("shop", SCOPES, SECRET, NOW)
    kept = str(await database.collection("api_keys").find({}))
    assert key not in kept
    assert key.removeprefix("dck_") not in kept
    assert made.id in kept
    assert await keys.check(made.id) is None


async def test_a_revoked_key_opens_nothing(keys: ApiKeys) -> None:
    made, key = await keys.create("shop", SCOPES, SECRET, NOW)
    _, other = await keys.create("other", SCOPES, bytes(32), NOW)
    assert await keys.revoke(made.id, NOW + timedelta(days=1))
    assert await keys.check(key) is None
    assert await keys.check(other) is not None
    assert not await keys.revoke(made.id, NOW + timedelta(days=2))  # it was already
    assert [known.revoked_at for known in await keys.list()] in (
        [NOW + timedelta(days=1), None],
        [None, NOW + timedelta(days=1)],
    )


@pytest.mark.parametrize("key_id", ["", "0", "0123456789abcdef", "x" * 16])
async def test_revoking_needs_the_whole_id(keys: ApiKeys, key_id: str) -> None:
    await keys.create("shop", SCOPES, SECRET, NOW)
    assert not await keys.revoke(key_id, NOW)


async def test_keys_are_listed_oldest_first(keys: ApiKeys) -> None:
    second, _ = await keys.create("second", [], SECRET, NOW + timedelta(days=1))
    first, _ = await keys.create("first", SCOPES, bytes(32), NOW)
    assert await keys.list() == (first, second)


async def test_a_key_is_made_from_enough_randomness(keys: ApiKeys) -> None:
    with pytest.raises(ValueError, match="32"):
        await keys.create("weak", SCOPES, b"short", NOW)
