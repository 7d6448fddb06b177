"""Disputes over HTTP."""

import asyncio
import uuid
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from chatserver.http.api import create_api
from chatserver.http.disputes import DESCRIPTION_CHARS, DISPUTES_PAGE, KEY_CHARS
from policies.dispute.state import Agent, Dispute
from policies.instant import rfc3339
from policies.vocabulary import ApiScope, DisputeId, EntryKind, Role, RoomId, Stage, Status, UserId
from storage.audit import Audit
from storage.client import Database, MongoConfig, Session, open_database
from tests.chatserver.http.conftest import Backstage, Caller, Calling, assert_problem, with_settings

MILLISECOND = timedelta(milliseconds=1)
PATH = "/v1/disputes"


@pytest.fixture
async def order(back_end: Caller, backstage: Backstage) -> str:
    response = await back_end.put(f"/v1/orders/{backstage.order_id}", backstage.report())
    assert response.status_code == 201
    return backstage.order_id


@pytest.fixture
def buyer(order: str, backstage: Backstage, calling: Calling) -> Caller:
    return calling(backstage.token(backstage.buyer))


@pytest.fixture
def seller(order: str, backstage: Backstage, calling: Calling) -> Caller:
    return calling(backstage.token(backstage.seller))


def staff(backstage: Backstage, calling: Calling, role: Role = Role.AGENT, name: str = "") -> Caller:
    return calling(backstage.token(name or f"{role}-{backstage.tag}", role))


def with_key(caller: Caller, key: str) -> Caller:
    return Caller(caller.client, {**caller.headers, "Idempotency-Key": key})


async def opened(buyer: Caller, backstage: Backstage, **changed: Any) -> dict[str, Any]:
    response = await buyer.post(PATH, backstage.opening(**changed))
    assert response.status_code == 201, response.text
    dispute: dict[str, Any] = response.json()
    return dispute


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
    assert (await buyer.get(f"{PATH}/{dispute['id']}")).json() == dispute


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
    assert_problem(await calling().post(PATH, wanted), 401, "unauthenticated")
    expired = backstage.token(backstage.buyer, now=backstage.clock.now() - timedelta(hours=2))
    assert_problem(await calling(expired).post(PATH, wanted), 401, "token_expired")
    assert_problem(await calling(backstage.token(backstage.seller)).post(PATH, wanted), 403, "forbidden")
    for role in (Role.AGENT, Role.SENIOR_AGENT, Role.AUDITOR):
        assert_problem(await staff(backstage, calling, role).post(PATH, wanted), 403, "forbidden")
    stranger = calling(backstage.token("stranger"))
    hidden = await stranger.post(PATH, wanted)
    missing = await stranger.post(PATH, backstage.opening(order_id=f"{order}-x"))
    assert_problem(hidden, 404, "not_found")
    assert hidden.content == missing.content
    for scope in (ApiScope.ORDERS_WRITE, ApiScope.DISPUTES_READ, ApiScope.WEBHOOKS_WRITE):
        key = calling(await backstage.key(scope))
        problem = assert_problem(await key.post(PATH, {**wanted, "on_behalf_of": backstage.buyer}), 403, "forbidden")
        assert problem["details"] == {"scopes": ["disputes:write"]}
    assert not backstage.announced


async def test_staff_who_bought_something_are_a_buyer_like_any_other(
    order: str, backstage: Backstage, calling: Calling
) -> None:
    both = calling(backstage.token(backstage.buyer, Role.SENIOR_AGENT))
    dispute = await opened(both, backstage)
    assert "staff_room" not in dispute
    assert "staff_room" not in (await both.get(f"{PATH}/{dispute['id']}")).json()
    assert_problem(await both.get(f"{PATH}/{dispute['id']}/audit"), 403, "forbidden")


