"""Evidence that staff hide from the other side, and show again: on every way on which it can be seen."""

from typing import Any

import httpx
import pytest

from chatserver.evidence.inventory import Inventory
from chatserver.rulings import wrongly_shown
from chatserver.transcript.reading import read_case_file
from chatserver.transcript.verification import verify_case_file
from storage.evidence import EvidenceState
from tests.chatserver.http.conftest import Caller
from tests.chatserver.http.evidence_room import Room, dispute_room, fetch, gate, order_room, settings
from tests.chatserver.http.test_screened_evidence import ELSEWHERE, added, coded

__all__ = ["dispute_room", "gate", "order_room", "settings"]

ADDRESS = "the parcel, with my address on it"


@pytest.fixture(params=["order_room", "dispute_room"])
def room(request: pytest.FixtureRequest) -> Room:
    found: Room = request.getfixturevalue(request.param)
    return found


async def rule(room: Room, verdict: str, evidence: str, reason: str = "It shows an address.") -> httpx.Response:
    entry = await added(room, evidence)
    return await room.agent.post(f"/v1/rooms/{room.room}/entries/{entry.seq}/{verdict}", {"reason": reason})


async def entry_for(who: Caller, room: Room, seq: int) -> dict[str, Any]:
    entries = (await who.get(f"/v1/rooms/{room.room}/entries")).json()["entries"]
    (found,) = (each for each in entries if each["seq"] == seq)
    return dict(found)


async def pictures(who: Caller, room: Room) -> tuple[int, bool]:
    """How many pictures the case file has for somebody, and whether it holds what was said of one."""
    page = (await who.get(f"/v1/rooms/{room.room}/transcript", format="html")).text
    return page.count('src="data:image/webp;base64,UklGR'), ADDRESS in page


async def test_hidden_evidence_reaches_nobody_but_its_uploader_and_staff(room: Room) -> None:
    evidence = await room.sealed(room.buyer, caption=ADDRESS)
    entry = await added(room, evidence)
    everybody = (room.buyer, room.seller, room.agent)
    assert [await pictures(who, room) for who in everybody] == [(1, True)] * 3
    answer = await rule(room, "redact", evidence)
    assert (answer.status_code, answer.json()["entry"]["withheld"]) == (200, True)

    assert [(await who.get(f"/v1/evidence/{evidence}")).status_code for who in everybody] == [200, 404, 200]
    assert (await room.complete(room.seller, evidence)).status_code == 404
    assert [await pictures(who, room) for who in everybody] == [(1, True), (0, False), (1, True)]
    theirs = await entry_for(room.seller, room, entry.seq)
    assert (theirs["body"], theirs["withheld"]) == ({}, True)
    own = await entry_for(room.buyer, room, entry.seq)
    assert (own["body"]["caption"], own["withheld"]) == (ADDRESS, True)
    document = await room.seller.get(f"/v1/rooms/{room.room}/transcript", format="pdf")
    assert document.content.startswith(b"%PDF-")

    assert (await rule(room, "release", evidence, "It is blurred.")).status_code == 200
    seen = (await room.seller.get(f"/v1/evidence/{evidence}")).json()
    assert (seen["caption"], seen["download"]["original"]) == (ADDRESS, False)
    assert (await fetch(seen["download"])).status_code == 200
    assert [await pictures(who, room) for who in everybody] == [(1, True)] * 3


async def test_verifying_agrees_with_what_is_hidden_and_shown(room: Room) -> None:
    hidden, shown = [await room.sealed(room.buyer) for _ in range(2)]
    for verdict, evidence in (("redact", hidden), ("redact", shown), ("release", shown)):
        assert (await rule(room, verdict, evidence)).status_code == 200
    services = room.backstage.services
    assert await wrongly_shown(room.room, services.log) is None
    inventory = Inventory(services.objects, services.evidence, services.log, deep=True)
    assert [fault async for fault in inventory.faults(room.room)] == []
    assert inventory.pieces == 2
    for who in (room.buyer, room.seller, room.agent):
        case = await who.get(f"/v1/rooms/{room.room}/transcript", format="json")
        assert verify_case_file(read_case_file(case.content)).findings == ()
    # Hidden or shown by anything but a ruling that the log holds is found.
    entry = await added(room, hidden)
    await services.log._entries.update_one({"room": room.room, "seq": entry.seq}, {"$unset": {"shown": ""}})
    assert await wrongly_shown(room.room, services.log) == entry.seq


async def test_a_wrongly_withheld_picture_can_be_released_and_hidden_again(room: Room) -> None:
    evidence = await coded(room)  # of the seller
    for verdict, status in (("release", 200), ("redact", 404), ("release", 200)):
        assert (await rule(room, verdict, evidence)).status_code == 200
        assert (await room.buyer.get(f"/v1/evidence/{evidence}")).status_code == status
    assert ELSEWHERE not in (await room.buyer.get(f"/v1/evidence/{evidence}")).text  # what codes hold is for staff


async def test_hidden_evidence_may_still_be_withdrawn_and_a_reason_is_needed(room: Room) -> None:
    evidence = await room.sealed(room.buyer)
    assert (await rule(room, "redact", evidence, " ")).status_code == 400
    assert (await rule(room, "redact", evidence)).status_code == 200
    withdrawn = await room.buyer.client.request(
        "DELETE", f"/v1/evidence/{evidence}", json={"reason": "sorry"}, headers=room.buyer.headers
    )
    assert (withdrawn.status_code, withdrawn.json()["state"]) == (200, EvidenceState.SEALED)
    assert (await rule(room, "release", evidence)).status_code == 200
    # Released or not: its uploader has taken it back.
    assert (await room.seller.get(f"/v1/evidence/{evidence}")).status_code == 404
    assert (await room.agent.get(f"/v1/evidence/{evidence}")).status_code == 200


async def test_only_support_hides_evidence(room: Room) -> None:
    evidence = await room.sealed(room.buyer)
    entry = await added(room, evidence)
    for who, status in ((room.buyer, 403), (room.seller, 403), (room.stranger, 404)):
        answer = await who.post(f"/v1/rooms/{room.room}/entries/{entry.seq}/redact", {"reason": "I do not like it."})
        assert answer.status_code == status
    assert (await room.seller.get(f"/v1/evidence/{evidence}")).status_code == 200
