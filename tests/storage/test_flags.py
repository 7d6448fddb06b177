"""Finding flagged entries among very many others."""

from datetime import timedelta
from typing import Any

import pytest

from policies.entry import Draft, Entry
from policies.errors import BadRequest
from policies.flag import Cause, CauseKind, Flag, FlagState, Mark
from policies.vocabulary import CommandId, EntryKind, RoomId, UserId, Visibility, WebhookType
from storage.chain import genesis, link
from storage.client import Database
from storage.flags import OLDEST_FIRST, UNTOLD, FlagQuery, Flags, flag_query, of_user_query
from storage.outbox import OutboxEvent
from storage.room_log import RoomLog, Ruling
from tests.storage.making import BUYER, NOW, ROOM, SELLER, salts

CAUSE = Cause(CauseKind.CONTACT, "phone", "text", 0, 3, 90, "phone.run")
SECOND = timedelta(seconds=1)
FLAGGED_EVERY = 10


@pytest.fixture
def flags(database: Database) -> Flags:
    return Flags(database)


async def talk(log: RoomLog, room: RoomId = ROOM, count: int = 60, mark: Mark = Mark.WARNED) -> list[Entry]:
    """Messages, of which every tenth is flagged; those come back."""
    head, flagged = genesis(room), []
    for number in range(count):
        found = Flag(mark, 90, (CAUSE,)) if number % FLAGGED_EVERY == 0 else None
        author = (BUYER, SELLER)[number // FLAGGED_EVERY % 2]
        body = {"text": f"No. {number}"}
        draft = Draft(author, CommandId(f"c{number}"), EntryKind.MESSAGE, body, Visibility.ALL, found)
        [entry] = link(room, head, [draft], NOW + number * SECOND, salts())
        assert (await log.submit([entry])).failure is None
        head = await log.head(room)
        flagged += [entry] if found else []
    return flagged


async def plan_of(database: Database, query: dict[str, Any], sort: dict[str, int]) -> tuple[str, int]:
    """The plan of a query, as text, and how many documents it looks at."""
    find = {"find": "entries", "filter": query, "sort": sort, "limit": 5}
    told = await database.command({"explain": find, "verbosity": "executionStats"})
    return str(told["queryPlanner"]["winningPlan"]), int(told["executionStats"]["totalDocsExamined"])


async def test_the_queue_is_in_order_and_comes_in_pages(log: RoomLog, flags: Flags) -> None:
    first, second = await talk(log), await talk(log, RoomId("order-2"), mark=Mark.WITHHELD)
    everything = sorted([*first, *second], key=lambda entry: (entry.at, entry.room))
    found: list[Entry] = []
    cursor: str | None = None
    while True:
        page = await flags.page(FlagQuery(), 5, cursor)
        found += page.entries
        cursor = page.cursor
        if cursor is None:
            break
        assert len(page.entries) == 5
    assert found == everything
    assert list((await flags.page(FlagQuery(room=ROOM), 100)).entries) == first
    assert list((await flags.page(FlagQuery(marks=frozenset({Mark.WITHHELD})), 100)).entries) == second
    of_buyer = await flags.page(FlagQuery(user=BUYER.id), 100)
    assert list(of_buyer.entries) == [entry for entry in everything if entry.author == BUYER]
    with pytest.raises(BadRequest):
        await flags.page(FlagQuery(), 5, "!")


async def test_what_was_ruled_on_is_found_by_its_state(log: RoomLog, flags: Flags) -> None:
    first, *others = await talk(log)
    ruling = Ruling(None, FlagState.CONFIRMED, UserId("ada"), NOW)
    assert await log.rule(first, ruling)
    assert not await log.rule(first, ruling)  # it is not any more as it was read
    opened = await flags.page(FlagQuery(states=frozenset({FlagState.OPEN})), 100)
    assert list(opened.entries) == others
    [confirmed] = (await flags.page(FlagQuery(states=frozenset({FlagState.CONFIRMED})), 100)).entries
    assert confirmed.flag is not None
    assert (confirmed.flag.decided_by, confirmed.flag.decided_at) == ("ada", NOW)


@pytest.mark.parametrize(
    "query",
    [FlagQuery(), FlagQuery(states=frozenset({FlagState.OPEN})), FlagQuery(user=BUYER.id)],
)
async def test_only_flagged_entries_are_looked_at(
    database: Database, log: RoomLog, flags: Flags, query: FlagQuery
) -> None:
    await talk(log)
    plan, looked_at = await plan_of(database, flag_query(query, None), {"at": 1, "_id": 1})
    assert "COLLSCAN" not in plan
    assert looked_at <= 6
    if query.user is None:
        assert "'SORT'" not in plan  # the index has them in order
    page = await flags.page(query, 2)
    _, looked_at = await plan_of(database, flag_query(query, page.cursor), {"at": 1, "_id": 1})
    assert looked_at <= 6


async def test_a_users_flags_and_what_is_untold_are_found_by_index(
    database: Database, log: RoomLog, flags: Flags
) -> None:
    flagged = await talk(log)
    mine = [entry for entry in reversed(flagged) if entry.author == BUYER]
    assert await flags.of_user(BUYER.id, NOW, 100) == mine
    assert await flags.of_user(BUYER.id, NOW, 1) == mine[:1]
    assert await flags.of_user(BUYER.id, mine[0].at, 100) == mine[:1]
    plan, looked_at = await plan_of(database, of_user_query(BUYER.id, NOW), {"at": -1})
    assert "'indexName': 'flagged_author'" in plan
    assert "'SORT'" not in plan
    assert looked_at == len(mine)
    plan, looked_at = await plan_of(database, UNTOLD, dict(OLDEST_FIRST))
    assert "'indexName': 'untold'" in plan
    assert looked_at <= len(flagged)


async def test_what_adds_nothing_is_put_aside(database: Database, log: RoomLog, flags: Flags) -> None:
    flagged = await talk(log, count=100)
    await talk(log, RoomId("order-2"))
    mine = [entry for entry in flagged if entry.author == BUYER]
    last = mine[-1]
    assert await flags.before(last, NOW, 100) == mine[-2::-1]
    assert await flags.before(last, mine[1].at, 2) == mine[-2:-4:-1]
    for entry in mine[1:-1]:
        await flags.repeated(entry)
    assert await flags.before(last, NOW, 100) == mine[:1]
    assert mine[1] not in await flags.untold(100)
    waiting = (await flags.page(FlagQuery(frozenset({FlagState.OPEN}), room=ROOM), 100)).entries
    assert [entry for entry in waiting if entry.author == BUYER] == [mine[0], last]
    aside = (await flags.page(FlagQuery(frozenset({FlagState.REPEATED})), 100)).entries
    assert [entry.seq for entry in aside] == [entry.seq for entry in mine[1:-1]]
    _, looked_at = await plan_of(database, of_user_query(BUYER.id, NOW), {"at": -1})
    assert looked_at == len(await flags.of_user(BUYER.id, NOW, 100))


async def test_what_staff_have_looked_at_is_not_put_aside(log: RoomLog, flags: Flags) -> None:
    first, *_ = await talk(log)
    assert await log.rule(first, Ruling(None, FlagState.CONFIRMED, UserId("ada"), NOW))
    await flags.repeated(first)
    [confirmed] = (await flags.page(FlagQuery(states=frozenset({FlagState.CONFIRMED})), 100)).entries
    assert confirmed.seq == first.seq
    assert confirmed in await flags.untold(100)


async def test_each_is_told_once(database: Database, log: RoomLog, flags: Flags) -> None:
    first, second, *_ = await talk(log)
    event = OutboxEvent(ROOM, first.seq, WebhookType.CONTACT_FLAGGED, {"seq": first.seq}, first.at)  # type: ignore[arg-type]
    assert (await flags.untold(1)) == [first]
    assert await flags.tell(first, event)
    assert not await flags.tell(first, event)
    assert await flags.tell(second, None)
    assert first not in await flags.untold(100)
    assert second not in await flags.untold(100)
    assert len(await database.collection("outbox").find({})) == 1


async def test_an_erased_entry_is_flagged_no_more(log: RoomLog, flags: Flags) -> None:
    flagged = await talk(log)
    await log.erase(ROOM, author=BUYER.id)
    left = [entry for entry in flagged if entry.author != BUYER]
    assert list((await flags.page(FlagQuery(), 100)).entries) == left
    assert await flags.untold(100) == left
    assert not await log.rule(flagged[0], Ruling(Visibility.ALL, FlagState.RELEASED, UserId("ada"), NOW))
