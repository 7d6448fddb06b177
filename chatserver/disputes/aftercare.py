"""What a crash, or a person who vanished, leaves behind in disputes, and a worker finishes."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog

from chatserver.clock import ShiftedClock
from chatserver.disputes.desk import Desk
from policies.dispute.commands import LapseClaim
from policies.errors import Unavailable
from policies.instant import rfc3339
from policies.room import SYSTEM
from policies.vocabulary import CommandId
from storage.claims import Claims
from storage.orders import Orders

AT_ONCE: Final = 100
OWN_TIME: Final = timedelta(seconds=5)
"""Whoever took an event in tells the disputes of it; only what is older was left behind."""

logger = structlog.stdlib.get_logger(__name__)


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
        """Tell disputes of events that were left behind; how many."""
        reported = 0
        left_behind = self._clock.now() - OWN_TIME
        for pending in await self._orders.pending_events(AT_ONCE):
            if pending.since > left_behind:
                break
            try:
                await self._desk.report_event(pending.order, pending.event)
            except Unavailable:
                raise
            except Exception:
                # As above: the next one may be of another order.
                logger.exception("event_not_reported", order=pending.order, event_id=pending.event.id)
                continue
            reported += 1
        return reported
