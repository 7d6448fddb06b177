"""Points in time as the record keeps them: UTC, whole milliseconds."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

_MICROSECOND: Final = timedelta(microseconds=1)


def instant(at: datetime) -> datetime:
    """An aware time in UTC, cut (not rounded) to the millisecond, which is what MongoDB stores and the chain hashes."""
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC)
    return at - at.microsecond % 1000 * _MICROSECOND  # a third of the cost of replace()


@lru_cache(maxsize=256)  # an entry's time is written for its hash, its reader and its author's answer
def rfc3339(at: datetime) -> str:
    """An aware time as RFC 3339 in UTC with milliseconds, such as ``2026-01-31T09:30:00.250Z``."""
    if at.utcoffset():
        at = at.astimezone(UTC)
    return at.isoformat(timespec="milliseconds")[:23] + "Z"


def read_rfc3339(text: str) -> datetime:
    """The time that ``rfc3339`` wrote."""
    return datetime.fromisoformat(text)
