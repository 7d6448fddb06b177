"""Commands on the database: ``migrate`` and ``verify``."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

import typer

from chatserver.cli.case_file import is_file, verify_files
from chatserver.cli.evidence import verify_evidence
from chatserver.cli.failures import ExitCode, Failure
from chatserver.cli.options import Config, Data, configuration, require_mongo, say

if TYPE_CHECKING:
    from chatserver.settings import Settings


_SNAPSHOT_MEANINGS: Final = {
    "snapshot_missing": "the dispute has no stored state",
    "snapshot_differs": "the stored state of the dispute is not what its entries add up to",
    "snapshot_behind": "it is not part of the stored state of the dispute",
    "snapshot_ahead": "the stored state of the dispute stands at a later entry, which does not exist",
}


def migrate(config: Config = None, data: Data = None) -> None:
    """Create or update indexes, validators and the schema version. Safe to run again, and beside running servers."""
    settings = require_mongo(configuration(config, data).settings)
    asyncio.run(_migrate(settings))


async def _migrate(settings: "Settings") -> None:
    from chatserver.database import connected
    from storage import schema

    async with connected(settings) as database:
        await schema.migrate(database)
        say(f"database {database.name} has schema version {schema.VERSION}")


def verify(
    rooms: Annotated[list[str] | None, typer.Argument(metavar="[ROOM | FILE]...", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="Verify every room there is.")] = False,
    head: Annotated[
        str, typer.Option("--head", metavar="HASH", help="Of a case file: the hash of an entry that it has to hold.")
    ] = "",
    evidence: Annotated[bool, typer.Option("--evidence", help="Also verify the evidence in the store.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Of evidence, read every file and compare its hash.")] = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Check that no entry of a room was removed, reordered or rewritten.

    Follows the hash chain from the first entry to the last, and of a dispute replays the rules: its stored state must
    be what its entries add up to; where one that matters was erased, it says that this cannot be told. Exit code 1,
    and the place of the first break of each room, when one does not hold. A case file (the JSON of a transcript) is
    checked by itself in the same way, without the database.

    With --evidence, every sealed piece must have its entry and its object as it was sealed, every entry its piece, and
    no object may be left over.
    """
    if bool(rooms) == every:
        raise Failure(ExitCode.USAGE, ["name the rooms or case files to verify, or --all rooms"])
    files = [name for name in rooms or [] if is_file(name)]
    named = [name for name in rooms or [] if name not in files]
    broken = verify_files(files, head)
    if every or named:
        settings = require_mongo(configuration(config, data).settings)
        broken += asyncio.run(_verify(settings, named))
        if evidence:
            broken += asyncio.run(verify_evidence(settings, named, deep=deep))
    raise typer.Exit(ExitCode.FAILED if broken else ExitCode.DONE)


async def _verify(settings: "Settings", named: list[str]) -> int:
    from chatserver.database import connected
    from chatserver.disputes.snapshots import Incomparable, check_snapshot, dispute_of_room
    from chatserver.rulings import is_about_rulings, wrongly_shown
    from chatserver.transcript.verification import MEANINGS
    from policies.vocabulary import RoomId
    from storage.chain import Verification
    from storage.commit import GroupCommit
    from storage.disputes import Disputes
    from storage.room_log import RoomLog
    from storage.rooms import Rooms

    checked = broken = entries = not_compared = 0
    async with connected(settings) as database:
        log = RoomLog(database, GroupCommit(database))

        async def check(room: RoomId) -> None:
            nonlocal checked, broken, entries
            verification = Verification(room)
            rulings = False
            async for entry in log.scan(room):
                rulings = rulings or is_about_rulings(entry)
                if (found := verification.feed(entry)) is not None:
                    say(f"{room}: broken at entry {found.seq} ({MEANINGS[found.kind]})")
                    broken += 1
                    break
            else:
                shown_wrongly = await wrongly_shown(room, log) if rulings else None
                if shown_wrongly is not None:
                    say(f"{room}: broken at entry {shown_wrongly} (it is not shown as the log says)")
                broken += not await replayed(room) or shown_wrongly is not None
            entries += verification.head.seq
            checked += 1

        async def replayed(room: RoomId) -> bool:
            """Whether a dispute's stored state follows from its room, as far as that can be told."""
            nonlocal not_compared
            dispute = dispute_of_room(room)
            if dispute is None or (found := await check_snapshot(dispute, log, Disputes(database, log))) is None:
                return True
            if isinstance(found, Incomparable):
                not_compared += 1
                say(f"{room}: the stored state of the dispute cannot be compared: entry {found.seq} was erased")
                return True
            say(f"{room}: broken at entry {found.seq} ({_SNAPSHOT_MEANINGS[found.fault]})")
            return False

        if named:
            for room in named:
                if await Rooms(database).facts(RoomId(room)) is None:
                    raise Failure(ExitCode.FAILED, [f"there is no room {room}"])
                await check(RoomId(room))
        else:
            async for room_id in log.rooms_with_entries():
                await check(room_id)
    verdict = f"{broken} broken" if broken else "all hold"
    if not_compared:
        verdict += f", {not_compared} not compared"
    say(f"{_count(checked, 'room', 'rooms')}, {_count(entries, 'entry', 'entries')} verified: {verdict}")
    return broken


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
