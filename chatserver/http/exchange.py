"""What every HTTP request gets: an id, a log line, a measurement, a span, safe headers and, if all fails, an answer."""

import re
import time
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatserver.http.problems import problem
from chatserver.metrics import Metrics
from chatserver.tracing import Tracing
from policies.errors import ErrorCode

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_CLIENT_CLOSED: Final = 499
"""The status in logs and metrics for a client that went away; nobody receives it."""

HEADERS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cache-Control", "no-store"),
)
"""For answers that do not set their own. HSTS is left to what terminates TLS."""
_UNLOGGED: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines: logged only when they fail."""

log = structlog.stdlib.get_logger(__name__)


class Exchange:
    """ASGI middleware around all HTTP routes; WebSockets pass untouched.

    A caller's ``X-Request-Id`` is kept when it is 1 to 128 of ``A-Z a-z 0-9 . _ -``, else replaced. The path is logged
    without its query string. HEAD is answered like GET; the server that carries the application leaves out the body.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        tracing: Tracing,
        monotonic: Callable[[], float] = time.perf_counter,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing
        self._monotonic = monotonic
        self._new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        method = scope["method"]
        if method == "HEAD":
            scope = {**scope, "method": "GET"}
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else self._new_id()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            if not self._tracing.on:
                await self._answer(scope, receive, send, method, request_id)
                return
            with self._tracing.span(method, {"http.request.method": method}, headers) as span:
                status = await self._answer(scope, receive, send, method, request_id)
                span.update_name(f"{method} {_route(scope)}")
                span.set_attribute("http.response.status_code", status)
                span.set_attribute("http.route", _route(scope))
                span.set_attribute("request_id", request_id)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, method: str, request_id: str) -> int:
        began = self._monotonic()
        status = 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                _mark(MutableHeaders(scope=message), request_id)
            await send(message)

        try:
            await self._app(scope, receive, send_marked)
        except ClientDisconnect:
            log.debug("http_client_gone", path=scope["path"])
        except Exception:  # the last resort: nothing may reach the server's own error page
            log.exception("http_request_failed", method=method, route=_route(scope))
            if status:
                raise  # half an answer is out: only breaking the connection tells the client
            response = problem(
                ErrorCode.INTERNAL, "The server failed. The request id names the failure.", request_id=request_id
            )
            await response(scope, receive, send_marked)
        finally:
            self._conclude(scope, method, status, self._monotonic() - began)
        return status

    def _conclude(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        method = method if method in _METHODS else "OTHER"
        status = status or _CLIENT_CLOSED
        self._metrics.observe_request(method, _route(scope), status, seconds)
        path = scope["path"]
        if path in _UNLOGGED and status < HTTPStatus.BAD_REQUEST:
            return
        log.info("http_request", method=method, path=path, status=status, ms=round(seconds * 1000, 1))


def _mark(headers: MutableHeaders, request_id: str) -> None:
    headers["X-Request-Id"] = request_id
    for name, value in HEADERS:
        headers.setdefault(name, value)


def _route(scope: Scope) -> str:
    """The template of the path that was matched, such as ``/v1/orders/{order_id}``."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "unmatched"
