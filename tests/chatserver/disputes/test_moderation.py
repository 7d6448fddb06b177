"""Staff rule on entries of dispute rooms and order rooms, alone and at the same moment, on a real database."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, Final

import pytest

from chatserver.disputes.snapshots import check_snapshot
from chatserver.moderation import Moderation, Ruled
from chatserver.rulings import wrongly_shown
from policies.dispute.commands import Close, ReleaseMessage
from policies.dispute.state import Dispute
from policies.entry import Author, Draft, Entry
from policies.errors import Conflict, Forbidden, NotFound, Refused, TooLarge
from policies.flag import FlagState, Mark
from policies.room import order_room
from policies.verdicts import REASON_CHARS, Verdict
from policies.vocabulary import CommandId, EntryKind, RoomId, Seq, Status, Visibility
from storage.audit import Audit
from storage.chain import link, verify
from storage.client import Database, MongoConfig, open_database
from tests.chatserver.disputes.desks import AGENT, BUYER, HOUR, ORDER, SELLER, SENIOR, Shop
from tests.chatserver.disputes.flagging import flag, written

ROUNDS: Final = 8
RELEASE, REDACT, CONFIRM = Verdict.RELEASE, Verdict.REDACT, Verdict.CONFIRM


class Staff:
    """Those who rule, on one process."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.moderation = Moderation(
            shop.desk, shop.log, Audit(shop.database), shop.clock, lambda: os.urandom(16), shop._announce
        )

    async def says(
        self,
        verdict: Verdict,
        entry: Entry,
        *,
        by: Author = AGENT,
        reason: str = "Looked at",
        command: str | None = None,
    ) -> Ruled:
        facts = await self.shop.rooms.facts(entry.room)
        assert facts is not None
        command_id = CommandId(command or os.urandom(8).hex())
        return await self.moderation.rule(facts, by, verdict, entry.seq, reason, command_id)


@pytest.fixture
def shop(own_database: Database) -> Shop:
    return Shop(own_database)


@pytest.fixture
def staff(shop: Shop) -> Staff:
    return Staff(shop)


@pytest.fixture(params=["dispute", "order"])
async def room(request: pytest.FixtureRequest, shop: Shop) -> RoomId:
    """A dispute room, or the order room."""
    opened = await shop.opened()
    return opened.room if request.param == "dispute" else order_room(ORDER)


async def now(shop: Shop, entry: Entry) -> Entry:
    found = await shop.log.read(entry.room, entry.seq)
    assert found is not None
    return found


async def log_of(shop: Shop, room: RoomId) -> list[Entry]:
    """The record of a room, which holds in every respect."""
    entries = await shop.log.read_after(room, Seq(0), 1000)
    assert verify(room, entries) is None
    assert await wrongly_shown(room, shop.log) is None
    return entries


async def test_a_released_message_is_everybodys(shop: Shop, staff: Staff, room: RoomId) -> None:
    entry = await written(shop, room)
    shop.clock.advance(60)
    ruled = await staff.says(RELEASE, entry, reason="A tracking number")
    assert ruled.entry is not None
    assert ruled.entry.kind is EntryKind.MESSAGE_RELEASED
    assert ruled.entry.author == AGENT
    assert ruled.entry.body == {"seq": entry.seq, "side": "seller", "reason": "A tracking number", "counts": True}
    after = await now(shop, entry)
    assert not after.hidden
    assert after.visibility is Visibility.WITHHELD
    assert after.flag == replace(flag(), state=FlagState.RELEASED, decided_by=AGENT.id, decided_at=shop.clock.now())
    assert ruled.entry in shop.announced
    assert ruled.entry in await log_of(shop, room)


async def test_a_redacted_message_is_hidden_from_the_other_side(shop: Shop, staff: Staff, room: RoomId) -> None:
    entry = await written(shop, room, BUYER, None)
    ruled = await staff.says(REDACT, entry, reason="An insult")
    assert ruled.entry is not None
    assert ruled.entry.body == {"seq": entry.seq, "side": "buyer", "reason": "An insult"}
    after = await now(shop, entry)
    assert after.hidden
    assert after.flag is None
    again = await staff.says(RELEASE, entry, by=SENIOR)  # another one thinks better of it
    assert again.entry is not None
    assert "counts" not in again.entry.body
    assert not (await now(shop, entry)).hidden
    await log_of(shop, room)


