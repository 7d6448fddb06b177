"""Slow rooms: said in the log, and how long a party has to wait, to the millisecond."""

import asyncio
import os
from dataclasses import replace

import pytest

from chatserver.disputes.snapshots import check_snapshot
from chatserver.screening import AT_ONCE_CHARS
from chatserver.slow_mode import LONGEST_S, SlowMode
from policies.errors import BadRequest, Forbidden, RateLimited
from policies.room import RoomFacts, order_room, staff_room
from policies.vocabulary import RoomId, Seq
from storage.audit import Audit
from storage.client import Database
from tests.chatserver.disputes.desks import AGENT, BUYER, ORDER, SELLER, SENIOR, Shop
from tests.chatserver.hub.writing import Writing

LONG = "Nothing special about the lamp. " * (AT_ONCE_CHARS // 30)


@pytest.fixture
def shop(own_database: Database) -> Shop:
    return Shop(own_database)


@pytest.fixture
def slow_mode(shop: Shop) -> SlowMode:
    audit = Audit(shop.database)
    return SlowMode(shop.log, shop.rooms, audit, shop.clock, lambda: os.urandom(16), shop._announce)


async def facts_of(shop: Shop, room: RoomId) -> RoomFacts:
    facts = await shop.rooms.facts(room)
    assert facts is not None
    return facts


@pytest.fixture(params=["dispute", "order"])
async def facts(request: pytest.FixtureRequest, shop: Shop) -> RoomFacts:
    dispute = await shop.opened()
    return await facts_of(shop, dispute.room if request.param == "dispute" else order_room(ORDER))


async def notices(shop: Shop, room: RoomId) -> list[int]:
    entries = await shop.log.read_after(room, Seq(0), 1000)
    return [each.body["every_s"] for each in entries if each.body.get("notice") == "slow_mode"]


async def test_the_log_says_each_change_once(shop: Shop, slow_mode: SlowMode, facts: RoomFacts) -> None:
    for every_s in (LONGEST_S, LONGEST_S, 1, 0, 0):
        await slow_mode.set(facts, AGENT, every_s)
        assert (await facts_of(shop, facts.id)).slow_mode_s == every_s
    assert await notices(shop, facts.id) == [LONGEST_S, 1, 0]
    assert [each.body.get("every_s") for each in shop.announced[-3:]] == [LONGEST_S, 1, 0]
    records = await shop.database.collection("audit").find({"action": "room.slow_mode"})
    assert len(records) == 3


async def test_it_changes_nothing_in_a_dispute(shop: Shop, slow_mode: SlowMode) -> None:
    dispute = await shop.opened()
    await slow_mode.set(await facts_of(shop, dispute.room), AGENT, 60)
    assert await check_snapshot(dispute.id, shop.log, shop.disputes) is None
    after = (await shop.say(dispute.id, SELLER)).state
    assert replace(after, seq=dispute.seq).deadlines != dispute.deadlines  # the seller attended
    assert (await facts_of(shop, dispute.room)).slow_mode_s == 60


async def test_who_and_where_and_how_long(shop: Shop, slow_mode: SlowMode, facts: RoomFacts) -> None:
    for who in (BUYER, SELLER):
        with pytest.raises(Forbidden):
            await slow_mode.set(facts, who, 5)
    for every_s in (-1, LONGEST_S + 1):
        with pytest.raises(BadRequest):
            await slow_mode.set(facts, AGENT, every_s)
    dispute = (await shop.disputes.of_order(ORDER))[0]
    with pytest.raises(BadRequest):
        await slow_mode.set(await facts_of(shop, staff_room(dispute.id)), AGENT, 5)


async def test_two_at_once_while_people_talk(shop: Shop, slow_mode: SlowMode, facts: RoomFacts) -> None:
    for every_s in (10, 20, 30):
        await asyncio.gather(
            slow_mode.set(facts, AGENT, every_s),
            slow_mode.set(facts, SENIOR, every_s),
            *(shop.chat(facts.id, BUYER, f"message {number}") for number in range(5)),
        )
    assert await notices(shop, facts.id) == [10, 20, 30]


async def refused(writing: Writing, text: str, command: str) -> int | None:
    with pytest.raises(RateLimited) as refused:
        await writing.send(text, command)
    assert refused.value.details == {"slow_mode_s": writing.live.slow_mode_s}
    return refused.value.retry_after_ms


@pytest.mark.parametrize("text", ["A short one about the lamp", LONG])
async def test_a_party_waits_to_the_millisecond(shop: Shop, facts: RoomFacts, text: str) -> None:
    writing = Writing(shop, facts, 60)
    await writing.send(text, "one")
    shop.clock.advance(1)
    assert await refused(writing, text, "two") == 59_000
    await writing.send(text, "one")  # sent again after a lost answer
    await writing.send(text, "other", SELLER)  # each has a time of their own
    shop.clock.advance(58.999)
    assert await refused(writing, text, "two") == 1
    shop.clock.advance(0.001)
    await writing.send(text, "two")
    assert await refused(writing, text, "three") == 60_000


async def test_what_was_written_before_and_elsewhere_counts(shop: Shop, facts: RoomFacts) -> None:
    await shop.chat(facts.id, BUYER, "Written before, on another process")
    shop.clock.advance(10)
    assert await refused(Writing(shop, facts, 60), "Anything new", "one") == 50_000
    await Writing(shop, facts, 10).send("Anything new", "one")
    await Writing(shop, facts, 0).send("Anything new", "one")


async def test_what_the_stream_has_told_holds_whatever_was_read_before(shop: Shop, facts: RoomFacts) -> None:
    writing = Writing(shop, facts, 0)
    await writing.send("The first about the lamp", "one")
    writing.live.slowed = 60
    writing.live.facts = facts  # of a join that read them before
    assert await refused(writing, "The second about it", "two") == 60_000
    writing.live.slowed = 0
    await writing.send("The second about it", "two")
