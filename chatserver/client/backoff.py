"""How long to wait before trying again."""

from random import Random
from typing import Final

FIRST_S: Final = 0.5
LONGEST_S: Final = 20.0


def full_jitter(attempt: int, rng: Random) -> float:
    """Seconds to wait before try number ``attempt`` (0 is the first one after a failure).

    Uniform between 0 and a ceiling that doubles from 0.5 to 20 seconds. The whole range is random, because clients
    that lost their server together must not come back together (M. Brooker, "Exponential Backoff and Jitter", 2015).
    """
    ceiling = min(LONGEST_S, FIRST_S * 2.0 ** min(attempt, 16))
    return rng.uniform(0.0, ceiling)