async def test_what_is_released_or_redacted_already_stays_so(shop: Shop, staff: Staff, room: RoomId) -> None:
    entry = await written(shop, room)
    await staff.says(RELEASE, entry)
    entries = await log_of(shop, room)
    assert await staff.says(RELEASE, entry, by=SENIOR) == Ruled(None)
    await staff.says(REDACT, entry)
    assert await staff.says(REDACT, entry, by=SENIOR) == Ruled(None)
    assert len(await log_of(shop, room)) == len(entries) + 1


async def test_confirming_changes_the_flag_alone(shop: Shop, staff: Staff, room: RoomId) -> None:
    entry = await written(shop, room)
    before = await log_of(shop, room)
    assert await staff.says(CONFIRM, entry) == Ruled(None)
    after = await now(shop, entry)
    assert after.hidden
    assert after.shown is None
    assert after.flag is not None
    assert (after.flag.state, after.flag.decided_by) == (FlagState.CONFIRMED, AGENT.id)
    assert [each.seq for each in await log_of(shop, room)] == [each.seq for each in before]
    assert (await staff.says(RELEASE, entry)).entry is not None  # a mind may be changed
    with pytest.raises(Conflict):
        await staff.says(CONFIRM, entry)


@pytest.mark.parametrize("mark", [Mark.WARNED, Mark.NOTED])
async def test_a_flag_on_what_everybody_sees_is_released_quietly(
    shop: Shop, staff: Staff, room: RoomId, mark: Mark
) -> None:
    entry = await written(shop, room, mark=mark)
    before = len(await log_of(shop, room))
    assert await staff.says(RELEASE, entry) == Ruled(None)
    after = await now(shop, entry)
    assert after.flag is not None
    assert after.flag.state is FlagState.RELEASED
    assert after.shown is None
    assert len(await log_of(shop, room)) == before


async def test_masked_parts_are_released(shop: Shop, staff: Staff, room: RoomId) -> None:
    entry = await written(shop, room, mark=Mark.MASKED)
    ruled = await staff.says(RELEASE, entry)
    assert ruled.entry is not None
    assert "counts" not in ruled.entry.body  # it was seen, and counted, when it was written
    assert (await now(shop, entry)).released
    await log_of(shop, room)


async def test_the_same_command_again_is_the_first_answer(shop: Shop, staff: Staff, room: RoomId) -> None:
    entry, other = await written(shop, room), await written(shop, room, BUYER)
    first = await staff.says(RELEASE, entry, command="once")
    await staff.says(REDACT, entry, by=SENIOR)
    again = await staff.says(RELEASE, entry, command="once")
    assert again == Ruled(first.entry, duplicate=True)
    assert (await now(shop, entry)).hidden  # it was not done again
    for verdict, about, reason in ((RELEASE, other, "Looked at"), (REDACT, entry, "Looked at"), (RELEASE, entry, "x")):
        with pytest.raises(Conflict):
            await staff.says(verdict, about, reason=reason, command="once")


async def test_a_quiet_ruling_sent_again_is_not_made_again(shop: Shop, staff: Staff, room: RoomId) -> None:
    """To redact what is hidden confirms its flag; sent again after somebody has released it, it must not hide it."""
    entry = await written(shop, room)
    assert await staff.says(REDACT, entry, command="once") == Ruled(None)
    await staff.says(RELEASE, entry, by=SENIOR)
    assert await staff.says(REDACT, entry, command="once") == Ruled(None, duplicate=True)
    assert not (await now(shop, entry)).hidden
    assert (await staff.says(REDACT, entry, by=SENIOR, command="once")).entry is not None  # somebody else's id