async def test_the_back_end_opens_on_behalf_of_the_buyer(order: str, backstage: Backstage, calling: Calling) -> None:
    key = calling(await backstage.key(ApiScope.DISPUTES_WRITE))
    wanted = backstage.opening()
    problem = assert_problem(await key.post(PATH, wanted), 400, "bad_request")
    assert problem["details"]["field"] == "on_behalf_of"
    for somebody in (backstage.seller, "stranger"):
        assert_problem(await key.post(PATH, {**wanted, "on_behalf_of": somebody}), 403, "forbidden")
    for nobody in ("", "u" * 129, 7):
        assert_problem(await key.post(PATH, {**wanted, "on_behalf_of": nobody}), 400, "bad_request")
    elsewhere = {**wanted, "order_id": f"{order}-x", "on_behalf_of": backstage.buyer}
    assert_problem(await key.post(PATH, elsewhere), 404, "not_found")
    dispute = await opened(key, backstage, on_behalf_of=backstage.buyer)
    assert backstage.announced[0].author.id == backstage.buyer
    assert "staff_room" not in dispute
    assert {each["action"] for each in dispute["available_actions"]} >= {"proposal.make", "dispute.close"}
    assert_problem(await key.get(f"{PATH}/{dispute['id']}"), 403, "forbidden")


async def test_a_user_acts_for_nobody_else(buyer: Caller, seller: Caller, backstage: Backstage) -> None:
    for caller, name in ((buyer, backstage.seller), (seller, backstage.buyer)):
        problem = assert_problem(await caller.post(PATH, backstage.opening(on_behalf_of=name)), 403, "forbidden")
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
    problem = assert_problem(await buyer.post(PATH, wanted), 400, "bad_request")
    assert problem["details"]["field"] == field
    assert not backstage.announced


@pytest.mark.parametrize(("amount", "status"), [(1, 201), (4989, 201), (4990, 422)])
async def test_less_than_everything_is_a_partial_refund(
    amount: int, status: int, buyer: Caller, backstage: Backstage
) -> None:
    response = await buyer.post(PATH, backstage.opening(amount=amount))
    assert response.status_code == status, response.text
    if status == 422:
        problem = assert_problem(response, 422, "refused")
        assert problem["details"] == {"rule": "amount_limit", "limit": 4989, "currency": "EUR"}


