"""What becomes of what parties say of evidence, and of codes in pictures that lead elsewhere."""

import io
import re
from typing import Any

import pytest
from PIL import Image

from chatserver.disputes.snapshots import check_snapshot
from policies.dispute.commands import ReleaseMessage
from policies.entry import Author, Entry
from policies.flag import Mark
from policies.vocabulary import CommandId, EntryKind, Role, UserId
from storage.evidence import EvidenceState
from tests.chatserver.evidence import files
from tests.chatserver.http.conftest import Caller
from tests.chatserver.http.evidence_room import Room, dispute_of, dispute_room, fetch, gate, order_room, settings

__all__ = ["dispute_room", "gate", "order_room", "settings"]

OUTSIDE = "Call me on +49 151 12345678"
MASKED = "Call me on ••• ••• ••••••••"
ELSEWHERE = "https://wa.me/4915112345678"
AGENT = Author(UserId("agent-1"), Role.AGENT, "Al")


async def added(room: Room, evidence: str) -> Entry:
    entries = await room.backstage.services.log.read_before(room.room, None, 100)
    of_it = [each for each in entries if each.body.get("evidence") == evidence]
    (entry,) = (each for each in of_it if each.kind is EntryKind.EVIDENCE_ADDED)
    return entry


async def read(who: Caller, evidence: str) -> dict[str, Any]:
    answer = await who.get(f"/v1/evidence/{evidence}")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def coded(room: Room, payload: str = ELSEWHERE, **changed: Any) -> str:
    """The seller adds a picture with a QR code."""
    said = {"filename": "code.png", "content_type": "image/png", **changed}
    return await room.sealed(room.seller, files.coded(payload), **said)


@pytest.fixture(params=["order_room", "dispute_room"])
def room(request: pytest.FixtureRequest) -> Room:
    found: Room = request.getfixturevalue(request.param)
    return found


async def test_captions_and_file_names_are_masked_for_the_other_party(room: Room) -> None:
    evidence = await room.upload(room.buyer, caption=OUTSIDE, filename="ann@gmail.com.jpg")
    answer = (await room.complete(room.buyer, evidence)).json()
    assert (answer["caption"], answer["filename"]) == (OUTSIDE, "ann_gmail.com.jpg")
    assert answer["notice"]["mark"] == "masked"
    assert (await room.complete(room.buyer, evidence)).json() == answer
    entry = await added(room, evidence)
    assert (entry.body["caption"], entry.body["filename"]) == (MASKED, "•••••••••••••.jpg")
    assert entry.written["caption"] == OUTSIDE
    assert entry.flag is not None
    assert {cause.field for cause in entry.flag.causes} == {"caption", "filename"}
    seen = await read(room.seller, evidence)
    assert (seen["caption"], seen["filename"]) == (MASKED, "evidence.jpg")
    assert "notice" not in seen
    download = await fetch(seen["download"])
    assert re.search('filename="([^"]*)"', download.headers["content-disposition"])[1] == "evidence.jpg"  # type: ignore[index]
    for who in (room.buyer, room.agent):
        whole = await read(who, evidence)
        assert (whole["caption"], whole["filename"]) == (OUTSIDE, "ann_gmail.com.jpg")
        download = await fetch(whole["download"])
        assert "ann_gmail.com.jpg" in download.headers["content-disposition"]


async def test_a_reason_to_withdraw_is_masked(room: Room) -> None:
    evidence = await room.sealed(room.buyer)
    await room.buyer.client.request(
        "DELETE", f"/v1/evidence/{evidence}", json={"reason": OUTSIDE}, headers=room.buyer.headers
    )
    entries = await room.backstage.services.log.read_before(room.room, None, 100)
    (entry,) = (each for each in entries if each.kind is EntryKind.EVIDENCE_WITHDRAWN)
    assert (entry.body["reason"], entry.written["reason"]) == (MASKED, OUTSIDE)


async def test_both_sides_are_reminded_of_several_pieces_once_in_ten_minutes(room: Room) -> None:
    async def reminders() -> list[int]:
        entries = await room.backstage.services.log.read_before(room.room, None, 100)
        return [each.body["about"] for each in entries if "about" in each.body]

    first = (await added(room, await room.sealed(room.buyer, caption=OUTSIDE))).seq
    await room.sealed(room.buyer, caption=OUTSIDE)
    assert await reminders() == [first]
    other = (await added(room, await room.sealed(room.seller, caption=OUTSIDE))).seq
    assert await reminders() == [first, other]
    room.backstage.clock.advance(601)
    later = (await added(room, await room.sealed(room.buyer, caption=OUTSIDE))).seq
    assert await reminders() == [first, other, later]


