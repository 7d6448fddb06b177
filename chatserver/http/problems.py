"""Errors as RFC 9457 problem documents, with the codes that error frames carry too."""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from chatserver.errors import ERROR_MEANINGS, HTTP_STATUS
from policies.errors import ChatError, ErrorCode

MEDIA_TYPE: Final = "application/problem+json"

_CODE_OF_STATUS: Final[dict[int, ErrorCode]] = {
    HTTPStatus.UNAUTHORIZED: ErrorCode.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: ErrorCode.FORBIDDEN,
    HTTPStatus.NOT_FOUND: ErrorCode.NOT_FOUND,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ErrorCode.TOO_LARGE,
    HTTPStatus.TOO_MANY_REQUESTS: ErrorCode.RATE_LIMITED,
    HTTPStatus.SERVICE_UNAVAILABLE: ErrorCode.UNAVAILABLE,
}
_DETAIL_OF_STATUS: Final[dict[int, str]] = {
    HTTPStatus.NOT_FOUND: "There is nothing at this address.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This address does not take this method.",
}


class Problem(BaseModel):
    """An error (RFC 9457). Programs look at ``code``; ``temporary`` means that the same request may yet succeed."""

    type: str = Field(description="Where the code is explained, relative to this server.")
    title: str
    status: int
    detail: str
    code: ErrorCode
    details: dict[str, Any] | None = Field(
        None,
        description="Facts for programs, such as the field, or the `rule` of `refused`: `/docs#rules`.",
    )
    temporary: bool | None = None
    retry_after_ms: int | None = None
    request_id: str | None = Field(None, description="For support; with `internal` errors only.")


def problem(
    code: ErrorCode,
    detail: str,
    *,
    status: int | None = None,
    details: Mapping[str, Any] | None = None,
    temporary: bool = False,
    retry_after_ms: int | None = None,
    request_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem document as a response, with ``Retry-After`` and ``WWW-Authenticate`` where they belong."""
    status = status or HTTP_STATUS[code]
    document = Problem(
        type=f"/docs#{code}",
        title=ERROR_MEANINGS[code],
        status=status,
        detail=detail,
        code=code,
        details=dict(details) if details else None,
        temporary=temporary or None,
        retry_after_ms=retry_after_ms,
        request_id=request_id,
    )
    response = Response(
        orjson.dumps(document.model_dump(exclude_none=True), default=str), status, headers, media_type=MEDIA_TYPE
    )
    if temporary or retry_after_ms is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil((retry_after_ms or 0) / 1000)))
    if code is ErrorCode.TOKEN_EXPIRED:
        response.headers["WWW-Authenticate"] = 'Bearer error="invalid_token", error_description="expired"'
    elif code is ErrorCode.UNAUTHENTICATED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


async def on_chat_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ChatError)
    return problem(
        error.code,
        error.message,
        details=error.details,
        temporary=error.temporary,
        retry_after_ms=error.retry_after_ms,
    )


async def on_http_error(_: Request, error: Exception) -> Response:
    """What the framework refuses by itself: unknown paths and methods, a body that is not JSON."""
    assert isinstance(error, HTTPException)
    code = _CODE_OF_STATUS.get(error.status_code)
    if code is None:
        code = ErrorCode.BAD_REQUEST if error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR else ErrorCode.INTERNAL
    detail = _DETAIL_OF_STATUS.get(error.status_code, "The request could not be read.")
    return problem(code, detail, status=error.status_code, headers=error.headers)


async def on_validation_error(_: Request, error: Exception) -> Response:
    """Name the fields that are wrong and why; never repeat what was sent."""
    assert isinstance(error, RequestValidationError)
    fields = [{"field": _place(each["loc"]), "problem": each["msg"]} for each in error.errors()[:20]]
    first = fields[0] if fields else {"field": "body", "problem": "not valid"}
    return problem(
        ErrorCode.BAD_REQUEST,
        f"{first['field']}: {first['problem']}",
        details={"field": first["field"], "fields": fields},
    )


def _place(location: tuple[int | str, ...]) -> str:
    """``("body", "buyer", "id")`` as ``buyer.id``."""
    return ".".join(str(part) for part in location[1:]) or str(location[0] if location else "body")


USUAL: Final = (
    ErrorCode.BAD_REQUEST,
    ErrorCode.UNAUTHENTICATED,
    ErrorCode.TOKEN_EXPIRED,
    ErrorCode.FORBIDDEN,
    ErrorCode.RATE_LIMITED,
    ErrorCode.UNAVAILABLE,
)
"""What nearly every route may answer."""


def described(*codes: ErrorCode, examples: Mapping[str, ChatError] | None = None) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route for OpenAPI.

    Args:
        codes: what the route may answer.
        examples: errors of some of these codes, by a name for people.
    """
    by_status: dict[int, list[ErrorCode]] = {}
    for code in codes:
        by_status.setdefault(int(HTTP_STATUS[code]), []).append(code)
    responses: dict[int | str, dict[str, Any]] = {}
    for status, found in by_status.items():
        content: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/Problem"}}
        shown = {name: error for name, error in (examples or {}).items() if error.code in found}
        if shown:
            content["examples"] = {name: {"value": _document(error)} for name, error in shown.items()}
        meanings = "; ".join(f"`{code}`: {ERROR_MEANINGS[code]}" for code in found)
        responses[status] = {"description": meanings, "content": {MEDIA_TYPE: content}}
    return responses


def _document(error: ChatError) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(problem(error.code, error.message, details=error.details).body)
    return found