async def test_the_policy_says_how_long_a_description_may_be(buyer: Caller, backstage: Backstage) -> None:
    longest = backstage.services.policy.opening.description_chars
    problem = assert_problem(
        await buyer.post(PATH, backstage.opening(description="é" * (longest + 1))), 413, "too_large"
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
    problem = assert_problem(await buyer.post(PATH, backstage.opening()), 422, "refused")
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
            assert (await buyer.post(PATH, backstage.opening())).status_code == status


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
    problem = assert_problem(await buyer.post(PATH, backstage.opening()), 422, "refused")
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
    problem = assert_problem(await buyer.post(PATH, backstage.opening()), 422, "refused")
    assert problem["details"] == {"rule": rule, "fallback": "order_room"}


async def eligibility(back_end: Caller, backstage: Backstage) -> dict[str, Any]:
    order: dict[str, Any] = (await back_end.get(f"/v1/orders/{backstage.order_id}")).json()
    found: dict[str, Any] = order["dispute_eligibility"]
    return found


# One at a time, and once


async def test_an_order_has_one_active_dispute(buyer: Caller, backstage: Backstage) -> None:
    dispute = await opened(buyer, backstage)
    for caller in (buyer, with_key(buyer, "another")):
        problem = assert_problem(await caller.post(PATH, backstage.opening()), 409, "conflict")
        assert problem["details"]["dispute"] == dispute["id"]


async def test_the_same_idempotency_key_gives_the_same_dispute(
    buyer: Caller, backstage: Backstage, calling: Calling
) -> None:
    caller = with_key(buyer, "k-1")
    first = await caller.post(PATH, backstage.opening())
    announced = len(backstage.announced)
    backstage.clock.advance(60)
    again = await caller.post(PATH, backstage.opening())
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert len(backstage.announced) == announced
    for changed in ({"amount": 1991}, {"reason": "other"}, {"description": "Another story."}):
        assert_problem(await caller.post(PATH, backstage.opening(**changed)), 409, "conflict")
    key = calling(await backstage.key(ApiScope.DISPUTES_WRITE))
    for_buyer = await with_key(key, "k-1").post(PATH, backstage.opening(on_behalf_of=backstage.buyer))
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
        problem = assert_problem(await with_key(buyer, key).post(PATH, backstage.opening()), 400, "bad_request")
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
    answers = await asyncio.gather(*(caller.post(PATH, backstage.opening()) for caller in callers))
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses == {201: 1, 200 if keys == "same" else 409: 7}
    (won,) = (answer.json()["id"] for answer in answers if answer.status_code == 201)
    for answer in answers:
        told = answer.json()
        assert (told["details"]["dispute"] if answer.status_code == 409 else told["id"]) == won
    (active,) = (await buyer.get(f"/v1/orders/{backstage.order_id}")).json()["disputes"]
    assert active["id"] == won


# Reading one


@pytest.mark.parametrize("reader", ["buyer", "seller", "agent", "senior_agent", "auditor", "key"])
async def test_who_may_read_a_dispute(reader: str, buyer: Caller, backstage: Backstage, calling: Calling) -> None:
    dispute = await opened(buyer, backstage)
    caller = {
        "buyer": buyer,
        "seller": calling(backstage.token(backstage.seller)),
        "key": calling(await backstage.key(ApiScope.DISPUTES_READ)),
    }.get(reader) or staff(backstage, calling, Role(reader))
    response = await caller.get(f"{PATH}/{dispute['id']}")
    assert response.status_code == 200
    read = response.json()
    whole = reader not in ("buyer", "seller")
    assert ("staff_room" in read) is whole
    assert {
        name: value for name, value in read.items() if name not in ("staff_room", "recused", "available_actions")
    } == {name: value for name, value in dispute.items() if name != "available_actions"}
    actions = {each["action"] for each in read["available_actions"]}
    if reader in ("auditor", "key"):
        assert not actions
    if reader == "seller":
        assert "proposal.make" in actions
        assert "dispute.close" not in actions


async def test_who_may_not_read_a_dispute(buyer: Caller, backstage: Backstage, calling: Calling) -> None:
    dispute = await opened(buyer, backstage)
    path = f"{PATH}/{dispute['id']}"
    assert_problem(await calling().get(path), 401, "unauthenticated")
    stranger = calling(backstage.token("stranger"))
    missing = f"{PATH}/{'0' * 20}"
    for suffix in ("", "/audit"):
        hidden, absent = await stranger.get(path + suffix), await stranger.get(missing + suffix)
        assert_problem(hidden, 404, "not_found")
        assert hidden.content == absent.content
        for scope in (ApiScope.ORDERS_WRITE, ApiScope.DISPUTES_WRITE, ApiScope.WEBHOOKS_WRITE):
            for place in (path, missing):
                assert_problem(await calling(await backstage.key(scope)).get(place + suffix), 403, "forbidden")
        assert_problem(await staff(backstage, calling, Role.AUDITOR).get(missing + suffix), 404, "not_found")


@pytest.mark.parametrize("name", ["%00", "x" * 300, "a%1Fb", "%F0%9F%92%A5", "%ED%A0%80"])
async def test_strange_names_of_disputes(name: str, backstage: Backstage, calling: Calling) -> None:
    for caller in (calling(backstage.token("u")), staff(backstage, calling)):
        assert_problem(await caller.get(f"{PATH}/{name}"), 404, "not_found")


async def test_a_later_party_of_the_order_has_no_part_in_an_earlier_dispute(
    buyer: Caller, back_end: Caller, backstage: Backstage, calling: Calling
) -> None:
    dispute = await opened(buyer, backstage)
    eve = {"id": f"eve-{backstage.tag}", "name": "Eve"}
    path = f"/v1/orders/{backstage.order_id}"
    problem = assert_problem(await back_end.put(path, backstage.report(buyer=eve)), 409, "conflict")
    assert problem["details"] == {"dispute": dispute["id"]}
    await backstage.close(DisputeId(dispute["id"]))
    assert (await back_end.put(path, backstage.report(buyer=eve))).status_code == 200
    later = calling(backstage.token(eve["id"]))
    assert (await later.get(path)).json()["disputes"] == []
    assert_problem(await later.get(f"{PATH}/{dispute['id']}"), 404, "not_found")
    assert (await later.get(PATH)).json()["disputes"] == []
    assert (await buyer.get(f"{PATH}/{dispute['id']}")).status_code == 200
    assert len((await back_end.get(path)).json()["disputes"]) == 1


# The record of who has looked


async def test_what_staff_read_is_on_record(buyer: Caller, backstage: Backstage, calling: Calling) -> None:
    dispute = await opened(buyer, backstage)
    agent = staff(backstage, calling)
    await agent.get(f"{PATH}/{dispute['id']}")
    backstage.clock.advance(1)
    await agent.get(f"/v1/rooms/{dispute['room']}/entries", limit=1)
    backstage.clock.advance(1)
    await agent.get(f"/v1/rooms/staff-{dispute['id']}/entries")
    backstage.clock.advance(1)
    senior = staff(backstage, calling, Role.SENIOR_AGENT)
    page = (await senior.get(f"{PATH}/{dispute['id']}/audit")).json()
    me = {"id": f"agent-{backstage.tag}", "role": "agent"}
    assert page["dispute"] == dispute["id"]
    assert [(each["actor"], each["action"], each["room"]) for each in page["records"]] == [
        (me, "room.read", f"staff-{dispute['id']}"),
        (me, "room.read", dispute["room"]),
        (me, "dispute.read", dispute["room"]),
    ]
    assert page["records"][1]["details"] == {"first": 2, "last": 2}
    assert page["records"][0]["at"] == rfc3339(backstage.clock.now() - timedelta(seconds=1))
    auditor = staff(backstage, calling, Role.AUDITOR)
    (newest, *_) = (await auditor.get(f"{PATH}/{dispute['id']}/audit")).json()["records"]
    assert (newest["action"], newest["actor"]["role"]) == ("audit.read", "senior_agent")


async def test_what_parties_and_the_back_end_read_is_not(
    buyer: Caller, seller: Caller, back_end: Caller, backstage: Backstage
) -> None:
    dispute = await opened(buyer, backstage)
    for caller in (buyer, seller, back_end):
        await caller.get(f"{PATH}/{dispute['id']}")
        await caller.get(PATH)
        await caller.get(f"/v1/rooms/{dispute['room']}/entries")
    page = await back_end.get(f"{PATH}/{dispute['id']}/audit")
    assert page.json() == {"dispute": dispute["id"], "records": []}


async def test_who_may_read_the_record(buyer: Caller, seller: Caller, backstage: Backstage, calling: Calling) -> None:
    path = f"{PATH}/{(await opened(buyer, backstage))['id']}/audit"
    for caller in (buyer, seller, staff(backstage, calling, Role.AGENT)):
        assert_problem(await caller.get(path), 403, "forbidden")
    for role in (Role.SENIOR_AGENT, Role.AUDITOR):
        assert (await staff(backstage, calling, role).get(path)).status_code == 200
    assert (await calling(await backstage.key(ApiScope.DISPUTES_READ)).get(path)).status_code == 200
    assert_problem(await calling().get(path), 401, "unauthenticated")


async def test_the_record_comes_in_pages(
    buyer: Caller, backstage: Backstage, calling: Calling, back_end: Caller
) -> None:
    dispute = await opened(buyer, backstage)
    agent = staff(backstage, calling)
    for number in range(7):
        await agent.get(f"{PATH}/{dispute['id']}")
        backstage.clock.advance(number % 2)
    params: dict[str, Any] = {"limit": 3}
    sizes, seen = [], []
    while True:
        page = (await back_end.get(f"{PATH}/{dispute['id']}/audit", **params)).json()
        sizes.append(len(page["records"]))
        seen += [each["at"] for each in page["records"]]
        if "next_cursor" not in page:
            break
        params["cursor"] = page["next_cursor"]
    assert sizes == [3, 3, 1]
    assert seen == sorted(seen, reverse=True)
    for wrong in ({"limit": 0}, {"limit": 201}, {"cursor": "!"}, {"cursor": "MTIzOng"}):
        assert_problem(await back_end.get(f"{PATH}/{dispute['id']}/audit", **wrong), 400, "bad_request")
    assert (await back_end.get(f"{PATH}/{dispute['id']}/audit", limit=200)).status_code == 200


async def test_what_cannot_be_put_on_record_is_not_told(buyer: Caller, backstage: Backstage) -> None:
    dispute = await opened(buyer, backstage)
    nowhere = open_database(MongoConfig("mongodb://127.0.0.1:1/?replicaSet=rs0", "none", timeout_s=0.2))
    api = create_api(replace(backstage.services, audit=Audit(nowhere)))
    transport = httpx.ASGITransport(api, client=("127.0.0.1", 9))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        agent = Caller(client, {"Authorization": f"Bearer {backstage.token('agent-1', Role.AGENT)}"})
        for path in (f"{PATH}/{dispute['id']}", PATH, f"/v1/rooms/{dispute['room']}/entries"):
            assert_problem(await agent.get(path), 503, "unavailable")
        party = Caller(client, buyer.headers)
        assert (await party.get(f"{PATH}/{dispute['id']}")).status_code == 200
    await nowhere.close()


# Lists


async def stored(
    backstage: Backstage, database: Database, pattern: Dispute, count: int, **changed: Any
) -> list[Dispute]:
    """Disputes like another, as many as wanted, whose deadlines come two at a time."""
    made = []
    for number in range(count):
        dispute = DisputeId(uuid.uuid4().hex[:20])
        due = pattern.deadlines[0].due_at + timedelta(seconds=number // 2)
        deadlines = tuple(replace(each, due_at=due, remind_at=None) for each in pattern.deadlines)
        made.append(replace(pattern, id=dispute, room=RoomId(f"dispute-{dispute}"), deadlines=deadlines, **changed))

    async def write(session: Session) -> None:
        for each in made:
            await backstage.services.disputes.create(each, 0, session)

    await database.transact(write)
    return made


async def pages(caller: Caller, **params: Any) -> list[list[str]]:
    found = []
    while True:
        response = await caller.get(PATH, **params)
        assert response.status_code == 200, response.text
        page = response.json()
        assert ("counts" in page) is ("cursor" not in params)
        found.append([each["id"] for each in page["disputes"]])
        if "next_cursor" not in page:
            return found
        params["cursor"] = page["next_cursor"]


async def test_two_hundred_and_fifty_disputes_in_pages_without_hole_or_repeat(
    buyer: Caller, back_end: Caller, backstage: Backstage, database: Database, calling: Calling
) -> None:
    dispute = await opened(buyer, backstage)
    found = await backstage.services.disputes.get(DisputeId(dispute["id"]))
    assert found is not None
    claimed = Agent(UserId(f"agent-{backstage.tag}"), Role.AGENT, "Ann", backstage.clock.now())
    others = await stored(backstage, database, found.dispute, 249, agent=claimed)
    expected = [
        each.id for each in sorted([found.dispute, *others], key=lambda each: (each.deadlines[0].due_at, each.id))
    ]
    for limit, sizes in ((DISPUTES_PAGE, [100, 100, 50]), (50, [50] * 5), (83, [83, 83, 83, 1])):
        for caller, params in (
            (buyer, {}),
            (back_end, {"q": backstage.seller}),
            (staff(backstage, calling), {"q": backstage.order_id}),
        ):
            got = await pages(caller, limit=limit, **params)
            assert [len(page) for page in got] == sizes
            assert [each for page in got for each in page] == expected
    mine = await pages(back_end, limit=100, assignee=claimed.id)
    assert [each for page in mine for each in page] == [each for each in expected if each != dispute["id"]]
    assert await pages(back_end, assignee="", q=backstage.order_id) == [[dispute["id"]]]
    assert len((await buyer.get(PATH)).json()["disputes"]) == 50


async def test_the_queue_is_filtered_and_counted(
    buyer: Caller, backstage: Backstage, database: Database, calling: Calling
) -> None:
    dispute = await opened(buyer, backstage)
    found = await backstage.services.disputes.get(DisputeId(dispute["id"]))
    assert found is not None
    await stored(backstage, database, found.dispute, 3, stage=Stage.MEDIATION, status=Status.UNDER_REVIEW)
    await stored(backstage, database, found.dispute, 2, status=Status.RESOLVED)
    agent = staff(backstage, calling)

    async def count(**params: Any) -> tuple[int, dict[str, int]]:
        page = (await agent.get(PATH, q=backstage.order_id, **params)).json()
        return len(page["disputes"]), {name: number for name, number in page["counts"].items() if number}

    everything = {"waiting_for_seller": 1, "under_review": 3, "resolved": 2}
    assert await count() == (6, everything)
    assert await count(status="under_review") == (3, everything)
    assert await count(status=["under_review", "resolved"]) == (5, everything)
    assert await count(stage="mediation") == (3, {"under_review": 3})
    assert await count(stage=["mediation", "negotiation"], status="resolved") == (2, everything)
    assert await count(stage="appeal") == (0, {})
    (one,) = (await agent.get(PATH, q=dispute["id"])).json()["disputes"]
    assert one["id"] == dispute["id"]
    assert "staff_room" in one
    assert one["id"] in {each["id"] for each in (await agent.get(PATH, q=dispute["id"][:8])).json()["disputes"]}
    assert (await agent.get(PATH, q=f"nothing-{backstage.tag}")).json()["disputes"] == []


async def test_a_party_sees_only_their_own(
    buyer: Caller, seller: Caller, backstage: Backstage, calling: Calling
) -> None:
    dispute = await opened(buyer, backstage)
    for caller in (buyer, seller):
        page = (await caller.get(PATH)).json()
        (own,) = page["disputes"]
        assert own == (await caller.get(f"{PATH}/{dispute['id']}")).json()
        assert sum(page["counts"].values()) == 1
    stranger = calling(backstage.token(f"stranger-{backstage.tag}"))
    page = (await stranger.get(PATH)).json()
    assert page["disputes"] == []
    assert sum(page["counts"].values()) == 0
    for q in (dispute["id"], backstage.order_id, backstage.buyer):
        assert (await stranger.get(PATH, q=q)).json()["disputes"] == []
        assert len((await seller.get(PATH, q=q)).json()["disputes"]) == 1
    # A party of one dispute who is of the staff sees it as a party.
    both = calling(backstage.token(backstage.seller, Role.AGENT))
    (mixed,) = (await both.get(PATH, q=dispute["id"])).json()["disputes"]
    assert "staff_room" not in mixed


async def test_a_look_at_the_list_is_on_record(
    buyer: Caller, backstage: Backstage, calling: Calling, database: Database
) -> None:
    await opened(buyer, backstage)
    agent = staff(backstage, calling)
    await agent.get(PATH, q=backstage.order_id, status="waiting_for_seller", limit=7)
    (record,) = await database.collection("audit").find({"actor.id": f"agent-{backstage.tag}"})
    assert (record["action"], record["actor"]["role"]) == ("disputes.list", "agent")
    assert record["details"] == {
        "q": backstage.order_id,
        "status": ["waiting_for_seller"],
        "limit": 7,
        "found": 1,
    }


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"status": "lost"}, "status.0"),
        ({"stage": "trial"}, "stage.0"),
        ({"limit": 0}, "limit"),
        ({"limit": DISPUTES_PAGE + 1}, "limit"),
        ({"assignee": "a" * 129}, "assignee"),
        ({"q": "q" * 201}, "q"),
        ({"cursor": "x" * 513}, "cursor"),
    ],
    ids=str,
)
async def test_lists_that_cannot_be(params: dict[str, Any], field: str, backstage: Backstage, calling: Calling) -> None:
    problem = assert_problem(await staff(backstage, calling).get(PATH, **params), 400, "bad_request")
    assert problem["details"]["field"] == field


