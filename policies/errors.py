"""One exception tree: every failure that reaches a user has a code of the wire contract."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar


class ErrorCode(StrEnum):
    """The codes of error frames and of problem documents."""

    BAD_REQUEST = "bad_request"
    UNAUTHENTICATED = "unauthenticated"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105  a code, not a password
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    REFUSED = "refused"
    ROOM_CLOSED = "room_closed"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class ChatError(Exception):
    """A failure with a code that the caller is told.

    Args:
        message: one sentence for a person; never holds a token, message text or another user's data.
        details: machine-readable facts, such as the rule that refused.
        retry_after_ms: when trying again makes sense, in milliseconds.
    """

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL
    temporary: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = dict(details or {})
        self.retry_after_ms = retry_after_ms


class BadRequest(ChatError):
    code = ErrorCode.BAD_REQUEST


class Unauthenticated(ChatError):
    code = ErrorCode.UNAUTHENTICATED


class TokenExpired(ChatError):
    code = ErrorCode.TOKEN_EXPIRED


class Forbidden(ChatError):
    code = ErrorCode.FORBIDDEN


class NotFound(ChatError):
    """Also the answer for what exists but may not be seen, so that nobody can probe for it."""

    code = ErrorCode.NOT_FOUND


class Conflict(ChatError):
    code = ErrorCode.CONFLICT


class Refused(ChatError):
    """A rule of the dispute says no; ``details["rule"]`` names it."""

    code = ErrorCode.REFUSED


class RoomClosed(ChatError):
    code = ErrorCode.ROOM_CLOSED


class TooLarge(ChatError):
    code = ErrorCode.TOO_LARGE


class RateLimited(ChatError):
    code = ErrorCode.RATE_LIMITED
    temporary = True


class Unavailable(ChatError):
    """Something the server depends on does not answer; the same command may be sent again."""

    code = ErrorCode.UNAVAILABLE
    temporary = True


_BY_CODE = {cls.code: cls for cls in ChatError.__subclasses__()} | {ErrorCode.INTERNAL: ChatError}


def error_class(code: str) -> type[ChatError] | None:
    """The class of a code that came over the wire; None for one this version does not know."""
    return _BY_CODE.get(ErrorCode(code)) if code in ErrorCode.__members__.values() else None
