"""Where a page of a list ended: a time and a key, as text that a client hands back to get the next page."""

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Final

from policies.errors import BadRequest

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def encode_place(at: datetime, key: str) -> str:
    """The cursor for what comes after this place."""
    place = f"{(at - _EPOCH) // _MILLISECOND}:{key}"
    return base64.urlsafe_b64encode(place.encode()).rstrip(b"=").decode()


def decode_place(cursor: str) -> tuple[datetime, str]:
    """The place of a cursor.

    Raises:
        BadRequest: it is none of ours.
    """
    try:
        place = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        milliseconds, colon, key = place.partition(":")
        at = _EPOCH + int(milliseconds) * _MILLISECOND
    except (ValueError, binascii.Error, OverflowError) as error:
        raise BadRequest("This cursor is not one that was given out.") from error
    if not colon:
        raise BadRequest("This cursor is not one that was given out.")
    return at, key