async def test_a_cursor_that_was_not_given_out(backstage: Backstage, calling: Calling) -> None:
    for cursor in ("!", "AAAA", "MTIz", "%00"):
        assert_problem(await staff(backstage, calling).get(PATH, cursor=cursor), 400, "bad_request")
    assert (await staff(backstage, calling).get(PATH, limit=DISPUTES_PAGE, q="q" * 200)).status_code == 200


async def test_who_may_list(backstage: Backstage, calling: Calling) -> None:
    assert_problem(await calling().get(PATH), 401, "unauthenticated")
    for scope in (ApiScope.ORDERS_WRITE, ApiScope.DISPUTES_WRITE, ApiScope.WEBHOOKS_WRITE):
        problem = assert_problem(await calling(await backstage.key(scope)).get(PATH), 403, "forbidden")
        assert problem["details"] == {"scopes": ["disputes:read"]}
    for role in (Role.AGENT, Role.SENIOR_AGENT, Role.AUDITOR):
        assert (await staff(backstage, calling, role).get(PATH)).status_code == 200


# The order, and the rooms


async def test_an_order_tells_of_its_disputes(buyer: Caller, back_end: Caller, backstage: Backstage) -> None:
    path = f"/v1/orders/{backstage.order_id}"
    assert (await buyer.get(path)).json()["disputes"] == []
    first = await opened(buyer, backstage)
    summary = {
        "id": first["id"],
        "room": first["room"],
        "stage": "negotiation",
        "status": "waiting_for_seller",
        "opened_at": first["opened_at"],
    }
    order = (await buyer.get(path)).json()
    assert order["disputes"] == [summary]
    assert order["dispute_eligibility"] == {"allowed": False, "rule": "active_dispute"}
    backstage.clock.advance(60)
    await backstage.close(DisputeId(first["id"]))
    second = await opened(buyer, backstage)
    for caller in (buyer, back_end):
        order = (await caller.get(path)).json()
        assert order["disputes"] == [
            {**summary, "status": "withdrawn", "outcome": "withdrawn"},
            {**summary, "id": second["id"], "room": second["room"], "opened_at": second["opened_at"]},
        ]


