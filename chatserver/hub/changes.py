"""Telling the members of a room that an entry looks different now: staff have released or redacted it.

The log has an entry of that, which every process sees in the room's stream. Each reads what the entry looks like now
and shows it to its members, so that a client need not ask.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import orjson

from chatserver.hub.live_room import LiveRoom, Membership
from chatserver.hub.publication import Publication
from chatserver.hub.socket import text_frame
from chatserver.rendering import render
from policies.entry import Entry
from policies.errors import ChatError
from policies.verdicts import SHOWN
from policies.vocabulary import RoomId, Seq, Visibility

RETRY_PAUSE_S: Final = 1.0
LATELY: Final = 1_000
"""Rulings that are remembered for those who read a page meanwhile: more than are made in that time."""
_KINDS: Final = frozenset(kind.value for kind in SHOWN)

logger = logging.getLogger(__name__)


class Reading(Protocol):
    """``storage.room_log.RoomLog``."""

    async def read(self, room: RoomId, seq: Seq) -> Entry | None: ...


class Changes:
    """See the module.

    Args:
        live: the rooms in service, owned by the hub.
        spawn: runs a coroutine beside the flow of frames.
        pause_s: between attempts to read an entry.
    """

    def __init__(
        self,
        log: Reading,
        live: Mapping[RoomId, LiveRoom],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        pause_s: float = RETRY_PAUSE_S,
    ) -> None:
        self._log = log
        self._live = live
        self._spawn = spawn
        self._pause_s = pause_s
        self._turn = asyncio.Lock()
        self._lately: deque[tuple[RoomId, Seq]] = deque(maxlen=LATELY)
        self._moment = 0

    def delivered(self, live: LiveRoom, run: Iterable[Publication]) -> None:
        """The members of a room were given entries."""
        changed = [publication.body()["seq"] for publication in run if publication.kind in _KINDS]
        if changed:
            self._lately.extend((live.id, seq) for seq in changed)
            self._moment += len(changed)
            self._spawn(self._tell(live, tuple(dict.fromkeys(changed)), None))

    def joined(
        self,
        live: LiveRoom,
        membership: Membership,
        after: int | None,
        page: Iterable[Entry],
        held: Iterable[Publication],
    ) -> None:
        """A member was given a page of entries, and what the stream brought meanwhile: what it had before, or what was
        read too early, may look different now."""
        changed = _outdated(after or 0, page)
        changed += [publication.body()["seq"] for publication in held if publication.kind in _KINDS]
        if changed:
            self._spawn(self._tell(live, tuple(dict.fromkeys(changed)), membership))

    @property
    def moment(self) -> int:
        """For ``read``: what is shown from now on has changed since."""
        return self._moment

    def read(
        self, live: LiveRoom, membership: Membership, after: int | None, page: Sequence[Entry], moment: int
    ) -> None:
        """A member is being given a page of the past: what it had before, or what has changed while the page was read,
        and was shown before it, looks different now.

        Args:
            after: what the page follows, and the member has; None: it may have nothing from before.
            moment: when reading began.
        """
        missed = self._moment - moment
        seqs = {entry.seq for entry in page}
        changed = _outdated(after or 0, page)
        changed += (
            [seq for room, seq in list(self._lately)[-missed:] if room == live.id and seq in seqs] if missed else []
        )
        if changed:
            self._spawn(self._tell(live, tuple(dict.fromkeys(changed)), membership))

    async def _tell(self, live: LiveRoom, seqs: Sequence[Seq], only: Membership | None) -> None:
        for seq in seqs:
            while self._live.get(live.id) is live:
                try:
                    async with self._turn:  # what was read first is shown first, so that the last thing shown is true
                        if (entry := await self._log.read(live.id, seq)) is not None:
                            _show(live, entry, only)
                except ChatError as error:
                    logger.warning("a changed entry could not be read", extra={"room": live.id, "code": error.code})
                    await asyncio.sleep(self._pause_s)
                    continue
                break


def _outdated(after: int, page: Iterable[Entry]) -> list[Seq]:
    """What the rulings of a page are about, and its reader has from before; or what the page itself shows otherwise,
    since the ruling came while it was read."""
    read: dict[Seq, Visibility | None] = {}
    ruled: dict[Seq, Visibility] = {}
    for entry in page:
        read[entry.seq] = entry.shown
        if entry.kind in SHOWN and "seq" in entry.body:
            ruled[Seq(entry.body["seq"])] = SHOWN[entry.kind]
    return [seq for seq, shown in ruled.items() if seq <= after or read.get(seq, shown) is not shown]


def _show(live: LiveRoom, entry: Entry, only: Membership | None) -> None:
    for membership in tuple(live.members.values()) if only is None else (only,):
        if live.members.get(membership.member) is membership and not membership.position.joining:
            seen = render(entry, membership.user_id, membership.role)
            frame = {"type": "entry.changed", "room": live.id, "entry": seen}
            membership.send(text_frame(orjson.dumps(frame)))
