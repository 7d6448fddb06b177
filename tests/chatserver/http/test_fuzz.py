"""Bodies and addresses that nobody would think of: every answer is a proper one, and none is that the server failed."""

import json
import random
from typing import Any
from urllib.parse import quote

import pytest

from policies.vocabulary import ApiScope
from tests.chatserver.http.conftest import Backstage, Caller, Calling, assert_problem

STRANGE: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    2**31,
    2**53,
    2**63,
    2**64,
    2**200,
    0.5,
    1e308,
    "",
    " ",
    "\x00",
    "\ud800",
    "\u202e",
    "é" * 300,
    "x" * 3000,
    "$set",
    "a.b",
    "2026-13-01T00:00:00Z",
    "0000-00-00T00:00:00Z",
    "9999-12-31T23:59:59.999Z",
    "2026-01-31T09:30:00.999999999999Z",
    "-292277022399-01-01T00:00:00Z",
    "2026-01-31T09:30:00+23:59",
    "0001-01-01T00:00:00+14:00",
    [],
    {},
    [[]],
    {"": {}},
    {"$gt": ""},
    [1] * 500,
    {"id": {"id": {}}},
    {"\x00": 1},
    {"a": {"$date": 5}},
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else ()
    return [path, *(place for name, child in inner for place in places(child, (*path, name)))]


def changed(value: Any, path: tuple[Any, ...], to: Any) -> Any:
    if not path:
        return to
    return {**value, path[0]: changed(value[path[0]], path[1:], to)}


def mutations(body: dict[str, Any], seed: int, count: int) -> list[Any]:
    chance = random.Random(seed)
    made = []
    for _ in range(count):
        mutant: Any = body
        for _ in range(chance.choice((1, 1, 2, 3))):
            if isinstance(mutant, dict):
                mutant = changed(mutant, chance.choice(places(mutant)[1:] or [()]), chance.choice(STRANGE))
        made.append(mutant)
    return made


async def send(caller: Caller, method: str, path: str, body: Any) -> int:
    headers = {**caller.headers, "Content-Type": "application/json"}
    response = await caller.client.request(method, path, content=json.dumps(body), headers=headers)
    if response.is_error:
        assert response.status_code < 500, body
        assert_problem(response, response.status_code, response.json()["code"])
    return response.status_code


@pytest.mark.parametrize("seed", range(3))
async def test_strange_orders(seed: int, back_end: Caller, backstage: Backstage) -> None:
    path = f"/v1/orders/{backstage.order_id}"
    statuses = {await send(back_end, "PUT", path, body) for body in mutations(backstage.report(), seed, 120)}
    assert {200, 201, 400} >= statuses - {413}
    assert 400 in statuses
    assert (await back_end.get(path)).status_code in (200, 404)
    entries = (await back_end.get(f"/v1/rooms/{backstage.room}/entries", limit=100)).json().get("entries", [])
    assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1))


@pytest.mark.parametrize("seed", range(2))
async def test_strange_events(seed: int, back_end: Caller, backstage: Backstage) -> None:
    assert (await back_end.put(f"/v1/orders/{backstage.order_id}", backstage.report())).status_code == 201
    event = {"id": "e", "type": "payment.held", "at": "2026-01-31T08:00:00Z", "data": {"x": 1, "y": {"z": "t"}}}
    path = f"/v1/orders/{backstage.order_id}/events"
    statuses = {await send(back_end, "POST", path, body) for body in mutations(event, seed, 120)}
    assert {200, 400, 409, 413} >= statuses


@pytest.mark.parametrize("seed", range(2))
async def test_strange_openings(seed: int, back_end: Caller, backstage: Backstage, calling: Calling) -> None:
    assert (await back_end.put(f"/v1/orders/{backstage.order_id}", backstage.report())).status_code == 201
    opening = backstage.opening(on_behalf_of=backstage.buyer)
    key = calling(await backstage.key(ApiScope.DISPUTES_WRITE))
    statuses = {await send(key, "POST", "/v1/disputes", body) for body in mutations(opening, seed, 150)}
    assert {201, 400, 403, 404, 409, 413, 422} >= statuses
    assert {400, 403, 404} <= statuses
    disputes = (await back_end.get(f"/v1/orders/{backstage.order_id}")).json()["disputes"]
    assert len(disputes) == (201 in statuses)


async def test_strange_addresses(back_end: Caller) -> None:
    chance = random.Random(11)
    for _ in range(150):
        name = quote(
            "".join(chr(chance.choice((0, 10, 31, 36, 46, 47, 92, 127, 233, 0x1F4A5, 65))) for _ in range(6)), ""
        )
        for template in (
            "/v1/orders/{}",
            "/v1/rooms/{}/entries",
            "/{}",
            "/v1/rooms?cursor={}",
            "/v1/rooms/x/entries?limit={}",
            "/v1/disputes/{}",
            "/v1/disputes/{}/audit",
            "/v1/disputes?cursor={}",
            "/v1/disputes?status={}",
        ):
            response = await back_end.client.get(template.format(name), headers=back_end.headers)
            assert response.status_code in (400, 403, 404), template.format(name)
            assert_problem(response, response.status_code, response.json()["code"])
