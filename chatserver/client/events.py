"""What the client's core tells the one who runs it, and what the client tells the application."""

from dataclasses import dataclass

from chatserver.client.frames import Acked, Changed, Noted, Opened, Page
from chatserver.protocol import Connected, DisputeNow, Pong, Presence, ReceiptNow, TypingNow
from policies.errors import ChatError


@dataclass(frozen=True, slots=True)
class Online:
    """A connection stands: the first one, or a new one after a loss."""

    connected: Connected


@dataclass(frozen=True, slots=True)
class Offline:
    """The connection is lost; the next try is in ``retry_in_s`` seconds. ``reason`` is for people."""

    reason: str
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The client has stopped for good."""

    error: ChatError


@dataclass(frozen=True, slots=True)
class TokenWanted:
    """The token expires in ``in_s`` seconds: get another one."""

    in_s: float


@dataclass(frozen=True, slots=True)
class RoomOpened:
    """A room was joined, or joined again after a loss."""

    opened: Opened


@dataclass(frozen=True, slots=True)
class RoomEnded:
    """The room cannot be joined (any more), or was left: ``error`` is None when the application left it."""

    room: str
    error: ChatError | None


@dataclass(frozen=True, slots=True)
class Readable:
    """The room may have entries to take."""

    room: str


@dataclass(frozen=True, slots=True)
class Answered:
    """The command ``id`` is done, or has failed for good. ``took_s``: since it was last sent."""

    id: str
    answer: Acked | Page | Pong | ChatError
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Postponed:
    """The command ``id`` has to wait, such as a message in a room in slow mode; it is sent again in ``retry_in_s``
    seconds, and what is written to the same room after it waits too. ``reason`` is for people."""

    id: str
    room: str | None
    reason: str
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class Observed:
    """Something beside the entries happened in a room."""

    frame: "Beside"


Beside = Presence | TypingNow | ReceiptNow | DisputeNow | Noted | Changed
"""What a room tells beside its entries."""

CoreEvent = Online | Offline | Ended | TokenWanted | RoomOpened | RoomEnded | Readable | Answered | Postponed | Observed

ClientEvent = Beside | Postponed | Online | Offline | Ended
"""What ``ChatClient.events`` yields."""
