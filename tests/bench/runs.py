"""One run of one server: connect, warm up, measure, let it settle, compare what was stored, acked and delivered."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final

from tests.bench.load import MEMBERS, Counts, Load, Window, no_garbage_collection
from tests.bench.profile import Profile
from tests.bench.subjects import Services, Stored, Subject
from tests.bench.usage import GENERATOR, Meter, Used, cpu_s, resident_bytes

GROUPS: Final = ("server", "mongod", "redis", GENERATOR)
PERCENTILES: Final = (50, 95, 99)
_PER: Final = 10_000
_SETTLE_S: Final = 10.0
_WARM_ROOMS: Final = 10


@dataclass(frozen=True)
class Plan:
    """How much of everything; times in seconds."""

    rooms: int = 200
    outstanding: int = 256
    rate: float = 500.0
    connections: int = 1500
    warm_s: float = 15.0
    window_s: float = 5.0
    windows: int = 2


@dataclass(frozen=True)
class Sample:
    """One measured window. CPU in seconds per 10,000 messages, latencies in milliseconds by percentile."""

    messages_per_s: float
    cpu: Mapping[str, float]
    ack_ms: Mapping[int, float]
    deliver_ms: Mapping[int, float]
    steal_cores: float
    other_cores: float
    server_kernel: float = 0.0
    """Of the server's CPU time, what the operating system took."""


@dataclass(frozen=True)
class Idle:
    """What connections cost that do nothing."""

    kib_per_connection: float
    joins_per_s: float
    cpu_percent: float


@dataclass
class Result:
    """What a run has shown, and what was wrong with it (nothing, one hopes)."""

    samples: list[Sample] = field(default_factory=list)
    idle: Idle | None = None
    counts: Counts = field(default_factory=Counts)
    stored: Stored | None = None
    faults: list[str] = field(default_factory=list)


async def closed(subject: Subject, plan: Plan, profile: Profile | None = None) -> Result:
    """Saturation: a fixed number of messages under way, the next is sent when one is done."""
    async with _connected(subject) as load:
        return await _measure(subject, plan, load, load.closed_loop(plan.outstanding), profile)


async def opened(subject: Subject, plan: Plan) -> Result:
    """A given rate, whatever the server makes of it."""
    async with _connected(subject) as load:
        return await _measure(subject, plan, load, load.open_loop(plan.rate), None)


async def idle(subject: Subject, plan: Plan) -> Result:
    """Memory and CPU of connections that have joined a room and do nothing. The first few rooms warm the code up."""
    seats = subject.seats()
    early, late = seats[: _WARM_ROOMS * MEMBERS], seats[_WARM_ROOMS * MEMBERS :]
    warm, load = Load(), Load()
    loop = asyncio.get_running_loop()
    try:
        await warm.connect(early, subject.protocol)
        await asyncio.sleep(1.0)
        before, began = resident_bytes(subject.pids), loop.time()
        await load.connect(late, subject.protocol)
        took_s = loop.time() - began
        await asyncio.sleep(2.0)
        kib = (resident_bytes(subject.pids) - before) / 1024
        spent_s = cpu_s(subject.pids)
        await asyncio.sleep(plan.window_s)
        spent_s = cpu_s(subject.pids) - spent_s
    finally:
        warm.close()
        load.close()
    figures = Idle(kib / len(late), len(late) / took_s, 100 * spent_s / plan.window_s)
    result = Result(idle=figures, counts=load.counts)
    if load.counts.disconnected:
        result.faults.append(f"{load.counts.disconnected} idle connections were closed")
    return result


def idle_rooms(plan: Plan) -> int:
    """How many rooms the idle run needs."""
    return _WARM_ROOMS + plan.connections // MEMBERS


@contextlib.asynccontextmanager
async def _connected(subject: Subject) -> AsyncIterator[Load]:
    load = Load()
    try:
        await load.connect(subject.seats(), subject.protocol)
        await asyncio.sleep(0.5)
        with no_garbage_collection():
            yield load
    finally:
        load.close()
        await asyncio.sleep(0.1)


async def _measure(
    subject: Subject, plan: Plan, load: Load, loop: AbstractAsyncContextManager[None], profile: Profile | None
) -> Result:
    services: Services = subject.services
    groups = {
        "server": subject.pids,
        "mongod": [services.mongod.child.pid],
        "redis": [services.valkey.child.pid],
    }
    result = Result(counts=load.counts)
    async with loop:
        await asyncio.sleep(plan.warm_s)
        for _ in range(plan.windows):
            with load.window() as window:
                meter = Meter(groups)
                await asyncio.sleep(plan.window_s)
                used = meter.read()
            result.samples.append(_sample(window, used))
        if profile is not None:
            await profile.record(subject.pids[0])
    await load.settle(_SETTLE_S)
    result.stored = subject.stored()
    result.faults = faults(load.counts, result.stored)
    return result


def _sample(window: Window, used: Used) -> Sample:
    per = _PER / max(window.done, 1)
    return Sample(
        messages_per_s=window.done / used.wall_s,
        cpu={group: used.cpu_s[group] * per for group in GROUPS},
        ack_ms=_percentiles(window.ack),
        deliver_ms=_percentiles(window.deliver),
        steal_cores=used.steal_cores,
        other_cores=used.other_cores,
        server_kernel=used.kernel_s["server"] * per,
    )


def _percentiles(latencies_s: list[float]) -> dict[int, float]:
    ordered = sorted(latencies_s)
    if not ordered:
        return dict.fromkeys(PERCENTILES, float("nan"))
    last = len(ordered) - 1
    return {percent: 1e3 * ordered[min(last, len(ordered) * percent // 100)] for percent in PERCENTILES}


def faults(counts: Counts, stored: Stored) -> list[str]:
    """What is wrong when what was sent, acked, stored and delivered is compared; nothing when it all agrees."""
    expected = counts.sent - counts.refused
    found = {
        "refused": counts.refused,
        "never acked": expected - counts.acked,
        "deliveries missing": expected * MEMBERS - counts.delivered,
        "acked and not stored": max(0, counts.acked - stored.messages),
        "stored and not acked": max(0, stored.messages - counts.acked),
        "answers or deliveries repeated": counts.repeated,
        "deliveries out of order": counts.misordered,
        "connections lost": counts.disconnected,
        "rooms with gaps": stored.rooms_with_gaps or 0,
    }
    said = [f"{number} {what}" for what, number in found.items() if number]
    if counts.first_refusal:
        said.append(f"first refusal: {counts.first_refusal}")
    if stored.chain:
        said.append(f"hash chain: {stored.chain}")
    return said
