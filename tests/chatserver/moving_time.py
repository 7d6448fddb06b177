"""Clocks that move by hand."""

from datetime import UTC, datetime, timedelta

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


class HandClock:
    """Wall-clock time that stands still until it is moved."""

    def __init__(self, at: datetime = NOW) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class Stopwatch:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds
