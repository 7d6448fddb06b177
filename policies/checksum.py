"""Check digits."""

from typing import Final

_VALUES: Final = bytes.maketrans(b"0123456789", bytes(range(10)))
_DOUBLED: Final = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))


def luhn(digits: str) -> bool:
    """Whether the last of some ASCII digits checks the others (ISO/IEC 7812-1, annex B)."""
    written = digits.encode("ascii")
    return (sum(written[-1::-2].translate(_VALUES)) + sum(written[-2::-2].translate(_DOUBLED))) % 10 == 0
