"""Logs: one line for each event, and never a secret or anybody's words."""

import asyncio
import json
import logging
import warnings
from typing import Any

import pytest
import structlog
from bson import BSON
from bson.errors import BSONError
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pymongo.errors import BulkWriteError, DuplicateKeyError
from redis.exceptions import ResponseError

from chatserver import logs
from chatserver.logs import REDACTED
from chatserver.protocol import CLIENT_FRAME
from tests.chatserver.captured_logs import captured_logs
from tests.chatserver.tokens import SECRET, signed

WORDS = "meet me behind the station"
log = structlog.stdlib.get_logger("chatserver.tests")


def one(text: str) -> dict[str, Any]:
    (line,) = text.splitlines()
    event: dict[str, Any] = json.loads(line)
    return event


def test_a_line_says_when_where_and_what() -> None:
    with captured_logs() as lines:
        log.info("room_opened", room="order-1", members=2)
    event = one(lines.getvalue())
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "room_opened", "level": "info", "logger": "chatserver.tests", "room": "order-1", "members": 2,
    }  # fmt: skip


def test_other_loggers_write_the_same_lines() -> None:
    with captured_logs() as lines:
        logging.getLogger("uvicorn.error").info("Started server process [%d]", 7, extra={"color_message": "x"})
    event = one(lines.getvalue())
    assert (event["event"], event["logger"], event["level"]) == ("Started server process [7]", "uvicorn.error", "info")


def test_what_is_bound_to_the_context_is_in_every_line() -> None:
    with captured_logs() as lines, structlog.contextvars.bound_contextvars(connection_id="c-1"):
        log.info("one")
        logging.getLogger("anything").warning("two")
    assert [json.loads(line)["connection_id"] for line in lines.getvalue().splitlines()] == ["c-1", "c-1"]


def test_the_least_level() -> None:
    with captured_logs("warning") as lines:
        log.info("no")
        logging.getLogger("uvicorn.error").info("no")
        log.warning("yes")
        logging.getLogger("uvicorn.error").error("yes")
    assert len(lines.getvalue().splitlines()) == 2


def test_a_person_reads_the_console_form() -> None:
    with captured_logs("info", "console") as lines:
        log.info("room_opened", room="order-1", token="abc")
    assert "room_opened" in lines.getvalue()
    assert "order-1" in lines.getvalue()
    assert "abc" not in lines.getvalue()


def test_warnings_are_logged() -> None:
    with captured_logs() as lines, warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", stacklevel=1)
    assert "old" in one(lines.getvalue())["event"]


TOKEN = signed({"sub": "u"})
KEY = "dck_" + "Ab-_" * 10 + "abc"

LEAKS: dict[str, tuple[str, dict[str, Any]]] = {
    "a field by its name": (WORDS, {"text": WORDS}),
    "a nested field": (WORDS, {"frame": {"type": "message.send", "body": {"text": WORDS}}}),
    "a field in a list": (WORDS, {"entries": [{"body": WORDS}, {"text": WORDS}]}),
    "a field in another case": (TOKEN, {"headers": {"Authorization": f"Bearer {TOKEN}", "COOKIE": TOKEN}}),
    "a token": (TOKEN, {"given": TOKEN}),
    "a token in a sentence": (TOKEN, {"reason": f"cannot use {TOKEN}, sorry"}),
    "a token cut off": (TOKEN.rpartition(".")[0], {"given": TOKEN.rpartition(".")[0]}),
    "an API key": (KEY, {"given": f"key={KEY}"}),
    "a webhook's secret": (
        "aBc+/dEf0123456789aBc+/dEf0123456789=",
        {"given": "whsec_aBc+/dEf0123456789aBc+/dEf0123456789="},
    ),
    "a header in text": ("c2VjcmV0OnNlY3JldA==", {"raw": "authorization: Basic c2VjcmV0OnNlY3JldA=="}),
    "bytes": (KEY, {"raw": KEY.encode()}),
    "a database URL": ("hunter2", {"url": "mongodb://admin:hunter2@db.example:27017/?replicaSet=rs"}),
    "a URL with a strange password": ("p@ss", {"url": "redis://:p@ss@cache.example:6379/0"}),
    "a query string": ("s3cr3t", {"path": "/v1/ws?token=s3cr3t&x=1"}),
    "a presigned URL": ("abcdef0123", {"url": "https://s3.example/b/k?X-Amz-Signature=abcdef0123&X-Amz-Date=1"}),
    "a setting": (SECRET, {"jwt_secret": SECRET}),
}


@pytest.mark.parametrize(("secret", "fields"), LEAKS.values(), ids=LEAKS.keys())
def test_secrets_and_words_are_taken_out(secret: str, fields: dict[str, Any]) -> None:
    with captured_logs() as lines:
        log.info("something", **fields)
        logging.getLogger("other").info("it was %s", json.dumps(fields, default=bytes.decode), extra=fields)
    structured, _ = lines.getvalue().splitlines()
    assert secret not in structured
    assert REDACTED in structured


@pytest.mark.parametrize("secret", [TOKEN, KEY, "mongodb://admin:hunter2@db.example", "Bearer abc.def"])
def test_credentials_in_a_sentence_of_another_library_are_taken_out(secret: str) -> None:
    with captured_logs() as lines:
        logging.getLogger("other").warning("cannot use %s", secret)
    assert secret not in lines.getvalue()
    assert REDACTED in lines.getvalue()


