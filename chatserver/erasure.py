"""Erasing what a person has said and shown, where nobody needs it any more. Every step may be done again."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Final

from chatserver.clock import Clock
from chatserver.evidence.clearing import clear
from policies.dispute.evolve import STATE_KINDS
from policies.dispute.forgetting import forget
from policies.dispute.state import Dispute
from policies.errors import Unavailable
from policies.room import RoomFacts, dispute_of, staff_room
from policies.vocabulary import DisputeId, Role, RoomId, UserId
from storage.disputes import Disputes
from storage.evidence import Evidence, EvidenceState, EvidenceStore, Seen
from storage.holds import Holds
from storage.object_store import ObjectStore
from storage.reports import Reports
from storage.room_log import RoomLog
from storage.rooms import Rooms

PAGE: Final = 100
ATTEMPTS: Final = 10


@dataclass(frozen=True, slots=True)
class Erased:
    """What was done about one room. ``kept``: why nothing was, if so."""

    room: RoomId
    entries: int = 0
    pieces: int = 0
    kept: str | None = None


@dataclass(frozen=True, slots=True)
class Archive:
    """Where what people have said is kept."""

    log: RoomLog
    rooms: Rooms
    disputes: Disputes
    known: EvidenceStore
    holds: Holds
    reports: Reports
    store: ObjectStore


class Erasure:
    """Erases what a buyer or seller has said and shown: the content of entries, evidence, what they have said in
    reports, and what a dispute's state repeats of it. The hashes stay, so that the record can still be verified, and so
    does what was decided.

    Kept as a whole is what belongs to an order with a dispute that is not closed, or whose evidence is held.
    """

    def __init__(self, archive: Archive, clock: Clock) -> None:
        self._log = archive.log
        self._rooms = archive.rooms
        self._disputes = archive.disputes
        self._known = archive.known
        self._holds = archive.holds
        self._reports = archive.reports
        self._store = archive.store
        self._clock = clock

    async def erase(self, user: UserId, *, only_look: bool = False) -> AsyncIterator[Erased]:
        """Erase, room by room.

        Args:
            only_look: say which rooms there are and which are kept, and change nothing.

        Raises:
            Unavailable: no answer; the same may be called again.
        """
        cursor: str | None = None
        while True:
            page = await self._rooms.of_user(user, PAGE, cursor)
            for facts in page.rooms:
                disputes = await self._disputes.of_order(facts.order_id)
                kept = await self._kept(disputes)
                if kept is not None or only_look:
                    yield Erased(facts.id, kept=kept)
                else:
                    yield await self._erase(facts, disputes, user)
            cursor = page.cursor
            if cursor is None:
                return

    async def _kept(self, disputes: list[Dispute]) -> str | None:
        for each in disputes:
            if not each.closed:
                return f"dispute {each.id} is not closed"
            if await self._holds.of(each.id) is not None:
                return f"dispute {each.id} is held"
        return None

    async def _erase(self, facts: RoomFacts, disputes: list[Dispute], user: UserId) -> Erased:
        # The evidence first: what its entries say is needed to go on with it after a crash.
        pieces = 0
        for piece in await self._known.of_uploader(facts.id, user):
            pieces += await self._discard(piece)
        entries = await self._log.erase(facts.id, author=user)
        await self._reports.forget(facts.id, user)
        dispute = dispute_of(facts)
        for each in disputes:
            if each.id == dispute:
                await self._rooms.forget_name(staff_room(each.id), user)
                # A state that no erased entry explains would look like one that somebody has changed.
                if await self._has_erased_acts(facts.id, user):
                    await self._forget(each.id, user)
        await self._rooms.forget_name(facts.id, user)
        return Erased(facts.id, entries, pieces)

    async def _discard(self, piece: Evidence) -> bool:
        """Delete a piece and what is said of it, but its hash. Whether that was still to be done."""
        for _ in range(ATTEMPTS):
            said = replace(piece.said, filename="", caption="", origin="", captured_at=None)
            bare = {"said": said, "uploader_name": "", "seen": Seen(), "leftover": True}
            if piece.said == said and not piece.leftover:
                return False
            ended = piece.now(EvidenceState.DELETED, self._clock.now(), **bare)
            if await self._known.advance(piece, ended):
                await clear(self._store, self._known, ended)
                return True
            found = await self._known.get(piece.id)
            assert found is not None  # none is ever removed
            piece = found
        return False

    async def _has_erased_acts(self, room: RoomId, user: UserId) -> bool:
        """Whether entries of a user that the state depends on have lost their content."""
        async for entry in self._log.scan(room):
            if entry.erased and entry.author.id == user and entry.kind in STATE_KINDS:
                return True
        return False

    async def _forget(self, dispute: DisputeId, user: UserId) -> None:
        """Staff may rule on entries of a closed room, and the marketplace report of the money, at any moment."""
        for _ in range(ATTEMPTS):
            stored = await self._disputes.get(dispute)
            assert stored is not None  # none is ever removed
            state = stored.dispute
            for side, party in ((Role.BUYER, state.buyer), (Role.SELLER, state.seller)):
                if party.id == user:
                    state = forget(state, side)
            if state == stored.dispute or await self._disputes.rewrite(stored.dispute, state):
                return
        raise Unavailable("Too much happens in this dispute at once.", retry_after_ms=1000)
