"""``python -m tests.bench``: what a message and a connection cost, and with ``--peers`` what they cost elsewhere.

Servers take turns (A B A B ...), so that a machine that grows slower or faster does so for all of them, and medians are
printed. Exits with 1 when anything was lost, repeated or out of order, or a target was missed.
"""

import argparse
import resource
import sys
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import uvloop

from chatserver.embedded import EmbeddedError, FolderLock, Mongod, Valkey
from tests.bench.deadlines import Size, measure
from tests.bench.own import DisputeChatServer
from tests.bench.profile import Profile
from tests.bench.report import CLOSED, IDLE, OPEN, report, targets
from tests.bench.runs import Plan, Result, closed, idle, idle_rooms, opened
from tests.bench.subjects import PROJECT, Missing, Services, SocketIoRedis, StarletteHub, Subject

_SUBJECTS: dict[str, type[Subject]] = {"own": DisputeChatServer, "socketio": SocketIoRedis, "hub": StarletteHub}


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    plan = Plan()
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__, allow_abbrev=False)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"{CLOSED}, {OPEN}, {IDLE}; all when left out")
    parser.add_argument(
        "--peers", action="store_true", help="measure Socket.IO (needs node and npm) and the plain hub too"
    )
    parser.add_argument("--only", action="append", choices=_SUBJECTS, help="only this server; may be repeated")
    parser.add_argument("--rounds", type=int, default=2, help="how often each server has its turn (%(default)s)")
    parser.add_argument("--rooms", type=int, default=plan.rooms, help="rooms of three (%(default)s)")
    parser.add_argument("--outstanding", type=int, default=plan.outstanding, help="messages under way (%(default)s)")
    parser.add_argument("--rate", type=float, default=plan.rate, help="messages/s of the open loop (%(default)s)")
    parser.add_argument("--connections", type=int, default=plan.connections, help="idle connections (%(default)s)")
    parser.add_argument("--warm", type=float, default=plan.warm_s, help="seconds before measuring (%(default)s)")
    parser.add_argument("--seconds", type=float, default=plan.window_s, help="length of a window (%(default)s)")
    parser.add_argument("--windows", type=int, default=plan.windows, help="windows of a run (%(default)s)")
    parser.add_argument("--deadlines", action="store_true", help="measure the worker's deadlines, and nothing else")
    parser.add_argument("--disputes", type=int, default=Size().disputes, help="open disputes in that run (%(default)s)")
    parser.add_argument("--due", type=int, default=Size().due, help="of them due, for each worker (%(default)s)")
    parser.add_argument("--profile", type=Path, help="record a server process at saturation with py-spy into this file")
    parser.add_argument("--data", type=Path, default=PROJECT / "build" / "bench", help="folder for data (%(default)s)")
    given = parser.parse_args(arguments)
    if unknown := set(given.kinds) - {CLOSED, OPEN, IDLE}:
        parser.error(f"unknown kind of run: {', '.join(sorted(unknown))}")
    return given


def _run(kind: str, subject: type[Subject], services: Services, plan: Plan, profile: Profile | None) -> Result:
    runs: dict[str, Callable[[Subject], Coroutine[Any, Any, Result]]] = {
        CLOSED: lambda running: closed(running, plan, profile),
        OPEN: lambda running: opened(running, plan),
        IDLE: lambda running: idle(running, plan),
    }
    print(f"{kind}: {subject.name} ...", end=" ", file=sys.stderr, flush=True)
    with subject(services, idle_rooms(plan) if kind == IDLE else plan.rooms) as running:
        result = uvloop.run(runs[kind](running))
    said = [
        f"{sample.messages_per_s:,.0f}/s (steal {sample.steal_cores:.2f}, others {sample.other_cores:.2f})"
        for sample in result.samples
    ]
    if result.idle is not None:
        said.append(f"{result.idle.kib_per_connection:.1f} KiB")
    print(*said, *result.faults, sep=", ", file=sys.stderr, flush=True)
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    given = _arguments(arguments)
    plan = Plan(given.rooms, given.outstanding, given.rate, given.connections, given.warm, given.seconds, given.windows)
    chosen = given.only or (list(_SUBJECTS) if given.peers else ["own"])
    profile = Profile(given.profile) if given.profile else None
    _allow_open_files()
    results: dict[str, dict[str, list[Result]]] = {}
    lock = FolderLock(given.data)
    lock.acquire()
    try:
        with Mongod(given.data / "mongod") as mongod, Valkey(given.data / "valkey") as valkey:
            if given.deadlines:
                return measure(mongod, valkey, given.data, Size(given.disputes, given.due))
            services = Services(mongod, valkey, given.data)
            for kind in given.kinds or (CLOSED, OPEN, IDLE):
                by_name = results[kind] = defaultdict(list)
                for _ in range(1 if kind == IDLE else given.rounds):
                    for name in chosen:
                        subject = _SUBJECTS[name]
                        spied = profile if name == "own" else None
                        by_name[subject.name].append(_run(kind, subject, services, plan, spied))
    finally:
        lock.release()
    print(report(plan, results))
    if profile is not None:
        print(f"\n{profile.summary()}")
    faulty = any(result.faults for runs in results.values() for own in runs.values() for result in own)
    missed = any(not verdict.met for verdict in targets(results))
    return 1 if faulty or missed else 0


def _allow_open_files() -> None:
    """Thousands of sockets, here and in the servers that inherit the limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 20_000 if most == resource.RLIM_INFINITY else min(most, 20_000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (EmbeddedError, Missing) as exc:
        sys.exit(str(exc))