async def test_a_picture_with_a_code_that_leads_elsewhere_is_withheld(room: Room) -> None:
    evidence = await room.upload(room.seller, files.coded(ELSEWHERE), filename="code.png", content_type="image/png")
    answer = (await room.complete(room.seller, evidence)).json()
    assert answer["notice"]["mark"] == "withheld"
    entry = await added(room, evidence)
    assert entry.hidden
    assert entry.flag is not None
    assert entry.flag.mark is Mark.WITHHELD
    assert {(cause.field, cause.category, cause.start, cause.end) for cause in entry.flag.causes} == {
        ("code", "url", 0, 0)
    }
    told = (await room.buyer.get(f"/v1/rooms/{room.room}/entries")).json()["entries"]
    (seen,) = (each for each in told if each["seq"] == entry.seq)
    assert (seen["body"], seen["withheld"]) == ({}, True)
    (reminder,) = (each for each in told if each["body"].get("about") == entry.seq)
    assert reminder["body"]["notice"] == "contact"
    for call in (room.buyer.get(f"/v1/evidence/{evidence}"), room.complete(room.buyer, evidence)):
        assert (await call).status_code == 404
    assert (await read(room.seller, evidence))["download"]["original"]
    whole = await read(room.agent, evidence)
    assert whole["seen"]["codes"] == [ELSEWHERE]


async def test_evidence_that_staff_release_is_given_out_with_all_that_was_said_of_it(dispute_room: Room) -> None:
    desk, dispute = dispute_room.backstage.services.desk, dispute_of(dispute_room)
    evidence = await coded(dispute_room, caption=OUTSIDE)
    entry = await added(dispute_room, evidence)
    assert (await dispute_room.buyer.get(f"/v1/evidence/{evidence}")).status_code == 404
    await desk.run(dispute, ReleaseMessage(AGENT, CommandId("r"), entry.seq, "It is their shop here."))
    seen = await read(dispute_room.buyer, evidence)
    assert (seen["caption"], seen["filename"]) == (OUTSIDE, "code.png")
    # Wrongly withheld, it had not answered the dispute; now it has.
    assert (await desk.state(dispute)).attended_at is not None
    services = dispute_room.backstage.services
    assert await check_snapshot(dispute, services.log, services.disputes) is None


@pytest.mark.parametrize("payload", ["SMSTO:015112345678:hi", "wxp://f2f0abc", "https://t.me/annshop"])
async def test_codes_that_call_write_or_pay_are_withheld(order_room: Room, payload: str) -> None:
    assert (await added(order_room, await coded(order_room, payload))).hidden


async def test_a_document_with_such_a_code_is_withheld(order_room: Room) -> None:
    content = io.BytesIO()
    with Image.open(io.BytesIO(files.coded(ELSEWHERE))) as code:
        code.save(content, "PDF")
    said = {"filename": "invoice.pdf", "content_type": "application/pdf", "kind": "document"}
    evidence = await order_room.sealed(order_room.seller, content.getvalue(), **said)
    assert (await added(order_room, evidence)).hidden
    assert (await order_room.buyer.get(f"/v1/evidence/{evidence}")).status_code == 404
    assert (await read(order_room.agent, evidence))["seen"]["codes"] == [ELSEWHERE]


@pytest.mark.parametrize("payload", ["4006381333931", "00340434161094015902", "1Z999AA10123456784", "A lamp, 2 pcs"])
async def test_codes_of_goods_and_parcels_are_shown(dispute_room: Room, payload: str) -> None:
    evidence = await coded(dispute_room, payload)
    assert not (await added(dispute_room, evidence)).hidden
    assert (await read(dispute_room.buyer, evidence))["state"] == EvidenceState.SEALED


async def test_withheld_evidence_is_no_picture_in_the_other_partys_case_file(dispute_room: Room) -> None:
    await coded(dispute_room)
    for who, pictures in ((dispute_room.buyer, 0), (dispute_room.seller, 1), (dispute_room.agent, 1)):
        page = await who.get(f"/v1/rooms/{dispute_room.room}/transcript", format="html")
        assert page.text.count('src="data:image/webp;base64,UklGR') == pictures
        assert (ELSEWHERE in page.text) is False


async def test_withheld_evidence_does_not_answer_a_dispute(dispute_room: Room) -> None:
    await coded(dispute_room)
    state = await dispute_room.backstage.services.desk.state(dispute_of(dispute_room))
    assert state.attended_at is None


async def test_what_staff_say_of_evidence_is_not_screened(order_room: Room) -> None:
    evidence = await order_room.sealed(order_room.agent, caption=OUTSIDE)
    assert (await added(order_room, evidence)).body["caption"] == OUTSIDE
    assert (await read(order_room.buyer, evidence))["caption"] == OUTSIDE
