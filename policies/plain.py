"""Plain data: what an entry's body, or anything that may become part of one, may hold.

The log's hashes are taken over canonical JSON, and anyone must be able to recompute them in any language. So there
are no floats (languages print them differently) and no integer that a double cannot hold (JavaScript would round it).
"""

from typing import Any, Final

from policies.errors import BadRequest

LARGEST_INT: Final = 2**53 - 1
"""RFC 8259 section 6: integers up to here are read alike by every JSON implementation."""
DEEPEST: Final = 16
"""Nesting of objects and lists; MongoDB stops at 100."""


def require_plain(value: object, *, depth: int = DEEPEST) -> None:
    """Check that a value holds only str, int, bool, None, and lists and dicts (keys str) of these.

    Raises:
        BadRequest: it holds something else; the message says what, never its content.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return
    if isinstance(value, int):  # MongoDB gives back a subclass where it stored 64 bits
        if not -LARGEST_INT <= value <= LARGEST_INT:
            raise BadRequest("An integer lies beyond 2^53 - 1; write it as a string.")
        return
    if depth == 0:
        raise BadRequest(f"The data is nested deeper than {DEEPEST} levels.")
    if kind is list or kind is tuple:
        for item in value:  # type: ignore[attr-defined]
            require_plain(item, depth=depth - 1)
        return
    if kind is dict:
        _require_plain_dict(value, depth)  # type: ignore[arg-type]
        return
    if kind is float:
        raise BadRequest("Fractions are not accepted; write them as a string, money in minor units.")
    raise BadRequest(f"Values of type {kind.__name__} are not accepted.")


def _require_plain_dict(value: dict[Any, Any], depth: int) -> None:
    for key, item in value.items():
        if type(key) is not str:
            raise BadRequest("Keys must be strings.")
        if "\0" in key:
            raise BadRequest("Keys must not hold a NUL character.")  # BSON ends a key there
        require_plain(item, depth=depth - 1)
