"""What staff look after, over HTTP: flagged entries, rulings, strikes, slow rooms."""

import uuid
from typing import Any

import pytest

from chatserver.transcript.reading import read_case_file
from chatserver.transcript.verification import verify_case_file
from policies.entry import Author, Draft, Entry
from policies.flag import Cause, CauseKind, Flag, Mark
from policies.verdicts import REASON_CHARS
from policies.vocabulary import ApiScope, CommandId, EntryKind, Role, RoomId, UserId, Visibility
from storage.chain import link
from tests.chatserver.http.conftest import Backstage, Caller, Calling, assert_problem, opened, salt, staff

PHONE = Cause(CauseKind.CONTACT, "phone", "text", 8, 20, 96, "phone.run")
CARD = Cause(CauseKind.SECRET, "card", "text", 0, 16, 100, "secret.card")
DAY = 24 * 3600


async def flagged(
    backstage: Backstage, mark: Mark = Mark.WITHHELD, *, room: RoomId | None = None, cause: Cause = PHONE
) -> Entry:
    """A message of the seller's in which something was found."""
    room = room or backstage.room
    visibility = Visibility.WITHHELD if mark is Mark.WITHHELD else Visibility.ALL
    author = Author(UserId(backstage.seller), Role.SELLER, "Shop")
    body, command = {"text": "Call me 0176 123 456"}, CommandId(uuid.uuid4().hex)
    draft = Draft(author, command, EntryKind.MESSAGE, body, visibility, Flag(mark, 96, (cause,)))
    log = backstage.services.log
    [entry] = link(room, await log.head(room), [draft], backstage.clock.now(), salt)
    assert (await log.submit([entry])).failure is None
    return entry


@pytest.fixture
def agent(backstage: Backstage, calling: Calling, order: str) -> Caller:
    return staff(backstage, calling)


async def rule(caller: Caller, verdict: str, entry: Entry, reason: str = "Looked at", key: str | None = None) -> Any:
    headers = caller.headers | ({"Idempotency-Key": key} if key else {})
    path = f"/v1/rooms/{entry.room}/entries/{entry.seq}/{verdict}"
    return await caller.client.post(path, json={"reason": reason}, headers=headers)


async def seen(caller: Caller, entry: Entry) -> dict[str, Any]:
    page = (await caller.get(f"/v1/rooms/{entry.room}/entries", after=entry.seq - 1, limit=1)).json()
    found: dict[str, Any] = page["entries"][0]
    return found


async def queue(caller: Caller, backstage: Backstage, **query: Any) -> list[int]:
    """The places of the entries of this test that are listed."""
    response = await caller.get("/v1/flags", room=backstage.room, **query)
    assert response.status_code == 200, response.text
    return [each["entry"]["seq"] for each in response.json()["flags"]]


async def test_from_the_queue_to_everybody(backstage: Backstage, agent: Caller, buyer: Caller) -> None:
    entry = await flagged(backstage)
    [listed] = (await agent.get("/v1/flags", room=backstage.room)).json()["flags"]
    assert (listed["room"], listed["order_id"]) == (backstage.room, backstage.order_id)
    assert "dispute" not in listed
    assert listed["entry"]["body"] == {"text": "Call me 0176 123 456"}
    assert listed["entry"]["flag"]["causes"][0]["category"] == "phone"
    assert (await seen(buyer, entry))["body"] == {}

    answer = await rule(agent, "release", entry, "A tracking number")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["entry"]["released"] is True
    assert told["entry"]["flag"]["state"] == "released"
    assert told["entry"]["flag"]["decided_by"] == f"agent-{backstage.tag}"
    assert not told["duplicate"]
    assert [each.seq for each in backstage.announced] == [told["logged"]]
    shown = await seen(buyer, entry)
    assert shown["body"] == {"text": "Call me 0176 123 456"}
    assert "flag" not in shown
    assert await queue(agent, backstage) == []
    assert await queue(agent, backstage, state="released") == [entry.seq]


async def test_a_ruling_sent_again_under_its_key_is_one(backstage: Backstage, agent: Caller) -> None:
    entry, other = await flagged(backstage), await flagged(backstage)
    first = (await rule(agent, "release", entry, key="k")).json()
    assert (await rule(agent, "redact", entry)).json()["entry"]["withheld"] is True
    again = (await rule(agent, "release", entry, key="k")).json()
    assert (again["logged"], again["duplicate"]) == (first["logged"], True)
    assert again["entry"]["withheld"] is True  # as it is now
    assert_problem(await rule(agent, "release", other, key="k"), 409, "conflict")
    assert_problem(await rule(agent, "release", entry, "Something else", key="k"), 409, "conflict")


