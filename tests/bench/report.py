"""What the bench prints: one table for each kind of run, and the targets, in Markdown."""

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.bench.own import DisputeChatServer
from tests.bench.runs import GROUPS, PERCENTILES, Idle, Plan, Result, Sample
from tests.bench.subjects import PROCESSES, SocketIoRedis, StarletteHub

NOISY_CORES: Final = 0.15
CLOSED: Final = "closed"
OPEN: Final = "open"
IDLE: Final = "idle"
_TIMES_OF: Final = {SocketIoRedis.name: 5.0, StarletteHub.name: 6.0}
"""How many times a peer's messages/s are aimed at."""
Results = Mapping[str, Mapping[str, Sequence[Result]]]
"""By kind of run, then by name of the server, in the order of the runs."""


def median_sample(results: Sequence[Result]) -> Sample:
    """The median of every figure over all windows of all runs."""
    samples = [sample for result in results for sample in result.samples]
    return Sample(
        messages_per_s=statistics.median(sample.messages_per_s for sample in samples),
        cpu={group: statistics.median(sample.cpu[group] for sample in samples) for group in GROUPS},
        ack_ms={percent: statistics.median(sample.ack_ms[percent] for sample in samples) for percent in PERCENTILES},
        deliver_ms={
            percent: statistics.median(sample.deliver_ms[percent] for sample in samples) for percent in PERCENTILES
        },
        steal_cores=statistics.median(sample.steal_cores for sample in samples),
        other_cores=statistics.median(sample.other_cores for sample in samples),
        server_kernel=statistics.median(sample.server_kernel for sample in samples),
    )


