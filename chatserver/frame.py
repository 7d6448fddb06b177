"""What every frame of the WebSocket protocol is built from."""

from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer

from policies.instant import rfc3339


def in_utc(value: datetime) -> datetime:
    """An aware time in UTC.

    Raises:
        ValueError: there it is before the year 1 or after 9999.
    """
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the calendar ends before that time in UTC") from error


Timestamp = Annotated[AwareDatetime, AfterValidator(in_utc), PlainSerializer(rfc3339, when_used="json")]
COMMAND_ID_CHARS: Final = 64
CommandIdField = Annotated[str, Field(min_length=1, max_length=COMMAND_ID_CHARS)]
RoomIdField = Annotated[str, Field(min_length=1, max_length=160)]
"""An order's id of up to 128 characters, and what says the room's kind."""
Position = Annotated[int, Field(ge=0, lt=2**53)]
"""A seq, or 0 for the place before the first entry."""
SeqField = Annotated[int, Field(ge=1, lt=2**53)]


class Frame(BaseModel):
    """One JSON object per text frame. Unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Command(Frame):
    """A frame from the client that is answered under its ``id``."""

    id: CommandIdField