async def test_confirming_is_quiet(backstage: Backstage, agent: Caller) -> None:
    entry = await flagged(backstage)
    for _ in range(2):
        told = (await rule(agent, "confirm", entry, "")).json()
        assert "logged" not in told
        assert told["entry"]["flag"]["state"] == "confirmed"
    assert backstage.announced == []
    assert await queue(agent, backstage, state="confirmed") == [entry.seq]


async def test_what_is_repeated_waits_aside_and_counts_once_it_is_confirmed(
    backstage: Backstage, agent: Caller
) -> None:
    first, second, third = [await flagged(backstage) for _ in range(3)]
    for entry in (second, third):
        await backstage.services.moderation.flags.repeated(entry)
    path = f"/v1/users/{backstage.seller}/strikes"
    assert await queue(agent, backstage) == [first.seq]
    repeated = await queue(agent, backstage, state="repeated")
    assert sorted(repeated) == [second.seq, third.seq]  # they may be of the same millisecond
    assert (await agent.get(path)).json()["score"] == 1.0
    assert (await rule(agent, "confirm", second)).json()["entry"]["flag"]["state"] == "confirmed"
    assert (await agent.get(path)).json()["score"] == 2.0
    assert (await rule(agent, "release", third)).json()["entry"]["released"]
    assert await queue(agent, backstage, state="repeated") == []


async def test_who_may_not(
    backstage: Backstage, agent: Caller, buyer: Caller, calling: Calling, back_end: Caller
) -> None:
    entry = await flagged(backstage)
    own_case = calling(backstage.token(backstage.buyer, Role.AGENT))
    for caller in (buyer, own_case, staff(backstage, calling, Role.AUDITOR), back_end):
        for verdict in ("release", "redact", "confirm"):
            assert_problem(await rule(caller, verdict, entry), 403, "forbidden")
        assert_problem(await caller.put(f"/v1/rooms/{backstage.room}/slow-mode", {"every_s": 5}), 403, "forbidden")
    stranger = calling(backstage.token(f"stranger-{backstage.tag}"))
    assert_problem(await rule(stranger, "release", entry), 404, "not_found")
    for path in ("/v1/flags", f"/v1/users/{backstage.seller}/strikes"):
        assert_problem(await buyer.get(path), 403, "forbidden")
        assert_problem(await calling(await backstage.key(ApiScope.ORDERS_WRITE)).get(path), 403, "forbidden")
        assert (await back_end.get(path)).status_code == 200
    assert await queue(own_case, backstage) == []  # nobody is staff in their own case
    assert await queue(agent, backstage) == [entry.seq]


async def test_what_cannot_be_ruled_on(backstage: Backstage, agent: Caller, order: str) -> None:
    plain = await backstage.say(backstage.buyer, Role.BUYER, "Hello")
    assert_problem(await rule(agent, "confirm", plain), 422, "refused")
    assert_problem(await rule(agent, "redact", plain, ""), 400, "bad_request")
    assert_problem(await rule(agent, "redact", plain, "x" * (REASON_CHARS + 1)), 400, "bad_request")
    assert (await rule(agent, "redact", plain, "x" * REASON_CHARS)).status_code == 200
    assert_problem(await agent.post(f"/v1/rooms/{backstage.room}/entries/99/release", {}), 404, "not_found")
    assert_problem(await agent.post(f"/v1/rooms/{backstage.room}/entries/0/release", {}), 400, "bad_request")
    assert_problem(await agent.post("/v1/rooms/nowhere/entries/1/release", {}), 404, "not_found")


async def test_the_queue_in_pages(backstage: Backstage, agent: Caller) -> None:
    entries = []
    for mark in (Mark.WITHHELD, Mark.WARNED, Mark.NOTED, Mark.MASKED, Mark.WITHHELD):
        entries.append((await flagged(backstage, mark)).seq)
        backstage.clock.advance(1)
    assert await queue(agent, backstage) == entries
    assert await queue(agent, backstage, mark=["withheld", "masked"]) == [entries[0], entries[3], entries[4]]
    found: list[int] = []
    query: dict[str, Any] = {"user": backstage.seller, "limit": 2}
    for _ in range(3):
        page = (await agent.get("/v1/flags", **query)).json()
        found += [each["entry"]["seq"] for each in page["flags"]]
        query["cursor"] = page.get("next_cursor")
    assert found == entries
    assert query["cursor"] is None
    assert_problem(await agent.get("/v1/flags", cursor="!"), 400, "bad_request")
    assert_problem(await agent.get("/v1/flags", limit=101), 400, "bad_request")


async def test_a_look_at_the_queue_is_on_record(
    backstage: Backstage, agent: Caller, buyer: Caller, calling: Calling
) -> None:
    dispute = await opened(buyer, backstage)
    await flagged(backstage, room=RoomId(dispute["room"]))
    [listed] = (await agent.get("/v1/flags", room=dispute["room"])).json()["flags"]
    assert listed["dispute"] == dispute["id"]
    auditor = staff(backstage, calling, Role.AUDITOR)
    records = (await auditor.get(f"/v1/disputes/{dispute['id']}/audit")).json()["records"]
    assert [(each["action"], each["actor"]["id"]) for each in records] == [("flags.list", f"agent-{backstage.tag}")]


