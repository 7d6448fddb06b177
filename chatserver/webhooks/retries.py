"""When a delivery that failed is tried again, and when it is given up."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

GROWTH: Final = 3.0
"""Each pause is so many times the one before: an endpoint that is only restarting gets its event within seconds, one
that is down is asked a few times a day."""
SPREAD: Final = 0.2
"""Pauses vary by this part, so that what failed together does not come back together."""
_GROWN: Final = 40
"""Nothing grows for longer: it would be beyond any calendar."""
LEAST_ATTEMPTS: Final = 5
"""An event that waited behind another one for all of its time is still tried so often."""


@dataclass(frozen=True, slots=True)
class Retries:
    """The operator's choice.

    Args:
        first: the pause after the first failed attempt.
        longest: pauses grow up to this.
        lasting: from when an event was queued (or replayed, or its endpoint enabled) until it is parked.
    """

    first: timedelta = timedelta(seconds=5)
    longest: timedelta = timedelta(hours=8)
    lasting: timedelta = timedelta(days=3)

    def next_at(
        self, attempts: int, begun_at: datetime, now: datetime, spread: float, asked: timedelta = timedelta()
    ) -> datetime | None:
        """When to try again.

        Args:
            attempts: how many have failed, the one just now included.
            begun_at: what ``lasting`` is counted from.
            now: the time.
            spread: a random number from -1 to 1.
            asked: the pause that the endpoint asked for (Retry-After); it can make a pause longer, never shorter.

        Returns:
            A time; the last attempt is made at the very end of ``lasting``. None after that: the event is parked.
        """
        seconds = self.first.total_seconds() * GROWTH ** min(attempts - 1, _GROWN)
        grown = timedelta(seconds=min(seconds, self.longest.total_seconds())) * (1 + SPREAD * spread)
        again = now + max(grown, min(asked, self.longest))
        if attempts < LEAST_ATTEMPTS:
            return again
        end = begun_at + self.lasting
        return None if now >= end else min(again, end)
