"""Jobs with leases, on a real database; leases are counted on a clock that moves by hand."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
import pytest
from prometheus_client import CollectorRegistry

from chatserver.cli.failures import ExitCode
from chatserver.embedded import free_port
from chatserver.periodic import Job, JobMetrics, Worker
from policies.errors import Unavailable
from storage.client import Database
from storage.leases import Leases
from tests.chatserver.commands import Run
from tests.chatserver.moving_time import HandClock
from tests.eventually import eventually
from tests.program import Program

MakeWorker = Callable[..., Worker]


class Count:
    """A job that counts its runs."""

    def __init__(self) -> None:
        self.runs = 0

    async def __call__(self) -> None:
        self.runs += 1


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def outcome(registry: CollectorRegistry, name: str, job: str = "count") -> float:
    return registry.get_sample_value("dispute_chat_worker_runs_total", {"job": job, "outcome": name}) or 0


@pytest.fixture
def make(own_database: Database, clock: HandClock, registry: CollectorRegistry) -> MakeWorker:
    metrics = JobMetrics(registry)

    def worker(holder: str, run: Callable[[], Awaitable[None]], *more: Job, shortest_lease_s: float = 15.0) -> Worker:
        jobs = [Job("count", 0.01, run), *more]
        return Worker(jobs, Leases(own_database), holder, clock, lambda low, high: high, metrics, shortest_lease_s)

    return worker


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(worker.run())
    yield task
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_job_is_done_again_and_again(make: MakeWorker, registry: CollectorRegistry, clock: HandClock) -> None:
    job = Count()
    async with running(make("one", job)):
        await eventually(lambda: outcome(registry, "done") >= 3)
    assert job.runs >= 3
    done_at = registry.get_sample_value("dispute_chat_worker_done_timestamp_seconds", {"job": "count"})
    assert done_at == clock.now().timestamp()


async def test_one_worker_at_a_time_and_another_when_it_is_gone(
    make: MakeWorker, own_database: Database, clock: HandClock
) -> None:
    first, second = Count(), Count()
    await Leases(own_database).acquire("count", "one", clock.now(), timedelta(seconds=15))
    async with running(make("two", second)):
        async with running(make("one", first)):
            await eventually(lambda: first.runs >= 5)
            assert second.runs == 0
        # A worker that stops gives its leases back: nobody has to wait for their end.
        await eventually(lambda: second.runs >= 1)


async def test_a_shared_job_is_done_by_all_workers_at_once_and_takes_no_lease(
    make: MakeWorker, own_database: Database
) -> None:
    meeting = asyncio.Barrier(2)
    met: list[str] = []

    def part(name: str) -> Callable[[], Awaitable[None]]:
        async def meet() -> None:
            async with meeting:
                met.append(name)

        return meet

    one = make("one", Count(), Job("together", 0.01, part("one"), shared=True))
    two = make("two", Count(), Job("together", 0.01, part("two"), shared=True))
    async with running(one), running(two):
        await eventually(lambda: met.count("one") >= 2 and met.count("two") >= 2)
        assert await own_database.collection("leases").find_one({"_id": "together"}) is None


async def test_a_shared_job_that_fails_is_run_again(make: MakeWorker, registry: CollectorRegistry) -> None:
    async def fail() -> None:
        raise RuntimeError("broken")

    async with running(make("one", Count(), Job("failing", 0.01, fail, shared=True))):
        await eventually(lambda: outcome(registry, "failed", "failing") >= 2)


async def test_a_worker_that_died_is_succeeded_when_its_lease_ends(
    make: MakeWorker, own_database: Database, clock: HandClock
) -> None:
    job = Count()
    await Leases(own_database).acquire("count", "dead", clock.now(), timedelta(seconds=15))
    async with running(make("alive", job)):
        await asyncio.sleep(0.1)
        assert job.runs == 0
        clock.advance(15)
        await eventually(lambda: job.runs >= 1)


async def test_a_job_that_fails_is_logged_and_keeps_nobody_from_working(
    make: MakeWorker, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise RuntimeError("broken")

    async def wait() -> None:
        raise Unavailable("The database is not available.")

    job = Count()
    with caplog.at_level(logging.WARNING):
        async with running(make("one", job, Job("failing", 0.01, fail), Job("waiting", 0.01, wait))):
            await eventually(
                lambda: (
                    job.runs >= 2
                    and outcome(registry, "failed", "failing") >= 2
                    and outcome(registry, "unavailable", "waiting") >= 2
                )
            )


async def test_a_job_is_cancelled_when_its_lease_is_lost(
    make: MakeWorker, own_database: Database, clock: HandClock, registry: CollectorRegistry
) -> None:
    cancelled = asyncio.Event()
    begun = asyncio.Event()

    async def run() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with running(make("slow", run, shortest_lease_s=0.3)):
        await begun.wait()
        clock.advance(1)
        assert await Leases(own_database).acquire("count", "other", clock.now(), timedelta(seconds=15))
        async with asyncio.timeout(10):
            await cancelled.wait()
        await eventually(lambda: outcome(registry, "lost") == 1)


async def test_a_long_run_keeps_its_lease(make: MakeWorker, own_database: Database, clock: HandClock) -> None:
    renewals: list[timedelta] = []
    lease = timedelta(seconds=0.3)

    async def run() -> None:
        for _ in range(3):
            clock.advance(0.25)
            before = clock.now()
            while not await _expires_after(own_database, before + lease):  # noqa: ASYNC110  nobody sets an event
                await asyncio.sleep(0.01)
            renewals.append(lease)
        await asyncio.Event().wait()

    async with running(make("slow", run, shortest_lease_s=lease.total_seconds())):
        await eventually(lambda: len(renewals) == 3)


async def _expires_after(database: Database, time: object) -> bool:
    found = await database.collection("leases").find_one({"_id": "count"})
    return found is not None and found["expires_at"] >= time


async def test_a_silent_database_ends_the_lease_of_a_running_job(
    make: MakeWorker, clock: HandClock, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_: object) -> bool:
        raise Unavailable("The database did not answer in time.")

    begun = asyncio.Event()

    async def run() -> None:
        begun.set()
        await asyncio.Event().wait()

    async with running(make("slow", run, shortest_lease_s=0.3)):
        await begun.wait()
        monkeypatch.setattr(Leases, "renew", silent)
        clock.advance(0.25)
        await eventually(lambda: outcome(registry, "lost") == 1)


def test_the_command_refuses_what_it_could_not_use(run: Run) -> None:
    mongo = "mongodb://127.0.0.1:1/?replicaSet=rs0"
    refused = run("worker", CHATSERVER_MONGO_URL=mongo, CHATSERVER_REDIS_URL="db:6379")
    assert refused.code == ExitCode.USAGE
    assert refused.err[0] == "chatserver: this configuration is not fit for a worker:"
    assert refused.err[1].startswith("chatserver: redis_url: unknown scheme")
    assert run("worker").code == ExitCode.USAGE


async def test_the_command_works_until_it_is_told_to_stop(own_database: Database, mongo_url: str) -> None:
    port = free_port()
    variables = {
        "CHATSERVER_MONGO_URL": mongo_url,
        "CHATSERVER_MONGO_DATABASE": own_database.name,
        "CHATSERVER_WORKER_METRICS_PORT": str(port),
        "CHATSERVER_INTEGRITY_EVERY_S": "0.05",
    }
    with Program(["-m", "chatserver", "worker"], variables) as worker:

        def metric() -> bool:
            with contextlib.suppress(httpx.TransportError):
                text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
                return 'dispute_chat_worker_runs_total{job="integrity",outcome="done"}' in text
            return False

        await eventually(metric)
        assert await asyncio.to_thread(worker.stop, signal.SIGTERM) == 0
    assert await Leases(own_database).acquire("integrity", "next", HandClock().now(), timedelta(seconds=1))
