"""What staff say of entries: released, redacted, rightly flagged. In order rooms and dispute rooms alike, at any time.

Two who rule on the same entry at the same moment are told apart by what they have read of it: one of them wins, and the
other decides again on what that left.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from chatserver.clock import Clock
from chatserver.disputes.desk import Desk
from chatserver.disputes.ledger import Overtaken
from chatserver.rulings import ruling_of
from policies.dispute.commands import RedactMessage, ReleaseMessage
from policies.entry import Author, Entry
from policies.errors import Conflict, Unavailable
from policies.instant import instant
from policies.room import RoomFacts, dispute_of
from policies.verdicts import STATES, Effect, Target, Verdict, announcement, judge, same_verdict, target_of
from policies.vocabulary import CommandId, RoomKind, Seq
from storage.audit import Audit, AuditRecord
from storage.chain import KEY_SEPARATOR, link
from storage.client import Session
from storage.errors import AppendLost
from storage.room_log import RoomLog, Ruling

ATTEMPTS: Final = 50
"""How often a verdict may lose against whoever else writes to the room before it is told to come back."""


class Ruled(NamedTuple):
    """What became of a verdict.

    ``entry`` is what the log says of it; None where nothing changed in what is shown. ``duplicate``: it was carried out
    before.
    """

    entry: Entry | None
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class _Asked:
    facts: RoomFacts
    author: Author
    verdict: Verdict
    seq: Seq
    reason: str
    command_id: CommandId

    @property
    def key(self) -> str:
        """What tells a ruling that has no entry of its own from others."""
        return KEY_SEPARATOR.join((self.author.id, self.verdict.value, self.command_id))

    def is_said_by(self, first: Entry) -> bool:
        """Whether an entry with the same id says the same."""
        return same_verdict(self.verdict, self.seq, self.reason, first)


@dataclass(frozen=True, slots=True)
class Moderation:
    """See the module.

    ``salt`` gives 16 fresh random bytes at each call; ``announce`` is told the entries that have become durable.
    """

    desk: Desk
    log: RoomLog
    audit: Audit
    clock: Clock
    salt: Callable[[], bytes]
    announce: Callable[[Sequence[Entry]], Awaitable[None]]

    async def rule(
        self, facts: RoomFacts, author: Author, verdict: Verdict, seq: Seq, reason: str, command_id: CommandId
    ) -> Ruled:
        """Carry out what a member of staff says of an entry. No claim of the case is needed, and a closed room is no
        obstacle: whoever looks after the queue of flags works in all rooms.

        Args:
            facts: of the room.
            author: who says it, with their role in the room.
            command_id: the idempotency key.

        Raises:
            ChatError: as ``policies.verdicts.judge``.
            Conflict: the author used this command id for something else.
            Unavailable: the outcome is unknown, or too many are at it; the same may be sent again.
        """
        asked = _Asked(facts, author, verdict, seq, reason, command_id)
        first = await self.log.find(facts.id, author.id, command_id)
        if first is not None:
            if not asked.is_said_by(first):
                raise Conflict("This command id was used for something else.", details={"seq": first.seq})
            return Ruled(first, duplicate=True)
        recorded = False
        for _ in range(ATTEMPTS):
            read = await self.log.read(facts.id, seq)
            if read is not None and read.flag is not None and await self.log.was_ruled(read, asked.key):
                return Ruled(None, duplicate=True)
            target = None if read is None else target_of(read)
            effect = judge(verdict, target, author.role, reason)
            if effect is Effect.NOTHING or read is None or target is None:
                return Ruled(None)
            if not recorded:  # before anything is done, and once
                await self._record(asked)
                recorded = True
            ruled = await self._carry_out(asked, read, target, effect)
            if ruled is not None:
                return ruled
        raise Unavailable("Too many are writing to this room at once.", retry_after_ms=1000)

    async def _carry_out(self, asked: _Asked, read: Entry, target: Target, effect: Effect) -> Ruled | None:
        """Do what a verdict means, unless somebody else was faster: None."""
        if effect is Effect.FLAG:
            ruling = Ruling(None, STATES[asked.verdict], asked.author.id, instant(self.clock.now()), asked.key)
            return Ruled(None) if await self.log.rule(read, ruling) else None
        if asked.facts.kind is RoomKind.DISPUTE and (dispute := dispute_of(asked.facts)) is not None:
            kind = ReleaseMessage if asked.verdict is Verdict.RELEASE else RedactMessage
            ran = await self.desk.run(dispute, kind(asked.author, asked.command_id, read.seq, asked.reason))
            return None if ran.first is None else Ruled(ran.first, ran.duplicate)
        return await self._append(asked, read, target)

    async def _append(self, asked: _Asked, read: Entry, target: Target) -> Ruled | None:
        room, author = asked.facts.id, asked.author
        head = await self.log.head(room)
        draft = announcement(asked.verdict, target, author, asked.command_id, asked.reason)
        entries = link(room, head, [draft], max(instant(self.clock.now()), head.at), self.salt)

        async def work(session: Session) -> None:
            if not await self.log.rule(read, ruling_of(entries[0]), session):
                raise Overtaken

        try:
            # Finished and told even when whoever asked is gone.
            await asyncio.shield(asyncio.ensure_future(self._write(entries, work)))
        except AppendLost:
            # Perhaps the same command, sent again while it was carried out.
            first = await self.log.find(room, author.id, asked.command_id)
            return Ruled(first, duplicate=True) if first and asked.is_said_by(first) else None
        return Ruled(entries[0])

    async def _write(self, entries: Sequence[Entry], work: Callable[[Session], Awaitable[None]]) -> None:
        await self.log.append_with(entries, work)
        await self.announce(entries)

    async def _record(self, asked: _Asked) -> None:
        details: dict[str, Any] = {"seq": asked.seq, "reason": asked.reason} if asked.reason else {"seq": asked.seq}
        facts, author, action = asked.facts, asked.author, f"entry.{asked.verdict.value}"
        now = self.clock.now()
        await self.audit.record(AuditRecord(now, author.id, author.role, action, dispute_of(facts), facts.id, details))