async def test_a_refund_is_added_up(buyer: Caller, back_end: Caller, backstage: Backstage) -> None:
    path = f"/v1/orders/{backstage.order_id}"
    for number, amount in enumerate((1000, 990)):
        event = {
            "id": f"r{number}",
            "type": "payment.refunded",
            "at": rfc3339(backstage.clock.now()),
            "data": {"amount": amount},
        }
        await back_end.post(f"{path}/events", event)
    assert (await buyer.get(path)).json()["state"]["refunded"] == 1990
    dispute = await opened(buyer, backstage, desired_resolution="full_refund", amount=None)
    assert (dispute["desired_amount"], dispute["refundable"]) == (3000, 3000)


async def test_an_event_of_the_order_is_told_in_the_dispute_room(
    buyer: Caller, seller: Caller, back_end: Caller, backstage: Backstage
) -> None:
    dispute = await opened(buyer, backstage)
    at = rfc3339(backstage.clock.now())
    event = {"id": "ev-1", "type": "delivery_confirmed", "at": at, "data": {"by": "carrier"}}
    path = f"/v1/orders/{backstage.order_id}/events"
    for duplicate in (False, True):
        answer = await back_end.post(path, event)
        assert (answer.status_code, answer.json()["duplicate"]) == (200, duplicate)
    for room in (dispute["room"], backstage.room):
        (told,) = [
            entry for entry in backstage.announced if entry.room == room and entry.kind is EntryKind.ORDER_UPDATED
        ]
        assert told.body["event"] == {"id": "ev-1", "type": "delivery_confirmed", "at": at, "data": {"by": "carrier"}}
    # It does not end the dispute.
    assert (await seller.get(f"{PATH}/{dispute['id']}")).json()["status"] == "waiting_for_seller"