def test_what_is_no_secret_stays() -> None:
    with captured_logs() as lines:
        log.info(
            "ok", room="order-1", url="http://127.0.0.1:8000/v1/rooms?limit=5", count=3, ratio=0.5, on=True, no=None
        )
    event = one(lines.getvalue())
    assert (event["url"], event["count"], event["ratio"], event["on"], event["no"]) == (
        "http://127.0.0.1:8000/v1/rooms?limit=5", 3, 0.5, True, None,
    )  # fmt: skip
    assert REDACTED not in lines.getvalue()


def frame_error() -> Exception:
    with pytest.raises(ValidationError) as caught:
        CLIENT_FRAME.validate_python({"type": "message.send", "id": "1", "room": "r", "text": {"x": WORDS}})
    return caught.value


def bson_error() -> Exception:
    with pytest.raises(BSONError) as caught:
        BSON.encode({"body": {"text": WORDS, "bad": object()}})
    return caught.value


QUOTING: dict[str, Exception] = {
    "a frame": frame_error(),
    "a document": bson_error(),
    "a duplicate": DuplicateKeyError(f"dup key: {{ text: {WORDS} }}", 11000, {"keyValue": {"text": WORDS}}),
    "a batch": BulkWriteError({"writeErrors": [{"code": 11000, "op": {"body": {"text": WORDS}}}]}),
    "a Redis command": ResponseError(f"Command # 1 (PUBLISH chat:p:1 {WORDS}) caused error"),
    "a request": RequestValidationError([{"loc": ("body",), "msg": "no", "input": WORDS}]),
}


@pytest.mark.parametrize("error", QUOTING.values(), ids=QUOTING.keys())
def test_an_exception_that_quotes_its_data_is_logged_without_it(error: Exception) -> None:
    with captured_logs() as lines:
        try:
            raise RuntimeError("outer") from error
        except RuntimeError:
            log.exception("failed")
            logging.getLogger("other").exception("failed")
        log.error("failed", exc_info=error)
    assert WORDS not in lines.getvalue()
    for line in lines.getvalue().splitlines():
        assert type(error).__qualname__ in json.loads(line)["exception"]


def test_an_exception_says_where_it_happened() -> None:
    def fails() -> None:
        raise ValueError("no such room")

    with captured_logs() as lines:
        try:
            fails()
        except ValueError:
            log.exception("failed")
    exception = one(lines.getvalue())["exception"]
    assert "builtins.ValueError: no such room" in exception
    assert "test_logs.py" in exception
    assert "in fails" in exception


def test_credentials_in_an_exception_are_taken_out() -> None:
    with captured_logs() as lines:
        log.error("failed", exc_info=ConnectionError("mongodb://admin:hunter2@db.example refused"))
    assert "hunter2" not in lines.getvalue()
    assert "refused" in lines.getvalue()


def test_groups_and_chains_are_told_whole_and_end() -> None:
    def chain(depth: int) -> Exception:
        error = ValueError(f"depth {depth}")
        if depth:
            error.__cause__ = chain(depth - 1)
        return error

    with captured_logs() as lines:
        log.error("failed", exc_info=ExceptionGroup("two", [KeyError("a"), chain(50)]))
        try:
            try:
                raise KeyError("first")
            except KeyError:
                raise ValueError("second") from None
        except ValueError:
            log.exception("failed")
    group, hidden = (json.loads(line)["exception"] for line in lines.getvalue().splitlines())
    assert "| builtins.KeyError" in group
    assert "depth 50" in group
    assert "depth 0" not in group
    assert "first" not in hidden


async def test_a_lost_task_is_logged_without_its_exceptions_data() -> None:
    async def fails() -> None:
        raise QUOTING["a batch"]

    with captured_logs() as lines:
        loop = asyncio.get_running_loop()
        task = loop.create_task(fails())
        await asyncio.wait([task])
        context = {"message": "Task exception was never retrieved", "exception": task.exception(), "future": task}
        loop.default_exception_handler(context)
    assert WORDS not in lines.getvalue()
    assert one(lines.getvalue())["event"] == "Task exception was never retrieved"


def test_an_empty_exc_info_is_nothing() -> None:
    with captured_logs() as lines:
        logging.getLogger("other").error("fine", exc_info=True)
    assert "exception" not in one(lines.getvalue())


@pytest.mark.parametrize("name", ["pymongo.command", "httpx", "websockets.server", "uvicorn.access", "botocore.auth"])
def test_loggers_that_write_commands_and_frames_stay_quiet(name: str) -> None:
    with captured_logs("debug") as lines:
        logging.getLogger(name).info("command started: %s", WORDS)
        logging.getLogger(name).debug("> TEXT '%s'", WORDS)
    assert lines.getvalue() == ""


def test_uvicorn_does_not_write_frames_at_debug_level() -> None:
    with captured_logs("debug") as lines:
        logging.getLogger("uvicorn.error").debug("> TEXT '%s'", WORDS)
        log.debug("shown")
    assert one(lines.getvalue())["event"] == "shown"


def test_fields_with_names_that_are_no_text() -> None:
    assert logs.redact(None, "", {"counts": {1: "a", ("x",): "b"}}) == {"counts": {1: "a", ("x",): "b"}}
