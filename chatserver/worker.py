"""The periodic work of a deployment. Any number of workers run. Most jobs are done by one of them at a time; what many
can share, such as the deadlines of a million disputes, is done by all of them at once.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from random import SystemRandom
from secrets import token_hex
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, start_http_server

from chatserver import logs
from chatserver.clock import ShiftedClock, SystemClock
from chatserver.configuration import load
from chatserver.database import connected
from chatserver.deadlines import DeadlineMetrics, Deadlines
from chatserver.disputes.aftercare import Aftercare
from chatserver.disputes.desk import DISPUTE_ID_CHARS, Desk
from chatserver.disputes.ledger import Ledger
from chatserver.evidence.aftercare import EvidenceAftercare
from chatserver.evidence.office import EvidenceOffice, evidence_office
from chatserver.hub.announcer import Announcer
from chatserver.hub.redis_url import close_redis, open_redis
from chatserver.integrity import IntegrityCheck
from chatserver.periodic import Job, JobMetrics, Worker
from chatserver.policy_file import load_policy
from chatserver.salts import Salts
from chatserver.screening import TextScreening
from chatserver.settings import Settings
from chatserver.strikes import Strikes
from chatserver.webhooks.courier import Courier
from chatserver.webhooks.flagged import FlagTeller
from chatserver.webhooks.metrics import CourierMetrics
from chatserver.webhooks.setup import courier, lookout
from chatserver.webhooks.unread import UnreadLookout
from policies.dispute.policy import Policy
from policies.entry import Entry
from policies.screener import Screener
from policies.vocabulary import DisputeId
from storage.abandoned import end_abandoned
from storage.checkpoints import Checkpoints
from storage.claims import Claims
from storage.client import Database
from storage.commit import GroupCommit
from storage.disputes import Disputes
from storage.errors import NotOffered
from storage.flags import Flags
from storage.leases import Leases
from storage.orders import Orders
from storage.outbox import Outbox
from storage.room_log import RoomLog
from storage.rooms import Rooms
from storage.sandbox import SandboxClock

UNREAD_S: Final = 1.0
"""How often a worker looks which messages have been unread for long enough."""
FLAGS_S: Final = 1.0
"""How often a worker looks for flagged entries that the marketplace was not told of."""
AFTERCARE_S: Final = 5.0
"""Pause between looks for what was left behind."""
EVIDENCE_S: Final = 10.0
"""Pause between looks for evidence that was left behind, or waits for the scanner."""
OLD_EVIDENCE_S: Final = 60.0
"""Pause between looks for uploads and evidence whose time is up, and for objects that should not be there."""
TRANSACTIONS_S: Final = 2.0
"""Pause between looks for transactions of killed processes."""
SANDBOX_CLOCK_S: Final = 0.25
"""How soon a worker follows when the sandbox's clock was moved."""

Announce = Callable[[Sequence[Entry]], None]
"""Tells the hubs of entries that are in the log; never blocks."""

logger = structlog.stdlib.get_logger("chatserver.worker")


class WorkerMetrics:
    """What a worker has done."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.jobs = JobMetrics(registry)
        self.verified = Counter("dispute_chat_verified_entries", "Entries whose chain was verified.", registry=registry)
        breaks = "Breaks found in the record; a room that stays broken counts again in every round."
        self.breaks = Counter("dispute_chat_record_breaks", breaks, registry=registry)
        told = "Publications to the hubs: published, dropped, failed."
        self._told = Counter("dispute_chat_worker_publications", told, ("event",), registry=registry)
        lapsed = "Claims of agents that ran out because the agent had disappeared."
        self.lapsed = Counter("dispute_chat_claims_lapsed", lapsed, registry=registry)
        reported = "Events of orders that disputes heard of from a worker, because whoever took them in could not tell."
        self.reported = Counter("dispute_chat_order_events_finished", reported, registry=registry)
        brought = "Evidence that a worker brought further: finished, scanned, abandoned, cleared, retired."
        self.evidence = Counter("dispute_chat_evidence_aftercare", brought, ("step",), registry=registry)
        self.courier = CourierMetrics(registry)
        self.deadlines = DeadlineMetrics(registry)

    # What the announcer reports

    def published(self, count: int) -> None:
        self._told.labels("published").inc(count)

    def received(self, count: int) -> None:
        """An announcer receives nothing."""

    def dropped(self, count: int) -> None:
        self._told.labels("dropped").inc(count)

    def failed(self, what: str) -> None:
        self._told.labels("failed").inc()

    def alive(self, alive: bool) -> None:
        """An announcer has no subscriptions that could be alive."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the jobs are made of."""

    settings: Settings
    database: Database
    clock: ShiftedClock
    log: RoomLog
    random: SystemRandom
    metrics: WorkerMetrics
    courier: Courier
    lookout: UnreadLookout
    flags: FlagTeller
    deadlines: Deadlines
    aftercare: Aftercare
    evidence: EvidenceAftercare


