"""What orders and rooms tell of their disputes, and disputes of their orders, over HTTP."""

from dataclasses import replace
from datetime import timedelta

import httpx

from chatserver.disputes.desk import Desk
from chatserver.http.api import create_api
from policies.errors import Unavailable
from policies.instant import rfc3339
from policies.order import OrderEvent
from policies.vocabulary import DisputeId, EntryKind, OrderId, Role
from tests.chatserver.http.conftest import (
    DISPUTES,
    Backstage,
    Caller,
    Calling,
    assert_problem,
    opened,
    staff,
)


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
    assert (await seller.get(f"{DISPUTES}/{dispute['id']}")).json()["status"] == "waiting_for_seller"


class BusyDesk(Desk):
    """A desk where too many are at once."""

    def __init__(self) -> None: ...

    async def report_event(self, order: OrderId, event: OrderEvent) -> None:
        raise Unavailable("Too many are acting on this dispute at once.")


async def test_an_event_that_the_dispute_has_not_heard_of_is_on_record_and_told_later(
    buyer: Caller, back_end: Caller, backstage: Backstage
) -> None:
    dispute = await opened(buyer, backstage)
    event = {"id": "ev-1", "type": "delivered", "at": rfc3339(backstage.clock.now())}
    path = f"/v1/orders/{backstage.order_id}/events"
    transport = httpx.ASGITransport(create_api(replace(backstage.services, desk=BusyDesk())))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await Caller(client, back_end.headers).post(path, event)
    assert (answer.status_code, answer.json()["duplicate"]) == (200, False)
    assert answer.json()["order"]["state"]["delivered_at"] == event["at"]

    def told() -> list[str]:
        return [entry.room for entry in backstage.announced if entry.kind is EntryKind.ORDER_UPDATED]

    assert told() == [backstage.room]
    assert (await back_end.post(path, event)).json()["duplicate"] is True
    assert told() == [backstage.room, dispute["room"]]


async def test_a_chargeback_freezes_the_dispute(buyer: Caller, back_end: Caller, backstage: Backstage) -> None:
    dispute = await opened(buyer, backstage)
    path = f"/v1/orders/{backstage.order_id}/events"
    await back_end.post(path, {"id": "c", "type": "chargeback.opened", "at": rfc3339(backstage.clock.now())})
    frozen = (await buyer.get(f"{DISPUTES}/{dispute['id']}")).json()
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
    room = (await back_end.get(f"{DISPUTES}/{dispute['id']}")).json()["staff_room"]
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
    read = (await fresh.get(f"{DISPUTES}/{dispute['id']}")).json()
    assert (read["closed"], read["outcome"]) == (True, "withdrawn")
    entries = (await fresh.get(f"/v1/rooms/{dispute['room']}/entries")).json()["entries"]
    assert entries[-1]["body"]["notice"] == "room_closed"
