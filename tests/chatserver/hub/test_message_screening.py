"""What screening knows of a room's order, and for how long."""

from dataclasses import replace

import pytest

from chatserver.hub.screening import ORDER_COUNTS
from policies.contact import OrderContext
from policies.flag import Mark
from policies.order import OrderFacts
from policies.screening import Screening
from policies.vocabulary import OrderCategory
from storage.client import Database
from tests.chatserver.disputes.desks import FACTS, SELLER, Shop
from tests.chatserver.hub.writing import Writing

PASSWORD = "password: hunter2"
AS_ACCOUNT: OrderFacts = replace(FACTS, category=OrderCategory.ACCOUNT)


@pytest.fixture
async def writing(own_database: Database) -> tuple[Shop, Writing]:
    shop = Shop(own_database)
    facts = await shop.rooms.facts((await shop.opened()).room)
    assert facts is not None
    return shop, Writing(shop, facts)


def mark(found: Screening | None) -> Mark | None:
    return None if found is None else found.flag.mark


async def test_what_the_shop_says_of_an_order_counts_in_its_dispute_after_a_minute(
    writing: tuple[Shop, Writing],
) -> None:
    shop, seller = writing
    assert mark(await seller.send(PASSWORD, "one", SELLER)) is Mark.MASKED
    await shop.orders.put(AS_ACCOUNT, shop.clock.now())
    shop.clock.advance(ORDER_COUNTS.total_seconds() - 0.001)
    assert seller.screening.at_once(seller.live, PASSWORD)
    assert mark(await seller.send(PASSWORD, "two", SELLER)) is Mark.MASKED
    shop.clock.advance(0.001)
    assert not seller.screening.at_once(seller.live, PASSWORD)
    assert await seller.send(PASSWORD, "three", SELLER) is None


async def test_other_texts_hear_of_it_too(writing: tuple[Shop, Writing]) -> None:
    shop, seller = writing
    assert mark(await seller.screening.texts(seller.live, {"note": PASSWORD})) is Mark.MASKED
    await shop.orders.put(AS_ACCOUNT, shop.clock.now())
    shop.clock.advance(ORDER_COUNTS.total_seconds())
    assert await seller.screening.texts(seller.live, {"note": PASSWORD}) is None


async def test_what_was_said_before_is_not_forgotten_with_it(writing: tuple[Shop, Writing]) -> None:
    shop, seller = writing
    await seller.send("my number is 0151", "one", SELLER)
    shop.clock.advance(ORDER_COUNTS.total_seconds())
    await seller.send("2345", "two", SELLER)
    assert mark(await seller.send("678 9", "three", SELLER)) is Mark.WITHHELD


async def test_nothing_is_known_of_an_order_that_is_gone(writing: tuple[Shop, Writing]) -> None:
    shop, seller = writing
    await shop.database.collection("orders").delete_many({})
    assert await seller.send("Hello there", "one", SELLER) is None
    assert seller.live.order == OrderContext()
