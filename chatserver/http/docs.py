"""The documents: OpenAPI and AsyncAPI for machines, and one page of both for people."""

import orjson
from fastapi import APIRouter, Response
from starlette.responses import HTMLResponse

from chatserver.http.docs_page import CSP, Document, page


def router(openapi: Document, asyncapi: Document) -> APIRouter:
    """``/openapi.json``, ``/asyncapi.json`` and ``/docs``, all made once."""
    routes = APIRouter(include_in_schema=False)
    caching = {"Cache-Control": "public, max-age=300"}
    texts = {"/openapi.json": orjson.dumps(openapi), "/asyncapi.json": orjson.dumps(asyncapi)}
    html = page(openapi, asyncapi)

    @routes.get("/openapi.json")
    async def openapi_document() -> Response:
        return Response(texts["/openapi.json"], media_type="application/json", headers=caching)

    @routes.get("/asyncapi.json")
    async def asyncapi_document() -> Response:
        return Response(texts["/asyncapi.json"], media_type="application/json", headers=caching)

    @routes.get("/docs")
    async def docs() -> Response:
        return HTMLResponse(html, headers=caching | {"Content-Security-Policy": CSP})

    return routes
