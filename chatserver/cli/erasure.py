"""``chatserver erase``: what a person has said and shown."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from chatserver.cli.failures import ExitCode
from chatserver.cli.options import Config, Data, configuration, require_mongo, say

if TYPE_CHECKING:
    from chatserver.settings import Settings


def erase(
    user: Annotated[str, typer.Argument(help="The user's id.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; otherwise only say what there is.")] = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Erase what a buyer or seller has said and shown, for good: messages, evidence, and what repeats them.

    The hashes stay, so that the record can still be verified, and so does what was decided. Rooms of an order with a
    dispute that is not closed, or that is held, are kept and named; the exit code is 1 then. Run it again later. What
    the marketplace itself has reported of an order, and sent webhooks, are not touched.
    """
    settings = require_mongo(configuration(config, data).settings)
    raise typer.Exit(ExitCode.FAILED if asyncio.run(_erase(settings, user, do_it=yes)) else ExitCode.DONE)


async def _erase(settings: "Settings", user: str, *, do_it: bool) -> int:
    from chatserver.clock import SystemClock
    from chatserver.database import connected
    from chatserver.erasure import Archive, Erasure
    from chatserver.evidence.office import open_store
    from policies.vocabulary import UserId
    from storage.commit import GroupCommit
    from storage.disputes import Disputes
    from storage.evidence import EvidenceStore
    from storage.holds import Holds
    from storage.reports import Reports
    from storage.room_log import RoomLog
    from storage.rooms import Rooms

    rooms = kept = entries = pieces = 0
    store = open_store(settings)
    try:
        async with connected(settings) as database:
            log = RoomLog(database, GroupCommit(database))
            archive = Archive(
                log,
                Rooms(database),
                Disputes(database, log),
                EvidenceStore(database),
                Holds(database),
                Reports(database),
                store,
            )
            async for erased in Erasure(archive, SystemClock()).erase(UserId(user), only_look=not do_it):
                rooms += 1
                kept += erased.kept is not None
                entries += erased.entries
                pieces += erased.pieces
                if erased.kept is not None:
                    say(f"{erased.room}: kept, {erased.kept}")
    finally:
        await store.close()
    if do_it:
        say(f"{rooms - kept} rooms, {entries} entries, {pieces} pieces of evidence erased; {kept} rooms kept")
    else:
        say(f"{rooms - kept} rooms can be erased, {kept} have to be kept; to erase for good: --yes")
    return kept