def median_idle(results: Sequence[Result]) -> Idle:
    figures = [result.idle for result in results if result.idle is not None]
    return Idle(
        statistics.median(figure.kib_per_connection for figure in figures),
        statistics.median(figure.joins_per_s for figure in figures),
        statistics.median(figure.cpu_percent for figure in figures),
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with columns of even width; all but the first align right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join([first, *others]) + " |"

    rule = ["-" * width if not column else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    return "\n".join([line(header), line(rule), *(line(row) for row in rows)])


def _taken(sample: Sample) -> float:
    """Cores that were not the run's to use."""
    return sample.steal_cores + sample.other_cores


def _latencies(by_percentile: Mapping[int, float]) -> str:
    return " / ".join(f"{by_percentile[percent]:.1f}" for percent in PERCENTILES)


def _loaded(runs: Mapping[str, Sequence[Result]]) -> str:
    header = ["", "messages/s", "server CPU s", "mongod", "Redis", "generator", "ack ms", "send to deliver ms", "lost"]
    rows = []
    for name, results in runs.items():
        sample = median_sample(results)
        rows.append(
            [
                name,
                f"{sample.messages_per_s:,.0f}",
                *(f"{sample.cpu[group]:.2f}" for group in GROUPS),
                _latencies(sample.ack_ms),
                _latencies(sample.deliver_ms),
                f"{_taken(sample):.2f}" + ("!" if _taken(sample) > NOISY_CORES else ""),
            ]
        )
    return table(header, rows)


def _idle(runs: Mapping[str, Sequence[Result]]) -> str:
    rows = []
    for name, results in runs.items():
        figures = median_idle(results)
        rows.append(
            [
                name,
                f"{figures.kib_per_connection:.1f}",
                f"{figures.joins_per_s:,.0f}",
                f"{figures.cpu_percent:.1f}",
            ]
        )
    return table(["", "KiB per connection", "connects and joins/s", "CPU % when idle"], rows)


def _checks(runs: Mapping[str, Sequence[Result]]) -> list[str]:
    lines = []
    for name, results in runs.items():
        sent = sum(result.counts.sent for result in results)
        acked = sum(result.counts.acked for result in results)
        delivered = sum(result.counts.delivered for result in results)
        stored = sum(result.stored.messages for result in results if result.stored is not None)
        said = f"{name}: sent {sent:,}, acked {acked:,}, stored {stored:,}, delivered {delivered:,}"
        if any(result.stored is not None and result.stored.chain is not None for result in results):
            said += "; numbers and hash chain of every room checked"
        lines.append(said)
        lines += [f"  WRONG: {fault}" for result in results for fault in result.faults]
    return lines


def report(plan: Plan, results: Results) -> str:
    """Everything measured, as text."""
    parts = []
    if runs := results.get(CLOSED):
        load = f"{plan.outstanding} messages under way in {plan.rooms} rooms of 3"
        machine = f"{PROCESSES} server processes on {os.cpu_count()} cores shared with MongoDB, Redis and the generator"
        units = "CPU in seconds per 10,000 messages; latencies p50 / p95 / p99; lost: cores others used."
        parts += [f"Saturation: {load}; {machine}.\n{units}", _loaded(runs), "\n".join(_checks(runs))]
    if runs := results.get(OPEN):
        parts += [
            f"At {plan.rate:,.0f} messages/s (latency from the moment a message was due):",
            _loaded(runs),
            "\n".join(_checks(runs)),
        ]
    if runs := results.get(IDLE):
        parts += [f"{plan.connections:,} idle connections:", _idle(runs)]
        parts += [f"WRONG: {name}: {fault}" for name, own in runs.items() for result in own for fault in result.faults]
    if verdicts := targets(results):
        rows = [[verdict.what, verdict.wanted, verdict.measured, verdict.said] for verdict in verdicts]
        parts.append(table(["target", "wanted", "measured", ""], rows))
    parts += _budgets(results.get(CLOSED, {}))
    if _noisy(results):
        parts.append(f"!: more than {NOISY_CORES} cores were lost to other programs and machines: that says little.")
    return "\n\n".join(parts)


def _budgets(runs: Mapping[str, Sequence[Result]]) -> list[str]:
    """For each throughput that is aimed at, what it leaves of the machine's cores for the server's own code."""
    if DisputeChatServer.name not in runs:
        return []
    own = median_sample(runs[DisputeChatServer.name])
    others = {name: _microseconds(own.cpu[name]) for name in GROUPS if name != "server"}
    kernel, server = _microseconds(own.server_kernel), _microseconds(own.cpu["server"])
    said = []
    for name, times in _TIMES_OF.items():
        if name in runs:
            rate = times * median_sample(runs[name]).messages_per_s
            whole = 1e6 * (os.cpu_count() or 1) / rate
            left = whole - sum(others.values()) - kernel
            taken = ", ".join(f"{group} {spent:.0f}" for group, spent in others.items())
            said.append(
                f"{times:g}x {name} is {rate:,.0f} messages/s, for which {os.cpu_count()} cores have "
                f"{whole:.0f} µs each. Of that, as measured here: {taken}, "
                f"the operating system for the server {kernel:.0f}. "
                f"Left for the server's own code: {left:.0f} µs; it takes {server - kernel:.0f}."
            )
    return said


def _microseconds(seconds_per_10000: float) -> float:
    """For one message."""
    return seconds_per_10000 * 100


def _noisy(results: Results) -> bool:
    return any(
        _taken(sample) > NOISY_CORES
        for runs in results.values()
        for own in runs.values()
        for result in own
        for sample in result.samples
    )


@dataclass(frozen=True)
class Verdict:
    """One target and what became of it."""

    what: str
    wanted: str
    measured: str
    met: bool

    @property
    def said(self) -> str:
        return "met" if self.met else "MISSED"


def targets(results: Results) -> list[Verdict]:
    """The targets that the runs allow to judge: ratios need the peer measured in the same run of the bench."""
    verdicts = []

    def at_least(what: str, wanted: float, measured: float) -> None:
        verdicts.append(Verdict(what, f">= {wanted:g}x", f"{measured:.2f}x", measured >= wanted))

    def at_most(what: str, wanted: float, measured: float) -> None:
        verdicts.append(Verdict(what, f"<= {wanted:g}x", f"{measured:.2f}x", measured <= wanted))

    own_name, socket_io, hub = DisputeChatServer.name, SocketIoRedis.name, StarletteHub.name
    closed, opened, idle = (results.get(kind, {}) for kind in (CLOSED, OPEN, IDLE))
    if own_name in closed and socket_io in closed:
        own, other = median_sample(closed[own_name]), median_sample(closed[socket_io])
        at_least("messages/s against Socket.IO", _TIMES_OF[socket_io], own.messages_per_s / other.messages_per_s)
        at_most("server CPU per message against Socket.IO", 0.2, own.cpu["server"] / other.cpu["server"])
    if own_name in closed and hub in closed:
        own, other = median_sample(closed[own_name]), median_sample(closed[hub])
        at_least("messages/s against the plain hub", _TIMES_OF[hub], own.messages_per_s / other.messages_per_s)
    if own_name in opened and socket_io in opened:
        own, other = median_sample(opened[own_name]), median_sample(opened[socket_io])
        at_most("p99 send to deliver against Socket.IO", 0.5, own.deliver_ms[99] / other.deliver_ms[99])
    if own_name in idle:
        kib = median_idle(idle[own_name]).kib_per_connection
        verdicts.append(Verdict("KiB per idle connection", "<= 30", f"{kib:.1f}", kib <= 30))
    return verdicts
