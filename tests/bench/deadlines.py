"""``python -m tests.bench --deadlines``: a great many open disputes, and the few of them in which something is due.

What it costs while nothing is due, how many deadlines a worker fires in a second, and how late it does so.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient, WriteConcern
from pymongo.collection import Collection

from chatserver.embedded import Child, Mongod, Valkey
from policies.dispute.evolve import evolve
from policies.dispute.opening import OpenDispute, open_dispute
from policies.dispute.policy import parse_policy
from policies.dispute.state import Dispute
from policies.entry import Author, Entry
from policies.order import OrderFacts, OrderState, Seller
from policies.room import Party, dispute_room
from policies.vocabulary import (
    CommandId,
    DisputeId,
    OrderCategory,
    OrderId,
    Reason,
    Resolution,
    Role,
    TrustLevel,
    UserId,
)
from storage.chain import genesis, link
from storage.disputes import snapshot
from storage.documents import encode_entry
from tests.bench.report import table
from tests.bench.usage import Meter, cpu_s

_DATABASE: Final = "bench_deadlines"
_INSERTED_TOGETHER: Final = 1000
_PATIENCE_S: Final = 300.0
_PER_MINUTE: Final = 60.0
_IN_TIME_S: Final = 5.0
_POLICY: Final = parse_policy({"terms": {"reminders": dict.fromkeys(("seller_attend", "no_update"), 0)}})
_BUYER: Final = Author(UserId("buyer"), Role.BUYER, "Bo")

Documents = Collection[dict[str, Any]]


@dataclass(frozen=True)
class Size:
    """How much of everything; times in seconds.

    Args:
        disputes: open ones in which nothing becomes due.
        due: those in which something is due at the beginning of a run, for each worker.
        rate: deadlines that become due in a second, in the run that measures lateness.
        spread_s: how long that run lasts.
        idle_s: how long nothing happens.
        settle_s: until a worker that starts has settled: the first seconds are imports.
    """

    disputes: int = 1_000_000
    due: int = 5_000
    rate: int = 100
    spread_s: float = 20.0
    idle_s: float = 20.0
    settle_s: float = 8.0


@dataclass(frozen=True)
class Fired:
    """A run in which deadlines fired. ``late_s`` by percentile; ``doubled`` and ``missing`` should be 0."""

    workers: int
    count: int
    per_s: float
    late_s: Mapping[int, float]
    cpu: Mapping[str, float]
    doubled: int
    missing: int


@dataclass(frozen=True)
class Found:
    """Everything measured. CPU in seconds per minute."""

    size: Size
    filled_s: float
    data_bytes: int
    index_bytes: int
    idle: Mapping[str, float]
    runs: Sequence[Fired]

    @property
    def faults(self) -> list[str]:
        """What must not be."""
        return [
            f"{run.workers} workers: {run.doubled} fired twice, {run.missing} not at all"
            for run in self.runs
            if run.doubled or run.missing
        ]


class Bench:
    """A database full of disputes, and workers on it."""

    def __init__(self, mongod: Mongod, valkey: Valkey, folder: Path, size: Size) -> None:
        self._mongod = mongod
        self._valkey = valkey
        self._folder = folder
        self._size = size
        self._client: MongoClient[dict[str, Any]] = MongoClient(mongod.url, tz_aware=True)
        self._database = self._client[_DATABASE]
        self._numbers = iter(range(1, 1 << 60))
        self._start_s = 0.0
        """CPU that a worker takes to start."""

    def run(self) -> Found:
        with self._client:
            self._client.drop_database(_DATABASE)
            began = time.monotonic()
            self._fill()
            self._command("migrate")
            filled_s = time.monotonic() - began
            disputes = self._database.command("collStats", "disputes")
            idle = self._idle()
            runs = [self._fire(1, self._size.due), self._fire(2, 2 * self._size.due), self._fire_in_time()]
            self._client.drop_database(_DATABASE)
        return Found(self._size, filled_s, disputes["storageSize"], disputes["indexSizes"].get("next", 0), idle, runs)

    # Disputes

    def _fill(self) -> None:
        """Disputes as they are while both sides wait; what is not looked at needs no room."""
        now = datetime.now(UTC).replace(microsecond=0)
        disputes = self._unhurried("disputes")
        for first in range(0, self._size.disputes, _INSERTED_TOGETHER):
            count = min(_INSERTED_TOGETHER, self._size.disputes - first)
            documents = [RawBSONDocument(self._waiting(now)) for _ in range(count)]
            disputes.insert_many(documents, ordered=False)

    def _waiting(self, now: datetime) -> bytes:
        """A snapshot like the others, made by writing what is its own over a copy."""
        number = next(self._numbers)
        name = f"{number * 0x9E3779B97F4A7C15 % (1 << 80):020x}"
        due_at = now + timedelta(days=1, seconds=number % 100_000)
        return (
            _TEMPLATE.replace(_NAME, name.encode())
            .replace(_ORDER, b"o%012d" % number)
            .replace(_BUYER_ID, b"b%012d" % (number % 99_991))
            .replace(_SELLER_ID, b"s%012d" % (number % 9_973))
            .replace(_milliseconds(_DUE_AT), _milliseconds(due_at))
        )

    def _open(self, due: Sequence[datetime]) -> list[str]:
        """Disputes whose sellers should have answered by these times, with the entries that they come from."""
        ids = []
        for first in range(0, len(due), _INSERTED_TOGETHER):
            snapshots, entries = [], []
            for due_at in due[first : first + _INSERTED_TOGETHER]:
                name = DisputeId(f"f{next(self._numbers):019x}")
                dispute, written = _opened(name, due_at - _POLICY.terms.attend_within)
                snapshots.append(snapshot(dispute, 1))
                entries += [encode_entry(entry) for entry in written]
                ids.append(str(name))
            self._unhurried("entries").insert_many(entries, ordered=False)
            self._unhurried("disputes").insert_many(snapshots, ordered=False)
        return ids

    def _unhurried(self, collection: str) -> Documents:
        return self._database.get_collection(collection, write_concern=WriteConcern(w=1, j=False))

    # Runs

    def _idle(self) -> dict[str, float]:
        """CPU in seconds per minute: of mongod alone, and of both while a worker waits."""
        alone = self._used([], self._size.idle_s)["mongod"]
        with self._workers(1) as workers:
            time.sleep(self._size.settle_s)
            self._start_s = cpu_s(workers)
            used = self._used(workers, self._size.idle_s)
        return {"mongod alone": alone, "mongod": used["mongod"], "worker": used["workers"]}

    def _fire(self, count: int, due: int) -> Fired:
        """What is due already, as fast as it goes."""
        ids = self._open([datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1)] * due)
        meter = Meter({"mongod": [self._mongod.child.pid]})
        with self._workers(count) as workers:
            self._await_done()
            mongod_s = meter.read().cpu_s["mongod"]
            worker_s = max(0.0, cpu_s(workers) - count * self._start_s)
        return self._judged(count, ids, {"mongod": mongod_s / due * 1e3, "worker": worker_s / due * 1e3})

    def _fire_in_time(self) -> Fired:
        """What becomes due little by little, while a worker is there."""
        size = self._size
        count = int(size.rate * size.spread_s)
        begin = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=size.settle_s + count / 2000)
        due = [begin + timedelta(milliseconds=int(1000 * number / size.rate)) for number in range(count)]
        ids = self._open(due)
        with self._workers(1) as workers:
            time.sleep(max(0.0, (begin - datetime.now(UTC)).total_seconds()))
            used = self._used(workers, size.spread_s)
            self._await_done()
        per = size.spread_s / _PER_MINUTE / count * 1e3
        return self._judged(1, ids, {"mongod": used["mongod"] * per, "worker": used["workers"] * per})

    def _await_done(self) -> None:
        """Until nothing is due and nothing is claimed."""
        deadline = time.monotonic() + _PATIENCE_S
        query = {"next_at": {"$lte": datetime.now(UTC) + timedelta(hours=1)}}
        while self._database["disputes"].count_documents(query, hint="next"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"deadlines were still due after {_PATIENCE_S:g} s")
            time.sleep(0.2)

    def _judged(self, workers: int, ids: Sequence[str], cpu: Mapping[str, float]) -> Fired:
        """Look at what was written: once for each, how fast, how late."""
        rooms = [dispute_room(DisputeId(each)) for each in ids]
        found = self._database["entries"].find({"room": {"$in": rooms}, "kind": "dispute.escalated"})
        fired = [(each["room"], each["at"], each["body"]["receipt"]["due_at"]) for each in found]
        late = sorted((at - datetime.fromisoformat(due_at)).total_seconds() for _, at, due_at in fired)
        times = sorted(at for _, at, _ in fired)
        took_s = max(0.001, (times[-1] - times[0]).total_seconds())
        percentiles = {percent: late[min(len(late) - 1, len(late) * percent // 100)] for percent in (50, 95, 99, 100)}
        distinct = len({room for room, _, _ in fired})
        return Fired(
            workers, len(fired), len(fired) / took_s, percentiles, cpu, len(fired) - distinct, len(ids) - distinct
        )

    def _used(self, workers: Sequence[int], seconds: float) -> dict[str, float]:
        """CPU seconds per minute."""
        meter = Meter({"mongod": [self._mongod.child.pid], "workers": workers})
        time.sleep(seconds)
        used = meter.read()
        return {name: spent / used.wall_s * _PER_MINUTE for name, spent in used.cpu_s.items()}

    # Processes

    @contextlib.contextmanager
    def _workers(self, count: int) -> Iterator[list[int]]:
        children = [
            Child(
                [sys.executable, "-m", "chatserver", "worker"],
                log=self._folder / f"worker-{number}.log",
                env=self._environment(),
            )
            for number in range(count)
        ]
        try:
            yield [child.pid for child in children]
        finally:
            for child in children:
                child.stop(10.0)

    def _command(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "chatserver", *arguments]
        subprocess.run(command, env=self._environment(), check=True, capture_output=True)

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "CHATSERVER_MONGO_URL": self._mongod.url,
            "CHATSERVER_MONGO_DATABASE": _DATABASE,
            "CHATSERVER_MONGO_DRIVER": "pymongo",
            "CHATSERVER_REDIS_URL": self._valkey.url,
            "CHATSERVER_INTEGRITY_EVERY_S": "3600",
        }


def _milliseconds(at: datetime) -> bytes:
    """A time as BSON holds it."""
    return int(at.timestamp() * 1000).to_bytes(8, "little")


def _opened(name: DisputeId, at: datetime) -> tuple[Dispute, list[Entry]]:
    """A dispute that was opened at a time, and its entries."""
    buyer = Party(_BUYER.id, _BUYER.name)
    order = OrderFacts(
        OrderId(f"order-of-{name}"),
        buyer,
        Seller(UserId("seller"), "Sue", TrustLevel.VERIFIED),
        "A used camera with two lenses",
        OrderCategory.ITEM,
        12_500,
        "EUR",
        at - timedelta(days=3),
    )
    command = OpenDispute(
        _BUYER,
        CommandId(f"open:{name}"),
        name,
        Reason.NOT_AS_DESCRIBED,
        "The listing says that both lenses are without scratches; one of them has a long one across the front.",
        Resolution.FULL_REFUND,
    )
    drafts = open_dispute(order, OrderState(), command, _POLICY, at, talked=True)
    room = dispute_room(name)
    entries = link(room, genesis(room), drafts, at, lambda: os.urandom(16))
    state: Dispute | None = None
    for entry in entries:
        state = evolve(state, entry)
    assert state is not None
    return state, entries


_NAME: Final = b"0" * 20
_ORDER: Final = b"o------------"
_BUYER_ID: Final = b"b------------"
_SELLER_ID: Final = b"s------------"
_DUE_AT: Final = datetime(2033, 3, 3, 3, 33, 33, 333_000, tzinfo=UTC)


def _template() -> bytes:
    """The snapshot of a dispute in which both sides wait."""
    opened = _opened(DisputeId(_NAME.decode()), datetime.now(UTC))[0]
    return bson.encode(
        snapshot(
            replace(
                opened,
                order=replace(opened.order, id=OrderId(_ORDER.decode())),
                buyer=replace(opened.buyer, id=UserId(_BUYER_ID.decode())),
                seller=replace(opened.seller, id=UserId(_SELLER_ID.decode())),
                deadlines=tuple(replace(each, due_at=_DUE_AT) for each in opened.deadlines),
            ),
            1,
        )
    )


_TEMPLATE: Final = _template()


def report(found: Found) -> str:
    """Everything measured, as text."""
    size = found.size
    stored = table(
        ["", "measured"],
        [
            ["open disputes", f"{size.disputes:,}"],
            ["their snapshots, MiB", f"{found.data_bytes / 2**20:,.1f}"],
            ["index of what is due next, MiB", f"{found.index_bytes / 2**20:,.1f}"],
            *([f"CPU of {name} while idle, s per minute", f"{spent:.2f}"] for name, spent in found.idle.items()),
        ],
    )
    rows = []
    for number, run in enumerate(found.runs):
        in_time = number == len(found.runs) - 1
        rows.append(
            [
                f"{size.rate} a second become due" if in_time else "all due at once",
                str(run.workers),
                f"{run.count:,}",
                f"{run.per_s:,.0f}",
                " / ".join(f"{run.late_s[percent]:.2f}" for percent in (50, 95, 99, 100)) if in_time else "",
                f"{run.cpu['worker']:.2f}",
                f"{run.cpu['mongod']:.2f}",
            ]
        )
    header = ["", "workers", "fired", "a second", "late s p50 / p95 / p99 / most", "worker CPU ms each", "mongod"]
    parts = [stored, table(header, rows)]
    parts += [f"WRONG: {fault}" for fault in found.faults]
    return "\n\n".join(parts)


def measure(mongod: Mongod, valkey: Valkey, folder: Path, size: Size) -> int:
    """Run everything and print it; the exit code."""
    found = Bench(mongod, valkey, folder, size).run()
    print(report(found))
    punctual = found.runs[-1].late_s[100] < _IN_TIME_S
    if not punctual:
        print(f"MISSED: fired late by more than {_IN_TIME_S:g} s")
    return 1 if found.faults or not punctual else 0
