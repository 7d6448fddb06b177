"""What every request gets, whatever becomes of it."""

import io
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from chatserver.errors import ERROR_MEANINGS, HTTP_STATUS
from chatserver.http.api import create_api
from chatserver.metrics import Metrics
from chatserver.settings import Settings
from policies.errors import ErrorCode, RateLimited, RoomClosed, Unavailable
from tests.chatserver.captured_logs import captured_logs
from tests.chatserver.http.conftest import Backstage, Calling, assert_problem


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the API logs, as in production."""
    with captured_logs() as stream:
        yield stream


def logged(lines: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.getvalue().splitlines()]


def failing(backstage: Backstage, error: Exception) -> FastAPI:
    """An API with a route that fails."""

    async def fail(_: Request) -> None:
        raise error

    return create_api(backstage.services, routes=[Route("/fail", fail)])


async def answer(api: FastAPI, path: str = "/fail", **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://test") as client:
        return await client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


async def test_a_request_keeps_its_id_if_it_is_a_proper_one(calling: Calling, lines: io.StringIO) -> None:
    caller = calling()
    caller.headers["X-Request-Id"] = "shop-7.a_B"
    assert (await caller.get("/no")).headers["x-request-id"] == "shop-7.a_B"
    assert logged(lines)[-1]["request_id"] == "shop-7.a_B"


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>", "a;b", 'a"b'])
async def test_a_request_id_that_is_none_is_replaced(given: str, calling: Calling) -> None:
    caller = calling()
    caller.headers["X-Request-Id"] = given
    assert len((await caller.get("/healthz")).headers["x-request-id"]) == 32


async def test_the_longest_request_id(calling: Calling) -> None:
    caller = calling()
    caller.headers["X-Request-Id"] = "x" * 128
    assert (await caller.get("/healthz")).headers["x-request-id"] == "x" * 128


async def test_an_internal_error_tells_nothing_but_its_id(backstage: Backstage, lines: io.StringIO) -> None:
    response = await answer(failing(backstage, RuntimeError("the password is hunter2")))
    problem = assert_problem(response, 500, "internal")
    assert problem["request_id"] == response.headers["x-request-id"]
    assert "hunter2" not in response.text
    assert response.headers["x-content-type-options"] == "nosniff"
    failure = next(line for line in logged(lines) if line["event"] == "http_request_failed")
    assert failure["request_id"] == problem["request_id"]
    assert "RuntimeError" in failure["exception"]


async def test_an_error_in_the_middle_of_an_answer_breaks_it_off(backstage: Backstage, lines: io.StringIO) -> None:
    async def half(_: Request) -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"one"
            raise RuntimeError("no more")

        return StreamingResponse(parts())

    api = create_api(backstage.services, routes=[Route("/half", half)])
    with pytest.raises(RuntimeError, match="no more"):
        await answer(api, "/half")
    assert [line["event"] for line in logged(lines)] == ["http_request_failed", "http_request"]


async def test_a_client_that_goes_away_is_no_failure(backstage: Backstage, lines: io.StringIO) -> None:
    api = failing(backstage, ClientDisconnect())
    scope = {
        "type": "http", "method": "GET", "path": "/fail", "raw_path": b"/fail", "query_string": b"", "headers": [],
        "http_version": "1.1", "scheme": "http", "server": ("test", 80), "client": ("127.0.0.1", 9), "root_path": "",
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        raise AssertionError("nobody is there")

    await api(scope, receive, send)
    assert [(line["event"], line["status"]) for line in logged(lines)] == [("http_request", 499)]


@pytest.mark.parametrize(
    ("error", "status", "code", "retry_after"),
    [
        (Unavailable("MongoDB does not answer."), 503, "unavailable", "1"),
        (Unavailable("Busy.", retry_after_ms=2500), 503, "unavailable", "3"),
        (RateLimited("Slow down.", retry_after_ms=10), 429, "rate_limited", "1"),
        (RoomClosed("Closed."), 409, "room_closed", None),
    ],
    ids=lambda value: str(value),
)
async def test_errors_with_a_code(
    error: Exception, status: int, code: str, retry_after: str | None, backstage: Backstage
) -> None:
    response = await answer(failing(backstage, error))
    problem = assert_problem(response, status, code)
    assert problem.get("temporary", False) is (status in (429, 503))
    assert response.headers.get("retry-after") == retry_after


async def test_unknown_paths_and_methods_are_problems_too(calling: Calling) -> None:
    assert_problem(await calling().get("/no/such/path"), 404, "not_found")
    assert_problem(await calling().get("/v1/orders/a/b"), 404, "not_found")
    assert_problem(await calling().get("/v1/rooms/"), 404, "not_found")
    response = await calling().post("/healthz", {})
    assert_problem(response, 405, "bad_request")
    assert "GET" in response.headers["allow"]


async def test_head_is_get_without_its_body(calling: Calling) -> None:
    got, asked = await calling().get("/healthz"), await calling().client.head("/healthz")
    assert (asked.status_code, asked.content) == (200, b"")
    assert asked.headers["content-length"] == got.headers["content-length"]
    assert 'http_requests_total{method="HEAD",route="/healthz"' in (await calling().get("/metrics")).text


async def test_answers_are_not_stored_sniffed_or_framed(backstage: Backstage, calling: Calling) -> None:
    for path in ("/healthz", "/v1/rooms", "/no"):
        headers = (await calling(backstage.token("u")).get(path)).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


async def test_a_log_line_has_the_path_and_neither_query_nor_credentials(
    backstage: Backstage, calling: Calling, lines: io.StringIO
) -> None:
    token = backstage.token("u")
    await calling(token).get("/v1/rooms", cursor="secret-cursor")
    (line,) = logged(lines)
    assert (line["event"], line["method"], line["path"], line["status"]) == ("http_request", "GET", "/v1/rooms", 400)
    assert token not in lines.getvalue()
    assert "secret-cursor" not in lines.getvalue()


async def test_probes_are_logged_when_they_fail(backstage: Backstage, calling: Calling, lines: io.StringIO) -> None:
    await calling().get("/healthz")
    await calling().get("/metrics")
    assert logged(lines) == []

    async def fails() -> None:
        raise Unavailable("no")

    await answer(create_api(replace(backstage.services, checks={"redis": fails})), "/readyz")
    assert [line["event"] for line in logged(lines)] == ["not_ready", "http_request"]


async def test_the_request_id_does_not_stay_behind(calling: Calling) -> None:
    await calling().get("/healthz")
    assert structlog.contextvars.get_contextvars() == {}


async def test_pages_of_allowed_origins_may_call(backstage: Backstage) -> None:
    settings: Settings = backstage.services.settings.model_copy(update={"allowed_origins": ["https://shop.example"]})
    api = create_api(replace(backstage.services, settings=settings))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://test") as client:
        asking = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
        good = await client.options("/v1/rooms", headers={"Origin": "https://shop.example", **asking})
        bad = await client.options("/v1/rooms", headers={"Origin": "https://evil.example", **asking})
        refused = await client.get("/v1/rooms", headers={"Origin": "https://shop.example"})
    assert good.headers["access-control-allow-origin"] == "https://shop.example"
    assert "access-control-allow-origin" not in bad.headers
    assert refused.headers["access-control-allow-origin"] == "https://shop.example"
    assert "X-Request-Id" in refused.headers["access-control-expose-headers"]


def test_every_code_has_a_title_and_a_status() -> None:
    assert set(ERROR_MEANINGS) == set(HTTP_STATUS) == set(ErrorCode)


async def test_requests_are_measured(backstage: Backstage, calling: Calling) -> None:
    metrics: Metrics = backstage.services.metrics
    await calling().get("/healthz")
    assert 'dispute_chat_http_seconds_count{method="GET",route="/healthz"} 1.0' in metrics.exposition().decode()
