"""What an object costs while it is idle."""

import sys


def footprint(subject: object) -> int:
    """Bytes of a slotted object and of what its slots refer to, one level deep."""
    slots = [slot for cls in type(subject).__mro__ for slot in getattr(cls, "__slots__", ())]
    values = [getattr(subject, slot) for slot in slots]
    return sys.getsizeof(subject) + sum(sys.getsizeof(value) for value in values)
