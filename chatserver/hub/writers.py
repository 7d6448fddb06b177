"""The writers of the rooms that are written to from this process."""

from collections.abc import Callable
from typing import Final

from chatserver.hub.writer import Desk, RoomWriter, Submission
from policies.vocabulary import RoomId

IDLE_S: Final = 60.0
"""A writer that is not used for so long is let go; the next message of its room makes a new one."""


class Writers:
    """One for each room, made when it is first written to.

    Args:
        time: a monotonic clock, in seconds.
    """

    __slots__ = ("_desk", "_time", "_writers")

    def __init__(self, desk: Desk, time: Callable[[], float]) -> None:
        self._desk = desk
        self._time = time
        self._writers: dict[RoomId, RoomWriter] = {}

    @property
    def idle(self) -> bool:
        """Nothing waits to be written or answered."""
        return all(writer.idle for writer in self._writers.values())

    def submit(self, submission: Submission) -> None:
        """Append from this process."""
        writer = self._writers.get(submission.room)
        if writer is None:
            writer = self._writers[submission.room] = RoomWriter(submission.room, self._desk)
        writer.used_at = self._time()
        writer.submit(submission)

    def learn_head(self, room: RoomId, seq: int) -> None:
        """Somebody else's entry was seen."""
        if (writer := self._writers.get(room)) is not None:
            writer.learn_head(seq)

    def forget_unused(self) -> None:
        """Let go of writers that nobody has used for a while."""
        long_ago = self._time() - IDLE_S
        for room, writer in list(self._writers.items()):
            if writer.idle and writer.used_at < long_ago:
                del self._writers[room]
