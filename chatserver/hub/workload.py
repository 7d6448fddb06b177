"""How many processes write the log: as few as the messages need that all of them are sent together.

A commit takes MongoDB and its driver about as long for twenty entries as for one. So one process writes what all are
sent until that is much, and only then a second one. Each process counts what it is sent and tells the others, unless
it is too little to matter. They do not have to agree: two processes that write to the same room for a while race for
its places, as ``relay`` says.
"""

import math
from collections.abc import Sequence
from typing import Final

COUNTS_FOR_S: Final = 3.5
"""A process that has told nothing for so long is sent next to nothing, or gone."""
SPARE: Final = 0.75
"""A process stops to write when what all are sent would need no more than this share of the others."""


class Workload:
    """What this process is sent, and what the others tell of themselves. Knows no clock: times are in seconds and only
    compared with each other.

    Args:
        per_writer: messages a second from which on another process writes.
        now: the time of its making.
    """

    __slots__ = ("_heard", "_measured_at", "_per_writer", "_rate", "_writers", "messages")

    def __init__(self, per_writer: float, now: float) -> None:
        self._per_writer = per_writer
        self._measured_at = now
        self._rate = 0.0
        self._heard: dict[str, tuple[float, float]] = {}  # messages a second and until when that counts, by process
        self._writers = 1
        self.messages = 0
        """What this process was sent since it was measured last; counted by whoever takes it."""

    def measure(self, processes: int, now: float) -> float | None:
        """Take stock; call it about once a second.

        Args:
            processes: how many there are.

        Returns:
            The messages a second to tell the others; None when they need not be told.
        """
        self._rate = self.messages / max(now - self._measured_at, 1e-3)
        self.messages, self._measured_at = 0, now
        # What stays untold of all of them together is less than a quarter of what one process can write.
        return self._rate if self._rate * processes * 4 >= self._per_writer else None

    def heard(self, process: str, rate: float, now: float) -> None:
        """Another process was sent so many messages a second."""
        self._heard[process] = (rate, now + COUNTS_FOR_S)

    def writers(self, processes: Sequence[str], now: float) -> Sequence[str]:
        """Which processes write from now on: more at once when they are needed, fewer one by one.

        Args:
            processes: all that live, sorted.
        """
        self._heard = {process: told for process, told in self._heard.items() if told[1] > now}
        total = self._rate + sum(rate for rate, _ in self._heard.values())
        needed = math.ceil(total / self._per_writer)
        if needed > self._writers:
            self._writers = needed
        elif total < (self._writers - 1) * self._per_writer * SPARE:
            self._writers -= 1
        self._writers = max(1, min(self._writers, len(processes)))
        return processes[: self._writers]
