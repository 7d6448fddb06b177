"""Reading disputes over HTTP: one, lists of them, and who of the staff has looked."""

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from chatserver.http.api import create_api
from chatserver.http.disputes import DISPUTES_PAGE
from policies.dispute.commands import SendMessage
from policies.dispute.state import Agent, Dispute
from policies.entry import Author, Draft
from policies.instant import rfc3339
from policies.vocabulary import (
    ApiScope,
    CommandId,
    DisputeId,
    EntryKind,
    Role,
    RoomId,
    Stage,
    Status,
    UserId,
)
from storage.audit import Audit
from storage.chain import link
from storage.client import Database, MongoConfig, Session, open_database
from tests.chatserver.http.conftest import (
    DISPUTES,
    Backstage,
    Caller,
    Calling,
    assert_problem,
    opened,
    staff,
)

# Reading one


@pytest.mark.parametrize("reader", ["buyer", "seller", "agent", "senior_agent", "auditor", "key"])
async def test_who_may_read_a_dispute(reader: str, buyer: Caller, backstage: Backstage, calling: Calling) -> None:
    dispute = await opened(buyer, backstage)
    caller = {
        "buyer": buyer,
        "seller": calling(backstage.token(backstage.seller)),
        "key": calling(await backstage.key(ApiScope.DISPUTES_READ)),
    }.get(reader) or staff(backstage, calling, Role(reader))
    response = await caller.get(f"{DISPUTES}/{dispute['id']}")
    assert response.status_code == 200
    read = response.json()
    whole = reader not in ("buyer", "seller")
    assert ("staff_room" in read) is whole
    assert {
        name: value
        for name, value in read.items()
        if name not in ("staff_room", "recused", "available_actions", "evidence_completeness")
    } == {name: value for name, value in dispute.items() if name != "available_actions"}
    actions = {each["action"] for each in read["available_actions"]}
    if reader in ("auditor", "key"):
        assert not actions
    if reader == "seller":
        assert "proposal.make" in actions
        assert "dispute.close" not in actions


async def test_who_may_not_read_a_dispute(buyer: Caller, backstage: Backstage, calling: Calling) -> None:
    dispute = await opened(buyer, backstage)
    path = f"{DISPUTES}/{dispute['id']}"
    assert_problem(await calling().get(path), 401, "unauthenticated")
    stranger = calling(backstage.token("stranger"))
    missing = f"{DISPUTES}/{'0' * 20}"
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
        assert_problem(await caller.get(f"{DISPUTES}/{name}"), 404, "not_found")


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
    assert_problem(await later.get(f"{DISPUTES}/{dispute['id']}"), 404, "not_found")
    assert (await later.get(DISPUTES)).json()["disputes"] == []
    assert (await buyer.get(f"{DISPUTES}/{dispute['id']}")).status_code == 200
    assert len((await back_end.get(path)).json()["disputes"]) == 1


# The record of who has looked


async def test_what_staff_read_is_on_record(buyer: Caller, backstage: Backstage, calling: Calling) -> None:
    dispute = await opened(buyer, backstage)
    agent = staff(backstage, calling)
    await agent.get(f"{DISPUTES}/{dispute['id']}")
    backstage.clock.advance(1)
    await agent.get(f"/v1/rooms/{dispute['room']}/entries", limit=1)
    backstage.clock.advance(1)
    await agent.get(f"/v1/rooms/staff-{dispute['id']}/entries")
    backstage.clock.advance(1)
    senior = staff(backstage, calling, Role.SENIOR_AGENT)
    page = (await senior.get(f"{DISPUTES}/{dispute['id']}/audit")).json()
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
    (newest, *_) = (await auditor.get(f"{DISPUTES}/{dispute['id']}/audit")).json()["records"]
    assert (newest["action"], newest["actor"]["role"]) == ("audit.read", "senior_agent")


async def test_lists_and_orders_that_staff_read_are_on_record_for_each_dispute(
    buyer: Caller, backstage: Backstage, calling: Calling
) -> None:
    first = await opened(buyer, backstage)
    await backstage.close(DisputeId(first["id"]))
    second = await opened(buyer, backstage)
    agent = staff(backstage, calling)
    assert len((await agent.get(DISPUTES, q=backstage.buyer, limit=10)).json()["disputes"]) == 2
    backstage.clock.advance(1)
    await agent.get(DISPUTES, q=backstage.buyer, status="withdrawn")
    backstage.clock.advance(1)
    await agent.get(f"/v1/orders/{backstage.order_id}")
    auditor = staff(backstage, calling, Role.AUDITOR)
    place = f"order-{backstage.order_id}"
    for dispute, lists in ((first, 2), (second, 1)):
        records = (await auditor.get(f"{DISPUTES}/{dispute['id']}/audit")).json()["records"]
        assert [(each["action"], each["room"]) for each in records] == [
            ("order.read", place),
            *[("disputes.list", dispute["room"])] * lists,
        ]
        assert {each["actor"]["id"] for each in records} == {f"agent-{backstage.tag}"}
        assert records[0]["details"] == {"order": backstage.order_id}
        assert records[-1]["details"] == {"q": backstage.buyer, "limit": 10, "found": 2}