def jobs(parts: Parts) -> list[Job]:
    """The work there is."""
    settings, metrics = parts.settings, parts.metrics
    integrity = IntegrityCheck(parts.log, Disputes(parts.database, parts.log), Checkpoints(parts.database))
    sandbox = SandboxClock(parts.database)

    async def check_integrity() -> None:
        done = await integrity.run()
        metrics.verified.inc(done.entries)
        metrics.breaks.inc(done.breaks)
        if done.entries or done.breaks:
            told = {"rooms": done.rooms, "entries": done.entries, "breaks": done.breaks}
            logger.info("record_verified", **told, not_compared=done.not_compared)

    async def lapse_claims() -> None:
        metrics.lapsed.inc(await parts.aftercare.lapse_claims())

    async def report_events() -> None:
        metrics.reported.inc(await parts.aftercare.report_events())

    async def look_for_unread() -> None:
        while await parts.lookout.look():
            pass

    async def tell_flags() -> None:
        while await parts.flags.look():
            pass

    async def follow_sandbox() -> None:
        parts.clock.offset = max(parts.clock.offset, await sandbox.offset())

    offered = True

    async def end_transactions() -> None:
        nonlocal offered
        if not offered:
            return
        try:
            ended = await end_abandoned(parts.database, settings.mongo_timeout_s)
        except NotOffered as error:
            offered = False  # nor will it be later: said once, and not asked again
            logger.warning("transactions_not_looked_after", code=str(error))
        else:
            if ended:
                logger.warning("transactions_ended", count=ended)

    found = [
        Job("integrity", settings.integrity_every_s, check_integrity),
        Job("webhooks", settings.webhook_every_s, parts.courier.round, shared=True),
        Job("unread", UNREAD_S, look_for_unread),
        Job("flags", FLAGS_S, tell_flags),
        Job("deadlines", settings.deadlines_every_s, parts.deadlines.run, shared=True),
        Job("claims", AFTERCARE_S, lapse_claims),
        Job("order events", AFTERCARE_S, report_events),
        Job("transactions", TRANSACTIONS_S, end_transactions, shared=True),
    ]
    found += evidence_jobs(parts.evidence, metrics)
    if settings.sandbox:
        found.append(Job("sandbox clock", SANDBOX_CLOCK_S, follow_sandbox, shared=True))
    return found


def evidence_jobs(aftercare: EvidenceAftercare, metrics: WorkerMetrics) -> list[Job]:
    """The work on evidence."""

    def job(step: str, every_s: float, run: Callable[[], Awaitable[int]]) -> Job:
        async def counted() -> None:
            metrics.evidence.labels(step).inc(await run())

        return Job(f"evidence {step}", every_s, counted)

    return [
        job("finished", EVIDENCE_S, aftercare.finish),
        job("scanned", EVIDENCE_S, aftercare.scan_again),
        job("abandoned", OLD_EVIDENCE_S, aftercare.abandon),
        job("cleared", OLD_EVIDENCE_S, aftercare.clear),
        job("retired", OLD_EVIDENCE_S, aftercare.retire),
    ]


def work(settings: Settings) -> int:
    """Run a worker until SIGINT or SIGTERM.

    Returns:
        The exit code.
    """
    logs.configure(settings.log_level, settings.log_format)
    return asyncio.run(_work(settings))


async def _work(settings: Settings) -> int:
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    with contextlib.ExitStack() as stack:
        if settings.worker_metrics_port:
            server, thread = start_http_server(settings.worker_metrics_port, settings.host, registry)
            stack.callback(thread.join)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
        async with _parts(settings, metrics) as parts:
            # The leases are counted in real time, which the sandbox does not move.
            worker = Worker(
                jobs(parts), Leases(parts.database), token_hex(8), SystemClock(), parts.random.uniform, metrics.jobs
            )
            working = asyncio.ensure_future(worker.run())
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, working.cancel)
            logger.info("worker_started")
            with contextlib.suppress(asyncio.CancelledError):
                await working
    logger.info("worker_stopped")
    return 0


