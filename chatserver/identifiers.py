"""Which strings may name a user, an order or a room.

1 to 128 characters out of letters, digits and ``. _ : @ | + = ~ -``, not starting with a dot. That admits UUIDs,
ULIDs, e-mail addresses and the ``auth0|...`` form of subjects; it keeps out slashes (an id is one path segment), dot
segments, white space, control characters (storage joins ids with U+001F) and everything that needs quoting in a log.
``system`` names the server itself and is no user's id.
"""

import re
from typing import Final

ID_CHARS: Final = 128
"""Longest id of a user or an order."""
ID_PATTERN: Final = r"^[A-Za-z0-9_:@|+=~-][A-Za-z0-9._:@|+=~-]{0,127}$"
ROOM_ID_CHARS: Final = 160
"""Longest id of a room: an order's id and what says the room's kind."""
SYSTEM_ID: Final = "system"

_ID: Final = re.compile(ID_PATTERN.removeprefix("^").removesuffix("$"))


def is_id(value: str) -> bool:
    """Whether ``value`` may be the id of an order."""
    return _ID.fullmatch(value) is not None


def is_user_id(value: str) -> bool:
    """Whether ``value`` may be the id of a user."""
    return value != SYSTEM_ID and is_id(value)
