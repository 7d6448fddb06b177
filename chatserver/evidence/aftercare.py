"""What a worker does about evidence: it finishes what was interrupted, and deletes what nobody needs any more.

Each step goes from one state of a piece to the next, by the same compare-and-swap as everybody else's, so that a worker
that dies, two workers, or a worker and an uploader do nothing twice.
"""

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from chatserver.clock import Clock
from chatserver.evidence.clearing import INCOMING
from chatserver.evidence.intake import Intake
from chatserver.evidence.scanner import Scanner
from policies.errors import Refused, Unavailable
from policies.evidence import EvidenceId, EvidenceRules, kept_until
from policies.vocabulary import DisputeId
from storage.disputes import Disputes
from storage.evidence import UNFINISHED, Evidence, EvidenceState, EvidenceStore
from storage.holds import Holds
from storage.object_store import ObjectStore, StoreMisconfigured
from storage.rooms import Rooms

AT_ONCE: Final = 100
"""Pieces of one round."""
LOOKS_AT_ONCE: Final = 10
"""The same where each means reading a file."""
ROUNDS: Final = 20
"""Rounds of one look at how long evidence is kept."""
STRAYS_AT_ONCE: Final = 500
OWN_TIME: Final = timedelta(minutes=1)
"""Whoever has begun with a piece goes on with it; only what is older was left behind."""
LOOK_EVERY: Final = timedelta(days=7)
"""Longest time between two looks at how long a piece is kept: a changed policy holds for all after that time."""

logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Cabinet:
    """Where evidence is kept, with what decides for how long."""

    store: ObjectStore
    known: EvidenceStore
    disputes: Disputes
    rooms: Rooms
    holds: Holds


class EvidenceAftercare:
    """The periodic work on evidence. Each method returns how many pieces it has brought further, and raises
    ``policies.errors.Unavailable`` when the database or the store does not answer.

    Args:
        cabinet: where evidence is kept.
        intake: takes the steps.
        scanner: whether it is there again; None: there is none, and nothing has to wait.
        rules: the limits in force.
    """

    def __init__(
        self, cabinet: Cabinet, intake: Intake, scanner: Scanner | None, rules: EvidenceRules, clock: Clock
    ) -> None:
        self._store = cabinet.store
        self._known = cabinet.known
        self._disputes = cabinet.disputes
        self._rooms = cabinet.rooms
        self._holds = cabinet.holds
        self._intake = intake
        self._scanner = scanner
        self._rules = rules
        self._clock = clock

    async def finish(self) -> int:
        """Write the entries of pieces whose sealing was interrupted."""
        before = self._clock.now() - OWN_TIME
        found = await self._known.unfinished(EvidenceState.SEALING, before, AT_ONCE)
        return await self._each(found, self._finish)

    async def scan_again(self) -> int:
        """Have quarantined pieces scanned, when the scanner is there."""
        if self._scanner is not None and not await self._scanner.is_there():
            return 0
        before = self._clock.now() - OWN_TIME
        found = await self._known.unfinished(EvidenceState.QUARANTINED, before, LOOKS_AT_ONCE)
        return await self._each(found, self._scan)

    async def abandon(self) -> int:
        """Drop uploads that nobody has completed in time."""
        before = self._clock.now() - self._rules.abandoned_after
        found = await self._known.unfinished(EvidenceState.ANNOUNCED, before, AT_ONCE)
        return await self._each(found, self._abandon)

    async def clear(self) -> int:
        """Delete objects that should not be there: of pieces that ended while the store was away, and what was
        uploaded, by a request that was still good, after its piece had ended or was sealed."""
        before = self._clock.now() - OWN_TIME
        cleared = await self._each(await self._known.leftovers(before, AT_ONCE), self._clear)
        if not await self._known.after(None, 1):  # where there is no evidence there need not be a store
            return cleared
        page: dict[EvidenceId, str] = {}
        async for found in self._store.listing(f"{INCOMING}/"):
            page[EvidenceId(found.key.rpartition("/")[2])] = found.key
            if len(page) == STRAYS_AT_ONCE:
                cleared += await self._clear_strays(page)
                page = {}
        return cleared + await self._clear_strays(page)

    async def retire(self) -> int:
        """Delete evidence whose time is up, unless it is held."""
        retired = 0
        for _ in range(ROUNDS):
            found = await self._known.to_look_at(self._clock.now(), AT_ONCE)
            retired += await self._each(found, self._retire)
            if len(found) < AT_ONCE:
                break
        return retired

    async def _each(self, found: list[Evidence], step: Callable[[Evidence], Awaitable[bool]]) -> int:
        done = 0
        for evidence in found:
            try:
                done += await step(evidence)
            except (Unavailable, StoreMisconfigured):
                raise
            except Exception:
                # One piece that cannot be brought further must not keep the others from it.
                logger.exception("evidence_left_behind", evidence=evidence.id, state=evidence.state.value)
        return done

    async def _finish(self, evidence: Evidence) -> bool:
        with contextlib.suppress(Refused):  # the room was closed meanwhile; the piece says so
            await self._intake.finish(evidence)
        return True

    async def _scan(self, evidence: Evidence) -> bool:
        try:
            scanned = await self._intake.take(evidence)
        except Refused as refusal:
            if refusal.details.get("rule") == "not_uploaded":  # somebody has deleted it from the store
                await self._intake.abandon(evidence)
            return True
        if scanned.state is EvidenceState.QUARANTINED:
            # Behind the others: one that the scanner cannot scan must not keep them waiting.
            await self._known.advance(evidence, evidence.now(EvidenceState.QUARANTINED, self._clock.now()))
            return False
        return True

    async def _abandon(self, evidence: Evidence) -> bool:
        await self._intake.abandon(evidence)
        return True

    async def _clear(self, evidence: Evidence) -> bool:
        await self._intake.clear(evidence)
        return True

    async def _retire(self, evidence: Evidence) -> bool:
        now = self._clock.now()
        # First, so that one of which this cannot be said does not keep the others waiting.
        await self._known.look_later(evidence.id, now + LOOK_EVERY)
        until = await self._kept_until(evidence)
        if until is not None and until < now:
            await self._intake.delete(evidence)
            return True
        if until is not None and until < now + LOOK_EVERY:
            await self._known.look_later(evidence.id, until)
        return False

    async def _clear_strays(self, uploaded: dict[EvidenceId, str]) -> int:
        """Delete those of the uploaded objects, by evidence, that nobody will look at any more."""
        known = await self._known.several(uploaded)
        needed = {each.id for each in known.values() if each.state in UNFINISHED}
        await self._store.purge(gone := [key for evidence, key in uploaded.items() if evidence not in needed])
        return len(gone)

    async def _kept_until(self, evidence: Evidence) -> datetime | None:
        """How long a piece is kept; None while nobody can say, because a dispute goes on or is held."""
        if evidence.dispute is not None:
            stored = await self._disputes.get(evidence.dispute)
            disputes = [] if stored is None else [stored.dispute]
        else:
            facts = await self._rooms.facts(evidence.room)
            disputes = [] if facts is None else await self._disputes.of_order(facts.order_id)
        if await self._holds.any_of([DisputeId(each.id) for each in disputes]):
            return None
        return kept_until(evidence.touched_at, [each.ended_at for each in disputes], self._rules)
