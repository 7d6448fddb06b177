"""What is counted of webhooks on a worker."""

from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

Outcome = Literal["delivered", "failed", "parked", "gone"]

_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class CourierMetrics:
    """What a worker's courier has done. No label names an endpoint: operators see those with ``webhooks list``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.queued = Counter("dispute_chat_webhook_events", "Events queued for the webhooks.", registry=registry)
        attempts = "Attempts to deliver an event: delivered, failed (tried again later), parked (given up), gone (410)."
        self._attempts = Counter("dispute_chat_webhook_attempts", attempts, ("outcome",), registry=registry)
        self.seconds = Histogram(
            "dispute_chat_webhook_seconds", "Duration of an attempt.", buckets=_BUCKETS, registry=registry
        )
        self.under_way = Gauge("dispute_chat_webhook_streams", "Streams that are being sent now.", registry=registry)

    def attempted(self, outcome: Outcome, took_ms: int) -> None:
        self._attempts.labels(outcome).inc()
        self.seconds.observe(took_ms / 1000)
