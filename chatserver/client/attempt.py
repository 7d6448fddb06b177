"""Something asked of the server, until it is answered."""

from dataclasses import dataclass
from random import Random
from typing import Final

from chatserver.client.backoff import full_jitter

SHORTEST_PAUSE_S: Final = 0.05
"""A server that says "again, now" without end must not make the client spin."""


@dataclass(slots=True, eq=False)
class Attempt:
    """When to ask, and when it was asked on this connection. Times are those of the client's monotonic clock."""

    id: str = ""
    due: float = 0.0
    sent_at: float | None = None
    tries: int = 0

    def ready(self, now: float) -> bool:
        """Whether it should be sent now."""
        return self.sent_at is None and self.due <= now

    def sent(self, command_id: str, now: float) -> None:
        self.id, self.sent_at = command_id, now

    def postpone(self, retry_after_ms: int | None, now: float, rng: Random) -> None:
        """The answer was a temporary error: ask again after the server's own pause, or one of growing length."""
        pause = full_jitter(self.tries, rng) if retry_after_ms is None else retry_after_ms / 1000
        self.tries += 1
        self.sent_at = None
        self.due = now + max(SHORTEST_PAUSE_S, pause)
