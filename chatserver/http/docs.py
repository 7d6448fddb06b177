"""The documents: OpenAPI and AsyncAPI for machines, and one page of both for people."""

import asyncio
import threading
from collections.abc import Callable
from typing import Final

import orjson
from fastapi import APIRouter, Response
from starlette.responses import HTMLResponse

from chatserver.http.docs_page import CSP, Document, page

CACHING: Final = {"Cache-Control": "public, max-age=300"}


class Documents:
    """The texts, made when they are first asked for: that takes a tenth of a second.

    Args:
        openapi, asyncapi: make the two documents.
    """

    def __init__(self, openapi: Callable[[], Document], asyncapi: Callable[[], Document]) -> None:
        self._openapi = openapi
        self._asyncapi = asyncapi
        self._lock = threading.Lock()
        self._made: dict[str, bytes] = {}

    async def text(self, name: str) -> bytes:
        """``openapi``, ``asyncapi`` or ``page``; made in a thread, so that nobody's messages wait for it."""
        if not self._made:
            await asyncio.to_thread(self._make)
        return self._made[name]

    def _make(self) -> None:
        with self._lock:
            if not self._made:
                openapi, asyncapi = self._openapi(), self._asyncapi()
                self._made = {
                    "openapi": orjson.dumps(openapi),
                    "asyncapi": orjson.dumps(asyncapi),
                    "page": page(openapi, asyncapi).encode(),
                }


def router(documents: Documents) -> APIRouter:
    """``/openapi.json``, ``/asyncapi.json`` and ``/docs``."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/openapi.json")
    async def openapi() -> Response:
        return Response(await documents.text("openapi"), media_type="application/json", headers=CACHING)

    @routes.get("/asyncapi.json")
    async def asyncapi() -> Response:
        return Response(await documents.text("asyncapi"), media_type="application/json", headers=CACHING)

    @routes.get("/docs")
    async def docs() -> Response:
        return HTMLResponse(await documents.text("page"), headers=CACHING | {"Content-Security-Policy": CSP})

    return routes
