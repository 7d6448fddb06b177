"""Which strings may name a user.

The marketplace's own ids are used as they are, so almost anything goes: 1 to 128 characters, none of them a control
character (storage joins ids with U+001F, and a line break could forge a line of a log) or half of a surrogate pair
(which UTF-8 cannot carry). ``system`` is the server's own.
"""

import re
from typing import Final

USER_ID_CHARS: Final = 128
SYSTEM_ID: Final = "system"
"""The author of what the server writes by itself; no token and no order may name it."""

_UNUSABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def is_user_id(value: str) -> bool:
    """Whether ``value`` may be the id of a user, in a token or in an order."""
    return 0 < len(value) <= USER_ID_CHARS and value != SYSTEM_ID and not _UNUSABLE.search(value)