@asynccontextmanager
async def _parts(settings: Settings, metrics: WorkerMetrics) -> AsyncIterator[Parts]:
    clock = ShiftedClock()
    random = SystemRandom()
    async with connected(settings) as database, _announcing(settings, random, metrics) as announce:
        if settings.sandbox:
            clock.offset = await SandboxClock(database).offset()
        commit = GroupCommit(database)
        log = RoomLog(database, commit)
        ledger = _ledger(settings, database, log)
        desk = _desk(ledger, clock, announce)
        flags, rules = Flags(database), load_policy(settings.policy_file)
        office = _office(settings, database, ledger, desk, clock, announce)
        try:
            async with (
                courier(settings, database, clock, random, metrics.courier) as sending,
                lookout(settings, database, clock) as looking,
            ):
                yield Parts(
                    settings=settings,
                    database=database,
                    clock=clock,
                    log=log,
                    random=random,
                    metrics=metrics,
                    courier=sending,
                    lookout=looking,
                    flags=FlagTeller(flags, ledger.rooms, Strikes(flags, rules.strikes, clock)),
                    deadlines=Deadlines(
                        disputes=ledger.disputes,
                        ledger=ledger,
                        desk=desk,
                        clock=clock,
                        salt=Salts(),
                        announce=announce,
                        claimant=token_hex(6),
                        metrics=metrics.deadlines,
                    ),
                    aftercare=Aftercare(desk, ledger.claims, ledger.orders, clock, settings.claim_lease_s),
                    evidence=office.aftercare,
                )
        finally:
            await office.store.close()
            await desk.close()
            await commit.close()


def _ledger(settings: Settings, database: Database, log: RoomLog) -> Ledger:
    rooms = Rooms(database)
    return Ledger(
        log=log,
        rooms=rooms,
        orders=Orders(database, log, rooms, Salts()),
        disputes=Disputes(database, log),
        outbox=Outbox(database),
        claims=Claims(database),
        claim_lease=timedelta(seconds=settings.claim_lease_s),
    )


def _desk(ledger: Ledger, clock: ShiftedClock, announce: Announce) -> Desk:
    async def tell(entries: Sequence[Entry]) -> None:
        announce(entries)

    return Desk(
        ledger,
        clock=clock,
        salt=Salts(),
        new_id=lambda: DisputeId(token_hex(DISPUTE_ID_CHARS // 2)),
        policy=Policy,
        announce=tell,
    )


def _office(
    settings: Settings,
    database: Database,
    ledger: Ledger,
    desk: Desk,
    clock: ShiftedClock,
    announce: Announce,
) -> EvidenceOffice:
    async def tell(entries: Sequence[Entry]) -> None:
        announce(entries)

    policy = load_policy(settings.policy_file)
    return evidence_office(
        settings,
        database,
        ledger.log,
        ledger.rooms,
        ledger.disputes,
        desk,
        clock=clock,
        salt=Salts(),
        announce=tell,
        rules=policy.evidence,
        screening=TextScreening(cache(lambda: _screener(policy)), ledger.orders, clock),
        swapped=lambda: None,  # a worker gives nothing out
    )


def _screener(policy: Policy) -> Screener:
    """Made, and what it is made of loaded, when it is needed: few workers ever finish what an uploader has begun."""
    from policies.contact import Detector

    return Screener(Detector(policy.contact), policy.conduct, policy.secrets)


@asynccontextmanager
async def _announcing(settings: Settings, random: SystemRandom, metrics: WorkerMetrics) -> AsyncIterator[Announce]:
    url = settings.redis_url.get_secret_value()
    if not url:
        logger.warning("no_redis", effect="live rooms hear of what the worker writes with their next sweep")
        yield lambda entries: None
        return
    client = open_redis(url)
    announcer = Announcer(
        client,
        prefix=settings.redis_prefix,
        partitions=settings.fanout_partitions,
        sender=token_hex(6),
        uniform=random.uniform,
        observer=metrics,
    )
    await announcer.start()
    try:
        yield announcer.announce
    finally:
        await announcer.stop()
        await close_redis(client)


if __name__ == "__main__":
    # How ``chatserver dev`` starts it.
    sys.exit(work(load(os.environ).settings))
