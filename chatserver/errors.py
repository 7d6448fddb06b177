"""The one table of error and close codes: what each means, and what it advises the client to do."""

from enum import IntEnum
from http import HTTPStatus
from typing import Final

from policies.errors import ErrorCode

HTTP_STATUS: Final[dict[ErrorCode, HTTPStatus]] = {
    ErrorCode.BAD_REQUEST: HTTPStatus.BAD_REQUEST,
    ErrorCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    ErrorCode.TOKEN_EXPIRED: HTTPStatus.UNAUTHORIZED,
    ErrorCode.FORBIDDEN: HTTPStatus.FORBIDDEN,
    ErrorCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    ErrorCode.CONFLICT: HTTPStatus.CONFLICT,
    ErrorCode.REFUSED: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.ROOM_CLOSED: HTTPStatus.CONFLICT,
    ErrorCode.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ErrorCode.RATE_LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    ErrorCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}


class CloseCode(IntEnum):
    """Why the server closed a connection. 4000-4499: reconnect; 4500-4999: do not, it would end the same way."""

    GOING_AWAY = 4000
    """The server is being stopped or replaced; ``bye`` said when to come back."""
    TOKEN_EXPIRED = 4001
    """Get a new token, then reconnect."""
    SLOW_CONSUMER = 4002
    """The client did not read fast enough; reconnect and join with ``after``."""
    NO_HEARTBEAT = 4004
    """No answer to a ping."""
    SERVER_ERROR = 4006
    """A fault of the server's."""
    BAD_FRAME = 4500
    """Not JSON, not an object, too deep, or binary."""
    INVALID_TOKEN = 4501
    ACCESS_REVOKED = 4503
    """The user was revoked, or is no longer a party of the order."""
    WRONG_SUBPROTOCOL = 4506
    NO_CONNECT = 4508
    """No ``connect`` frame in time."""
    TOO_MANY_CONNECTIONS = 4509

    @property
    def reconnect(self) -> bool:
        return self < 4500


MESSAGE_TOO_BIG: Final = 1009
"""RFC 6455 7.4.1: a frame over the size limit."""
