"""What a crash, or a person who vanished, leaves behind in disputes, and a worker finishes."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final, NamedTuple

import structlog

from chatserver.clock import ShiftedClock
from chatserver.disputes.desk import Desk
from policies.dispute.commands import LapseClaim
from policies.errors import Unavailable
from policies.instant import rfc3339
from policies.room import SYSTEM
from policies.vocabulary import CommandId, OrderId
from storage.claims import Claims
from storage.orders import Orders

AT_ONCE: Final = 100
OWN_TIME: Final = timedelta(seconds=5)
"""Whoever took an event in tells the disputes of it; only what is older was left behind."""

PAUSES_S: Final = (5.0, 30.0, 120.0, 600.0)
"""How long an order is left alone whose event could not be told, by how often in a row; the last holds from then on."""
FAILED_MOST: Final = 1000
SILENT_MOST: Final = 3
"""One order may be held up by what a dead process has locked; so many in a row with no answer: it is the database."""

logger = structlog.stdlib.get_logger(__name__)


class _Pause(NamedTuple):
    """Until when an order is left alone, by the monotonic clock, and how many times in a row it has failed."""

    until: float
    times: int


class Aftercare:
    """Ends the claims of agents who have disappeared, and tells disputes of events that nobody has told them of.

    Both may be done by several workers at once: the log takes each entry once.

    Args:
        desk: acts in the disputes.
        claims: the agents' leases.
        orders: the orders, with their events.
        clock: the time. When the sandbox moves it, agents who are connected get the time to renew their leases.
        claim_lease_s: how long a lease lasts.
        monotonic: real time in seconds.
    """

    def __init__(
        self,
        desk: Desk,
        claims: Claims,
        orders: Orders,
        clock: ShiftedClock,
        claim_lease_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk = desk
        self._claims = claims
        self._orders = orders
        self._clock = clock
        self._claim_lease_s = claim_lease_s
        self._monotonic = monotonic
        self._offset = clock.offset
        self._patient_until = monotonic()
        self._failed: dict[OrderId, _Pause] = {}

    async def lapse_claims(self) -> int:
        """Let agents leave whose lease has run out; how many."""
        if self._clock.offset != self._offset:
            self._offset = self._clock.offset
            self._patient_until = self._monotonic() + self._claim_lease_s
        if self._monotonic() < self._patient_until:
            return 0
        lapsed = 0
        for claim in await self._claims.expired(self._clock.now(), AT_ONCE):
            command_id = CommandId(f"lapsed:{rfc3339(claim.expires_at)}")
            try:
                ran = await self._desk.run(claim.dispute, LapseClaim(SYSTEM, command_id, claim.agent))
            except Unavailable:
                raise
            except Exception:
                # One dispute that cannot be written must not keep the claims on the others.
                logger.exception("claim_not_lapsed", dispute=claim.dispute)
                continue
            lapsed += bool(ran.entries)
        return lapsed

    async def report_events(self) -> int:
        """Tell disputes of events that were left behind; how many.

        An order that fails is left alone for a while, longer each time, and its later events wait for the first one.

        Raises:
            Unavailable: there was no answer, and nothing else was done.
        """
        silence: Unavailable | None = None
        reported = silent = 0
        left_behind = self._clock.now() - OWN_TIME
        paused = {order for order, pause in self._failed.items() if self._monotonic() < pause.until}
        for pending in await self._orders.pending_events(AT_ONCE, paused):
            if pending.since > left_behind:
                break
            if pending.order in paused:
                continue
            try:
                await self._desk.report_event(pending.order, pending.event)
            except Unavailable as error:
                silence, silent = error, silent + 1
                self._put_aside(pending.order)
                paused.add(pending.order)
                if silent == SILENT_MOST:
                    break
            except Exception:
                # As above: the next one may be of another order.
                logger.exception("event_not_reported", order=pending.order, event_id=pending.event.id)
                self._put_aside(pending.order)
                paused.add(pending.order)
            else:
                self._failed.pop(pending.order, None)
                silent = 0
                reported += 1
        if silence is not None and not reported:
            raise silence
        return reported

    def _put_aside(self, order: OrderId) -> None:
        times = self._failed[order].times if order in self._failed else 0
        pause = PAUSES_S[min(times, len(PAUSES_S) - 1)]
        self._failed[order] = _Pause(self._monotonic() + pause, times + 1)
        if len(self._failed) > FAILED_MOST:  # the one that failed first; it is only looked at sooner
            self._failed.pop(next(iter(self._failed)))
