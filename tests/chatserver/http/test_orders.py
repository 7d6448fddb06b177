"""Orders over HTTP."""

import json
from datetime import timedelta
from typing import Any

import pytest

from chatserver.http.orders import DETAILS_BYTES, NAME_CHARS, TITLE_CHARS
from policies.instant import rfc3339
from policies.vocabulary import ApiScope, Role
from tests.chatserver.http.conftest import Backstage, Caller, Calling, assert_problem


async def put(back_end: Caller, backstage: Backstage, **changed: Any) -> dict[str, Any]:
    response = await back_end.put(f"/v1/orders/{backstage.order_id}", backstage.report(**changed))
    assert response.status_code in (200, 201), response.text
    document: dict[str, Any] = response.json()
    return document


async def test_an_order_is_created_once_and_says_all_it_was_told(back_end: Caller, backstage: Backstage) -> None:
    path = f"/v1/orders/{backstage.order_id}"
    first = await back_end.put(path, backstage.report())
    again = await back_end.put(path, backstage.report())
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json() == (await back_end.get(path)).json()
    assert first.json() == {
        "order_id": backstage.order_id,
        **backstage.report(),
        "state": {
            "delivered_at": None,
            "delivery_confirmed_at": None,
            "canceled_at": None,
            "chargeback": None,
            "payment": None,
            "refunded": 0,
        },
        "order_room": backstage.room,
        "disputes": [],
        "dispute_eligibility": {"allowed": True},
    }
    assert not backstage.announced


async def test_a_change_is_announced(back_end: Caller, backstage: Backstage) -> None:
    await put(back_end, backstage)
    changed = await put(back_end, backstage, title="A better lamp", amount=5990)
    assert (changed["title"], changed["amount"]) == ("A better lamp", 5990)
    (entry,) = backstage.announced
    assert (entry.room, entry.seq, entry.kind.value) == (backstage.room, 1, "order.updated")
    assert entry.body == {"changed": ["title", "amount"]}


async def test_optional_facts_have_defaults(back_end: Caller, backstage: Backstage) -> None:
    order = await put(back_end, backstage, details=None, seller={"id": backstage.seller, "name": "Shop"})
    assert order["details"] == {}
    assert order["seller"]["trust_level"] == "unverified"


async def test_times_are_told_in_utc_with_milliseconds(back_end: Caller, backstage: Backstage) -> None:
    order = await put(back_end, backstage, placed_at="2026-01-30T14:00:00.1259+02:00")
    assert order["placed_at"] == "2026-01-30T12:00:00.125Z"