async def test_a_chargeback_freezes_the_dispute(buyer: Caller, back_end: Caller, backstage: Backstage) -> None:
    dispute = await opened(buyer, backstage)
    path = f"/v1/orders/{backstage.order_id}/events"
    await back_end.post(path, {"id": "c", "type": "chargeback.opened", "at": rfc3339(backstage.clock.now())})
    frozen = (await buyer.get(f"{PATH}/{dispute['id']}")).json()
    assert (frozen["frozen"], frozen["stage"], frozen["status"]) == (True, "mediation", "under_review")


async def test_the_dispute_room_is_among_the_rooms_of_both(buyer: Caller, seller: Caller, backstage: Backstage) -> None:
    dispute = await opened(buyer, backstage)
    for caller, you in ((buyer, "buyer"), (seller, "seller")):
        rooms = {each["room"]: each for each in (await caller.get("/v1/rooms")).json()["rooms"]}
        assert rooms.keys() == {backstage.room, dispute["room"]}
        assert "dispute" not in rooms[backstage.room]
        told = rooms[dispute["room"]]
        assert (told["kind"], told["you"], told["closed"]) == ("dispute", {"role": you}, False)
        assert (told["head"], told["last"]["kind"]) == (2, "notice")
        summary = {"id": dispute["id"], "stage": "negotiation", "status": "waiting_for_seller"}
        if you == "buyer":
            assert told["dispute"] == summary
        else:
            due = told["dispute"].pop("due")
            assert told["dispute"] == summary
            assert (due["mandatory"], due["rule"]) == (True, "seller_attend")
            assert due["due_at"] == rfc3339(backstage.clock.now() + timedelta(hours=24))