async def test_who_may_and_what_can_be_ruled_on(shop: Shop, staff: Staff, room: RoomId) -> None:
    entry = await written(shop, room)
    with pytest.raises(Forbidden):
        await staff.says(RELEASE, entry, by=SELLER)
    with pytest.raises(NotFound):
        await staff.says(RELEASE, replace(entry, seq=Seq(99)))
    with pytest.raises(TooLarge):
        await staff.says(RELEASE, entry, reason="x" * (REASON_CHARS + 1))
    plain = await written(shop, room, mark=None)
    with pytest.raises(Refused):
        await staff.says(CONFIRM, plain)
    await shop.log.erase(room, seqs=[entry.seq])
    with pytest.raises(Refused):
        await staff.says(RELEASE, entry)
    assert (await staff.says(REDACT, plain, reason="x" * REASON_CHARS)).entry is not None


async def test_every_verdict_is_on_record(shop: Shop, staff: Staff, room: RoomId) -> None:
    entry = await written(shop, room)
    for verdict in (CONFIRM, RELEASE, RELEASE, REDACT):
        await staff.says(verdict, entry)
    found = await shop.database.collection("audit").find({}, sort=[("_id", 1)])
    assert [each["action"] for each in found] == ["entry.confirm", "entry.release", "entry.redact"]
    assert {(each["room"], each["actor"]["id"], each["details"]["seq"]) for each in found} == {
        (room, AGENT.id, entry.seq)
    }


async def test_a_release_attends_for_the_seller(shop: Shop, staff: Staff) -> None:
    dispute = await shop.opened()
    entry = await written(shop, dispute.room)
    shop.clock.advance(HOUR.total_seconds())
    await staff.says(RELEASE, entry)
    state = await shop.desk.state(dispute.id)
    assert state.attended_at == shop.clock.now()
    assert state.status is Status.WAITING_FOR_BUYER
    assert (await shop.kinds(dispute))[-2:] == ["message.released", "dispute.attended"]
    assert (await shop.told(dispute))[-1].data["entry"] == entry.seq
    facts = await shop.rooms.facts(dispute.room)
    assert facts is not None
    assert not facts.unattended
    assert await check_snapshot(dispute.id, shop.log, shop.disputes) is None


async def test_a_closed_dispute_is_still_looked_after(shop: Shop, staff: Staff) -> None:
    dispute = await shop.opened()
    entry = await written(shop, dispute.room)
    await shop.run(dispute.id, Close(BUYER, shop.command(), "It works."))
    await shop.database.collection("rooms").update_one({"_id": dispute.room}, {"$set": {"closed": True}})
    shop.clock.advance(30 * 24 * 3600)
    assert (await staff.says(RELEASE, entry)).entry is not None
    assert (await shop.desk.state(dispute.id)).closed


async def test_a_reminder_leaves_the_stored_state_right(shop: Shop) -> None:
    dispute = await shop.opened()
    dispute = (await shop.say(dispute.id, SELLER)).state
    await remind(shop, dispute)
    assert await check_snapshot(dispute.id, shop.log, shop.disputes) is None


async def remind(shop: Shop, dispute: Dispute) -> None:
    draft = Draft(SELLER, shop.command(), EntryKind.NOTICE, {"notice": "contact", "about": 4, "text": "Please …"})
    entries = link(dispute.room, await shop.log.head(dispute.room), [draft], shop.clock.now(), lambda: os.urandom(16))
    assert (await shop.log.submit(entries)).failure is None


@pytest.fixture
async def two(own_database: Database, mongo_url: str, staff: Staff) -> AsyncIterator[tuple[Staff, Staff]]:
    """Staff on two processes, with different drivers."""
    other = open_database(MongoConfig(mongo_url, own_database.name, "pymongo", timeout_s=10))
    there = Staff(Shop(other, staff.shop.clock, commands="d"))
    yield staff, there
    await there.shop.close()
    await other.close()


def by_whom(ruled: Sequence[Ruled]) -> list[EntryKind]:
    return [each.entry.kind for each in ruled if each.entry is not None]


async def test_two_who_release_at_once_release_once(two: tuple[Staff, Staff], room: RoomId) -> None:
    here, there = two
    for _ in range(ROUNDS):
        entry = await written(here.shop, room)
        ruled = await asyncio.gather(here.says(RELEASE, entry), there.says(RELEASE, entry, by=SENIOR))
        assert by_whom(ruled) == [EntryKind.MESSAGE_RELEASED]
    await log_of(here.shop, room)


