"""The frames by which staff rule on what parties have written."""

from typing import Annotated, Literal

from pydantic import Field

from chatserver.frame import Command, RoomIdField, SeqField


class MessageRuling(Command):
    """A ruling of staff on an entry of a room that this connection has joined."""

    room: RoomIdField
    seq: SeqField


class MessageRelease(MessageRuling):
    """Staff: everybody may see all of what was withheld or masked. No claim of the case is needed, and a closed room is
    no obstacle. What is released already stays so; then, and where everybody saw it anyway and only its flag is taken
    back, ``ack`` names no entry."""

    type: Literal["message.release"]
    reason: Annotated[str, Field(description="For the record; both sides can read it.")] = ""


class MessageRedact(MessageRuling):
    """Staff: hide a party's message, or evidence by the entry that added it, from the other side; of any other text,
    mask again what was released. Of what is hidden already the flag is confirmed, and ``ack`` names no entry."""

    type: Literal["message.redact"]
    reason: Annotated[str, Field(min_length=1, description="For the record; both sides can read it.")]
