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


ERROR_MEANINGS: Final[dict[ErrorCode, str]] = {
    ErrorCode.BAD_REQUEST: "The request is not well-formed",
    ErrorCode.UNAUTHENTICATED: "Valid credentials are needed",
    ErrorCode.TOKEN_EXPIRED: "The token has expired",
    ErrorCode.FORBIDDEN: "This caller may not do that",
    ErrorCode.NOT_FOUND: "There is no such thing, or none that this caller may see",
    ErrorCode.CONFLICT: "The request contradicts what is already there",
    ErrorCode.REFUSED: "A rule says no",
    ErrorCode.ROOM_CLOSED: "The room is closed",
    ErrorCode.TOO_LARGE: "The request is too large",
    ErrorCode.RATE_LIMITED: "Too many requests",
    ErrorCode.UNAVAILABLE: "Something the server depends on does not answer",
    ErrorCode.INTERNAL: "The server failed",
}
"""Also the titles of problem documents."""


class CloseCode(IntEnum):
    """Why the server closed a connection. 4000-4499: reconnect; 4500-4999: do not, it would end the same way.

    ``CLOSE_MEANINGS`` says what each means.
    """

    GOING_AWAY = 4000
    TOKEN_EXPIRED = 4001
    SLOW_CONSUMER = 4002
    NO_HEARTBEAT = 4004
    SERVER_ERROR = 4006
    BAD_FRAME = 4500
    INVALID_TOKEN = 4501
    ACCESS_REVOKED = 4503
    WRONG_SUBPROTOCOL = 4506
    NO_CONNECT = 4508
    TOO_MANY_CONNECTIONS = 4509

    @property
    def reconnect(self) -> bool:
        return self < 4500


MESSAGE_TOO_BIG: Final = 1009
"""RFC 6455 7.4.1: a frame over the size limit."""

CLOSE_MEANINGS: Final[dict[int, str]] = {
    CloseCode.GOING_AWAY: "The server is being stopped or replaced; `bye` said when to come back.",
    CloseCode.TOKEN_EXPIRED: "The token expired and its grace is over. Get a new one, then reconnect.",
    CloseCode.SLOW_CONSUMER: "The client did not read fast enough. Reconnect and join with `after`: nothing is lost.",
    CloseCode.NO_HEARTBEAT: "A ping was not answered in time.",
    CloseCode.SERVER_ERROR: "A fault of the server's.",
    CloseCode.BAD_FRAME: "A frame that is not JSON, not an object, too deep, or binary.",
    CloseCode.INVALID_TOKEN: "The token is not acceptable.",
    CloseCode.ACCESS_REVOKED: "The user was revoked, or is no longer a party of the order.",
    CloseCode.WRONG_SUBPROTOCOL: "The subprotocol dispute-chat.v1 was not offered.",
    CloseCode.NO_CONNECT: "No `connect` came in time.",
    CloseCode.TOO_MANY_CONNECTIONS: "The user holds as many connections as one may.",
    MESSAGE_TOO_BIG: "A frame over the size limit (RFC 6455 7.4.1).",
}
