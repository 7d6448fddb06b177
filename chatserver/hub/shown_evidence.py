"""Evidence that a message shows: looked up before the message goes on its way, on the process of its author."""

from typing import TYPE_CHECKING

from chatserver.protocol import MessageSend
from policies.entry import Entry
from policies.errors import BadRequest
from policies.evidence import EvidenceId
from policies.vocabulary import CommandId, RoomId, UserId
from storage.evidence import EvidenceState

if TYPE_CHECKING:
    from chatserver.hub.hub import Hub


async def check_shown(hub: "Hub", room: RoomId, author: UserId, frame: MessageSend) -> Entry | None:
    """Check that a message shows evidence that its author has added to the room: sealed, and not withdrawn.

    Returns:
        What this very command has written before, when the evidence was withdrawn since; usually None.

    Raises:
        BadRequest: it shows something else; ``details["evidence"]`` names the first such id.
        Unavailable: the database does not answer.
    """
    wanted = [EvidenceId(each) for each in frame.evidence or ()]
    if len(set(wanted)) < len(wanted):
        raise BadRequest("A message shows each piece of evidence once.", details={"field": "evidence"})
    known = await hub.evidence.several(wanted)
    for each in wanted:
        found = known.get(each)
        if (
            found is None
            or (found.room, found.uploader, found.state) != (room, author, EvidenceState.SEALED)
            or found.withdrawn_at is not None
        ):
            before = await hub.log.find(room, author, CommandId(frame.id))
            if before is not None and before.body.get("evidence") == wanted and before.written["text"] == frame.text:
                return before
            details = {"field": "evidence", "evidence": each}
            raise BadRequest("A message shows evidence that you have added to this room.", details=details)
    return None
