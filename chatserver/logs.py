"""Structured logs: JSON lines in production, coloured lines for a person, and never a secret or anybody's words.

Everything goes through here, the standard library's loggers (uvicorn, asyncio, the drivers) included. What must not be
written is taken out at the very end, when all is text: see ``redact``.
"""

import logging
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from types import TracebackType
from typing import Any, Final, Literal, TextIO

import orjson
import structlog
from bson.errors import BSONError
from fastapi.exceptions import ValidationException
from pydantic import ValidationError
from pymongo.errors import OperationFailure
from redis.exceptions import ResponseError
from structlog.typing import EventDict, Processor

REDACTED: Final = "[redacted]"

SECRET_FIELDS: Final = frozenset(
    {"authorization", "cookie", "set-cookie", "token", "password", "secret", "jwt_secret", "api_key", "key"}
)
CONTENT_FIELDS: Final = frozenset({"text", "body", "content", "note", "details", "preview"})
"""What people wrote. Logs are kept longer and read by more people than the record of a dispute."""

_PATTERNS: Final = (
    (re.compile(r"\beyJ[\w-]+\.[\w-]*(?:\.[\w-]*)?"), REDACTED),
    (re.compile(r"\bdck_[\w-]+"), REDACTED),
    (re.compile(r"\bwhsec_[\w+/=-]+"), REDACTED),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), rf"\1 {REDACTED}"),
    (re.compile(r"(://)[^\s/?#]*@"), rf"\1{REDACTED}@"),
    (
        re.compile(r"(?i)([?&][\w-]*(?:token|key|secret|password|signature|credential)[\w-]*=)[^&\s#'\"]+"),
        rf"\1{REDACTED}",
    ),
)
_QUIET: Final = (
    "pymongo",
    "motor",
    "httpx",
    "httpcore",
    "botocore",
    "boto3",
    "urllib3",
    "websockets",
    "uvicorn.access",
)
"""Loggers that write commands, frames or query strings below ``warning``."""
_MESSAGE_CHARS: Final = 500
_CHAIN: Final = 8

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["json", "console"]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def configure(level: Level, log_format: Format, stream: TextIO | None = None) -> None:
    """Send all logs of the process to ``stream`` (standard error by default), one line each.

    Values bound with ``structlog.contextvars`` (``request_id``, ``connection_id``) are in every line of their context.
    """
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_shared(), structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                first_line_of_asyncio,
                format_exception,
                redact,
                _renderer(log_format),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        # Below info uvicorn writes frames.
        logger.setLevel(max(logging.INFO, root.level))
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]


def _renderer(log_format: Format) -> Processor:
    if log_format == "console":
        return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    return structlog.processors.JSONRenderer(serializer=_json)


def _json(value: object, **_: object) -> str:
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def first_line_of_asyncio(_logger: object, _method: str, event: EventDict) -> EventDict:
    """asyncio's messages about lost tasks go on with the repr of their exceptions, documents included."""
    if event.get("logger") == "asyncio":
        event["event"] = str(event.get("event", "")).partition("\n")[0]
    return event


def format_exception(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Turn ``exc_info`` into text: where it happened and what it was, without the data it happened to."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["exception"] = "\n".join(_describe(error))
    return event


def _describe(error: BaseException) -> Iterator[str]:
    current: BaseException | None = error
    for _ in range(_CHAIN):
        if current is None:
            return
        for frame in traceback.extract_tb(current.__traceback__):
            yield f"  {frame.filename}:{frame.lineno} in {frame.name}"
        yield f"{type(current).__module__}.{type(current).__qualname__}: {_message(current)}"
        if isinstance(current, BaseExceptionGroup):
            for member in current.exceptions[:_CHAIN]:
                yield from (f"| {line}" for line in _describe(member))
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _message(error: BaseException) -> str:
    """What an exception says, unless its kind quotes the document, command or input it failed on."""
    if isinstance(error, ValidationError):
        return "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['type']}" for each in error.errors(include_input=False)
        )
    if isinstance(error, OperationFailure):
        return f"code {error.code}"
    if isinstance(error, BSONError | ResponseError | ValidationException):
        return REDACTED
    return str(error)[:_MESSAGE_CHARS]


def redact(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Take out credentials and content: fields by their name, and what looks like a credential in any text."""
    return _clean_fields(event)


def _clean_fields(fields: Mapping[str, Any]) -> MutableMapping[str, Any]:
    hidden = SECRET_FIELDS | CONTENT_FIELDS
    return {name: REDACTED if str(name).lower() in hidden else _clean(value) for name, value in fields.items()}


def _clean(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return _clean_fields(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
