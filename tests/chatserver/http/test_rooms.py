"""A user's rooms, and what is in a room, over HTTP."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from chatserver.http.rooms import PREVIEW_CHARS
from policies.vocabulary import ApiScope, Role, Seq, UserId, Visibility
from tests.chatserver.http.conftest import Backstage, Caller, Calling, assert_problem, with_settings


@pytest.fixture
async def room(back_end: Caller, backstage: Backstage) -> str:
    response = await back_end.put(f"/v1/orders/{backstage.order_id}", backstage.report())
    assert response.status_code == 201
    return backstage.room


def path(room: str) -> str:
    return f"/v1/rooms/{room}/entries"


def seqs(page: dict[str, Any]) -> list[int]:
    return [entry["seq"] for entry in page["entries"]]


async def test_an_entry_is_told_as_the_socket_tells_it(room: str, backstage: Backstage, calling: Calling) -> None:
    entry = await backstage.say(backstage.buyer, Role.BUYER, "Where is it?", command="c-1")
    response = await calling(backstage.token(backstage.seller)).get(path(room))
    assert response.status_code == 200
    assert response.json() == {
        "room": room,
        "entries": [
            {
                "seq": 1,
                "id": entry.id,
                "kind": "message",
                "author": {"id": backstage.buyer, "role": "buyer", "name": backstage.buyer.title()},
                "at": "2026-01-31T09:30:00.000Z",
                "body": {"text": "Where is it?"},
            }
        ],
        "more": False,
    }
    own = await calling(backstage.token(backstage.buyer)).get(path(room))
    assert own.json()["entries"][0]["command_id"] == "c-1"


async def test_pages_forwards_and_backwards(room: str, backstage: Backstage, calling: Calling) -> None:
    for number in range(1, 8):
        await backstage.say(backstage.buyer, Role.BUYER, f"message {number}")
    buyer = calling(backstage.token(backstage.buyer))

    async def page(**params: int) -> tuple[list[int], bool]:
        found = (await buyer.get(path(room), **params)).json()
        return seqs(found), found["more"]

    assert await page() == ([1, 2, 3, 4, 5, 6, 7], False)
    assert await page(limit=3) == ([5, 6, 7], True)
    assert await page(before=5, limit=3) == ([2, 3, 4], True)
    assert await page(before=4, limit=3) == ([1, 2, 3], False)
    assert await page(before=1) == ([], False)
    assert await page(after=0, limit=3) == ([1, 2, 3], True)
    assert await page(after=4, limit=3) == ([5, 6, 7], False)
    assert await page(after=7) == ([], False)
    assert await page(after=2**53 - 1) == ([], False)
    assert await page(before=2**53 - 1, limit=2) == ([6, 7], True)


async def test_a_page_has_a_limit_of_its_own(room: str, backstage: Backstage, calling: Calling) -> None:
    buyer = calling(backstage.token(backstage.buyer))
    assert (await buyer.get(path(room), limit=100)).status_code == 200
    for wrong in (101, 0, -1):
        problem = assert_problem(await buyer.get(path(room), limit=wrong), 400, "bad_request")
        assert problem["details"]["field"] == "limit"


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"before": 0}, "before"),
        ({"before": "x"}, "before"),
        ({"before": 2**53}, "before"),
        ({"after": -1}, "after"),
        ({"after": 2**53}, "after"),
        ({"before": 3, "after": 1}, "before"),
    ],
    ids=str,
)
async def test_positions_that_cannot_be(
    params: dict[str, Any], field: str, room: str, backstage: Backstage, calling: Calling
) -> None:
    response = await calling(backstage.token(backstage.buyer)).get(path(room), **params)
    assert assert_problem(response, 400, "bad_request")["details"]["field"] == field


async def test_a_withheld_message_keeps_its_place(room: str, backstage: Backstage, calling: Calling) -> None:
    await backstage.say(backstage.buyer, Role.BUYER, "call me on 555", visibility=Visibility.WITHHELD, command="c-9")

    async def seen_by(user: str, role: Role | None = None) -> dict[str, Any]:
        page = (await calling(backstage.token(user, role)).get(path(room))).json()
        entry: dict[str, Any] = page["entries"][0]
        return entry

    hidden = await seen_by(backstage.seller)
    assert (hidden["seq"], hidden["body"], hidden["withheld"]) == (1, {}, True)
    assert "command_id" not in hidden
    for whole in (await seen_by(backstage.buyer), await seen_by("staff-1", Role.AUDITOR)):
        assert (whole["body"], whole["withheld"]) == ({"text": "call me on 555"}, True)


async def test_the_back_end_sees_everything_whole(room: str, backstage: Backstage, back_end: Caller) -> None:
    await backstage.say(backstage.seller, Role.SELLER, "pay me there", visibility=Visibility.WITHHELD)
    entry = (await back_end.get(path(room))).json()["entries"][0]
    assert entry["body"] == {"text": "pay me there"}
    assert "command_id" not in entry


async def test_an_erased_message_says_so(room: str, backstage: Backstage, calling: Calling) -> None:
    await backstage.say(backstage.buyer, Role.BUYER, "my address is")
    await backstage.services.log.erase(backstage.room, author=UserId(backstage.buyer))
    entry = (await calling(backstage.token(backstage.seller)).get(path(room))).json()["entries"][0]
    assert (entry["body"], entry["erased"], entry["author"]["name"]) == ({}, True, "")


async def test_a_room_that_is_not_there_and_one_that_may_not_be_seen_are_one_answer(
    room: str, backstage: Backstage, calling: Calling
) -> None:
    await backstage.say(backstage.buyer, Role.BUYER, "hello")
    stranger = calling(backstage.token("stranger"))
    hidden, missing = await stranger.get(path(room)), await stranger.get(path(f"{room}-x"))
    assert_problem(hidden, 404, "not_found")
    assert hidden.status_code == missing.status_code
    assert hidden.content == missing.content
    same = {name for name in hidden.headers if name != "x-request-id"}
    assert {name: hidden.headers[name] for name in same} == {name: missing.headers[name] for name in same}


async def test_a_token_cannot_claim_to_be_a_party(room: str, backstage: Backstage, calling: Calling) -> None:
    """Staff who are a party of the order are only that: nobody is staff in their own case."""
    await backstage.say(backstage.buyer, Role.BUYER, "my number", visibility=Visibility.WITHHELD)
    both = calling(backstage.token(backstage.seller, Role.SENIOR_AGENT))
    assert (await both.get(path(room))).json()["entries"][0]["body"] == {}


async def test_a_key_needs_a_scope_to_read_a_room(room: str, backstage: Backstage, calling: Calling) -> None:
    writing = calling(await backstage.key(ApiScope.ORDERS_WRITE))
    problem = assert_problem(await writing.get(path(room)), 403, "forbidden")
    assert problem["details"] == {"scopes": ["disputes:read"]}
    reading = calling(await backstage.key(ApiScope.DISPUTES_READ))
    assert (await reading.get(path(room))).status_code == 200
    assert_problem(await reading.get(path("order-none")), 404, "not_found")


@pytest.mark.parametrize("room", ["%00", "x" * 300, "a%1Fb", "%F0%9F%92%A5", "..%5C.."])
async def test_strange_names_of_rooms(room: str, backstage: Backstage, calling: Calling, back_end: Caller) -> None:
    for caller in (calling(backstage.token("u")), back_end):
        assert_problem(await caller.get(path(room)), 404, "not_found")


async def test_a_users_rooms(room: str, backstage: Backstage, back_end: Caller, calling: Calling) -> None:
    for text in ("one", "two", "three"):
        await backstage.say(backstage.buyer, Role.BUYER, text)
    await backstage.services.cursors.advance([(backstage.room, UserId(backstage.seller), Seq(3), Seq(1))])
    seller = await calling(backstage.token(backstage.seller)).get("/v1/rooms")
    assert seller.json() == {
        "rooms": [
            {
                "room": room,
                "kind": "order",
                "order_id": backstage.order_id,
                "title": "A lamp",
                "you": {"role": "seller"},
                "other": {"user": backstage.buyer, "role": "buyer", "name": "Ada"},
                "head": 3,
                "last": {
                    "seq": 3,
                    "kind": "message",
                    "author": {"id": backstage.buyer, "role": "buyer", "name": backstage.buyer.title()},
                    "at": "2026-01-31T09:30:00.000Z",
                    "text": "three",
                },
                "cursor": {"delivered": 3, "read": 1},
                "unread": 2,
                "created_at": "2026-01-31T09:30:00.000Z",
                "closed": False,
            }
        ]
    }
    buyer = (await calling(backstage.token(backstage.buyer)).get("/v1/rooms")).json()["rooms"][0]
    assert buyer["you"] == {"role": "buyer"}
    assert buyer["other"] == {"user": backstage.seller, "role": "seller", "name": "Shop"}
    assert (buyer["cursor"], buyer["unread"]) == ({"delivered": 0, "read": 0}, 3)


async def test_the_last_entry_is_told_as_far_as_the_reader_may_see_it(
    room: str, backstage: Backstage, back_end: Caller, calling: Calling
) -> None:
    async def last_for(user: str) -> dict[str, Any] | None:
        (summary,) = (await calling(backstage.token(user)).get("/v1/rooms")).json()["rooms"]
        last: dict[str, Any] | None = summary.get("last")
        return last

    assert await last_for(backstage.buyer) is None
    await backstage.say(backstage.buyer, Role.BUYER, "é" * (PREVIEW_CHARS + 1))
    told = await last_for(backstage.seller)
    assert told is not None
    assert told["text"] == "é" * PREVIEW_CHARS
    await backstage.say(backstage.buyer, Role.BUYER, "call 555", visibility=Visibility.WITHHELD)
    hidden, own = await last_for(backstage.seller), await last_for(backstage.buyer)
    assert hidden is not None
    assert own is not None
    assert "text" not in hidden
    assert (hidden["seq"], hidden["withheld"], own["text"]) == (2, True, "call 555")
    await backstage.services.log.erase(backstage.room, author=UserId(backstage.buyer))
    erased = await last_for(backstage.buyer)
    assert erased is not None
    assert erased["erased"] is True
    assert "text" not in erased
    await back_end.put(f"/v1/orders/{backstage.order_id}", backstage.report(title="Another lamp"))
    updated = await last_for(backstage.seller)
    assert updated is not None
    assert (updated["seq"], updated["kind"], updated["author"]["role"]) == (3, "order.updated", "system")


async def test_rooms_come_in_pages_newest_first(backstage: Backstage, back_end: Caller, calling: Calling) -> None:
    for number in range(5):
        await back_end.put(f"/v1/orders/{backstage.order_id}-{number}", backstage.report(title=f"Lamp {number}"))
        backstage.clock.at += timedelta(seconds=1)
    buyer = calling(backstage.token(backstage.buyer))
    titles: list[list[str]] = []
    params: dict[str, Any] = {"limit": 2}
    while True:
        page = (await buyer.get("/v1/rooms", **params)).json()
        titles.append([room["title"] for room in page["rooms"]])
        if "next_cursor" not in page:
            break
        params["cursor"] = page["next_cursor"]
    assert titles == [["Lamp 4", "Lamp 3"], ["Lamp 2", "Lamp 1"], ["Lamp 0"]]


async def test_someone_without_rooms(backstage: Backstage, calling: Calling) -> None:
    response = await calling(backstage.token("nobody", Role.AGENT)).get("/v1/rooms")
    assert response.json() == {"rooms": []}


@pytest.mark.parametrize("params", [{"limit": 0}, {"limit": 101}, {"cursor": "!"}, {"cursor": "x" * 513}], ids=str)
async def test_pages_that_cannot_be(params: dict[str, Any], backstage: Backstage, calling: Calling) -> None:
    assert_problem(await calling(backstage.token("u")).get("/v1/rooms", **params), 400, "bad_request")


async def test_the_back_end_has_no_rooms_of_its_own(back_end: Caller) -> None:
    assert_problem(await back_end.get("/v1/rooms"), 403, "forbidden")


async def test_the_page_is_a_setting(backstage: Backstage) -> None:
    api = with_settings(backstage, history_page=10)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://test") as client:
        headers = {"Authorization": f"Bearer {backstage.token('u')}"}
        response = await client.get(path("order-x"), params={"limit": 11}, headers=headers)
        assert_problem(response, 400, "bad_request")
        assert_problem(await client.get(path("order-x"), params={"limit": 10}, headers=headers), 404, "not_found")