async def test_the_staff_log_is_for_staff_only(
    buyer: Caller, seller: Caller, back_end: Caller, backstage: Backstage, calling: Calling
) -> None:
    dispute = await opened(buyer, backstage)
    room = (await back_end.get(f"{PATH}/{dispute['id']}")).json()["staff_room"]
    path = f"/v1/rooms/{room}/entries"
    nobody = await buyer.get("/v1/rooms/staff-none/entries")
    for caller in (buyer, seller, calling(backstage.token(backstage.seller, Role.AGENT))):
        hidden = await caller.get(path)
        assert_problem(hidden, 404, "not_found")
        assert hidden.content == nobody.content
    for role in (Role.AGENT, Role.SENIOR_AGENT, Role.AUDITOR):
        assert (await staff(backstage, calling, role).get(path)).json() == {"room": room, "entries": [], "more": False}
    assert (await back_end.get(path)).status_code == 200


async def test_a_closed_room_says_so(buyer: Caller, backstage: Backstage) -> None:
    dispute = await opened(buyer, backstage)
    await backstage.close(DisputeId(dispute["id"]))
    backstage.clock.advance(24 * 3600 + 1)
    await backstage.tick(DisputeId(dispute["id"]))
    fresh = Caller(buyer.client, {"Authorization": f"Bearer {backstage.token(backstage.buyer)}"})
    rooms = {each["room"]: each for each in (await fresh.get("/v1/rooms")).json()["rooms"]}
    assert rooms[dispute["room"]]["closed"] is True
    assert rooms[dispute["room"]]["dispute"]["status"] == "withdrawn"
    assert rooms[backstage.room]["closed"] is False
    read = (await fresh.get(f"{PATH}/{dispute['id']}")).json()
    assert (read["closed"], read["outcome"]) == (True, "withdrawn")
    entries = (await fresh.get(f"/v1/rooms/{dispute['room']}/entries")).json()["entries"]
    assert entries[-1]["body"]["notice"] == "room_closed"