async def test_a_look_that_finds_no_dispute_is_on_record_too(
    back_end: Caller, buyer: Caller, backstage: Backstage, calling: Calling, database: Database
) -> None:
    agent = staff(backstage, calling)
    await agent.get(DISPUTES, q=f"nobody-{backstage.tag}")
    await agent.get(f"/v1/orders/{backstage.order_id}")
    await buyer.get(f"/v1/orders/{backstage.order_id}")
    await back_end.get(f"/v1/orders/{backstage.order_id}")
    found = await database.collection("audit").find({"actor.id": f"agent-{backstage.tag}"}, sort=[("_id", 1)])
    assert [(each["action"], each.get("dispute"), each.get("room"), each["details"]) for each in found] == [
        ("disputes.list", None, None, {"q": f"nobody-{backstage.tag}", "limit": 50, "found": 0}),
        ("order.read", None, f"order-{backstage.order_id}", {"order": backstage.order_id}),
    ]
    others = {"room": f"order-{backstage.order_id}", "actor.id": {"$ne": f"agent-{backstage.tag}"}}
    assert await database.collection("audit").find(others) == []


async def test_what_parties_and_the_back_end_read_is_not(
    buyer: Caller, seller: Caller, back_end: Caller, backstage: Backstage
) -> None:
    dispute = await opened(buyer, backstage)
    for caller in (buyer, seller, back_end):
        await caller.get(f"{DISPUTES}/{dispute['id']}")
        await caller.get(DISPUTES)
        await caller.get(f"/v1/rooms/{dispute['room']}/entries")
        await caller.get(f"/v1/orders/{backstage.order_id}")
    page = await back_end.get(f"{DISPUTES}/{dispute['id']}/audit")
    assert page.json() == {"dispute": dispute["id"], "records": []}


async def test_who_may_read_the_record(buyer: Caller, seller: Caller, backstage: Backstage, calling: Calling) -> None:
    path = f"{DISPUTES}/{(await opened(buyer, backstage))['id']}/audit"
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
        await agent.get(f"{DISPUTES}/{dispute['id']}")
        backstage.clock.advance(number % 2)
    params: dict[str, Any] = {"limit": 3}
    sizes, seen = [], []
    while True:
        page = (await back_end.get(f"{DISPUTES}/{dispute['id']}/audit", **params)).json()
        sizes.append(len(page["records"]))
        seen += [each["at"] for each in page["records"]]
        if "next_cursor" not in page:
            break
        params["cursor"] = page["next_cursor"]
    assert sizes == [3, 3, 1]
    assert seen == sorted(seen, reverse=True)
    for wrong in ({"limit": 0}, {"limit": 201}, {"cursor": "!"}, {"cursor": "MTIzOng"}):
        assert_problem(await back_end.get(f"{DISPUTES}/{dispute['id']}/audit", **wrong), 400, "bad_request")
    assert (await back_end.get(f"{DISPUTES}/{dispute['id']}/audit", limit=200)).status_code == 200


async def test_what_cannot_be_put_on_record_is_not_told(buyer: Caller, backstage: Backstage) -> None:
    dispute = await opened(buyer, backstage)
    nowhere = open_database(MongoConfig("mongodb://127.0.0.1:1/?replicaSet=rs0", "none", timeout_s=0.2))
    api = create_api(replace(backstage.services, audit=Audit(nowhere)))
    transport = httpx.ASGITransport(api, client=("127.0.0.1", 9))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        agent = Caller(client, {"Authorization": f"Bearer {backstage.token('agent-1', Role.AGENT)}"})
        paths = [f"{DISPUTES}/{dispute['id']}", DISPUTES, f"/v1/rooms/{dispute['room']}/entries"]
        for path in (*paths, f"/v1/orders/{backstage.order_id}"):
            assert_problem(await agent.get(path), 503, "unavailable")
        party = Caller(client, buyer.headers)
        assert (await party.get(f"{DISPUTES}/{dispute['id']}")).status_code == 200
    await nowhere.close()


# Lists


