"""For operators: is the process alive, can it do its work, and how does it do."""

import asyncio
from http import HTTPStatus
from typing import Final, Literal

import structlog
from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from chatserver.http.services import Check, Services
from chatserver.metrics import CONTENT_TYPE

CHECK_TIMEOUT_S: Final = 2.0
"""Shorter than what probes usually wait, so that the answer still says which part is silent."""

log = structlog.stdlib.get_logger(__name__)


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether the process can do its work, and what each thing it depends on says."""

    status: Literal["ok", "unavailable"]
    checks: dict[str, str] = Field(
        description="`ok`, or what is wrong, by name of the dependency.", examples=[{"mongodb": "ok", "redis": "ok"}]
    )


def router(services: Services) -> APIRouter:
    """``/healthz``, ``/readyz`` and ``/metrics``; none asks who is calling."""
    routes = APIRouter(tags=["operators"])

    @routes.get("/healthz", summary="Is the process alive?")
    async def healthz() -> Health:
        return Health()

    @routes.get(
        "/readyz",
        summary="Can the process do its work?",
        response_model=Readiness,
        responses={503: {"model": Readiness, "description": "Something it depends on does not answer."}},
    )
    async def readyz(response: Response) -> Readiness:
        names = tuple(services.checks)
        answers = await asyncio.gather(*(_ask(name, services.checks[name]) for name in names))
        ready = all(answer == "ok" for answer in answers)
        if not ready:
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return Readiness(status="ok" if ready else "unavailable", checks=dict(zip(names, answers, strict=True)))

    @routes.get(
        "/metrics",
        summary="Prometheus metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics() -> Response:
        # In multiprocess mode this reads files.
        return Response(await asyncio.to_thread(services.metrics.exposition), media_type=CONTENT_TYPE)

    return routes


async def _ask(name: str, check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await check()
    except TimeoutError:
        return f"no answer within {CHECK_TIMEOUT_S:g} s"
    except Exception as error:  # noqa: BLE001  # whatever is wrong, the answer to this question is "no"
        log.warning("not_ready", check=name, reason=type(error).__name__)
        return "failed"
    return "ok"
