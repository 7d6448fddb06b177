"""What a hub counts on the way of every message, added to the metrics now and then."""

from typing import Final

from chatserver.metrics import Metrics

ACKS_OBSERVED: Final = 100
"""Acknowledgements whose time is observed between two flushes; of more, the first ones stand for all."""


class Tally:
    """Plain numbers, because a metric's counter costs more than a delivery."""

    __slots__ = ("_ack_seconds", "appended", "delivered", "forwarded")

    def __init__(self) -> None:
        self.appended = 0
        self.delivered = 0
        self.forwarded = 0
        self._ack_seconds: list[float] = []

    def acknowledged(self, seconds: float) -> None:
        """A message was acknowledged so long after it came."""
        if len(self._ack_seconds) < ACKS_OBSERVED:
            self._ack_seconds.append(seconds)

    def flush(self, metrics: Metrics) -> None:
        """Add everything to the metrics, and begin anew."""
        metrics.appended.inc(self.appended)
        metrics.deliveries.inc(self.delivered)
        metrics.forwarded.inc(self.forwarded)
        self.appended = self.delivered = self.forwarded = 0
        observed, self._ack_seconds = self._ack_seconds, []
        for seconds in observed:
            metrics.ack_seconds.observe(seconds)