async def test_what_is_listed_is_as_it_is_now(
    buyer: Caller, seller: Caller, back_end: Caller, backstage: Backstage
) -> None:
    """A plain message writes no snapshot; who looks right after it sees whose turn it is all the same."""
    dispute = await opened(buyer, backstage)
    services, room = backstage.services, RoomId(dispute["room"])
    sue = Author(UserId(backstage.seller), Role.SELLER, "Shop")
    await services.desk.run(DisputeId(dispute["id"]), SendMessage(sue, CommandId("s"), "Let me see."))
    ada = Author(UserId(backstage.buyer), Role.BUYER, "Ada")
    draft = Draft(ada, CommandId("b"), EntryKind.MESSAGE, {"text": "It is dark here."})
    entries = link(room, await services.log.head(room), [draft], backstage.clock.now(), lambda: bytes(16))
    assert (await services.log.submit(entries)).failure is None
    [listed] = (await seller.get(DISPUTES)).json()["disputes"]
    assert (listed["status"], listed["seq"]) == ("waiting_for_seller", entries[-1].seq)
    for status in Status:
        answer = (await seller.get(DISPUTES, status=status.value)).json()["disputes"]
        assert [each["status"] for each in answer if each["status"] != status] == []
    [summary] = (await back_end.get(f"/v1/orders/{backstage.order_id}")).json()["disputes"]
    assert summary["status"] == "waiting_for_seller"
    rooms = {each["room"]: each for each in (await seller.get("/v1/rooms")).json()["rooms"]}
    assert rooms[room]["dispute"]["status"] == "waiting_for_seller"
    assert rooms[room]["dispute"]["due"]["action"] == "message.send"
    rooms = {each["room"]: each for each in (await buyer.get("/v1/rooms")).json()["rooms"]}
    assert "due" not in rooms[room]["dispute"]


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
        response = await caller.get(DISPUTES, **params)
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
    assert len((await buyer.get(DISPUTES)).json()["disputes"]) == 50


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
        page = (await agent.get(DISPUTES, q=backstage.order_id, **params)).json()
        return len(page["disputes"]), {name: number for name, number in page["counts"].items() if number}

    everything = {"waiting_for_seller": 1, "under_review": 3, "resolved": 2}
    assert await count() == (6, everything)
    assert await count(status="under_review") == (3, everything)
    assert await count(status=["under_review", "resolved"]) == (5, everything)
    assert await count(stage="mediation") == (3, {"under_review": 3})
    assert await count(stage=["mediation", "negotiation"], status="resolved") == (2, everything)
    assert await count(stage="appeal") == (0, {})
    (one,) = (await agent.get(DISPUTES, q=dispute["id"])).json()["disputes"]
    assert one["id"] == dispute["id"]
    assert "staff_room" in one
    assert one["id"] in {each["id"] for each in (await agent.get(DISPUTES, q=dispute["id"][:8])).json()["disputes"]}
    assert (await agent.get(DISPUTES, q=f"nothing-{backstage.tag}")).json()["disputes"] == []


async def test_a_party_sees_only_their_own(
    buyer: Caller, seller: Caller, backstage: Backstage, calling: Calling
) -> None:
    dispute = await opened(buyer, backstage)
    for caller in (buyer, seller):
        page = (await caller.get(DISPUTES)).json()
        (own,) = page["disputes"]
        read = (await caller.get(f"{DISPUTES}/{dispute['id']}")).json()
        del read["evidence_completeness"]  # more than a list is to look up
        assert own == read
        assert sum(page["counts"].values()) == 1
    stranger = calling(backstage.token(f"stranger-{backstage.tag}"))
    page = (await stranger.get(DISPUTES)).json()
    assert page["disputes"] == []
    assert sum(page["counts"].values()) == 0
    for q in (dispute["id"], backstage.order_id, backstage.buyer):
        assert (await stranger.get(DISPUTES, q=q)).json()["disputes"] == []
        assert len((await seller.get(DISPUTES, q=q)).json()["disputes"]) == 1
    # A party of one dispute who is of the staff sees it as a party.
    both = calling(backstage.token(backstage.seller, Role.AGENT))
    (mixed,) = (await both.get(DISPUTES, q=dispute["id"])).json()["disputes"]
    assert "staff_room" not in mixed


async def test_a_look_at_the_list_is_on_record(
    buyer: Caller, backstage: Backstage, calling: Calling, database: Database
) -> None:
    await opened(buyer, backstage)
    agent = staff(backstage, calling)
    await agent.get(DISPUTES, q=backstage.order_id, status="waiting_for_seller", limit=7)
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
    problem = assert_problem(await staff(backstage, calling).get(DISPUTES, **params), 400, "bad_request")
    assert problem["details"]["field"] == field


async def test_a_cursor_that_was_not_given_out(backstage: Backstage, calling: Calling) -> None:
    for cursor in ("!", "AAAA", "MTIz", "%00"):
        assert_problem(await staff(backstage, calling).get(DISPUTES, cursor=cursor), 400, "bad_request")
    assert (await staff(backstage, calling).get(DISPUTES, limit=DISPUTES_PAGE, q="q" * 200)).status_code == 200


async def test_who_may_list(backstage: Backstage, calling: Calling) -> None:
    assert_problem(await calling().get(DISPUTES), 401, "unauthenticated")
    for scope in (ApiScope.ORDERS_WRITE, ApiScope.DISPUTES_WRITE, ApiScope.WEBHOOKS_WRITE):
        problem = assert_problem(await calling(await backstage.key(scope)).get(DISPUTES), 403, "forbidden")
        assert problem["details"] == {"scopes": ["disputes:read"]}
    for role in (Role.AGENT, Role.SENIOR_AGENT, Role.AUDITOR):
        assert (await staff(backstage, calling, role).get(DISPUTES)).status_code == 200
