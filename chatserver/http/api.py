"""The HTTP API as one application, to which ``chatserver.app`` adds the WebSocket."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute

from chatserver import asyncapi
from chatserver.http import (
    disputes,
    docs,
    evidence,
    health,
    holds,
    moderation,
    orders,
    policies,
    reports,
    rooms,
    sandbox,
    transcript,
    webhooks,
)
from chatserver.http.exchange import Exchange
from chatserver.http.problems import Problem, on_chat_error, on_http_error, on_validation_error
from chatserver.http.services import Services
from chatserver.webhooks import payloads
from policies.errors import ChatError

TITLE: Final = "Dispute chat"
DESCRIPTION: Final = """\
A realtime chat for orders and their disputes, on a record that both sides can trust. Live conversation goes over the
WebSocket at `/v1/ws`; HTTP is for the marketplace's back end, for reading, and for operators.

**Credentials.** `Authorization: Bearer` with a user's JWT, or with an API key (`dck_…`) of the marketplace's back end.

**Errors** are `application/problem+json` (RFC 9457). Look at `code`; `temporary` means that the same request may yet
succeed, after `retry_after_ms` where it is given. Quote `X-Request-Id` when you ask for support; you may send your own.

**Times** are RFC 3339 in UTC with milliseconds, **money** is a whole number of minor units with an ISO 4217 code.
"""

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_api(services: Services, lifespan: Lifespan | None = None, routes: Sequence[BaseRoute] = ()) -> FastAPI:
    """The HTTP routes with all that surrounds them.

    Args:
        lifespan: runs around the life of the application.
        routes: more of them, such as the WebSocket's.
    """
    settings = services.settings
    api = FastAPI(
        title=TITLE,
        version=services.version,
        description=DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=[{"url": settings.public_url}] if settings.public_url else None,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        routes=list(routes),
        exception_handlers={
            ChatError: on_chat_error,
            HTTPException: on_http_error,
            RequestValidationError: on_validation_error,
        },
        middleware=[
            Middleware(Exchange, metrics=services.metrics, tracing=services.tracing),
            Middleware(
                CORSMiddleware,
                allow_origins=settings.allowed_origins,
                allow_methods=["GET", "POST", "PUT", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "X-Request-Id"],
                expose_headers=["Retry-After", "X-Request-Id"],
                max_age=3600,
            ),
        ],
    )
    for part in (orders, disputes, holds, rooms, moderation, policies, reports, evidence, transcript, webhooks, health):
        api.include_router(part.router(services))
    if settings.sandbox:
        api.include_router(sandbox.router(services))
    documents = docs.Documents(lambda: openapi_document(api), lambda: asyncapi.document(settings, services.version))
    api.include_router(docs.router(documents))
    return api


def openapi_document(api: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the problem documents and credentials that the framework does not know of."""
    document = api.openapi()
    components = document.setdefault("components", {})
    _, problems = models_json_schema([(Problem, "serialization")], ref_template="#/components/schemas/{model}")
    components.setdefault("schemas", {}).update(problems["$defs"])
    components["schemas"].pop("HTTPValidationError", None)
    components["schemas"].pop("ValidationError", None)
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "A user's token."},
        "apiKey": {"type": "http", "scheme": "bearer", "description": "A key of the marketplace's back end, `dck_…`."},
    }
    for path, item in document["paths"].items():
        for operation in item.values():
            # The framework's own validation errors are answered as `bad_request`; a refusal is not one of them.
            responses = operation.get("responses", {})
            if "application/json" in responses.get("422", {}).get("content", {}):
                del responses["422"]
            if path.startswith("/v1/") and not path.startswith("/v1/sandbox"):
                operation["security"] = [{"token": []}, {"apiKey": []}]
    payloads.describe(document)
    return document
