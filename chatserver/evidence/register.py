"""Writing in the room's log that evidence was added or withdrawn."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from chatserver.clock import Clock
from chatserver.disputes.desk import Desk
from chatserver.reminders import in_view_of
from chatserver.screening import TextScreening
from policies.contact import OrderContext
from policies.dispute.commands import AddEvidence, WithdrawEvidence
from policies.entry import Author, Draft, Entry
from policies.errors import RoomClosed, Unavailable
from policies.evidence import Added
from policies.screening import Screening
from policies.vocabulary import PARTIES, CommandId, EntryKind, RoomId, Seq
from storage.chain import link
from storage.client import Session
from storage.errors import AppendLost, CommandTaken
from storage.evidence import Evidence
from storage.room_log import RoomLog
from storage.rooms import Rooms

ATTEMPTS: Final = 50
_TEXTS: Final = ("caption", "filename", "origin")
"""What the uploader says in their own words, by its name in the entry's body."""


class Register:
    """Writes entries about evidence, once each: their command ids follow from the evidence.

    Args:
        desk: writes to dispute rooms.
        log: of the order rooms.
        rooms: says whether one is closed.
        screening: reads what parties say of evidence, and what its pictures show.
        salt: gives 16 fresh random bytes at each call.
        announce: told the entries that have become durable.
    """

    def __init__(
        self,
        desk: Desk,
        log: RoomLog,
        rooms: Rooms,
        screening: TextScreening,
        clock: Clock,
        salt: Callable[[], bytes],
        announce: Callable[[Sequence[Entry]], Awaitable[None]],
    ) -> None:
        self._desk = desk
        self._log = log
        self._rooms = rooms
        self._screening = screening
        self._clock = clock
        self._salt = salt
        self._announce = announce

    async def added(self, evidence: Evidence, *, late: bool) -> Seq:
        """Say that evidence was verified and sealed. Returns the place of its entry.

        Raises:
            RoomClosed: it came too late for the room.
            ChatError: what the rules of the dispute say.
            Unavailable: the outcome is unknown; the same may be called again.
        """
        added = Added(
            evidence.id,
            evidence.uploader,
            evidence.role,
            evidence.said,
            evidence.media_type,
            thumbnail=evidence.thumbnail is not None,
            late=late,
        )
        author, command_id, body = _author(evidence), _added(evidence), added.body()
        found = await self._found(evidence, body)
        if evidence.dispute is None:
            return await self._append(evidence.room, Draft(author, command_id, EntryKind.EVIDENCE_ADDED, body), found)
        ran = await self._desk.run(
            evidence.dispute, AddEvidence(author, command_id, evidence.id, evidence.said.kind, body), found
        )
        return _place(ran.first)

    async def withdrawn(self, evidence: Evidence, reason: str) -> Seq:
        """Say that its uploader has withdrawn it. Raises as ``added``."""
        author, command_id = _author(evidence), _withdrawn(evidence)
        found = None
        if evidence.role in PARTIES:
            found = await self._screening.texts({"reason": reason}, await self._order(evidence.room))
        if evidence.dispute is None:
            body: dict[str, Any] = {"evidence": evidence.id} | ({"reason": reason} if reason else {})
            draft = Draft(author, command_id, EntryKind.EVIDENCE_WITHDRAWN, body)
            return await self._append(evidence.room, draft, found)
        ran = await self._desk.run(evidence.dispute, WithdrawEvidence(author, command_id, evidence.id, reason), found)
        return _place(ran.first)

    async def is_withdrawn(self, evidence: Evidence) -> bool:
        """Whether an entry says so: the record holds, whatever else was not written any more."""
        return await self._log.find(evidence.room, evidence.uploader, _withdrawn(evidence)) is not None

    async def entry(self, evidence: Evidence) -> Entry | None:
        """The entry that says that evidence was added; None while there is none."""
        return await self._log.find(evidence.room, evidence.uploader, _added(evidence))

    async def _found(self, evidence: Evidence, body: Mapping[str, Any]) -> Screening | None:
        """What is wrong with what a party says of evidence, or with a code that it shows."""
        if evidence.role not in PARTIES:
            return None
        texts = {name: body[name] for name in _TEXTS if name in body}
        order = await self._order(evidence.room)
        return await self._screening.evidence(texts, evidence.said.filename, evidence.seen.codes, order)

    async def _order(self, room: RoomId) -> OrderContext:
        facts = await self._rooms.facts(room)
        return OrderContext() if facts is None else await self._screening.order(facts.order_id)

    async def _append(self, room: RoomId, draft: Draft, found: Screening | None) -> Seq:
        """Write to an order room, which has no state to decide upon."""
        for _ in range(ATTEMPTS):
            head = await self._log.head(room)
            facts = await self._rooms.facts(room)
            if facts is None or facts.closed:
                raise RoomClosed("This room is closed.")
            drafts = [draft]
            now = self._clock.now()
            found = await in_view_of(self._log, room, draft.author.id, now, found)
            if found is not None:
                reminder = found.reminder(Seq(head.seq + 1))
                drafts = [found.applied(draft), *([] if reminder is None else [reminder])]
            entries = link(room, head, drafts, now, self._salt)
            try:
                await self._log.append_with(entries, _nothing_else)
            except CommandTaken:
                return _place(await self._log.find(room, draft.author.id, draft.command_id))
            except AppendLost:
                continue
            await self._announce(entries)
            return entries[0].seq
        raise Unavailable("Too much is written to this room at once.", retry_after_ms=1000)


def _added(evidence: Evidence) -> CommandId:
    return CommandId(f"evidence:{evidence.id}")


def _withdrawn(evidence: Evidence) -> CommandId:
    return CommandId(f"withdrawn:{evidence.id}")


def _author(evidence: Evidence) -> Author:
    return Author(evidence.uploader, evidence.role, evidence.uploader_name)


def _place(entry: Entry | None) -> Seq:
    if entry is None:
        raise Unavailable("The first answer cannot be read yet.", retry_after_ms=200)
    return entry.seq


async def _nothing_else(_: Session) -> None:
    """The entry stands for itself."""
