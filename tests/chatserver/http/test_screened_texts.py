"""What becomes of texts that parties send over HTTP, and that the other side would read."""

import json
from typing import Any

from chatserver.transcript.reading import read_case_file
from chatserver.transcript.verification import verify_case_file
from policies.vocabulary import ApiScope
from tests.chatserver.http.conftest import DISPUTES, Backstage, Caller, Calling, opened, staff

OUTSIDE = "It is broken. Write me on whatsapp +49 151 12345678 please."
MASKED = "It is broken. Write me on •••••••• ••• ••• •••••••• please."


async def entries(reader: Caller, room: str) -> list[dict[str, Any]]:
    answer = await reader.get(f"/v1/rooms/{room}/entries")
    assert answer.status_code == 200, answer.text
    told: list[dict[str, Any]] = answer.json()["entries"]
    return told


async def test_contact_details_in_a_description_are_masked(
    buyer: Caller, seller: Caller, backstage: Backstage, calling: Calling
) -> None:
    dispute = await opened(buyer, backstage, description=OUTSIDE)
    assert dispute["notice"]["mark"] == "masked"
    assert "12345678" not in str(dispute)
    agent, room = staff(backstage, calling), dispute["room"]
    (seen, *others) = await entries(seller, room)
    assert seen["body"]["description"] == dispute["description"] == MASKED
    assert not {"whole", "flag"} & seen.keys()
    assert [(each["body"]["notice"], each["body"].get("about")) for each in others] == [
        ("talk_first", None),
        ("contact", 1),
    ]
    (own, *_) = await entries(buyer, room)
    assert own["whole"] == {"description": OUTSIDE}
    assert "flag" not in own
    (all_of_it, *_) = await entries(agent, room)
    assert all_of_it["whole"] == {"description": OUTSIDE}
    assert {cause["field"] for cause in all_of_it["flag"]["causes"]} == {"description"}
    for reader in (buyer, seller, agent):
        read = (await reader.get(f"{DISPUTES}/{dispute['id']}")).json()
        assert read["description"] == MASKED


async def test_the_same_key_again_is_told_the_same(buyer: Caller, backstage: Backstage) -> None:
    keyed = Caller(buyer.client, {**buyer.headers, "Idempotency-Key": "k"})
    first = await keyed.post(DISPUTES, backstage.opening(description=OUTSIDE))
    again = await keyed.post(DISPUTES, backstage.opening(description=OUTSIDE))
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert again.json()["notice"]["mark"] == "masked"
    # What was made of it is another text than what was written.
    other = await keyed.post(DISPUTES, backstage.opening(description=MASKED))
    assert other.status_code == 409


async def test_what_the_back_end_passes_on_is_screened_too(order: str, backstage: Backstage, calling: Calling) -> None:
    key = calling(await backstage.key(ApiScope.DISPUTES_WRITE))
    wanted = backstage.opening(description=OUTSIDE, on_behalf_of=backstage.buyer)
    answer = await key.post(DISPUTES, wanted)
    assert (answer.status_code, answer.json()["description"]) == (201, MASKED)
    assert answer.json()["notice"]["mark"] == "masked"


async def test_an_ordinary_description_has_no_notice(buyer: Caller, backstage: Backstage) -> None:
    assert "notice" not in await opened(buyer, backstage)


async def test_case_files_of_a_masked_description_hold_for_everybody(
    buyer: Caller, seller: Caller, backstage: Backstage, calling: Calling
) -> None:
    room, agent = (await opened(buyer, backstage, description=OUTSIDE))["room"], staff(backstage, calling)
    for reader, whole in ((buyer, OUTSIDE), (seller, None), (agent, OUTSIDE)):
        content = (await reader.get(f"/v1/rooms/{room}/transcript", format="json")).content
        verdict = verify_case_file(read_case_file(content))
        assert verdict.findings == ()
        assert any("the state of the dispute is what its entries add up to" in each for each in verdict.holds)
        first = json.loads(content)["entries"][0]
        assert first.get("whole", {}).get("texts", {}).get("description") == whole
        assert ("flag" in first) is (reader is agent)


async def test_a_file_for_staff_is_never_said_to_be_the_same(
    buyer: Caller, backstage: Backstage, calling: Calling
) -> None:
    room = (await opened(buyer, backstage))["room"]
    # Whether a flag was right, staff say without an entry in the log.
    for reader, status in ((buyer, 304), (staff(backstage, calling), 200)):
        tag = (await reader.get(f"/v1/rooms/{room}/transcript")).headers["etag"]
        backstage.clock.advance(60)
        known = Caller(reader.client, {**reader.headers, "If-None-Match": tag})
        assert (await known.get(f"/v1/rooms/{room}/transcript")).status_code == status


async def test_a_long_description_is_screened_as_well(buyer: Caller, backstage: Backstage) -> None:
    story = "First the parcel came late. Then the lamp did not light up. " * 40
    dispute = await opened(buyer, backstage, description=story + OUTSIDE)
    assert dispute["description"] == story + MASKED


async def test_what_the_order_is_about_may_be_named(back_end: Caller, buyer: Caller, backstage: Backstage) -> None:
    await back_end.put(f"/v1/orders/{backstage.order_id}", backstage.report(details={"serial": "0151 12345678"}))
    dispute = await opened(buyer, backstage, description="My number is 0151 12345678, and it is broken.")
    assert "notice" not in dispute
