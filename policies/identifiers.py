"""Which strings may be ids of the marketplace's: of users, orders and events.

They are used as they are, so almost anything goes: 1 to 128 characters, none of them a control character (storage joins
ids with U+001F, and a line break could forge a line of a log) or half of a surrogate pair (which UTF-8 cannot carry).
The id of an order is also a path segment, so HTTP takes fewer characters there. ``system`` is the server's own.
"""

import re
from typing import Final

from policies.room import SYSTEM

ID_CHARS: Final = 128

_UNUSABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def is_id(value: str) -> bool:
    """Whether ``value`` may be an id."""
    return 0 < len(value) <= ID_CHARS and not _UNUSABLE.search(value)


def is_user_id(value: str) -> bool:
    """Whether ``value`` may be the id of a user, in a token or in an order."""
    return value != SYSTEM.id and is_id(value)
