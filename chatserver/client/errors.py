"""How a client's work can fail: the codes of the wire contract, and the end of the connection."""

from typing import Any

from chatserver.protocol import Error
from policies.errors import (
    BadRequest,
    ChatError,
    Conflict,
    ErrorCode,
    Forbidden,
    NotFound,
    RateLimited,
    Refused,
    RoomClosed,
    TokenExpired,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

_BY_CODE: dict[ErrorCode, type[ChatError]] = {
    error.code: error
    for error in (
        BadRequest,
        Unauthenticated,
        TokenExpired,
        Forbidden,
        NotFound,
        Conflict,
        Refused,
        RoomClosed,
        TooLarge,
        RateLimited,
        Unavailable,
    )
}


def error_of(frame: Error) -> ChatError:
    """The exception that an ``error`` frame stands for; ``internal`` is a plain ``ChatError``."""
    kind = _BY_CODE.get(frame.code, ChatError)
    return kind(frame.message, details=frame.details, retry_after_ms=frame.retry_after_ms)


class ConnectionEnded(ChatError):
    """The client has stopped for good: whatever waits on it gets this, and nothing will be retried.

    ``close_code`` is the WebSocket close code (4500-4999: the server said not to come back; see
    ``chatserver.errors.CloseCode``), or None when no close frame was involved. ``__cause__`` holds the server's own
    error where it sent one.
    """

    code = ErrorCode.UNAVAILABLE

    def __init__(self, message: str, *, close_code: int | None = None, details: dict[str, Any] | None = None) -> None:
        super().__init__(message, details=details)
        self.close_code = close_code


class ConnectTimeout(ConnectionEnded, Unavailable):
    """No connection came about in ``connect_timeout_s``; ``__cause__`` is why the last try failed."""


class ClientClosed(ConnectionEnded):
    """The application closed the client, or left the room, while something was still waiting."""
