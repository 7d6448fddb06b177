"""``chatserver verify`` on disputes: their stored state has to be what their entries add up to."""

import asyncio
from typing import Any

import pytest

from chatserver.cli.failures import ExitCode
from policies.dispute.state import Dispute
from storage.client import Database
from tests.chatserver.commands import Outcome, Run
from tests.chatserver.disputes.desks import BUYER, SELLER, Shop


@pytest.fixture
def shop(own_database: Database) -> Shop:
    return Shop(own_database)


@pytest.fixture
async def dispute(shop: Shop) -> Dispute:
    opened = await shop.opened()
    return (await shop.say(opened.id, SELLER)).state


@pytest.fixture
def verify(run: Run, mongo_url: str, own_database: Database) -> Any:
    async def call(*arguments: str) -> Outcome:
        settings = {"CHATSERVER_MONGO_URL": mongo_url, "CHATSERVER_MONGO_DATABASE": own_database.name}
        return await asyncio.to_thread(run, "verify", *arguments, **settings)

    return call


async def test_a_dispute_that_holds(verify: Any, dispute: Dispute) -> None:
    one = await verify(dispute.room)
    assert (one.code, one.out) == (ExitCode.DONE, ["1 room, 4 entries verified: all hold"])
    assert (await verify("--all")).code == ExitCode.DONE


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"state.status": "resolved"}, "4 (the stored state of the dispute is not what its entries add up to)"),
        (
            {"state.seq": 9},
            "5 (the stored state of the dispute stands at a later entry, which does not exist)",
        ),
        ({"state.seq": 3}, "4 (it is not part of the stored state of the dispute)"),
    ],
)
async def test_a_stored_state_that_does_not_is_named_with_the_place(
    verify: Any, shop: Shop, dispute: Dispute, changes: dict[str, Any], place: str
) -> None:
    await shop.database.collection("disputes").update_one({"_id": dispute.id}, {"$set": changes})
    broken = await verify("--all")
    assert broken.code == ExitCode.FAILED
    assert broken.out == [
        f"{dispute.room}: broken at entry {place}",
        "1 room, 4 entries verified: 1 broken",
    ]


async def test_a_dispute_whose_state_is_gone(verify: Any, shop: Shop, dispute: Dispute) -> None:
    await shop.database.collection("disputes").delete_one({"_id": dispute.id})
    broken = await verify(dispute.room)
    assert broken.code == ExitCode.FAILED
    assert broken.out[0] == f"{dispute.room}: broken at entry 1 (the dispute has no stored state)"


async def test_one_break_is_told_for_a_room(verify: Any, shop: Shop, dispute: Dispute) -> None:
    await shop.database.collection("disputes").delete_one({"_id": dispute.id})
    update = {"$set": {"body.text": "I never said that"}}
    await shop.database.collection("entries").update_one({"room": dispute.room, "seq": 3}, update)
    broken = await verify(dispute.room)
    assert broken.out == [
        f"{dispute.room}: broken at entry 3 (its content was changed)",
        "1 room, 2 entries verified: 1 broken",
    ]


async def test_what_is_not_shown_as_the_log_says_is_named_with_the_place(
    verify: Any, shop: Shop, dispute: Dispute
) -> None:
    entries = shop.database.collection("entries")
    await entries.update_one({"room": dispute.room, "seq": 3}, {"$set": {"shown": "withheld"}})
    broken = await verify(dispute.room)
    assert broken.code == ExitCode.FAILED
    assert broken.out == [
        f"{dispute.room}: broken at entry 3 (it is not shown as the log says)",
        "1 room, 4 entries verified: 1 broken",
    ]


async def test_a_dispute_that_cannot_be_compared_is_said(verify: Any, shop: Shop, dispute: Dispute) -> None:
    """What messages said matters to nothing that is compared; what the buyer complained of does."""
    assert await shop.log.erase(dispute.room, author=SELLER.id) == 1
    whole = await verify(dispute.room)
    assert (whole.code, whole.out) == (ExitCode.DONE, ["1 room, 4 entries verified: all hold"])
    assert await shop.log.erase(dispute.room, author=BUYER.id) == 1
    erased = await verify(dispute.room)
    assert erased.code == ExitCode.DONE
    assert erased.out == [
        f"{dispute.room}: the stored state of the dispute cannot be compared: entry 1 was erased",
        "1 room, 4 entries verified: all hold, 1 not compared",
    ]
