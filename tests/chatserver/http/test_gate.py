"""Credentials and bodies: who comes in, and how much they may bring."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from chatserver.access import FAILURE_BURST, KEY_CACHE_S, REVOCATION_CACHE_S
from policies.vocabulary import ApiScope, UserId
from storage.api_keys import PREFIX
from tests.chatserver.http.conftest import Backstage, Caller, Calling, assert_problem
from tests.chatserver.tokens import forged

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Token abc", "bearer"],
)
async def test_no_credentials(authorization: str | None, calling: Calling) -> None:
    caller = calling()
    if authorization is not None:
        caller.headers["Authorization"] = authorization
    response = await caller.get("/v1/rooms")
    assert_problem(response, 401, "unauthenticated")
    assert response.headers["www-authenticate"] == "Bearer"


async def test_the_scheme_is_bearer_in_any_case(backstage: Backstage, calling: Calling) -> None:
    caller = calling()
    caller.headers["Authorization"] = f"bEARER  {backstage.token('u')} "
    assert (await caller.get("/v1/rooms")).status_code == 200


async def test_a_token_in_the_url_is_not_looked_at(backstage: Backstage, calling: Calling) -> None:
    assert_problem(await calling().get("/v1/rooms", token=backstage.token("u")), 401, "unauthenticated")


async def test_an_expired_token_is_said_to_be_expired(backstage: Backstage, calling: Calling) -> None:
    token = backstage.token("u")
    backstage.clock.advance(3606)
    response = await calling(token).get("/v1/rooms")
    assert_problem(response, 401, "token_expired")
    assert "invalid_token" in response.headers["www-authenticate"]


async def test_a_revoked_user_is_out_until_a_new_token(backstage: Backstage, calling: Calling) -> None:
    user, old = f"u-{backstage.tag}", backstage.token(f"u-{backstage.tag}")
    assert (await calling(old).get("/v1/rooms")).status_code == 200
    backstage.clock.advance(1)
    await backstage.revocations.revoke(UserId(user), backstage.clock.now())
    assert (await calling(old).get("/v1/rooms")).status_code == 200, "within the time that answers are remembered"
    backstage.watch.advance(REVOCATION_CACHE_S)
    assert_problem(await calling(old).get("/v1/rooms"), 401, "unauthenticated")
    same_moment = backstage.token(user)
    assert_problem(await calling(same_moment).get("/v1/rooms"), 401, "unauthenticated")
    backstage.clock.advance(1)
    assert (await calling(backstage.token(user)).get("/v1/rooms")).status_code == 200


async def test_a_revocation_told_live_holds_at_once(backstage: Backstage, calling: Calling) -> None:
    user = f"u-{backstage.tag}"
    caller = calling(backstage.token(user))
    assert (await caller.get("/v1/rooms")).status_code == 200
    await backstage.revocations.revoke(UserId(user), backstage.clock.now())
    backstage.services.auth.forget_revocation(UserId(user))
    assert_problem(await caller.get("/v1/rooms"), 401, "unauthenticated")


async def test_a_token_without_its_time_of_issue_is_older_than_any_revocation(
    backstage: Backstage, calling: Calling
) -> None:
    user = f"u-{backstage.tag}"
    exp = int(backstage.clock.now().timestamp()) + 60
    token = forged({"alg": "HS256"}, {"sub": user, "aud": "dispute-chat", "exp": exp})
    assert (await calling(token).get("/v1/rooms")).status_code == 200
    await backstage.revocations.revoke(UserId(user), backstage.clock.now())
    backstage.watch.advance(REVOCATION_CACHE_S)
    assert_problem(await calling(token).get("/v1/rooms"), 401, "unauthenticated")


@pytest.mark.parametrize("key", [PREFIX, PREFIX + "x" * 43, PREFIX + "x" * 500, PREFIX + "ü"])
async def test_keys_that_are_none(key: str, calling: Calling) -> None:
    caller = calling()
    headers = [(b"authorization", f"Bearer {key}".encode())]
    response = await caller.client.get("/v1/orders/o", headers=headers)
    assert_problem(response, 401, "unauthenticated")


async def test_a_revoked_key_stops_working_within_seconds(backstage: Backstage, calling: Calling) -> None:
    key = await backstage.key(ApiScope.DISPUTES_READ)
    caller = calling(key)
    assert_problem(await caller.get("/v1/orders/none"), 404, "not_found")
    (made,) = [each for each in await backstage.keys.list() if key_id(key) == each.id]
    assert await backstage.keys.revoke(made.id, backstage.clock.now())
    backstage.watch.advance(KEY_CACHE_S)
    assert_problem(await caller.get("/v1/orders/none"), 401, "unauthenticated")


def key_id(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


async def test_bad_credentials_are_limited_by_address(backstage: Backstage, calling: Calling) -> None:
    guesser = calling(forged({"alg": "HS256"}, {"sub": "u"}), "203.0.113.7")
    for _ in range(FAILURE_BURST):
        assert_problem(await guesser.get("/v1/rooms"), 401, "unauthenticated")
    problem = assert_problem(await guesser.get("/v1/rooms"), 429, "rate_limited")
    assert problem["temporary"] is True
    assert 0 < problem["retry_after_ms"] <= 1000
    assert (await guesser.get("/v1/rooms")).headers["retry-after"] == "1"
    good = calling(backstage.token("u"), "203.0.113.7")
    assert (await good.get("/v1/rooms")).status_code == 200, "the same address with a good token"
    elsewhere = calling("x.y.z", "203.0.113.8")
    assert_problem(await elsewhere.get("/v1/rooms"), 401, "unauthenticated")
    backstage.watch.advance(problem["retry_after_ms"] / 1000)
    assert_problem(await guesser.get("/v1/rooms"), 401, "unauthenticated")


async def test_made_up_keys_stop_reaching_the_database(backstage: Backstage, calling: Calling) -> None:
    answers = [
        (await calling(f"{PREFIX}{number:043d}", "203.0.113.9").get("/v1/orders/x")).status_code
        for number in range(FAILURE_BURST + 5)
    ]
    assert answers == [401] * FAILURE_BURST + [429] * 5


async def test_a_key_in_use_is_not_locked_out_by_guesses_from_its_address(
    backstage: Backstage, calling: Calling
) -> None:
    key = calling(await backstage.key(ApiScope.DISPUTES_READ), "203.0.113.10")
    assert_problem(await key.get("/v1/orders/x"), 404, "not_found")
    for number in range(FAILURE_BURST + 1):
        last = await calling(f"{PREFIX}{number:043d}", "203.0.113.10").get("/v1/orders/x")
    assert_problem(last, 429, "rate_limited")
    backstage.watch.advance(KEY_CACHE_S * 0.1)
    assert_problem(await key.get("/v1/orders/x"), 404, "not_found")


async def test_a_back_end_may_start_with_many_requests_at_once(backstage: Backstage, calling: Calling) -> None:
    key = calling(await backstage.key(ApiScope.DISPUTES_READ), "203.0.113.11")
    answers = await asyncio.gather(*(key.get("/v1/orders/x") for _ in range(2 * FAILURE_BURST)))
    assert {answer.status_code for answer in answers} == {404}


# Bodies


async def test_a_body_at_the_limit_and_one_past_it(back_end: Caller, backstage: Backstage) -> None:
    limit = backstage.services.settings.http_body_bytes
    path = f"/v1/orders/{backstage.order_id}"
    for size, status in ((limit, 400), (limit + 1, 413)):
        response = await back_end.client.put(path, content=b" " * size, headers={**back_end.headers, **JSON})
        problem = assert_problem(response, status, "bad_request" if status == 400 else "too_large")
    assert problem["details"] == {"limit": limit}


async def test_a_body_of_unknown_length_is_cut_off_at_the_limit(back_end: Caller, backstage: Backstage) -> None:
    limit = backstage.services.settings.http_body_bytes
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100 * limit:
            sent += 1024
            yield b" " * 1024

    path = f"/v1/orders/{backstage.order_id}"
    response = await back_end.client.put(path, content=endless(), headers={**back_end.headers, **JSON})
    assert_problem(response, 413, "too_large")
    assert sent <= limit + 2048


async def test_nobody_unknown_gets_a_body_read(calling: Calling) -> None:
    read = False

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        read = True
        yield b"{}"

    response = await calling().client.put("/v1/orders/o", content=body(), headers=JSON)
    assert_problem(response, 401, "unauthenticated")
    assert not read


async def test_a_body_that_does_not_come(
    back_end: Caller, backstage: Backstage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatserver.http.gate.BODY_TIMEOUT_S", 0.05)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    path = f"/v1/orders/{backstage.order_id}"
    response = await back_end.client.put(path, content=slow(), headers={**back_end.headers, **JSON})
    assert_problem(response, 400, "bad_request")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe", b"[" * 20_000, b'{"amount":' + b"9" * 5000 + b"}", b"NaN"],
    ids=["empty", "cut off", "null", "list", "text", "no UTF-8", "deep", "long number", "no JSON"],
)
async def test_bodies_that_are_no_order(body: bytes, back_end: Caller, backstage: Backstage) -> None:
    response = await back_end.client.put(
        f"/v1/orders/{backstage.order_id}", content=body, headers={**back_end.headers, **JSON}
    )
    assert_problem(response, 400, "bad_request")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_a_body_must_say_that_it_is_json(kind: str | None, back_end: Caller, backstage: Backstage) -> None:
    headers = {**back_end.headers, **({"Content-Type": kind} if kind else {})}
    response = await back_end.client.put(
        f"/v1/orders/{backstage.order_id}", content=json.dumps(backstage.report()), headers=headers
    )
    assert_problem(response, 400, "bad_request")


async def test_a_problem_never_repeats_what_was_sent(back_end: Caller, backstage: Backstage) -> None:
    report = backstage.report(title={"a": "my secret words"}, currency="my secret words")
    response = await back_end.put(f"/v1/orders/{backstage.order_id}", report)
    problem = assert_problem(response, 400, "bad_request")
    assert {each["field"] for each in problem["details"]["fields"]} == {"title", "currency"}
    assert "secret" not in response.text


async def test_an_ipv6_network_is_one_address(calling: Calling) -> None:
    for number in range(FAILURE_BURST):
        response = await calling("x.y.z", f"2001:db8::{number:x}").get("/v1/rooms")
        assert_problem(response, 401, "unauthenticated")
    assert_problem(await calling("x.y.z", "2001:db8::ffff").get("/v1/rooms"), 429, "rate_limited")
    assert_problem(await calling("x.y.z", "2001:db8:0:1::1").get("/v1/rooms"), 401, "unauthenticated")


async def test_a_client_without_an_address(calling: Calling, api: object, backstage: Backstage) -> None:
    transport = httpx.ASGITransport(api, client=None)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.get("/v1/rooms", headers={"Authorization": "Bearer x.y.z"})
    assert_problem(response, 401, "unauthenticated")