async def test_unknown_fields_are_ignored(back_end: Caller, backstage: Backstage) -> None:
    assert "color" not in await put(back_end, backstage, color="red")


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"buyer": None}, "buyer"),
        ({"buyer": {"id": "", "name": "Ada"}}, "buyer.id"),
        ({"buyer": {"id": "u" * 129, "name": "Ada"}}, "buyer.id"),
        ({"buyer": {"id": "a\x1fb", "name": "Ada"}}, "buyer.id"),
        ({"buyer": {"id": "a\nb", "name": "Ada"}}, "buyer.id"),
        ({"buyer": {"id": "system", "name": "Ada"}}, "buyer.id"),
        ({"buyer": {"id": 7, "name": "Ada"}}, "buyer.id"),
        ({"buyer": {"id": "b", "name": ""}}, "buyer.name"),
        ({"buyer": {"id": "b", "name": "A" * (NAME_CHARS + 1)}}, "buyer.name"),
        ({"seller": {"id": "s", "name": "S", "trust_level": "dubious"}}, "seller.trust_level"),
        ({"title": ""}, "title"),
        ({"title": "   "}, "title"),
        ({"title": "t" * (TITLE_CHARS + 1)}, "title"),
        ({"category": "weapon"}, "category"),
        ({"amount": -1}, "amount"),
        ({"amount": 2**53}, "amount"),
        ({"amount": 12.0}, "amount"),
        ({"amount": "12"}, "amount"),
        ({"amount": True}, "amount"),
        ({"currency": "eur"}, "currency"),
        ({"currency": "EURO"}, "currency"),
        ({"currency": "EUR\n"}, "currency"),
        ({"placed_at": "yesterday"}, "placed_at"),
        ({"placed_at": "2026-01-30T12:00:00"}, "placed_at"),
        ({"placed_at": 1769774400}, "placed_at"),
        ({"details": [1]}, "details"),
        ({"details": "x"}, "details"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_facts_that_cannot_be(
    changed: dict[str, Any], field: str, back_end: Caller, backstage: Backstage
) -> None:
    report = {**backstage.report(), **changed}
    report = {name: value for name, value in report.items() if value is not None}
    problem = assert_problem(await back_end.put(f"/v1/orders/{backstage.order_id}", report), 400, "bad_request")
    assert problem["details"]["field"] == field


async def test_facts_at_their_limits(back_end: Caller, backstage: Backstage) -> None:
    order = await put(
        back_end,
        backstage,
        buyer={"id": backstage.tag + "é" * (128 - len(backstage.tag)), "name": "A" * NAME_CHARS},
        title="t" * TITLE_CHARS,
        amount=2**53 - 1,
        details={"x": "y" * (DETAILS_BYTES - 8)},
    )
    assert order["amount"] == 2**53 - 1


async def test_buyer_and_seller_are_two_people(back_end: Caller, backstage: Backstage) -> None:
    one = {"id": backstage.buyer, "name": "Ada"}
    report = backstage.report(buyer=one, seller=one)
    problem = assert_problem(await back_end.put(f"/v1/orders/{backstage.order_id}", report), 400, "bad_request")
    assert problem["details"]["field"] == "seller.id"


def nested(levels: int) -> dict[str, Any]:
    inner: Any = 1
    for _ in range(levels):
        inner = {"a": inner}
    return {"a": inner}


@pytest.mark.parametrize(
    ("details", "status", "code"),
    [
        ({"x": "y" * (DETAILS_BYTES - 7)}, 413, "too_large"),
        ({"x": 1.5}, 400, "bad_request"),
        ({"x": 2**53}, 400, "bad_request"),
        ({"x": 2**70}, 400, "bad_request"),
        ({"x\x00y": 1}, 400, "bad_request"),
        (nested(40), 400, "bad_request"),
    ],
    ids=["too large", "fraction", "integer", "huge integer", "NUL", "too deep"],
)
async def test_details_that_are_not_taken(
    details: dict[str, Any], status: int, code: str, back_end: Caller, backstage: Backstage
) -> None:
    response = await back_end.put(f"/v1/orders/{backstage.order_id}", backstage.report(details=details))
    assert_problem(response, status, code)


async def test_half_a_surrogate_pair_is_refused_wherever_it_is(back_end: Caller, backstage: Backstage) -> None:
    for text in ('{"details": {"x": "\\ud800"}}', '{"title": "\\ud800"}', '{"buyer": {"id": "\\ud800", "name": "n"}}'):
        body = backstage.report()
        response = await back_end.client.put(
            f"/v1/orders/{backstage.order_id}",
            content=httpx_body(body, text),
            headers={**back_end.headers, "Content-Type": "application/json"},
        )
        assert_problem(response, 400, "bad_request")


def httpx_body(body: dict[str, Any], overlay: str) -> bytes:
    """JSON of a body with a piece of JSON text laid over it, escapes as they are."""
    inner = ", ".join(f'"{name}": {json.dumps(value)}' for name, value in body.items() if f'"{name}"' not in overlay)
    return ("{" + inner + ", " + overlay[1:]).encode()


async def test_large_whole_numbers_can_be_read_again(back_end: Caller, backstage: Backstage) -> None:
    details = {"weight_mg": 2**31, "ids": [2**53 - 1, -(2**53 - 1)], "deep": {"x": 2**40}}
    await put(back_end, backstage, details=details, amount=2**40)
    read = (await back_end.get(f"/v1/orders/{backstage.order_id}")).json()
    assert (read["details"], read["amount"]) == (details, 2**40)
    event = {"id": "e", "type": "delivered", "at": "2026-01-31T08:00:00Z", "data": {"x": 2**40}}
    path = f"/v1/orders/{backstage.order_id}/events"
    assert (await back_end.post(path, event)).status_code == 200
    assert (await back_end.post(path, event)).json()["duplicate"] is True
    entry = (await back_end.get(f"/v1/rooms/{backstage.room}/entries")).json()["entries"][0]
    assert entry["body"]["event"]["data"] == {"x": 2**40}


async def test_names_that_mean_something_to_mongodb_are_only_names(back_end: Caller, backstage: Backstage) -> None:
    strange = {"$where": "1", "a.b": {"$set": 1}, "": 0, "_id": None}
    await put(back_end, backstage)
    assert (await put(back_end, backstage, details=strange))["details"] == strange


@pytest.mark.parametrize("order_id", ["o" * 129, ".hidden", "a%20b", "a%1Fb", "%C3%A9", "a%0A", "a%7Cb"])
async def test_an_order_id_that_cannot_be(order_id: str, back_end: Caller, backstage: Backstage) -> None:
    problem = assert_problem(await back_end.put(f"/v1/orders/{order_id}", backstage.report()), 400, "bad_request")
    assert problem["details"]["field"] == "order_id"


async def test_the_longest_order_id(back_end: Caller, backstage: Backstage) -> None:
    order_id = (backstage.order_id + "~:@=+.-_" * 20)[:128]
    response = await back_end.put(f"/v1/orders/{order_id}", backstage.report())
    assert response.status_code == 201
    assert response.json()["order_room"] == f"order-{order_id}"
    entries = await back_end.get(f"/v1/rooms/order-{order_id}/entries")
    assert entries.json() == {"room": f"order-{order_id}", "entries": [], "more": False}


@pytest.mark.parametrize("reader", ["buyer", "seller", "agent", "senior_agent", "auditor"])
async def test_parties_and_staff_may_read_an_order(
    reader: str, back_end: Caller, backstage: Backstage, calling: Calling
) -> None:
    told = await put(back_end, backstage)
    role = Role(reader) if reader not in ("buyer", "seller") else None
    user = {"buyer": backstage.buyer, "seller": backstage.seller}.get(reader, "staff-1")
    response = await calling(backstage.token(user, role)).get(f"/v1/orders/{backstage.order_id}")
    assert response.status_code == 200
    assert response.json() == told


async def test_an_order_one_may_not_see_is_not_there(back_end: Caller, backstage: Backstage, calling: Calling) -> None:
    await put(back_end, backstage)
    stranger = calling(backstage.token("stranger"))
    hidden = await stranger.get(f"/v1/orders/{backstage.order_id}")
    missing = await stranger.get(f"/v1/orders/{backstage.order_id}-x")
    assert_problem(hidden, 404, "not_found")
    assert hidden.content == missing.content
    assert_problem(await back_end.get(f"/v1/orders/{backstage.order_id}-x"), 404, "not_found")


async def test_a_party_that_was_replaced_loses_the_order(
    back_end: Caller, backstage: Backstage, calling: Calling
) -> None:
    await put(back_end, backstage)
    before = calling(backstage.token(backstage.buyer))
    assert (await before.get(f"/v1/orders/{backstage.order_id}")).status_code == 200
    await put(back_end, backstage, buyer={"id": f"new-{backstage.tag}", "name": "Eve"})
    assert_problem(await before.get(f"/v1/orders/{backstage.order_id}"), 404, "not_found")
    assert backstage.announced[0].body["parties"] == {"buyer": f"new-{backstage.tag}", "seller": backstage.seller}


@pytest.mark.parametrize("scope", [ApiScope.ORDERS_WRITE, ApiScope.DISPUTES_READ])
async def test_keys_that_may_read_an_order(
    scope: ApiScope, back_end: Caller, backstage: Backstage, calling: Calling
) -> None:
    await put(back_end, backstage)
    reader = calling(await backstage.key(scope))
    assert (await reader.get(f"/v1/orders/{backstage.order_id}")).status_code == 200


async def test_what_a_key_may_not_do(back_end: Caller, backstage: Backstage, calling: Calling) -> None:
    await put(back_end, backstage)
    path = f"/v1/orders/{backstage.order_id}"
    other = calling(await backstage.key(ApiScope.WEBHOOKS_WRITE))
    for response in (
        await other.get(path),
        await other.put(path, backstage.report()),
        await other.post(f"{path}/events", {}),
    ):
        assert_problem(response, 403, "forbidden")
    reading = calling(await backstage.key(ApiScope.DISPUTES_READ))
    problem = assert_problem(await reading.put(path, backstage.report()), 403, "forbidden")
    assert problem["details"] == {"scopes": ["orders:write"]}


async def test_no_user_reports_orders(back_end: Caller, backstage: Backstage, calling: Calling) -> None:
    await put(back_end, backstage)
    for user, role in ((backstage.buyer, None), ("staff-1", Role.SENIOR_AGENT)):
        person = calling(backstage.token(user, role))
        path = f"/v1/orders/{backstage.order_id}"
        assert_problem(await person.put(path, backstage.report()), 403, "forbidden")
        assert_problem(await person.post(f"{path}/events", {}), 403, "forbidden")


EVENT = {"id": "ev-1", "type": "delivered", "at": "2026-01-31T08:00:00Z", "data": {"carrier": "P"}}


async def test_an_event_is_recorded_once(back_end: Caller, backstage: Backstage) -> None:
    await put(back_end, backstage)
    path = f"/v1/orders/{backstage.order_id}/events"
    first, again = await back_end.post(path, EVENT), await back_end.post(path, EVENT)
    assert (first.status_code, again.status_code) == (200, 200)
    assert (first.json()["duplicate"], again.json()["duplicate"]) == (False, True)
    assert first.json()["order"]["state"]["delivered_at"] == "2026-01-31T08:00:00.000Z"
    assert first.json()["order"] == again.json()["order"]
    (entry,) = backstage.announced
    assert entry.body["event"]["type"] == "delivered"


async def test_the_same_event_id_with_other_content(back_end: Caller, backstage: Backstage) -> None:
    await put(back_end, backstage)
    path = f"/v1/orders/{backstage.order_id}/events"
    await back_end.post(path, EVENT)
    assert_problem(await back_end.post(path, {**EVENT, "data": {}}), 409, "conflict")


async def test_an_event_from_the_future(back_end: Caller, backstage: Backstage) -> None:
    """It would be the latest of its kind for as long, whatever happens before."""
    await put(back_end, backstage)
    path = f"/v1/orders/{backstage.order_id}/events"
    limit = backstage.clock.now() + timedelta(minutes=10)
    event = {**EVENT, "type": "chargeback.opened"}
    late = await back_end.post(path, {**event, "at": rfc3339(limit + timedelta(milliseconds=1))})
    assert assert_problem(late, 400, "bad_request")["details"]["field"] == "at"
    assert (await back_end.post(path, {**event, "at": rfc3339(limit)})).status_code == 200


async def test_an_event_of_no_order(back_end: Caller, backstage: Backstage) -> None:
    assert_problem(await back_end.post(f"/v1/orders/{backstage.order_id}/events", EVENT), 404, "not_found")


@pytest.mark.parametrize(
    ("changed", "status", "field"),
    [
        ({"id": ""}, 400, "id"),
        ({"id": "e" * 129}, 400, "id"),
        ({"id": "a\nb"}, 400, "id"),
        ({"type": "lost"}, 400, "type"),
        ({"at": "2026-01-31"}, 400, "at"),
        ({"at": 5}, 400, "at"),
        ({"at": "0001-01-01T00:00:00+14:00"}, 400, "at"),
        ({"data": {"x": 0.5}}, 400, None),
        ({"data": {"x": "y" * DETAILS_BYTES}}, 413, "data"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_events_that_cannot_be(
    changed: dict[str, Any], status: int, field: str | None, back_end: Caller, backstage: Backstage
) -> None:
    await put(back_end, backstage)
    response = await back_end.post(f"/v1/orders/{backstage.order_id}/events", {**EVENT, **changed})
    problem = assert_problem(response, status, "bad_request" if status == 400 else "too_large")
    assert problem.get("details", {}).get("field") == field