async def test_strikes_add_up_fade_and_are_taken_back(backstage: Backstage, agent: Caller) -> None:
    first = await flagged(backstage)
    await flagged(backstage, Mark.MASKED, cause=CARD)  # who gives away their own harms themselves
    backstage.clock.advance(30 * DAY)
    for _ in range(3):
        await flagged(backstage)
    await flagged(backstage, Mark.WARNED)
    path = f"/v1/users/{backstage.seller}/strikes"
    agent.headers |= {"Authorization": f"Bearer {backstage.token(f'agent-{backstage.tag}', Role.AGENT)}"}
    told = (await agent.get(path)).json()
    assert (told["user"], told["score"], told["above"]) == (backstage.seller, 3.75, True)
    assert [each["weight"] for each in told["strikes"]] == [0.25, 1.0, 1.0, 1.0, 0.5]
    assert told["strikes"][-1] == {
        "room": backstage.room,
        "seq": first.seq,
        "at": "2026-01-31T09:30:00.000Z",
        "mark": "withheld",
        "categories": ["phone"],
        "state": "open",
        "weight": 0.5,
    }
    for each in told["strikes"][1:3]:
        path_of = f"/v1/rooms/{backstage.room}/entries/{each['seq']}/release"
        assert (await agent.post(path_of, {})).status_code == 200
    after = (await agent.get(path)).json()
    assert (after["score"], after["above"]) == (1.75, False)
    assert [each["state"] for each in after["strikes"]].count("released") == 2
    nobody = (await agent.get("/v1/users/nobody/strikes")).json()
    assert nobody == {"user": "nobody", "score": 0.0, "above": False, "strikes": []}


async def test_slow_mode_is_said_once(backstage: Backstage, agent: Caller) -> None:
    path = f"/v1/rooms/{backstage.room}/slow-mode"
    for _ in range(2):
        assert (await agent.put(path, {"every_s": 3600})).json() == {"room": backstage.room, "every_s": 3600}
    [notice] = backstage.announced
    assert (notice.kind, notice.body) == (EntryKind.NOTICE, {"notice": "slow_mode", "every_s": 3600})
    for refused in (3601, -1, "5", 1.5, None):
        assert_problem(await agent.put(path, {"every_s": refused}), 400, "bad_request")
    facts = await backstage.services.rooms.facts(backstage.room)
    assert facts is not None
    assert facts.slow_mode_s == 3600
    await agent.put(path, {"every_s": 0})
    assert [each.body["every_s"] for each in backstage.announced] == [3600, 0]


async def test_the_case_file_of_a_dispute_with_rulings_can_be_checked(
    backstage: Backstage, agent: Caller, buyer: Caller, seller: Caller
) -> None:
    dispute = await opened(buyer, backstage)
    room = RoomId(dispute["room"])
    released, hidden = await flagged(backstage, room=room), await flagged(backstage, Mark.WARNED, room=room)
    await rule(agent, "release", released)
    await rule(agent, "redact", hidden)
    for caller in (buyer, seller, agent):
        response = await caller.get(f"/v1/rooms/{room}/transcript", format="json")
        kinds = [each["kind"] for each in response.json()["entries"]]
        assert kinds[-3:] == ["message.released", "dispute.attended", "message.redacted"]
        verdict = verify_case_file(read_case_file(response.content))
        assert verdict.findings == ()
        # Whether a message that is not here said anything, the file cannot tell.
        replayed = any("the state of the dispute is what its entries add up to" in line for line in verdict.holds)
        assert replayed == (caller is not buyer)
        for form in ("html", "pdf"):
            assert (await caller.get(f"/v1/rooms/{room}/transcript", format=form)).status_code == 200


async def test_case_files_show_what_is_shown(backstage: Backstage, agent: Caller, buyer: Caller) -> None:
    hidden = await backstage.say(backstage.seller, Role.SELLER, "You fool")
    shown = await flagged(backstage)
    await rule(agent, "redact", hidden, "An insult")
    await rule(agent, "release", shown)
    path = f"/v1/rooms/{backstage.room}/transcript"
    theirs = {each["seq"]: each for each in (await buyer.get(path, format="json")).json()["entries"]}
    whole = {each["seq"]: each for each in (await agent.get(path, format="json")).json()["entries"]}
    assert "You fool" not in str(theirs)
    assert theirs[hidden.seq]["digest"] == whole[hidden.seq]["digest"]
    assert "Call me 0176 123 456" in str(theirs[shown.seq])
    assert "You fool" in str(whole[hidden.seq])
    assert whole[shown.seq]["flag"]["state"] == "released"
    assert "flag" not in theirs[shown.seq]
