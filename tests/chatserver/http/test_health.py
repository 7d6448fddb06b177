"""What operators ask."""

import asyncio
from dataclasses import replace

import httpx
import pytest

from chatserver.http.api import create_api
from chatserver.http.services import Check
from policies.errors import Unavailable
from storage.client import MongoConfig, open_database
from tests.chatserver.http.conftest import Backstage, Calling


async def ready(backstage: Backstage, **checks: Check) -> httpx.Response:
    api = create_api(replace(backstage.services, checks=checks))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://test") as client:
        return await client.get("/readyz")


async def test_the_process_is_alive(calling: Calling) -> None:
    response = await calling().get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_ready_when_everything_answers(backstage: Backstage, calling: Calling) -> None:
    response = await calling().get("/readyz")
    assert (response.status_code, response.json()) == (200, {"status": "ok", "checks": {"mongodb": "ok"}})


async def test_not_ready_says_what_is_missing(backstage: Backstage) -> None:
    async def fails() -> None:
        raise Unavailable("secret details")

    async def works() -> bool:
        return True

    response = await ready(backstage, mongodb=works, redis=fails)
    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "checks": {"mongodb": "ok", "redis": "failed"}}


async def test_a_silent_part_does_not_silence_the_answer(backstage: Backstage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatserver.http.health.CHECK_TIMEOUT_S", 0.05)

    async def silent() -> None:
        await asyncio.Event().wait()

    response = await ready(backstage, redis=silent, mongodb=silent)
    assert response.status_code == 503
    assert response.json()["checks"] == {"redis": "no answer within 0.05 s", "mongodb": "no answer within 0.05 s"}


async def test_a_mongodb_that_is_not_there(backstage: Backstage) -> None:
    nowhere = open_database(MongoConfig("mongodb://127.0.0.1:1/?replicaSet=rs", "x", timeout_s=0.2))
    response = await ready(backstage, mongodb=nowhere.ping)
    await nowhere.close()
    assert (response.status_code, response.json()["checks"]["mongodb"]) == (503, "failed")


async def test_metrics_are_told_by_template_and_not_by_path(backstage: Backstage, calling: Calling) -> None:
    caller = calling(backstage.token("u"))
    await caller.get("/v1/orders/my-own-order")
    await caller.get("/no/such/path")
    await caller.client.request("BREW", "/healthz")
    response = await caller.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = response.text
    assert 'dispute_chat_http_requests_total{method="GET",route="/v1/orders/{order_id}",status="404"} 1.0' in text
    assert 'dispute_chat_http_requests_total{method="GET",route="unmatched",status="404"} 1.0' in text
    assert 'dispute_chat_http_requests_total{method="OTHER",route="/healthz",status="405"} 1.0' in text
    assert "my-own-order" not in text


async def test_refused_credentials_are_counted(backstage: Backstage, calling: Calling) -> None:
    await calling("x.y.z").get("/v1/rooms")
    await calling("dck_x").get("/v1/rooms")
    text = (await calling().get("/metrics")).text
    assert 'dispute_chat_auth_failures_total{reason="token"} 1.0' in text
    assert 'dispute_chat_auth_failures_total{reason="api_key"} 1.0' in text
