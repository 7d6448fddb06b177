"""What the parts of the operator's policy file are made of."""

import re
from datetime import timedelta
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

_DURATION: Final = re.compile(r"(?:(\d+)d)?\s*(?:(\d+)h)?\s*(?:(\d+)m)?\s*(?:(\d+)s)?")
_LONGEST: Final = timedelta(days=3650)


def _read_duration(value: object) -> object:
    """``"3d"``, ``"24h"``, ``"1d 12h"``, ``"15m"``, ``"30s"``; or whole seconds, as in a dispute's first entry."""
    try:
        read = _timedelta(value)
    except OverflowError:  # more days than a timedelta counts
        read = None
    if read is None or not timedelta() <= read <= _LONGEST:
        raise ValueError("a duration is from 0 to 3650d")  # pydantic wants a ValueError
    return read


def _timedelta(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return timedelta(seconds=value)
    if isinstance(value, str) and value and (parts := _DURATION.fullmatch(value.strip())) and any(parts.groups()):
        days, hours, minutes, seconds = (int(part or 0) for part in parts.groups())
        return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    raise ValueError("a duration looks like 3d, 24h, 15m, 30s, or 1d 12h")


Duration = Annotated[
    timedelta,
    BeforeValidator(_read_duration),
    PlainSerializer(lambda value: int(value.total_seconds()), return_type=int, when_used="json"),
    WithJsonSchema(
        {
            "type": ["string", "integer"],
            "pattern": rf"^\s*(?=\d){_DURATION.pattern}\s*$",
            "description": "Such as 3d, 24h, 15m, 1d 12h; or whole seconds.",
        }
    ),
]


class Part(BaseModel):
    """A section of the file. A name that is not known in it is an error: it would be one that has no effect."""

    model_config = ConfigDict(extra="forbid", frozen=True)
