"""The report button, and what staff make of reports."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from policies.report import NOTE_CHARS, TEXT_CHARS
from policies.vocabulary import ApiScope, Role, RoomId, UserId
from tests.chatserver.http.conftest import (
    Backstage,
    Caller,
    Calling,
    assert_problem,
    opened,
    staff,
    with_settings,
)

DAY = 24 * 3600


@pytest.fixture
def agent(backstage: Backstage, calling: Calling, order: str) -> Caller:
    return staff(backstage, calling)


@pytest.fixture
async def insult(backstage: Backstage, order: str) -> int:
    """What the seller wrote."""
    return (await backstage.say(backstage.seller, Role.SELLER, "You fool")).seq


async def report(caller: Caller, backstage: Backstage, seq: int, **changes: Any) -> httpx.Response:
    body = {"seq": seq, "category": "insult", "text": "He called me a fool.", **changes}
    return await caller.post(f"/v1/rooms/{backstage.room}/reports", body)


async def listed(caller: Caller, backstage: Backstage, **query: Any) -> list[dict[str, Any]]:
    """The reports of this test's room."""
    found: list[dict[str, Any]] = []
    while True:
        response = await caller.get("/v1/reports", **query)
        assert response.status_code == 200, response.text
        page = response.json()
        found += [each for each in page["reports"] if each["order_id"] == backstage.order_id]
        if "next_cursor" not in page:
            return found
        query["cursor"] = page["next_cursor"]


async def test_from_a_report_to_its_end(
    backstage: Backstage, agent: Caller, buyer: Caller, seller: Caller, insult: int
) -> None:
    made = await report(buyer, backstage, insult)
    assert made.status_code == 201, made.text
    name = made.json()["id"]
    [open_] = await listed(agent, backstage)
    assert open_ == {
        "id": name,
        "room": backstage.room,
        "order_id": backstage.order_id,
        "seq": insult,
        "about": backstage.seller,
        "reporter": {"id": backstage.buyer, "role": "buyer", "name": backstage.buyer},
        "category": "insult",
        "text": "He called me a fool.",
        "at": "2026-01-31T09:30:00.000Z",
        "state": "open",
    }
    backstage.clock.advance(60)
    path = f"/v1/reports/{name}/resolve"
    done = await agent.post(path, {"outcome": "upheld", "note": "Redacted."})
    assert done.status_code == 200, done.text
    assert done.json() == open_ | {
        "state": "resolved",
        "outcome": "upheld",
        "note": "Redacted.",
        "resolved_by": f"agent-{backstage.tag}",
        "resolved_at": "2026-01-31T09:31:00.000Z",
    }
    assert (await agent.post(path, {"outcome": "upheld", "note": "Again"})).json() == done.json()
    assert_problem(await agent.post(path, {"outcome": "dismissed"}), 409, "conflict")
    assert await listed(agent, backstage) == []
    assert await listed(agent, backstage, state="resolved") == [done.json()]


async def test_the_one_who_is_reported_sees_nothing_of_it(
    backstage: Backstage, buyer: Caller, seller: Caller, insult: int, calling: Calling
) -> None:
    name = (await report(buyer, backstage, insult)).json()["id"]
    assert_problem(await seller.get("/v1/reports"), 403, "forbidden")
    also_staff = calling(backstage.token(backstage.seller, Role.SENIOR_AGENT))
    assert await listed(also_staff, backstage) == []
    assert_problem(await also_staff.post(f"/v1/reports/{name}/resolve", {"outcome": "dismissed"}), 404, "not_found")
    assert backstage.announced == []
    assert name not in (await seller.get(f"/v1/rooms/{backstage.room}/entries")).text


async def test_reports_about_an_agent_are_for_others(
    backstage: Backstage, agent: Caller, buyer: Caller, calling: Calling
) -> None:
    rude = await backstage.say(f"agent-{backstage.tag}", Role.AGENT, "Go away")
    assert (await report(buyer, backstage, rude.seq)).status_code == 201
    assert await listed(agent, backstage) == []
    other = calling(backstage.token(f"other-{backstage.tag}", Role.AGENT))
    assert len(await listed(other, backstage)) == 1


async def test_reporting_again_is_the_same_report(
    backstage: Backstage, agent: Caller, buyer: Caller, insult: int
) -> None:
    first = await report(buyer, backstage, insult)
    again = await report(buyer, backstage, insult, category="threat", text="Worse")
    assert (again.status_code, again.json()) == (200, first.json())
    assert (await report(agent, backstage, insult)).json() != first.json()  # somebody else's is another one
    assert {each["category"] for each in await listed(agent, backstage)} == {"insult"}


