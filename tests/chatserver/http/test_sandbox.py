"""The sandbox: everything a developer may do, and nothing of it in production."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from chatserver.auth import TokenRules, TokenVerifier
from policies.vocabulary import Role
from tests.chatserver.http.conftest import Backstage, Caller, Calling, assert_problem, with_settings
from tests.chatserver.tokens import SECRET


@pytest.fixture
async def developer(backstage: Backstage) -> AsyncIterator[Caller]:
    api = with_settings(backstage, sandbox=True)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://test") as client:
        yield Caller(client, {})


@pytest.mark.parametrize("path", ["/v1/sandbox/tokens", "/v1/sandbox/clock"])
async def test_production_has_no_sandbox(path: str, calling: Calling) -> None:
    missing = await calling().post("/v1/sandbox/nothing", {})
    response = await calling().post(path, {"sub": "u", "advance_s": 1})
    assert_problem(response, 404, "not_found")
    assert response.content == missing.content
    assert path not in (await calling().get("/openapi.json")).json()["paths"]


async def test_a_minted_token_opens_the_door(developer: Caller, backstage: Backstage) -> None:
    response = await developer.post("/v1/sandbox/tokens", {"sub": "agent-1", "role": "agent", "name": "Grace"})
    assert response.status_code == 200
    token = response.json()["token"]
    identity = await TokenVerifier(TokenRules(secret=SECRET), backstage.clock).verify(token)
    assert (identity.user_id, identity.role, identity.name) == ("agent-1", Role.AGENT, "Grace")
    developer.headers["Authorization"] = f"Bearer {token}"
    assert (await developer.get("/v1/rooms")).status_code == 200


async def test_a_token_for_as_long_as_wanted(developer: Caller, backstage: Backstage) -> None:
    response = await developer.post("/v1/sandbox/tokens", {"sub": "u", "ttl_s": 5})
    developer.headers["Authorization"] = f"Bearer {response.json()['token']}"
    assert (await developer.get("/v1/rooms")).status_code == 200
    backstage.clock.advance(10)
    assert_problem(await developer.get("/v1/rooms"), 401, "token_expired")


@pytest.mark.parametrize(
    "wanted",
    [{}, {"sub": ""}, {"sub": "system"}, {"sub": "u" * 129}, {"sub": "u", "role": "buyer"}, {"sub": "u", "ttl_s": 0}],
    ids=str,
)
async def test_tokens_that_are_not_minted(wanted: dict[str, Any], developer: Caller) -> None:
    assert_problem(await developer.post("/v1/sandbox/tokens", wanted), 400, "bad_request")


async def test_the_clock_moves_for_everybody(developer: Caller, backstage: Backstage) -> None:
    assert (await developer.post("/v1/sandbox/clock", {"advance_s": 0})).json() == {"now": "2026-01-31T09:30:00.000Z"}
    moved = await developer.post("/v1/sandbox/clock", {"advance_s": 3600.5})
    assert moved.json() == {"now": "2026-01-31T10:30:00.500Z"}
    assert backstage.clock.now().hour == 10


@pytest.mark.parametrize("advance", [-1, "x", None, 10**12, "NaN", "Infinity"], ids=str)
async def test_moves_that_cannot_be(advance: object, developer: Caller) -> None:
    assert_problem(await developer.post("/v1/sandbox/clock", {"advance_s": advance}), 400, "bad_request")


async def test_a_body_too_large(developer: Caller, backstage: Backstage) -> None:
    large = {"sub": "u", "name": "x" * backstage.services.settings.http_body_bytes}
    assert_problem(await developer.post("/v1/sandbox/tokens", large), 413, "too_large")
