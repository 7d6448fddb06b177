"""Pages of a room's past, for a connection that has joined it."""

from typing import Any

from chatserver import protocol
from chatserver.hub.hub import Hub
from chatserver.hub.live_room import LiveRoom, Membership
from chatserver.hub.page import fit
from policies.errors import BadRequest
from policies.vocabulary import Seq


async def read_history(hub: Hub, live: LiveRoom, membership: Membership, frame: protocol.History) -> dict[str, Any]:
    """The answer to ``history``. Who asks for what came after a place has what came before, perhaps as it looked then:
    what a page says was changed of it is shown after the page, and so is what has changed while it was read.

    Raises:
        BadRequest: the limit is out of bounds, or both directions are asked for.
        Unavailable: MongoDB does not answer.
    """
    most, most_bytes = hub.settings.history_page, hub.settings.history_bytes
    if not 1 <= frame.limit <= most:
        raise BadRequest(f"'limit' is from 1 to {most}.", details={"field": "limit", "limit": most})
    if frame.before is not None and frame.after is not None:
        raise BadRequest("Give 'before' or 'after', not both.", details={"field": "before"})
    user, role = membership.user_id, membership.role
    moment = hub.changes.moment
    await hub.disputes.record_read(live.facts, user, role, "room.history", before=frame.before, after=frame.after)
    if frame.after is not None:
        entries = await hub.log.read_after(live.id, Seq(frame.after), frame.limit + 1)
        page, left_out = fit(entries[: frame.limit], user, role, most_bytes)
        more = left_out > 0 or len(entries) > frame.limit
        entries = entries[: len(page)]
    else:
        before = None if frame.before is None else Seq(frame.before)
        entries = await hub.log.read_before(live.id, before, frame.limit)
        page, left_out = fit(entries, user, role, most_bytes, newest=True)
        more = left_out > 0 or (bool(entries) and entries[0].seq > 1)
    hub.changes.read(live, membership, frame.after, entries, moment)
    return {"type": "history", "id": frame.id, "room": live.id, "entries": page, "more": more}