async def test_release_and_redact_at_once_take_effect_one_after_the_other(
    two: tuple[Staff, Staff], room: RoomId
) -> None:
    """Whoever comes second decides on what the first has left, and is what holds."""
    here, there = two
    for _ in range(ROUNDS):
        entry = await written(here.shop, room)
        await asyncio.gather(here.says(RELEASE, entry), there.says(REDACT, entry, by=SENIOR))
        after = await now(here.shop, entry)
        said = [each for each in await log_of(here.shop, room) if each.body.get("seq") == entry.seq]
        assert after.flag is not None
        # Redacting first only confirms, since it is hidden; the release then shows it.
        assert after.hidden == (said[-1].kind is EntryKind.MESSAGE_REDACTED)
        assert after.flag.state is (FlagState.CONFIRMED if after.hidden else FlagState.RELEASED)


async def test_confirm_and_release_at_once(two: tuple[Staff, Staff], room: RoomId) -> None:
    here, there = two
    for _ in range(ROUNDS):
        entry = await written(here.shop, room)
        outcome = await asyncio.gather(
            here.says(RELEASE, entry), there.says(CONFIRM, entry, by=SENIOR), return_exceptions=True
        )
        assert isinstance(outcome[0], Ruled)
        assert isinstance(outcome[1], Ruled | Conflict)
        after = await now(here.shop, entry)
        assert after.flag is not None
        assert (after.hidden, after.flag.state) == (False, FlagState.RELEASED)
    await log_of(here.shop, room)


async def test_one_command_at_once_on_two_processes_is_one(two: tuple[Staff, Staff], room: RoomId) -> None:
    here, there = two
    for number in range(ROUNDS):
        entry = await written(here.shop, room)
        ruled = await asyncio.gather(*(each.says(RELEASE, entry, command=f"same-{number}") for each in two))
        assert len({each.entry.seq for each in ruled if each.entry is not None}) == 1
        assert await there.says(RELEASE, entry, command=f"same-{number}") == Ruled(
            ruled[0].entry or ruled[1].entry, True
        )
    await log_of(here.shop, room)


async def test_erasing_and_releasing_at_once_bring_nothing_back(two: tuple[Staff, Staff], room: RoomId) -> None:
    here, there = two
    for _ in range(ROUNDS):
        entry = await written(here.shop, room)
        released, _ = await asyncio.gather(
            here.says(RELEASE, entry), there.shop.log.erase(room, seqs=[entry.seq]), return_exceptions=True
        )
        assert isinstance(released, Ruled | Refused)
        after = await now(here.shop, entry)
        assert after.erased
        assert after.flag is None
    await log_of(here.shop, room)


@pytest.mark.parametrize(
    "tampering",
    [
        {"$set": {"shown": "withheld"}},
        {"$unset": {"shown": ""}},
    ],
)
async def test_what_is_not_shown_as_the_log_says_is_found(
    shop: Shop, staff: Staff, room: RoomId, tampering: dict[str, Any]
) -> None:
    entry = await written(shop, room)
    await staff.says(RELEASE, entry)
    assert await wrongly_shown(room, shop.log) is None
    await shop.database.collection("entries").update_one({"room": room, "seq": entry.seq}, tampering)
    assert await wrongly_shown(room, shop.log) == entry.seq


async def test_what_was_hidden_without_a_word_is_found(shop: Shop, room: RoomId) -> None:
    entry = await written(shop, room, mark=None)
    await shop.database.collection("entries").update_one(
        {"room": room, "seq": entry.seq}, {"$set": {"shown": "withheld"}}
    )
    assert await wrongly_shown(room, shop.log) == entry.seq


async def test_the_desk_fills_in_what_it_reads(shop: Shop) -> None:
    """What a caller claims to know of the entry makes no difference."""
    dispute = await shop.opened()
    with pytest.raises(NotFound):
        await shop.run(dispute.id, ReleaseMessage(AGENT, shop.command(), Seq(99)))