async def test_what_cannot_be_reported(
    backstage: Backstage, agent: Caller, buyer: Caller, seller: Caller, insult: int, calling: Calling
) -> None:
    assert_problem(await report(seller, backstage, insult), 422, "refused")
    assert_problem(await report(buyer, backstage, 99), 404, "not_found")
    assert_problem(await report(buyer, backstage, insult, category="boring"), 400, "bad_request")
    assert_problem(await report(buyer, backstage, insult, text="x" * (TEXT_CHARS + 1)), 400, "bad_request")
    assert_problem(await report(calling(backstage.token("stranger")), backstage, insult), 404, "not_found")
    assert_problem(await report(staff(backstage, calling, Role.AUDITOR), backstage, insult), 403, "forbidden")
    key = calling(await backstage.key(ApiScope.DISPUTES_READ))
    assert_problem(await report(key, backstage, insult), 403, "forbidden")
    dispute = await opened(buyer, backstage)
    place = {"seq": 2, "category": "other"}
    assert_problem(await buyer.post(f"/v1/rooms/{dispute['room']}/reports", place), 422, "refused")
    assert (await report(buyer, backstage, insult, text="x" * TEXT_CHARS)).status_code == 201


async def test_staff_alone_resolve(
    backstage: Backstage, agent: Caller, buyer: Caller, insult: int, calling: Calling, back_end: Caller
) -> None:
    name = (await report(buyer, backstage, insult)).json()["id"]
    path, body = f"/v1/reports/{name}/resolve", {"outcome": "dismissed"}
    for caller in (buyer, staff(backstage, calling, Role.AUDITOR), back_end):
        assert_problem(await caller.post(path, body), 403, "forbidden")
    assert len(await listed(back_end, backstage)) == 1
    assert_problem(await agent.post("/v1/reports/none/resolve", body), 404, "not_found")
    assert_problem(await agent.post(path, body | {"note": "x" * (NOTE_CHARS + 1)}), 400, "bad_request")
    assert (await agent.post(path, body | {"note": "x" * NOTE_CHARS})).status_code == 200


@pytest.fixture
async def thrice(backstage: Backstage, order: str) -> AsyncIterator[Caller]:
    """The buyer, who may report three entries a day."""
    api = with_settings(backstage, reports_per_day=3)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://test") as client:
        yield Caller(client, {"Authorization": f"Bearer {backstage.token(backstage.buyer)}"})


async def test_so_many_reports_a_day(backstage: Backstage, thrice: Caller) -> None:
    seqs = [(await backstage.say(backstage.seller, Role.SELLER, f"No. {number}")).seq for number in range(5)]
    for seq in seqs[:3]:
        assert (await report(thrice, backstage, seq)).status_code == 201
    refused = assert_problem(await report(thrice, backstage, seqs[3]), 429, "rate_limited")
    assert refused["details"] == {"limit": 3}
    assert (await report(thrice, backstage, seqs[0])).status_code == 200  # no new one
    backstage.clock.advance(DAY - 0.001)
    thrice.headers["Authorization"] = f"Bearer {backstage.token(backstage.buyer)}"
    assert_problem(await report(thrice, backstage, seqs[3]), 429, "rate_limited")
    backstage.clock.advance(0.001)
    assert (await report(thrice, backstage, seqs[3])).status_code == 201


async def test_reports_come_in_pages_oldest_first(backstage: Backstage, agent: Caller, buyer: Caller) -> None:
    seqs = []
    for number in range(5):
        seqs.append((await backstage.say(backstage.seller, Role.SELLER, f"No. {number}")).seq)
        backstage.clock.advance(1)
        await report(buyer, backstage, seqs[-1])
    assert [each["seq"] for each in await listed(agent, backstage, limit=2)] == seqs
    assert_problem(await agent.get("/v1/reports", cursor="!"), 400, "bad_request")


async def test_who_looked_and_resolved_is_on_record(
    backstage: Backstage, agent: Caller, buyer: Caller, calling: Calling
) -> None:
    dispute = await opened(buyer, backstage)
    made = await agent.post(f"/v1/rooms/{dispute['room']}/reports", {"seq": 1, "category": "fraud"})
    name = made.json()["id"]
    assert [each["dispute"] for each in await listed(agent, backstage)] == [dispute["id"]]
    await agent.post(f"/v1/reports/{name}/resolve", {"outcome": "dismissed"})
    auditor = staff(backstage, calling, Role.AUDITOR)
    records = (await auditor.get(f"/v1/disputes/{dispute['id']}/audit")).json()["records"]
    assert [each["action"] for each in records] == ["report.resolve", "reports.list"]
    assert records[0]["details"] == {"report": name, "seq": 1, "outcome": "dismissed"}


async def test_what_was_said_is_forgotten_with_its_author(
    backstage: Backstage, agent: Caller, buyer: Caller, seller: Caller, insult: int
) -> None:
    answer = await backstage.say(backstage.buyer, Role.BUYER, "Fool yourself")
    await report(buyer, backstage, insult)
    await report(seller, backstage, answer.seq, text="She does not stop.")
    await backstage.services.moderation.reports.forget(RoomId(backstage.room), UserId(backstage.buyer))
    texts = {each["reporter"]["id"]: each["text"] for each in await listed(agent, backstage)}
    assert texts == {backstage.buyer: "", backstage.seller: "She does not stop."}
