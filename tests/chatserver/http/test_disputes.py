"""Opening disputes over HTTP."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import httpx
import pytest

from chatserver.http.disputes import DESCRIPTION_CHARS, KEY_CHARS
from policies.instant import rfc3339
from policies.vocabulary import ApiScope, EntryKind, Role
from tests.chatserver.http.conftest import (
    DISPUTES,
    Backstage,
    Caller,
    Calling,
    assert_problem,
    opened,
    staff,
    with_settings,
)

MILLISECOND = timedelta(milliseconds=1)


def with_key(caller: Caller, key: str) -> Caller:
    return Caller(caller.client, {**caller.headers, "Idempotency-Key": key})


# Opening


async def test_a_buyer_opens_a_dispute(buyer: Caller, backstage: Backstage) -> None:
    dispute = await opened(buyer, backstage)
    assert dispute["room"] == f"dispute-{dispute['id']}"
    assert (dispute["stage"], dispute["status"]) == ("negotiation", "waiting_for_seller")
    assert dispute["order"]["id"] == backstage.order_id
    assert dispute["order"]["amount"] == 4990
    assert (dispute["buyer"], dispute["seller"]) == (
        {"id": backstage.buyer, "name": "Ada"},
        {"id": backstage.seller, "name": "Shop"},
    )
    assert (dispute["reason"], dispute["desired_resolution"], dispute["desired_amount"]) == (
        "defective",
        "partial_refund",
        1990,
    )
    assert {"side": "buyer", "kind": "photo"} in dispute["evidence_checklist"]
    assert {each["side"] for each in dispute["evidence_checklist"]} == {"buyer", "seller"}
    assert dispute["policy_version"] == "default"
    assert dispute["opened_at"] == rfc3339(backstage.clock.now())
    assert "staff_room" not in dispute
    read = (await buyer.get(f"{DISPUTES}/{dispute['id']}")).json()
    del read["evidence_completeness"]
    assert read == dispute


async def test_an_opened_dispute_is_told_to_its_room(buyer: Caller, backstage: Backstage) -> None:
    dispute = await opened(buyer, backstage)
    told = [entry for entry in backstage.announced if entry.room == dispute["room"]]
    assert [entry.seq for entry in told] == list(range(1, len(told) + 1))
    assert (told[0].kind, told[0].author.id, told[0].author.role) == (
        EntryKind.DISPUTE_OPENED,
        backstage.buyer,
        Role.BUYER,
    )
    # Nobody has talked in the order room yet: a nudge, never a block.
    assert [entry.body["notice"] for entry in told[1:]] == ["talk_first"]


async def test_who_has_talked_first_is_not_told_to(buyer: Caller, backstage: Backstage) -> None:
    await backstage.say(backstage.buyer, Role.BUYER, "It does not light up.")
    dispute = await opened(buyer, backstage)
    assert [entry.kind for entry in backstage.announced if entry.room == dispute["room"]] == [EntryKind.DISPUTE_OPENED]


async def test_only_the_buyer_opens_a_dispute(order: str, backstage: Backstage, calling: Calling) -> None:
    wanted = backstage.opening()
    assert_problem(await calling().post(DISPUTES, wanted), 401, "unauthenticated")
    expired = backstage.token(backstage.buyer, now=backstage.clock.now() - timedelta(hours=2))
    assert_problem(await calling(expired).post(DISPUTES, wanted), 401, "token_expired")
    assert_problem(await calling(backstage.token(backstage.seller)).post(DISPUTES, wanted), 403, "forbidden")
    for role in (Role.AGENT, Role.SENIOR_AGENT, Role.AUDITOR):
        assert_problem(await staff(backstage, calling, role).post(DISPUTES, wanted), 403, "forbidden")
    stranger = calling(backstage.token("stranger"))
    hidden = await stranger.post(DISPUTES, wanted)
    missing = await stranger.post(DISPUTES, backstage.opening(order_id=f"{order}-x"))
    assert_problem(hidden, 404, "not_found")
    assert hidden.content == missing.content
    for scope in (ApiScope.ORDERS_WRITE, ApiScope.DISPUTES_READ, ApiScope.WEBHOOKS_WRITE):
        key = calling(await backstage.key(scope))
        problem = assert_problem(
            await key.post(DISPUTES, {**wanted, "on_behalf_of": backstage.buyer}), 403, "forbidden"
        )
        assert problem["details"] == {"scopes": ["disputes:write"]}
    assert not backstage.announced


async def test_staff_who_bought_something_are_a_buyer_like_any_other(
    order: str, backstage: Backstage, calling: Calling
) -> None:
    both = calling(backstage.token(backstage.buyer, Role.SENIOR_AGENT))
    dispute = await opened(both, backstage)
    assert "staff_room" not in dispute
    assert "staff_room" not in (await both.get(f"{DISPUTES}/{dispute['id']}")).json()
    assert_problem(await both.get(f"{DISPUTES}/{dispute['id']}/audit"), 403, "forbidden")


async def test_the_back_end_opens_on_behalf_of_the_buyer(order: str, backstage: Backstage, calling: Calling) -> None:
    key = calling(await backstage.key(ApiScope.DISPUTES_WRITE))
    wanted = backstage.opening()
    problem = assert_problem(await key.post(DISPUTES, wanted), 400, "bad_request")
    assert problem["details"]["field"] == "on_behalf_of"
    for somebody in (backstage.seller, "stranger"):
        assert_problem(await key.post(DISPUTES, {**wanted, "on_behalf_of": somebody}), 403, "forbidden")
    for nobody in ("", "u" * 129, 7):
        assert_problem(await key.post(DISPUTES, {**wanted, "on_behalf_of": nobody}), 400, "bad_request")
    elsewhere = {**wanted, "order_id": f"{order}-x", "on_behalf_of": backstage.buyer}
    assert_problem(await key.post(DISPUTES, elsewhere), 404, "not_found")
    dispute = await opened(key, backstage, on_behalf_of=backstage.buyer)
    assert backstage.announced[0].author.id == backstage.buyer
    assert "staff_room" not in dispute
    assert {each["action"] for each in dispute["available_actions"]} >= {"proposal.make", "dispute.close"}
    assert_problem(await key.get(f"{DISPUTES}/{dispute['id']}"), 403, "forbidden")


async def test_a_user_acts_for_nobody_else(buyer: Caller, seller: Caller, backstage: Backstage) -> None:
    for caller, name in ((buyer, backstage.seller), (seller, backstage.buyer)):
        problem = assert_problem(await caller.post(DISPUTES, backstage.opening(on_behalf_of=name)), 403, "forbidden")
        assert problem["details"]["field"] == "on_behalf_of"
    await opened(buyer, backstage, on_behalf_of=backstage.buyer)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"order_id": None}, "order_id"),
        ({"order_id": ""}, "order_id"),
        ({"order_id": 5}, "order_id"),
        ({"order_id": "o" * 129}, "order_id"),
        ({"reason": None}, "reason"),
        ({"reason": "bored"}, "reason"),
        ({"description": None}, "description"),
        ({"description": ""}, "description"),
        ({"description": " \n\u200b"}, "description"),
        ({"description": "x" * (DESCRIPTION_CHARS + 1)}, "description"),
        ({"desired_resolution": None}, "desired_resolution"),
        ({"desired_resolution": "split"}, "desired_resolution"),
        ({"desired_resolution": "release_to_seller"}, "desired_resolution"),
        ({"amount": None}, "amount"),
        ({"amount": 0}, "amount"),
        ({"amount": -1}, "amount"),
        ({"amount": 1.0}, "amount"),
        ({"amount": "12"}, "amount"),
        ({"amount": True}, "amount"),
        ({"amount": 2**53}, "amount"),
        ({"desired_resolution": "replacement", "amount": 5}, "amount"),
        ({"desired_resolution": "full_refund", "amount": 4989}, "amount"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_openings_that_cannot_be(
    changed: dict[str, Any], field: str, buyer: Caller, backstage: Backstage
) -> None:
    wanted = {name: value for name, value in {**backstage.opening(), **changed}.items() if value is not None}
    problem = assert_problem(await buyer.post(DISPUTES, wanted), 400, "bad_request")
    assert problem["details"]["field"] == field
    assert not backstage.announced


@pytest.mark.parametrize(("amount", "status"), [(1, 201), (4989, 201), (4990, 422)])
async def test_less_than_everything_is_a_partial_refund(
    amount: int, status: int, buyer: Caller, backstage: Backstage
) -> None:
    response = await buyer.post(DISPUTES, backstage.opening(amount=amount))
    assert response.status_code == status, response.text
    if status == 422:
        problem = assert_problem(response, 422, "refused")
        assert problem["details"] == {"rule": "amount_limit", "limit": 4989, "currency": "EUR"}


async def test_the_policy_says_how_long_a_description_may_be(buyer: Caller, backstage: Backstage) -> None:
    longest = backstage.services.policy.opening.description_chars
    problem = assert_problem(
        await buyer.post(DISPUTES, backstage.opening(description="é" * (longest + 1))), 413, "too_large"
    )
    assert problem["details"] == {"field": "description", "limit": longest}
    assert (await opened(buyer, backstage, description="é" * longest))["description"] == "é" * longest


# When


async def test_not_before_a_quarter_of_an_hour_after_placing(
    back_end: Caller, backstage: Backstage, calling: Calling
) -> None:
    placed_at = backstage.clock.now()
    await back_end.put(f"/v1/orders/{backstage.order_id}", backstage.report(placed_at=rfc3339(placed_at)))
    buyer = calling(backstage.token(backstage.buyer))
    opens_at = placed_at + timedelta(minutes=15)
    backstage.clock.at = opens_at - MILLISECOND
    problem = assert_problem(await buyer.post(DISPUTES, backstage.opening()), 422, "refused")
    assert problem["details"] == {"rule": "too_early", "opens_at": rfc3339(opens_at), "fallback": "order_room"}
    assert (await eligibility(back_end, backstage)) == {
        "allowed": False,
        "rule": "too_early",
        "opens_at": rfc3339(opens_at),
        "fallback": "order_room",
    }
    backstage.clock.at = opens_at
    assert await eligibility(back_end, backstage) == {"allowed": True}
    await opened(buyer, backstage)


async def test_the_sandbox_clock_opens_the_door(back_end: Caller, backstage: Backstage) -> None:
    placed_at = backstage.clock.now()
    await back_end.put(f"/v1/orders/{backstage.order_id}", backstage.report(placed_at=rfc3339(placed_at)))
    transport = httpx.ASGITransport(with_settings(backstage, sandbox=True), client=("127.0.0.1", 9))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        buyer = Caller(client, {"Authorization": f"Bearer {backstage.token(backstage.buyer)}"})
        for advance_s, status in ((15 * 60 - 0.001, 422), (0.001, 201)):
            assert (await buyer.post("/v1/sandbox/clock", {"advance_s": advance_s})).status_code == 200
            assert (await buyer.post(DISPUTES, backstage.opening())).status_code == status


@pytest.mark.parametrize(("trust_level", "days"), [("unverified", 14), ("verified", 4), ("trusted", 1)])
async def test_within_the_window_after_confirmed_delivery(
    trust_level: str, days: int, back_end: Caller, backstage: Backstage, calling: Calling
) -> None:
    path = f"/v1/orders/{backstage.order_id}"
    seller = {"id": backstage.seller, "name": "Shop", "trust_level": trust_level}
    await back_end.put(path, backstage.report(seller=seller))
    confirmed_at = backstage.clock.now()
    event = {"id": "c", "type": "delivery_confirmed", "at": rfc3339(confirmed_at)}
    assert (await back_end.post(f"{path}/events", event)).status_code == 200
    closes_at = confirmed_at + timedelta(days=days)
    backstage.clock.at = closes_at + MILLISECOND
    buyer = calling(backstage.token(backstage.buyer))
    problem = assert_problem(await buyer.post(DISPUTES, backstage.opening()), 422, "refused")
    told = {"rule": "window_passed", "closes_at": rfc3339(closes_at), "fallback": "order_room"}
    assert problem["details"] == told
    assert await eligibility(back_end, backstage) == {"allowed": False, **told}
    backstage.clock.at = closes_at
    assert await eligibility(back_end, backstage) == {"allowed": True, "closes_at": rfc3339(closes_at)}
    buyer = calling(backstage.token(backstage.buyer))
    await opened(buyer, backstage)


@pytest.mark.parametrize(
    ("event", "rule"),
    [
        ({"type": "canceled"}, "order_canceled"),
        ({"type": "payment.refunded"}, "already_refunded"),
        ({"type": "payment.refunded", "data": {"amount": 4990}}, "already_refunded"),
        ({"type": "chargeback.lost"}, "charged_back"),
    ],
    ids=str,
)
async def test_when_there_is_nothing_left_to_dispute(
    event: dict[str, Any], rule: str, buyer: Caller, back_end: Caller, backstage: Backstage
) -> None:
    report = {"id": "e", "at": rfc3339(backstage.clock.now()), **event}
    told = (await back_end.post(f"/v1/orders/{backstage.order_id}/events", report)).json()["order"]
    assert told["dispute_eligibility"] == {"allowed": False, "rule": rule, "fallback": "order_room"}
    problem = assert_problem(await buyer.post(DISPUTES, backstage.opening()), 422, "refused")
    assert problem["details"] == {"rule": rule, "fallback": "order_room"}


async def eligibility(back_end: Caller, backstage: Backstage) -> dict[str, Any]:
    order: dict[str, Any] = (await back_end.get(f"/v1/orders/{backstage.order_id}")).json()
    found: dict[str, Any] = order["dispute_eligibility"]
    return found


# One at a time, and once


async def test_an_order_has_one_active_dispute(buyer: Caller, backstage: Backstage) -> None:
    dispute = await opened(buyer, backstage)
    for caller in (buyer, with_key(buyer, "another")):
        problem = assert_problem(await caller.post(DISPUTES, backstage.opening()), 409, "conflict")
        assert problem["details"]["dispute"] == dispute["id"]


async def test_the_same_idempotency_key_gives_the_same_dispute(
    buyer: Caller, backstage: Backstage, calling: Calling
) -> None:
    caller = with_key(buyer, "k-1")
    first = await caller.post(DISPUTES, backstage.opening())
    announced = len(backstage.announced)
    backstage.clock.advance(60)
    again = await caller.post(DISPUTES, backstage.opening())
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert len(backstage.announced) == announced
    for changed in ({"amount": 1991}, {"reason": "other"}, {"description": "Another story."}):
        assert_problem(await caller.post(DISPUTES, backstage.opening(**changed)), 409, "conflict")
    key = calling(await backstage.key(ApiScope.DISPUTES_WRITE))
    for_buyer = await with_key(key, "k-1").post(DISPUTES, backstage.opening(on_behalf_of=backstage.buyer))
    assert (for_buyer.status_code, for_buyer.json()["id"]) == (200, first.json()["id"])


async def test_a_key_is_of_one_order_and_buyer(buyer: Caller, back_end: Caller, backstage: Backstage) -> None:
    other = f"{backstage.order_id}-2"
    await back_end.put(f"/v1/orders/{other}", backstage.report())
    caller = with_key(buyer, "k-1")
    one = await opened(caller, backstage)
    two = await opened(caller, backstage, order_id=other)
    assert one["id"] != two["id"]


async def test_keys_at_their_limit(buyer: Caller, backstage: Backstage) -> None:
    for key in ("", "k" * (KEY_CHARS + 1)):
        problem = assert_problem(await with_key(buyer, key).post(DISPUTES, backstage.opening()), 400, "bad_request")
        assert problem["details"]["field"] == "idempotency-key"
    await opened(with_key(buyer, "k" * KEY_CHARS), backstage)


@pytest.mark.parametrize("keys", ["none", "same", "different"])
async def test_of_racing_openings_one_wins_and_the_others_get_it_back(
    keys: str, buyer: Caller, backstage: Backstage
) -> None:
    callers = {
        "none": [buyer] * 8,
        "same": [with_key(buyer, "k")] * 8,
        "different": [with_key(buyer, f"k-{number}") for number in range(8)],
    }[keys]
    answers = await asyncio.gather(*(caller.post(DISPUTES, backstage.opening()) for caller in callers))
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses == {201: 1, 200 if keys == "same" else 409: 7}
    (won,) = (answer.json()["id"] for answer in answers if answer.status_code == 201)
    for answer in answers:
        told = answer.json()
        assert (told["details"]["dispute"] if answer.status_code == 409 else told["id"]) == won
    (active,) = (await buyer.get(f"/v1/orders/{backstage.order_id}")).json()["disputes"]
    assert active["id"] == won
