"""What the bus, the group commit and the desk report, as metrics."""

from chatserver.metrics import Metrics
from policies.errors import Unavailable
from storage.errors import AppendLost, CommandTaken


class BusMetrics:
    """Counts what the bus does."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def published(self, count: int) -> None:
        self._metrics.bus_published.inc(count)

    def received(self, count: int) -> None:
        self._metrics.bus_received.inc(count)

    def dropped(self, count: int) -> None:
        self._metrics.bus_dropped.inc(count)

    def failed(self, what: str) -> None:
        self._metrics.redis_failed(what)

    def alive(self, alive: bool) -> None:
        self._metrics.bus_alive.set(alive)


class CommitMetrics:
    """Counts what the group commit does."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def committed(self, entries: int, seconds: float) -> None:
        self._metrics.commit_entries.observe(entries)
        self._metrics.commit_seconds.observe(seconds)

    def conflicted(self, failure: AppendLost) -> None:
        if isinstance(failure, CommandTaken):
            self._metrics.duplicates.inc()
        else:
            self._metrics.conflicts.inc()

    def failed(self, failure: Unavailable) -> None:
        self._metrics.mongo_failed("append")


class DeskMetrics:
    """Counts what the desk does."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def ran(self, command: str, result: str) -> None:
        self._metrics.dispute_command(command, result)

    def overtaken(self) -> None:
        self._metrics.dispute_conflicts.inc()
