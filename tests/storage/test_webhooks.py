from datetime import timedelta

import pytest

from policies.errors import Conflict
from policies.vocabulary import WebhookType
from storage.client import Database
from storage.webhooks import ENDPOINTS, LIVE_SECRETS, Endpoint, Webhooks
from tests.storage.making import NOW

URL = "https://shop.example/hooks"
HOUR = timedelta(hours=1)


@pytest.fixture
def webhooks(database: Database) -> Webhooks:
    return Webhooks(database)


def fresh(number: int) -> bytes:
    return number.to_bytes(32, "big")


async def make(webhooks: Webhooks, number: int = 1, *types: WebhookType) -> tuple[Endpoint, str]:
    return await webhooks.create(URL, types, "shop", fresh(number), NOW)


async def test_an_endpoint_is_kept_with_its_secret(webhooks: Webhooks) -> None:
    endpoint, secret = await make(webhooks)
    assert await webhooks.get(endpoint.id) == endpoint
    assert endpoint.id.startswith("wh_")
    assert secret == "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE="
    assert endpoint.signing(NOW) == [secret]
    assert endpoint.enabled
    assert (endpoint.url, endpoint.description, endpoint.created_at) == (URL, "shop", NOW)
    assert await webhooks.get("wh_0") is None


async def test_no_secret_is_printed(webhooks: Webhooks) -> None:
    endpoint, secret = await make(webhooks)
    assert "whsec_" not in f"{endpoint} {endpoint!r} {endpoint.secrets}"
    assert secret not in str(await webhooks.list())


async def test_a_secret_has_its_size(webhooks: Webhooks) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        await webhooks.create(URL, (), "", bytes(31), NOW)


async def test_an_endpoint_wants_its_types_or_all(webhooks: Webhooks) -> None:
    everything, _ = await make(webhooks, 1)
    some, _ = await make(webhooks, 2, WebhookType.DISPUTE_OPENED, WebhookType.APPEAL_FILED, WebhookType.DISPUTE_OPENED)
    assert all(everything.wants(each) for each in WebhookType)
    assert some.types == (WebhookType.APPEAL_FILED, WebhookType.DISPUTE_OPENED)
    assert [each for each in WebhookType if some.wants(each)] == [WebhookType.DISPUTE_OPENED, WebhookType.APPEAL_FILED]


async def test_there_is_a_largest_number_of_endpoints(webhooks: Webhooks) -> None:
    made = [await make(webhooks, number) for number in range(ENDPOINTS)]
    assert {each.id for each in await webhooks.list()} == {each.id for each, _ in made}
    with pytest.raises(Conflict):
        await make(webhooks, ENDPOINTS)
    assert await webhooks.remove(made[0][0].id)
    await make(webhooks, ENDPOINTS)


async def test_what_is_given_is_changed(webhooks: Webhooks) -> None:
    endpoint, _ = await make(webhooks, 1, WebhookType.DISPUTE_OPENED)
    changed = await webhooks.change(endpoint.id, NOW, url="https://other.example/")
    assert changed is not None
    assert (changed.url, changed.types, changed.description) == ("https://other.example/", endpoint.types, "shop")
    changed = await webhooks.change(endpoint.id, NOW, types=(), description="")
    assert changed is not None
    assert (changed.types, changed.description) == ((), "")
    assert await webhooks.change("wh_0", NOW, url=URL) is None


async def test_an_endpoint_is_disabled_and_enabled(webhooks: Webhooks) -> None:
    endpoint, _ = await make(webhooks)
    await webhooks.disable(endpoint.id, "it answered 410 Gone", NOW + HOUR)
    found = await webhooks.get(endpoint.id)
    assert found is not None
    assert (found.enabled, found.disabled_because, found.enabled_at) == (False, "it answered 410 Gone", NOW)
    enabled = await webhooks.change(endpoint.id, NOW + 2 * HOUR, enabled=True)
    assert enabled is not None
    assert (enabled.enabled, enabled.disabled_because, enabled.enabled_at) == (True, None, NOW + 2 * HOUR)
    again = await webhooks.change(endpoint.id, NOW + 3 * HOUR, enabled=True)
    assert again == enabled, "it was enabled already"
    off = await webhooks.change(endpoint.id, NOW + 3 * HOUR, enabled=False)
    assert off is not None
    assert (off.enabled, off.disabled_because) == (False, None)


async def test_a_replaced_secret_signs_until_the_overlap_ends(webhooks: Webhooks) -> None:
    endpoint, old = await make(webhooks)
    rotated, new = await webhooks.rotate(endpoint.id, fresh(2), NOW, HOUR)
    assert rotated.signing(NOW) == [new, old]
    assert rotated.signing(NOW + HOUR - timedelta(milliseconds=1)) == [new, old]
    assert rotated.signing(NOW + HOUR) == [new]


async def test_a_secret_that_leaked_is_replaced_at_once(webhooks: Webhooks) -> None:
    endpoint, _ = await make(webhooks)
    await webhooks.rotate(endpoint.id, fresh(2), NOW, HOUR)
    rotated, newest = await webhooks.rotate(endpoint.id, fresh(3), NOW, timedelta())
    assert rotated.signing(NOW) == [newest]
    assert len(rotated.secrets) == 1


async def test_rotating_again_does_not_prolong_an_older_overlap(webhooks: Webhooks) -> None:
    endpoint, first = await make(webhooks)
    _, second = await webhooks.rotate(endpoint.id, fresh(2), NOW, HOUR)
    rotated, third = await webhooks.rotate(endpoint.id, fresh(3), NOW + HOUR / 2, HOUR)
    assert rotated.signing(NOW + HOUR / 2) == [third, second, first]
    assert rotated.signing(NOW + HOUR) == [third, second]


async def test_only_so_many_secrets_hold_at_once(webhooks: Webhooks) -> None:
    endpoint, _ = await make(webhooks)
    for number in range(2, LIVE_SECRETS + 1):
        await webhooks.rotate(endpoint.id, fresh(number), NOW, HOUR)
    with pytest.raises(Conflict):
        await webhooks.rotate(endpoint.id, fresh(99), NOW, HOUR)
    rotated, _ = await webhooks.rotate(endpoint.id, fresh(99), NOW + HOUR, HOUR)
    assert len(rotated.secrets) == 2


async def test_only_what_exists_is_rotated_or_removed(webhooks: Webhooks) -> None:
    with pytest.raises(KeyError):
        await webhooks.rotate("wh_0", fresh(2), NOW, HOUR)
    assert not await webhooks.remove("wh_0")


async def test_a_removed_endpoint_is_gone(webhooks: Webhooks, database: Database) -> None:
    endpoint, _ = await make(webhooks)
    assert await webhooks.remove(endpoint.id)
    assert await webhooks.get(endpoint.id) is None
    assert await webhooks.list() == ()
    assert await webhooks.change(endpoint.id, NOW, enabled=False) is None


async def test_a_removal_that_was_cut_short_is_finished_when_it_is_done_again(
    webhooks: Webhooks, database: Database
) -> None:
    endpoint, _ = await make(webhooks)
    await database.collection("webhooks").update_one({"_id": endpoint.id}, {"$set": {"removed": True}})
    assert await webhooks.get(endpoint.id) is None
    assert await webhooks.remove(endpoint.id)
    assert await database.collection("webhooks").find_one({}) is None
