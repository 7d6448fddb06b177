"""A user who goes on to another server whenever a connection ends, as a client library does."""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Final

from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.system.conftest import Dial
from tests.system.peer import PATIENCE_S, Closed, Frame, Peer, new_id
from tests.system.site import Server

_PAUSE_S: Final = 0.05
"""Between attempts, where the server names no pause."""


class Traveller:
    """One user in one room, over any number of connections.

    Args:
        servers: where to go, in this order, again and again.
        role: a staff role.
    """

    def __init__(
        self, dial: Dial, servers: Sequence[Server | str], user: str, room: str, *, role: str | None = None
    ) -> None:
        self.user = user
        self.room = room
        self.peers: list[Peer] = []
        """The connections so far; the last one stands, or did."""
        self.acks: dict[str, Frame] = {}
        """By message text."""
        self.refusals: list[Frame] = []
        """Temporary errors that were met."""
        self._dial = dial
        self._servers = itertools.cycle(servers)
        self._role = role
        self._turn = asyncio.Lock()

    @property
    def peer(self) -> Peer:
        return self.peers[-1]

    @property
    def seqs(self) -> list[int]:
        """What it has seen, over all connections, in the order in which it came."""
        return [seq for peer in self.peers for seq in peer.seqs(self.room)]

    @property
    def head(self) -> int:
        return max((peer.head(self.room) for peer in self.peers), default=0)

    async def arrive(self) -> None:
        """Connect and resume, unless that has been done already by another task."""
        async with self._turn:
            if self.peers and self.peer.code is None:
                return
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    try:
                        peer = await self._dial(
                            next(self._servers), self.user, [(self.room, self.head)], role=self._role
                        )
                    except (OSError, InvalidStatus, ConnectionClosed, Closed):
                        await asyncio.sleep(_PAUSE_S)
                    else:
                        self.peers.append(peer)
                        return

    async def say(self, text: str) -> Frame:
        """Send a message, again and again under the same id, until it is acknowledged."""
        command = new_id()
        async with asyncio.timeout(2 * PATIENCE_S):
            while True:
                await self.arrive()
                try:
                    await self.peer.send("message.send", id=command, room=self.room, text=text)
                    answer = await self.peer.answer(command)
                except (ConnectionClosed, Closed):
                    await self.peer.closed()
                    continue
                if answer["type"] == "ack":
                    self.acks[text] = answer
                    return answer
                assert answer["temporary"], answer
                self.refusals.append(answer)
                await asyncio.sleep(answer.get("retry_after_ms", 1000 * _PAUSE_S) / 1000)

    async def reaches(self, seq: int) -> None:
        """Wait until an entry has arrived, over as many connections as it takes."""
        async with asyncio.timeout(2 * PATIENCE_S):
            while self.head < seq:
                await self.arrive()
                try:
                    await self.peer.reaches(self.room, seq)
                except Closed:
                    await self.peer.closed()
