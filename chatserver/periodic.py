"""Jobs that are done again and again, by any number of workers: most by one worker at a time, some by all of them."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from chatserver.clock import Clock
from policies.errors import Unavailable
from storage.leases import Leases

LEASE_PERIODS: Final = 3
"""A job's lease lasts so many of its periods: a worker that died is succeeded after that time."""
SHORTEST_LEASE_S: Final = 15.0
JITTER: Final = 0.1
"""Pauses vary by this part, so that workers started together do not ask together."""

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


class JobMetrics:
    """What a worker has done of its jobs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        runs = "Runs of a job on this worker: done, unavailable, failed, lost its lease."
        self.runs = Counter("dispute_chat_worker_runs", runs, ("job", "outcome"), registry=registry)
        done_at = "When this worker last did the job, in seconds since 1970."
        self.done_at = Gauge("dispute_chat_worker_done_timestamp_seconds", done_at, ("job",), registry=registry)


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
        metrics: JobMetrics,
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
