"""The staff log beside a dispute's room: its entries are notes to the staff in that room."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import orjson

from chatserver.hub.live_room import LiveRoom
from chatserver.hub.publication import Publication
from chatserver.hub.socket import text_frame
from policies.room import RoomFacts, dispute_of, staff_room
from policies.vocabulary import STAFF, RoomKind
from storage.room_log import RoomLog


class StaffLogs:
    """Keeps a staff log in service as long as staff are in the dispute's room, and passes on what is written there.

    Args:
        open_room, close_room: put a room into service, and out of it.
        start: begins a room's stream after its head.
    """

    def __init__(
        self,
        log: RoomLog,
        open_room: Callable[[RoomFacts], Awaitable[LiveRoom]],
        close_room: Callable[[LiveRoom], None],
        start: Callable[[LiveRoom, int], None],
    ) -> None:
        self._log = log
        self._open_room = open_room
        self._close_room = close_room
        self._start = start

    async def follow(self, live: LiveRoom) -> None:
        """Staff are in a room, or about to be: when this returns, every later note reaches them.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        dispute = dispute_of(live.facts)
        if dispute is None or live.facts.kind is not RoomKind.DISPUTE or live.staff_log is not None:
            return
        staff = await self._open_room(replace(live.facts, id=staff_room(dispute), kind=RoomKind.STAFF))
        try:
            head = await self._log.head(staff.id)
        except BaseException:
            self._close_room(staff)
            raise
        if live.staff_log is not None:  # somebody else was faster
            self._close_room(staff)
            return
        live.staff_log = staff
        staff.delivered = partial(_tell_notes, live)
        self._start(staff, head.seq)

    def release(self, live: LiveRoom) -> None:
        """Somebody left a room: with the last of the staff its staff log goes out of service."""
        staff = live.staff_log
        if staff is not None and not any(each.role in STAFF for each in live.members.values()):
            live.staff_log = staff.delivered = None
            self._close_room(staff)


def _tell_notes(live: LiveRoom, run: list[Publication]) -> None:
    for publication in run:
        entry = orjson.loads(publication.json)["entry"]
        frame = text_frame(orjson.dumps({"type": "note", "room": live.id, "entry": entry}))
        own = {**entry, "command_id": publication.command_id}
        for membership in tuple(live.members.values()):
            if membership.role in STAFF and not membership.position.joining:
                if membership.user_id == publication.author_id:
                    membership.send(text_frame(orjson.dumps({"type": "note", "room": live.id, "entry": own})))
                else:
                    membership.send(frame)
