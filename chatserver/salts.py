"""Where the salts of entries come from."""

import os
from collections.abc import Callable, Iterator
from typing import Final

from storage.chain import SALT_BYTES

_AT_ONCE: Final = 256


class Salts:
    """Sixteen fresh random bytes at each call.

    They are drawn from the system many at a time: to ask it for each entry costs a fifth of what else a message costs
    the processor in this program. What is drawn lies in memory no longer than it takes to write so many entries, and
    must not be carried into a process made with ``fork``: both would use it.

    Args:
        draw: gives so many random bytes that nobody can guess.
    """

    def __init__(self, draw: Callable[[int], bytes] = os.urandom) -> None:
        self._draw = draw
        self._drawn: Iterator[bytes] = iter(())

    def __call__(self) -> bytes:
        for salt in self._drawn:
            return salt
        drawn = self._draw(_AT_ONCE * SALT_BYTES)
        self._drawn = (drawn[at : at + SALT_BYTES] for at in range(0, len(drawn), SALT_BYTES))
        return next(self._drawn)
