"""What the operator watches: the Prometheus metrics of a process, all named ``dispute_chat_*``.

Label values come from closed vocabularies only, so the number of series is bounded. The children that the hot path
touches are bound once, as attributes: counting costs one addition under a lock.
"""

from pathlib import Path
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

LATENCY_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)

AuthFailure = Literal["token", "token_expired", "revoked", "api_key", "limited"]


class Metrics:
    """The metrics of one process.

    With several worker processes behind one port each scrape reaches any of them. Then ``multiprocess_dir`` (what
    PROMETHEUS_MULTIPROC_DIR named before prometheus_client was imported) holds a file per process, and the exposition
    adds them up.

    Args:
        registry: where the metrics are registered; one for each ``Metrics``.
    """

    def __init__(self, registry: CollectorRegistry, multiprocess_dir: Path | None = None) -> None:
        self._registry = registry
        self._multiprocess_dir = multiprocess_dir
        self._bind_hub()
        self._bind_log()
        self._bind_bus()
        self._bind_edges()

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format. Reads files in multiprocess mode: call it in a thread."""
        if self._multiprocess_dir is None:
            return generate_latest(self._registry)
        collected = CollectorRegistry()
        MultiProcessCollector(collected, path=str(self._multiprocess_dir))  # type: ignore[no-untyped-call]
        return generate_latest(collected)

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """An answered HTTP request.

        Args:
            route: the path's template, never the path itself: ids would make a series each.
        """
        self._http_requests.labels(method, route, str(status)).inc()
        self._http_seconds.labels(method, route).observe(seconds)

    def _counter(self, name: str, documentation: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(f"dispute_chat_{name}", documentation, labels, registry=self._registry)

    def _gauge(self, name: str, documentation: str) -> Gauge:
        return Gauge(f"dispute_chat_{name}", documentation, registry=self._registry, multiprocess_mode="livesum")

    def _histogram(
        self, name: str, documentation: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()
    ) -> Histogram:
        return Histogram(f"dispute_chat_{name}", documentation, labels, buckets=buckets, registry=self._registry)

    def _bind_hub(self) -> None:
        self.connections = self._gauge("connections", "Open WebSocket connections.")
        self.rooms = self._gauge("rooms", "Rooms that at least one connection of the process has joined.")
        self.connects = self._counter("connects", "WebSocket connections that said who they are.")
        self._closes = self._counter("closes", "WebSocket connections closed by the server, by close code.", ("code",))
        self._refusals = self._counter("errors", "Error frames to clients, by code.", ("code",))
        self.deliveries = self._counter("deliveries", "Entries handed to a connection.")
        self.gaps_repaired = self._counter("gaps_repaired", "Holes in what the bus delivered, filled from MongoDB.")
        self.tails_repaired = self._counter(
            "tails_repaired", "Rooms whose newest entries only the sweep of heads found."
        )
        self.queue_drops = self._counter(
            "queue_drops", "Typing, presence and receipts dropped because a client reads slowly."
        )
        self.slow_consumers = self._counter("slow_consumers", "Connections cut with 4002 because they read too slowly.")

    def _bind_log(self) -> None:
        self.appended = self._counter("appended", "Entries stored durably.")
        self.duplicates = self._counter("duplicate_commands", "Commands sent again and answered with the first result.")
        self.conflicts = self._counter("conflicts", "Appends that lost the race for a seq and were decided again.")
        self.ack_seconds = self._histogram(
            "ack_seconds", "From the arrival of a writing command to its acknowledgement.", LATENCY_BUCKETS
        )
        self.commit_entries = self._histogram("commit_entries", "Entries committed together.", BATCH_BUCKETS)
        self.commit_seconds = self._histogram("commit_seconds", "Duration of one commit in MongoDB.", LATENCY_BUCKETS)
        ran = "Commands on disputes by what became of them: done, nothing, duplicate, or the code of an error."
        self._dispute_commands = self._counter("dispute_commands", ran, ("command", "result"))
        lost = "Commands on disputes that lost against another one and were decided again."
        self.dispute_conflicts = self._counter("dispute_conflicts", lost)
        self._mongo_errors = self._counter("mongo_errors", "Failed MongoDB operations, by purpose.", ("operation",))

    def _bind_bus(self) -> None:
        self.forwarded = self._counter("forwarded", "Commands handed to the process that writes their room.")
        self.forward_timeouts = self._counter("forward_timeouts", "Forwarded commands written here after no answer.")
        self.writing = self._gauge("writing", "Processes that write what all of them are sent.")
        entries = self._counter("bus_entries", "Entries on the bus: published, received, dropped.", ("event",))
        self.bus_published = entries.labels("published")
        self.bus_received = entries.labels("received")
        self.bus_dropped = entries.labels("dropped")
        self.bus_alive = self._gauge("bus_alive", "Processes whose Redis subscriptions are known to work.")
        self._redis_errors = self._counter("redis_errors", "Failed Redis operations, by purpose.", ("operation",))

    def _bind_edges(self) -> None:
        self._http_requests = self._counter(
            "http_requests", "Answered HTTP requests, by route template.", ("method", "route", "status")
        )
        self._http_seconds = self._histogram(
            "http_seconds", "Time to answer an HTTP request.", LATENCY_BUCKETS, ("method", "route")
        )
        swapped = "Evidence that could not be given out: what is stored is not what was sealed."
        self.evidence_swapped = self._counter("evidence_swapped", swapped)
        self._auth_failures = self._counter("auth_failures", "Credentials that were refused, by reason.", ("reason",))

    def closed(self, code: int) -> None:
        """A connection closed by the server with a code of ``chatserver.errors.CloseCode``."""
        self._closes.labels(str(code)).inc()

    def refused(self, code: str) -> None:
        """An error frame with a code of ``policies.errors.ErrorCode``."""
        self._refusals.labels(code).inc()

    def dispute_command(self, command: str, result: str) -> None:
        """A command of ``policies.dispute.commands``, by the name of its class."""
        self._dispute_commands.labels(command, result).inc()

    def mongo_failed(self, operation: str) -> None:
        """An operation on MongoDB had no outcome; ``operation`` is a word of the code, never data."""
        self._mongo_errors.labels(operation).inc()

    def redis_failed(self, operation: str) -> None:
        """Something of ``BusObserver.failed``'s closed list went wrong."""
        self._redis_errors.labels(operation).inc()

    def auth_failed(self, reason: AuthFailure) -> None:
        self._auth_failures.labels(reason).inc()
