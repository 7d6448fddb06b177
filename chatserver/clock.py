"""Where the time comes from. Everything that needs it is given a clock, so tests move it by hand."""

from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Wall-clock time."""

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class ShiftedClock:
    """The system's time plus an offset that may only grow: the sandbox's and the tests' clock."""

    def __init__(self, source: Clock | None = None, offset: timedelta = timedelta()) -> None:
        self._source = source or SystemClock()
        self.offset = offset

    def now(self) -> datetime:
        return self._source.now() + self.offset
