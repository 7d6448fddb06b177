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
from random import SystemRandom
from secrets import token_hex
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from chatserver import logs
from chatserver.clock import Clock, ShiftedClock, SystemClock
from chatserver.configuration import load
from chatserver.database import connected
from chatserver.hub.announcer import Announcer
from chatserver.hub.redis_url import close_redis, open_redis
from chatserver.integrity import IntegrityCheck
from chatserver.settings import Settings
from chatserver.webhooks.courier import Courier
from chatserver.webhooks.metrics import CourierMetrics
from chatserver.webhooks.setup import courier
from policies.entry import Entry
from policies.errors import Unavailable
from storage.checkpoints import Checkpoints
from storage.client import Database
from storage.commit import GroupCommit
from storage.leases import Leases
from storage.room_log import RoomLog
from storage.sandbox import SandboxClock

LEASE_PERIODS: Final = 3
"""A job's lease lasts so many of its periods: a worker that died is succeeded after that time."""
SHORTEST_LEASE_S: Final = 15.0
JITTER: Final = 0.1
"""Pauses vary by this part, so that workers started together do not ask together."""
SANDBOX_CLOCK_S: Final = 0.25
"""How soon a worker follows when the sandbox's clock was moved."""

logger = structlog.stdlib.get_logger("chatserver.worker")


@dataclass(frozen=True, slots=True)
class Job:
    """Something to be done again and again.

    ``run`` is called about every ``every_s`` seconds, by one worker at a time. It is cancelled when the worker stops or
    loses its lease, and should come back after a bounded piece of work. What it raises is logged; it is called again.

    A ``shared`` job takes no lease: all workers do it at the same time, and share the work in ``run`` itself.
    """

    name: str
    every_s: float
    run: Callable[[], Awaitable[None]]
    shared: bool = False


class WorkerMetrics:
    """What a worker has done."""

    def __init__(self, registry: CollectorRegistry) -> None:
        runs = "Runs of a job on this worker: done, unavailable, failed, lost its lease."
        self.runs = Counter("dispute_chat_worker_runs", runs, ("job", "outcome"), registry=registry)
        done_at = "When this worker last did the job, in seconds since 1970."
        self.done_at = Gauge("dispute_chat_worker_done_timestamp_seconds", done_at, ("job",), registry=registry)
        self.verified = Counter("dispute_chat_verified_entries", "Entries whose chain was verified.", registry=registry)
        breaks = "Breaks found in the record; a room that stays broken counts again in every round."
        self.breaks = Counter("dispute_chat_record_breaks", breaks, registry=registry)
        told = "Publications to the hubs: published, dropped, failed."
        self._told = Counter("dispute_chat_worker_publications", told, ("event",), registry=registry)
        self.courier = CourierMetrics(registry)

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


class Worker:
    """Runs jobs, each while holding its lease unless it is shared.

    Args:
        jobs: what to do; names must be unique in the deployment.
        leases: where the workers agree on who does what.
        holder: name of this worker, unlike any other's.
        clock: the time that leases are counted in; the workers' clocks should agree within a second or two.
        uniform: a random number between two, such as ``random.Random().uniform``.
        shortest_lease_s: a lease lasts this long, or three periods of the job where that is longer.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        leases: Leases,
        holder: str,
        clock: Clock,
        uniform: Callable[[float, float], float],
        metrics: WorkerMetrics,
        shortest_lease_s: float = SHORTEST_LEASE_S,
    ) -> None:
        self._jobs = jobs
        self._leases = leases
        self._holder = holder
        self._clock = clock
        self._uniform = uniform
        self._metrics = metrics
        self._shortest_lease_s = shortest_lease_s

    async def run(self) -> None:
        """Work until cancelled, then give the leases back."""
        async with asyncio.TaskGroup() as group:
            for job in self._jobs:
                group.create_task(self._repeat(job), name=job.name)

    def _lease(self, job: Job) -> timedelta:
        return timedelta(seconds=max(self._shortest_lease_s, LEASE_PERIODS * job.every_s))

    async def _repeat(self, job: Job) -> None:
        try:
            while True:
                await self._once(job)
                await asyncio.sleep(job.every_s * self._uniform(1 - JITTER, 1 + JITTER))
        finally:
            if not job.shared:
                with contextlib.suppress(Unavailable):  # then it expires
                    await self._leases.release(job.name, self._holder)

    async def _once(self, job: Job) -> None:
        """Run a job if it is shared, or if this worker has or gets its lease."""
        outcome = "done"
        try:
            if job.shared:
                await job.run()
            elif not await self._leases.acquire(job.name, self._holder, self._clock.now(), self._lease(job)):
                return
            elif not await self._run_leased(job):
                outcome = "lost"
                logger.warning("lease_lost", job=job.name)
        except Unavailable as error:
            outcome = "unavailable"
            logger.warning("job_postponed", job=job.name, reason=error.message)
        except Exception:
            # One job that fails must not keep the others, or its own next run, from being done.
            outcome = "failed"
            logger.exception("job_failed", job=job.name)
        if outcome == "done":
            self._metrics.done_at.labels(job.name).set(self._clock.now().timestamp())
        self._metrics.runs.labels(job.name, outcome).inc()

    async def _run_leased(self, job: Job) -> bool:
        """Whether the job was done before its lease was lost."""
        running = asyncio.ensure_future(job.run())
        keeping = asyncio.ensure_future(self._keep_lease(job))
        try:
            await asyncio.wait([running, keeping], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                await running
                return True
            await keeping
            return False
        finally:
            for task in (running, keeping):
                task.cancel()
            await asyncio.gather(running, keeping, return_exceptions=True)

    async def _keep_lease(self, job: Job) -> None:
        """Renew the lease; comes back when it is lost, or about to be."""
        lease = self._lease(job)
        expires_at = self._clock.now() + lease
        pause = lease / LEASE_PERIODS
        while True:
            await asyncio.sleep(pause.total_seconds())
            now = self._clock.now()
            try:
                if not await self._leases.renew(job.name, self._holder, now, lease):
                    return
                expires_at = now + lease
            except Unavailable:
                if self._clock.now() + pause >= expires_at:
                    return


@dataclass(frozen=True, slots=True)
class Parts:
    """What the jobs are made of. ``announce`` tells the hubs of entries that are in the log; it never blocks."""

    settings: Settings
    database: Database
    clock: ShiftedClock
    log: RoomLog
    announce: Callable[[Sequence[Entry]], None]
    random: SystemRandom
    metrics: WorkerMetrics
    courier: Courier


def jobs(parts: Parts) -> list[Job]:
    """The work there is."""
    settings, metrics = parts.settings, parts.metrics
    integrity = IntegrityCheck(parts.log, Checkpoints(parts.database))
    sandbox = SandboxClock(parts.database)

    async def check_integrity() -> None:
        done = await integrity.run()
        metrics.verified.inc(done.entries)
        metrics.breaks.inc(done.breaks)
        if done.entries or done.breaks:
            logger.info("record_verified", rooms=done.rooms, entries=done.entries, breaks=done.breaks)

    async def follow_sandbox() -> None:
        parts.clock.offset = max(parts.clock.offset, await sandbox.offset())

    found = [
        Job("integrity", settings.integrity_every_s, check_integrity),
        Job("webhooks", settings.webhook_every_s, parts.courier.round, shared=True),
    ]
    if settings.sandbox:
        found.append(Job("sandbox clock", SANDBOX_CLOCK_S, follow_sandbox, shared=True))
    return found


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
                jobs(parts), Leases(parts.database), token_hex(8), SystemClock(), parts.random.uniform, metrics
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
        try:
            async with courier(settings, database, clock, random, metrics.courier) as sending:
                yield Parts(settings, database, clock, RoomLog(database, commit), announce, random, metrics, sending)
        finally:
            await commit.close()


@asynccontextmanager
async def _announcing(
    settings: Settings, random: SystemRandom, metrics: WorkerMetrics
) -> AsyncIterator[Callable[[Sequence[Entry]], None]]:
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
