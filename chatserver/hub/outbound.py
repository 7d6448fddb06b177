"""The frames that wait for one client which reads slower than its rooms talk."""


class Outbound:
    """A bounded queue of ready frames, in the order they were put.

    Frames are bytes shared by all sockets they go to, so a waiting frame costs this queue a reference.
    Ephemeral ones (typing, presence, receipts) may be lost: when the queue is full they go first, the oldest before
    the newer, because the newest tells the present state. When there are none left, the client is too slow to be served
    live: the queue is emptied and ``overflowed`` is set; the connection is to be closed with 4002, and the client
    resumes after the last entry it has.

    A single frame is taken whatever its size while the queue is empty: a page of long messages may be larger than the
    limit, and a client that could never receive it would come back for it forever. So the queue holds at most
    ``max_bytes`` or one frame.

    Two numbers guard the other direction. Above half of either limit (high) the queue is ``congested``: the session
    stops reading commands, so that a client which asks faster than it reads stalls itself instead of overflowing.
    It stays so until an eighth (low) is left, so that reading is not switched on and off with every frame.

    Args:
        max_frames: frames that may wait.
        max_bytes: bytes that may wait.
    """

    __slots__ = ("_frames", "_kinds", "_max_bytes", "_max_frames", "congested", "dropped", "overflowed", "size")

    congested: bool
    """Too much waits to take more commands from this client."""
    dropped: int
    """Ephemeral frames lost so far."""
    overflowed: bool
    """A frame that may not be lost found no place. Nothing is queued any more."""
    size: int
    """Bytes that wait."""

    def __init__(self, max_frames: int, max_bytes: int) -> None:
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        # Both are None while nothing waits: most clients never need them. Lists, because the usual drain takes
        # all and can hand the list over; _kinds has a 1 where the frame of the same place is ephemeral.
        self._frames: list[bytes] | None = None
        self._kinds: bytearray | None = None
        self.congested = False
        self.dropped = 0
        self.overflowed = False
        self.size = 0

    @property
    def frames(self) -> int:
        """Frames that wait."""
        return len(self._frames) if self._frames is not None else 0

    def put(self, frame: bytes, ephemeral: bool) -> bool:
        """Queue a frame. Returns whether it was queued; if not, and it was not ephemeral, ``overflowed`` is set."""
        if self.overflowed:
            return False
        if self._frames is None or self._kinds is None:
            self._frames = [frame]
            self._kinds = bytearray((ephemeral,))
        else:
            if not self._make_room(self._frames, self._kinds, len(frame)):
                return self._refuse(ephemeral)
            self._frames.append(frame)
            self._kinds.append(ephemeral)
        self.size += len(frame)
        if self.size * 2 > self._max_bytes or len(self._frames) * 2 > self._max_frames:
            self.congested = True
        return True

    def drain(self, max_bytes: int) -> list[bytes]:
        """Take the oldest frames, as many as fit into ``max_bytes``, at least one if any waits."""
        frames = self._frames
        if frames is None or self._kinds is None:
            return []
        if self.size <= max_bytes:
            self._clear()
            return frames
        taken = 0
        count = 0
        for frame in frames:
            if count and taken + len(frame) > max_bytes:
                break
            taken += len(frame)
            count += 1
        if count == len(frames):
            self._clear()
            return frames
        head = frames[:count]
        del frames[:count]
        del self._kinds[:count]
        self.size -= taken
        if self.size * 8 <= self._max_bytes and len(frames) * 8 <= self._max_frames:
            self.congested = False
        return head

    def _make_room(self, frames: list[bytes], kinds: bytearray, size: int) -> bool:
        while len(frames) >= self._max_frames or self.size + size > self._max_bytes:
            oldest = kinds.find(1)
            if oldest < 0:
                return not frames
            self.size -= len(frames[oldest])
            del frames[oldest]
            del kinds[oldest]
            self.dropped += 1
        return True

    def _refuse(self, ephemeral: bool) -> bool:
        if ephemeral:
            self.dropped += 1
        else:
            self.overflowed = True
            self._clear()
        return False

    def _clear(self) -> None:
        self._frames = None
        self._kinds = None
        self.size = 0
        self.congested = False
