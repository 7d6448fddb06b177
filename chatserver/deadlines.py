"""The deadlines of disputes: whatever is due is done, once, by any number of workers.

A worker claims disputes in which something is due, so that no other one looks at them at the same time. The claim only
saves work: what is written is decided on the log, which takes it once, whoever writes, and if a worker ends at any
point, the claim runs out and another one looks again. Many disputes are written in one transaction; when somebody acted
in one of them at the same moment they are looked at again in halves, and one that is faulty is looked at alone.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram

from chatserver.clock import Clock
from chatserver.disputes.desk import Desk
from chatserver.disputes.ledger import Ledger
from policies.dispute.commands import Tick
from policies.dispute.decide import decide
from policies.entry import Entry
from policies.errors import Unavailable
from policies.instant import instant
from policies.room import SYSTEM
from policies.vocabulary import CommandId, DisputeId
from storage.chain import link
from storage.disputes import Current, Disputes
from storage.errors import AppendLost

TICK: Final = Tick(SYSTEM, CommandId("tick"))
ENTRIES_READ: Final = 5_000
"""Most entries that are read at once, of all disputes that are looked at together."""
FINISH_S: Final = 5.0
"""How long a worker that stops waits for what it has begun."""
_LATE_BUCKETS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)

logger = structlog.stdlib.get_logger(__name__)


class DeadlineMetrics:
    """What a worker has done about deadlines."""

    def __init__(self, registry: CollectorRegistry) -> None:
        looks = "Disputes looked at because something was due: fired, early (nothing was due yet), faulty (put aside)."
        self._looks = Counter("dispute_chat_deadline_looks", looks, ("outcome",), registry=registry)
        entries = "Entries that the clock has written, by kind."
        self._entries = Counter("dispute_chat_deadline_entries", entries, ("kind",), registry=registry)
        late = "From when something was due until it was done and durable."
        self._late = Histogram("dispute_chat_deadline_late_seconds", late, buckets=_LATE_BUCKETS, registry=registry)

    def fired(self, entries: Sequence[Entry]) -> None:
        """The clock has written entries in one dispute."""
        self._looks.labels("fired").inc()
        for entry in entries:
            self._entries.labels(entry.kind.value).inc()

    def late(self, by: timedelta) -> None:
        self._late.observe(by.total_seconds())

    def early(self, count: int) -> None:
        """In so many disputes nothing was due yet."""
        self._looks.labels("early").inc(count)

    def faulty(self) -> None:
        """A dispute could not be looked at, and was put aside."""
        self._looks.labels("faulty").inc()


@dataclass(frozen=True, slots=True)
class Pace:
    """How much at once, and how long.

    Args:
        horizon_s: what is due within so many seconds is waited for; beyond, the next round comes first.
        gather_s: how long after something has become due the look comes. A deadline itself is still in time; and what
            becomes due in the meantime is written together with it, which costs a fraction of writing each alone.
        batch: disputes that are claimed together.
        under_way: batches that are worked on at the same time.
        together: disputes that are written in one transaction. More cost less each, and make it likelier that one of
            them keeps the others from being written.
        claim: how long nobody else looks at what was claimed. A worker that dies leaves its claims for so long.
        held_up_s: before a dispute is tried again that could not be claimed: as long as MongoDB keeps the locks of a
            process that has died, about.
        pauses: before a faulty dispute is looked at again, by how often it has failed in a row.
    """

    horizon_s: float = 1.0
    gather_s: float = 0.05
    batch: int = 400
    under_way: int = 2
    together: int = 100
    claim: timedelta = timedelta(seconds=10)
    held_up_s: float = 60.0
    pauses: tuple[timedelta, ...] = (
        timedelta(minutes=1),
        timedelta(minutes=5),
        timedelta(minutes=30),
        timedelta(hours=2),
    )


class Deadlines:
    """Does what is due.

    Args:
        disputes: where what is due is found.
        ledger: writes for many disputes at once.
        desk: acts in one dispute.
        clock: the time.
        salt: gives 16 fresh random bytes at each call.
        announce: tells the hubs of entries that are durable; must not block.
        claimant: names this worker, unlike any other.
        metrics: is told what was done.
        pace: how much at once.
    """

    def __init__(
        self,
        *,
        disputes: Disputes,
        ledger: Ledger,
        desk: Desk,
        clock: Clock,
        salt: Callable[[], bytes],
        announce: Callable[[Sequence[Entry]], None],
        claimant: str,
        metrics: DeadlineMetrics,
        pace: Pace = Pace(),
    ) -> None:
        self._disputes = disputes
        self._ledger = ledger
        self._desk = desk
        self._clock = clock
        self._salt = salt
        self._announce = announce
        self._claimant = claimant
        self._metrics = metrics
        self._pace = pace
        self._held_up: dict[DisputeId, float] = {}
        """Disputes that could not be claimed, and until when they are not tried again."""

    async def run(self) -> None:
        """Do what is due now, or becomes due within the horizon; come back when that is all.

        What was begun is finished when this is cancelled.

        Raises:
            Unavailable: the database does not answer. What was claimed is due again when the claim has run out.
        """
        while (due_at := await self._disputes.next_due()) is not None:
            ahead_s = (due_at - self._clock.now()).total_seconds()
            if ahead_s > self._pace.horizon_s:
                return
            await asyncio.sleep(max(0.0, ahead_s) + self._pace.gather_s)
            claimed = await self._claim()
            if not claimed:
                return  # others have taken what is due, or it is held up
            await self._finish_all(claimed)

    async def _finish_all(self, claimed: list[DisputeId]) -> None:
        """Finish what was claimed, and what else is due. While MongoDB writes for some, the next are claimed and
        decided."""
        under_way: deque[asyncio.Task[None]] = deque()
        try:
            while claimed:
                under_way.append(asyncio.create_task(self._finish(claimed)))
                if len(claimed) < self._pace.batch:
                    break
                if len(under_way) == self._pace.under_way:
                    await under_way.popleft()
                claimed = await self._claim()
            while under_way:
                await under_way.popleft()
        finally:
            for finishing in under_way:  # one of them has failed, or this was cancelled
                finishing.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _claim(self) -> list[DisputeId]:
        now, pace = self._clock.now(), self._pace
        passed = asyncio.get_running_loop().time()
        self._held_up = {dispute: until for dispute, until in self._held_up.items() if until > passed}
        wanted = now, now + pace.claim, pace.batch, self._claimant, self._held_up.keys()
        try:
            return await self._disputes.claim_due(*wanted)
        except Unavailable:
            taken, held_up = await self._disputes.claim_each(*wanted)
        until = asyncio.get_running_loop().time() + pace.held_up_s
        self._held_up.update(dict.fromkeys(held_up, until))
        logger.warning("disputes_held_up", disputes=len(held_up))
        return taken

    async def _finish(self, claimed: Sequence[DisputeId]) -> None:
        """Look at all of them, even when cancelled meanwhile."""
        size = self._pace.together
        parts = (self._look_at(claimed[at : at + size]) for at in range(0, len(claimed), size))
        looking = asyncio.gather(*parts, return_exceptions=True)
        try:
            results = await asyncio.shield(looking)
        except asyncio.CancelledError:
            await asyncio.wait([looking], timeout=FINISH_S)
            raise
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _look_at(self, claimed: Sequence[DisputeId]) -> None:
        alone = dict.fromkeys(claimed)
        early: list[Current] = []
        due: list[tuple[Current, list[Entry]]] = []
        for current in await self._disputes.current_of(claimed, ENTRIES_READ):
            entries = self._decided(current)
            if entries is None:
                continue
            del alone[current.dispute.id]
            if entries:
                due.append((current, entries))
            elif self._is_stuck(current):
                await self._put_aside(current.dispute.id, "deadline_stuck")
            else:
                early.append(current)
        await self._disputes.put_each_later(early)
        self._metrics.early(len(early))
        instead = await self._write(due)
        looks = await asyncio.gather(*map(self._look_alone, alone), *instead, return_exceptions=True)
        for failed in (each for each in looks if isinstance(each, BaseException)):
            raise failed

    def _decided(self, current: Current) -> list[Entry] | None:
        """What the clock writes in a dispute; None when that cannot be said."""
        now = max(instant(self._clock.now()), current.head.at)
        try:
            drafts = decide(current.dispute, TICK, now)
            return list(link(current.dispute.room, current.head, drafts, now, self._salt))
        except Exception:  # noqa: BLE001  (a fault in one must not hold up the others; looked at alone, it is told)
            return None

    async def _write(self, due: Sequence[tuple[Current, list[Entry]]]) -> list[Coroutine[Any, Any, None]]:
        """Write in all of them together; if that was not possible, the looks that have to be taken instead."""
        if not due:
            return []
        ids = [current.dispute.id for current, _ in due]
        try:
            await self._ledger.write_each(due)
        except AppendLost:
            # Somebody acted in one of them at the same moment. What that left is looked at, in ever smaller groups.
            middle = len(ids) // 2
            return [self._look_at(ids[:middle]), self._look_at(ids[middle:])] if middle else [self._look_alone(ids[0])]
        except Exception:
            # One of them is locked by what a dead process left behind, or the database refuses it: tried one by one,
            # the others get through.
            logger.warning("deadlines_not_together", disputes=len(due), exc_info=True)
            return [self._look_alone(each) for each in ids]
        now = self._clock.now()
        for current, entries in due:
            self._announce(entries)
            self._metrics.fired(entries)
            self._note_lateness(current.dispute.next_at, now)
        return []

    async def _look_alone(self, dispute: DisputeId) -> None:
        try:
            due_at = (await self._desk.state(dispute)).next_at
            ran = await self._desk.run(dispute, TICK)
        except Unavailable:
            raise
        except Exception:  # noqa: BLE001
            # Whatever is wrong with it: it is logged, and the others must not wait for it.
            await self._put_aside(dispute, "deadline_faulty")
            return
        if ran.entries:
            self._metrics.fired(ran.entries)
            self._note_lateness(due_at, self._clock.now())
        else:
            self._metrics.early(1)

    def _is_stuck(self, current: Current) -> bool:
        """Whether something is due and yet nothing is to be done: looking again at once would go on for ever."""
        due_at = current.dispute.next_at
        return due_at is not None and due_at < self._clock.now() - timedelta(seconds=1)

    async def _put_aside(self, dispute: DisputeId, event: str) -> None:
        logger.error(event, dispute=dispute, exc_info=sys.exc_info()[0] is not None)
        self._metrics.faulty()
        await self._disputes.put_aside(dispute, self._claimant, self._clock.now(), self._pace.pauses)

    def _note_lateness(self, due_at: datetime | None, now: datetime) -> None:
        if due_at is not None:
            self._metrics.late(max(timedelta(), now - due_at))
