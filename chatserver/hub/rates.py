"""How often someone may do something: token buckets that remember one number.

A bucket of ``burst`` tokens, refilled by ``rate`` a second, is kept as the time at which it is full again (the generic
cell rate algorithm, ITU-T I.371, in its virtual scheduling form): one token taken moves that time by 1 / rate, and
there is one to take while that time is at most (burst - 1) / rate away.
"""

from typing import Final

from policies.vocabulary import UserId

_ROUNDING_S: Final = 1e-6
"""Waiting exactly as long as told must be enough, whatever the sum of floats says."""
_DEBT: Final = 4
"""How many bursts below empty a user's bucket may get by what was taken elsewhere: as many as one who holds five
connections, each to another process, takes there before this process hears of it."""


class _Rate:
    """``rate`` a second, ``burst`` at once; says what a take does to a bucket."""

    __slots__ = ("_interval", "_tolerance", "refill_s")

    def __init__(self, rate: float, burst: int) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError("a rate must be positive and a burst at least 1")
        self._interval = 1 / rate
        self._tolerance = (burst - 1) * self._interval
        self.refill_s = burst * self._interval
        """How long an empty bucket takes to be full."""

    def wait(self, full_at: float, now: float) -> float:
        """Seconds until there is a token in the bucket; 0.0 when there is one."""
        wait = full_at - now - self._tolerance
        return wait if wait > _ROUNDING_S else 0.0

    def after_take(self, full_at: float, now: float) -> float:
        """When the bucket is full again after a token was taken, whether there was one or not."""
        return max(full_at, now) + self._interval


class TokenBucket:
    """One bucket, such as a connection's commands.

    Args:
        rate: tokens a second, sustained.
        burst: tokens at once; the bucket starts full.

    Raises:
        ValueError: a rate that is not positive, or a burst below 1.
    """

    __slots__ = ("_full_at", "_rate")

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = _Rate(rate, burst)
        self._full_at = float("-inf")

    def take(self, now: float) -> float:
        """Take a token. Returns 0.0, or the seconds after which there is one; a refused take costs nothing."""
        wait = self._rate.wait(self._full_at, now)
        if not wait:
            self._full_at = self._rate.after_take(self._full_at, now)
        return wait


class UserRates:
    """A bucket for each user, whatever number of connections they have.

    What a user takes on other processes is told afterwards (``taken_elsewhere``), so that nobody has to ask before a
    token is given. Somebody who takes on several at the same moment may get a burst on each; they owe it then, and over
    time get no more than one process would give.

    A bucket that was not touched for the time that the emptiest one takes to fill is full, and a full one need not be
    remembered. So there are two generations, each as long as that time, and the older one is dropped as a whole:
    no scan, and never more than the users who did something within twice that time.

    Args and errors are those of `TokenBucket`.
    """

    __slots__ = ("_before", "_generation_s", "_rate", "_recent", "_recent_since")

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = _Rate(rate, burst)
        self._generation_s = (1 + _DEBT) * self._rate.refill_s
        self._recent: dict[UserId, float] = {}
        self._before: dict[UserId, float] = {}
        self._recent_since = float("-inf")

    def __len__(self) -> int:
        """Buckets remembered; a user may count twice."""
        return len(self._recent) + len(self._before)

    def take(self, user: UserId, now: float) -> float:
        """Take a token of this user's. Returns 0.0, or the seconds after which there is one."""
        full_at = self._full_at(user, now)
        wait = self._rate.wait(full_at, now)
        if not wait:
            self._recent[user] = self._rate.after_take(full_at, now)
        return wait

    def taken_elsewhere(self, user: UserId, now: float) -> None:
        """Another process has given this user a token."""
        full_at = self._rate.after_take(self._full_at(user, now), now)
        self._recent[user] = min(full_at, now + self._generation_s)

    def _full_at(self, user: UserId, now: float) -> float:
        age = now - self._recent_since
        if age >= self._generation_s:
            self._before = self._recent if age < 2 * self._generation_s else {}
            self._recent = {}
            self._recent_since = now
        full_at = self._recent.get(user)
        return self._before.get(user, now) if full_at is None else full_at
