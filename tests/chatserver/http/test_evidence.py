"""Evidence over HTTP, with a store behind a gate that enforces what S3 enforces."""

import asyncio
import hashlib
from datetime import timedelta
from typing import Any

import httpx
import pypdfium2
import pytest

from policies.dispute.commands import JoinAsAgent, RequestEvidence
from policies.entry import Author
from policies.vocabulary import ApiScope, CommandId, EntryKind, EvidenceKind, Role, UserId
from storage.audit import Audit
from storage.evidence import EvidenceState
from tests.chatserver.evidence import files
from tests.chatserver.http.conftest import Caller, Calling
from tests.chatserver.http.evidence_room import (
    PHOTO,
    Room,
    dispute_of,
    dispute_room,
    fetch,
    gate,
    order_room,
    send,
    settings,
)
from tests.s3_gate import S3Gate

__all__ = ["dispute_room", "gate", "order_room", "settings"]

NAMED_PNG = {"filename": "a.png", "content_type": "image/png"}


# The way of a piece of evidence


async def test_evidence_is_uploaded_sealed_and_told(dispute_room: Room) -> None:
    evidence = await dispute_room.upload(dispute_room.seller)
    answer = await dispute_room.complete(dispute_room.seller, evidence)
    assert answer.status_code == 200
    read = answer.json()
    assert (read["state"], read["filename"], read["content_type"]) == ("sealed", "parcel.jpg", "image/jpeg")
    assert (read["side"], read["kind"], read["caption"], read["origin"]) == ("seller", "photo", "the parcel", "camera")
    [entry] = [each for each in dispute_room.backstage.announced if each.kind is EntryKind.EVIDENCE_ADDED]
    assert entry.body == {
        "evidence": evidence,
        "kind": "photo",
        "filename": "parcel.jpg",
        "content_type": "image/jpeg",
        "size": len(PHOTO),
        "sha256": hashlib.sha256(PHOTO).hexdigest(),
        "thumbnail": True,
        "caption": "the parcel",
        "origin": "camera",
        "captured_at": "2026-01-30T18:00:00.000Z",
    }
    assert (entry.seq, entry.author.id) == (read["seq"], dispute_room.backstage.seller)
    state = await dispute_room.backstage.services.desk.state(dispute_of(dispute_room))
    assert state.attended_at is not None  # evidence is a real act


async def test_an_order_room_takes_evidence_too(order_room: Room) -> None:
    evidence = await order_room.sealed(order_room.buyer)
    assert await order_room.kinds() == [EntryKind.EVIDENCE_ADDED]
    again = await order_room.complete(order_room.buyer, evidence)
    assert again.json()["seq"] == 1
    assert (await order_room.buyer.client.request(
        "DELETE", f"/v1/evidence/{evidence}", json={"reason": "wrong one"}, headers=order_room.buyer.headers
    )).status_code == 200  # fmt: skip
    assert await order_room.kinds() == [EntryKind.EVIDENCE_ADDED, EntryKind.EVIDENCE_WITHDRAWN]


async def test_completing_twice_or_at_once_adds_once(dispute_room: Room) -> None:
    evidence = await dispute_room.upload(dispute_room.buyer)
    answers = await asyncio.gather(*(dispute_room.complete(dispute_room.buyer, evidence) for _ in range(3)))
    assert {answer.status_code for answer in answers} <= {200, 503}
    last = await dispute_room.complete(dispute_room.buyer, evidence)
    assert (last.status_code, last.json()["state"]) == (200, "sealed")
    assert await dispute_room.kinds() == [EntryKind.EVIDENCE_ADDED]


async def test_the_other_party_gets_a_copy_without_metadata_and_staff_the_original(dispute_room: Room) -> None:
    evidence = await dispute_room.sealed(dispute_room.seller)
    backend = Caller(
        dispute_room.buyer.client,
        {"Authorization": f"Bearer {await dispute_room.backstage.key(ApiScope.DISPUTES_READ)}"},
    )
    got = {}
    people = {"buyer": dispute_room.buyer, "seller": dispute_room.seller, "agent": dispute_room.agent, "key": backend}
    for name, who in people.items():
        read = (await who.get(f"/v1/evidence/{evidence}")).json()
        answer = await fetch(read["download"])
        assert answer.headers["content-disposition"].startswith('attachment; filename="parcel.jpg"')
        assert answer.headers["content-type"] == "image/jpeg"
        assert (await fetch({"url": read["download"]["thumbnail_url"]})).headers["content-type"] == "image/webp"
        got[name] = (answer.content == PHOTO, read["download"]["original"], "seen" in read)
        assert (b"PhoneMaker" in answer.content) is (answer.content == PHOTO)
    assert got == {
        "buyer": (False, False, False),
        "seller": (True, True, False),
        "agent": (True, True, True),
        "key": (True, True, True),
    }
    seen = (await dispute_room.agent.get(f"/v1/evidence/{evidence}")).json()["seen"]
    assert seen == {"width": 48, "height": 64, "captured_at": "2026-01-30T16:05:09.000Z", "codes": []}


async def test_a_dispute_says_which_helpful_evidence_is_missing(dispute_room: Room) -> None:
    async def added() -> list[tuple[str, str]]:
        read = (await dispute_room.seller.get(f"/v1/disputes/{dispute_of(dispute_room)}")).json()
        checklist = [(each["side"], each["kind"]) for each in read["evidence_checklist"]]
        sides = read["evidence_completeness"]
        assert [(side, each["kind"]) for side in ("buyer", "seller") for each in sides[side]] == checklist
        return [(side, each["kind"]) for side in sides for each in sides[side] if each["added"]]

    assert await added() == []
    evidence = await dispute_room.sealed(dispute_room.buyer, kind="photo")
    assert await added() == [("buyer", "photo")]
    await dispute_room.buyer.client.request(
        "DELETE", f"/v1/evidence/{evidence}", json={}, headers=dispute_room.buyer.headers
    )
    assert await added() == []


async def test_what_staff_read_is_on_record(dispute_room: Room) -> None:
    evidence = await dispute_room.sealed(dispute_room.buyer)
    for who in (dispute_room.seller, dispute_room.agent):
        assert (await who.get(f"/v1/evidence/{evidence}")).status_code == 200
    audit: Audit = dispute_room.backstage.services.audit
    page = await audit.page(dispute_of(dispute_room), 10)
    assert [(record.actor, record.action, record.details) for record in page.records] == [
        ("agent-1", "evidence.read", {"evidence": evidence})
    ]


async def test_the_same_bytes_elsewhere_are_told_to_staff(dispute_room: Room) -> None:
    content = files.image("PNG", 31, 17)
    first = await dispute_room.sealed(dispute_room.buyer, content, **NAMED_PNG)
    second = await dispute_room.sealed(dispute_room.seller, content, **NAMED_PNG)
    alike = (await dispute_room.agent.get(f"/v1/evidence/{second}")).json()["alike"]
    assert first in [each["evidence_id"] for each in alike]
    assert "alike" not in (await dispute_room.buyer.get(f"/v1/evidence/{second}")).json()


# Uploads in parts


async def test_a_large_video_comes_in_parts(dispute_room: Room) -> None:
    content = files.video("mp4", "mpeg4")
    content += (17_000_000 - len(content)).to_bytes(4, "big") + b"free" + bytes(17_000_000 - len(content) - 8)
    said = {"filename": "a.mp4", "content_type": "video/mp4", "kind": "video"}
    announced = (await dispute_room.announce(dispute_room.buyer, content, **said)).json()
    evidence, upload = announced["evidence_id"], announced["upload"]
    size = upload["part_size"]
    assert [part["number"] for part in upload["parts"]] == [1, 2, 3]
    assert await send(upload["parts"][1], content[size : 2 * size]) == 200
    refused = await dispute_room.complete(dispute_room.buyer, evidence)
    assert refused.json()["details"] == {"rule": "not_uploaded"}
    resumed = (await dispute_room.buyer.get(f"/v1/evidence/{evidence}/upload")).json()["upload"]
    assert [part["number"] for part in resumed["parts"]] == [1, 3]
    for part in resumed["parts"]:
        start = (part["number"] - 1) * size
        assert await send(part, content[start : start + size]) == 200
    assert (await dispute_room.complete(dispute_room.buyer, evidence)).json()["state"] == "sealed"
    read = (await dispute_room.seller.get(f"/v1/evidence/{evidence}")).json()
    assert len((await fetch(read["download"])).content) == len(content)


# What is refused


async def test_what_was_announced_is_what_can_be_uploaded(dispute_room: Room) -> None:
    upload = (await dispute_room.announce(dispute_room.buyer)).json()["upload"]
    assert await send(upload, PHOTO[:-1] + b"x") == 400
    assert await send(upload, PHOTO) == 200
    assert await send(upload, PHOTO) == 412


async def test_an_upload_that_is_not_there_may_be_completed_later(dispute_room: Room) -> None:
    announced = (await dispute_room.announce(dispute_room.buyer)).json()
    refused = await dispute_room.complete(dispute_room.buyer, announced["evidence_id"])
    assert (refused.status_code, refused.json()["details"]) == (422, {"rule": "not_uploaded"})
    again = (await dispute_room.buyer.get(f"/v1/evidence/{announced['evidence_id']}/upload")).json()["upload"]
    assert await send(again, PHOTO) == 200
    assert (await dispute_room.complete(dispute_room.buyer, announced["evidence_id"])).status_code == 200


@pytest.mark.parametrize(
    ("content", "said", "rule"),
    [
        (b"GIF89a and so on", {}, "wrong_type"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", NAMED_PNG, "wrong_type"),
        (files.image("PNG") + files.archive(), NAMED_PNG, "wrong_type"),
        (files.bomb(10_000, 10_000), NAMED_PNG, "too_many_pixels"),
        (files.active_document(), {"filename": "a.pdf", "content_type": "application/pdf"}, "active_content"),
    ],
)  # fmt: skip
async def test_what_is_not_what_it_says_is_deleted(
    dispute_room: Room, content: bytes, said: dict[str, str], rule: str
) -> None:
    evidence = await dispute_room.upload(dispute_room.buyer, content, **said)
    for _ in range(2):
        refused = await dispute_room.complete(dispute_room.buyer, evidence)
        assert (refused.status_code, refused.json()["code"], refused.json()["details"]["rule"]) == (
            422,
            "refused",
            rule,
        )
    store = dispute_room.backstage.services.intake._store
    assert [found.key async for found in store.listing("") if found.key.endswith(evidence)] == []
    assert await dispute_room.kinds() == []


async def test_another_file_than_was_announced_is_deleted(dispute_room: Room, s3_url: str) -> None:
    """Should a store not check what S3 checks, the server still does."""
    for content, rule in ((files.image("JPEG", 60, 60), "wrong_size"), (_with_other_last_byte(PHOTO), "wrong_hash")):
        evidence = str((await dispute_room.announce(dispute_room.buyer)).json()["evidence_id"])
        store = dispute_room.backstage.services.intake._store
        await store.put(f"incoming/{dispute_room.room}/{evidence}", content, "image/jpeg")
        refused = await dispute_room.complete(dispute_room.buyer, evidence)
        assert refused.json()["details"]["rule"] == rule


def _with_other_last_byte(content: bytes) -> bytes:
    """The same size; a comment's last letter is another one."""
    return content.replace(b"a comment", b"a c0mment")


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"size": 10_000_001}, 413, "too_large"),
        ({"size": 0}, 400, "bad_request"),
        ({"content_type": "image/svg+xml"}, 400, "bad_request"),
        ({"filename": "a.exe"}, 400, "bad_request"),
        ({"filename": ""}, 400, "bad_request"),
        ({"sha256": "x" * 64}, 400, "bad_request"),
        ({"kind": "rumour"}, 400, "bad_request"),
        ({"caption": "c" * 1001}, 413, "too_large"),
        ({"size": "big"}, 400, "bad_request"),
    ],
)
async def test_an_announcement_has_its_limits(
    dispute_room: Room, changed: dict[str, Any], status: int, code: str
) -> None:
    refused = await dispute_room.announce(dispute_room.buyer, **changed)
    assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert (await dispute_room.announce(dispute_room.buyer, caption="c" * 1000)).status_code == 201


async def test_announcing_again_is_the_same_evidence(dispute_room: Room) -> None:
    buyer, seller = dispute_room.buyer, dispute_room.seller
    keyed = Caller(buyer.client, {**buyer.headers, "Idempotency-Key": "parcel"})
    other = Caller(seller.client, {**seller.headers, "Idempotency-Key": "parcel"})
    at_once = await asyncio.gather(*(dispute_room.announce(keyed) for _ in range(3)))
    assert {answer.status_code for answer in at_once} <= {201, 503}
    again = await dispute_room.announce(keyed)
    assert again.status_code == 201
    evidence = again.json()["evidence_id"]
    assert {answer.json().get("evidence_id", evidence) for answer in at_once} == {evidence}
    assert (await dispute_room.announce(other)).json()["evidence_id"] != evidence
    changed = await dispute_room.announce(keyed, caption="another")
    assert (changed.status_code, changed.json()["details"]) == (409, {"evidence": evidence})
    assert await send(again.json()["upload"], PHOTO) == 200
    assert (await dispute_room.complete(buyer, evidence)).status_code == 200
    over = await dispute_room.announce(keyed)
    assert (over.status_code, over.json()["details"]) == (409, {"evidence": evidence, "state": "sealed"})


async def test_announcing_at_once_does_not_pass_the_limit(dispute_room: Room) -> None:
    at_once = await asyncio.gather(*(dispute_room.announce(dispute_room.buyer) for _ in range(25)))
    taken = sum(answer.status_code == 201 for answer in at_once)
    assert taken <= 10
    assert {answer.status_code for answer in at_once} <= {201, 422}
    for number in range(12):
        answer = await dispute_room.announce(dispute_room.buyer)
        assert answer.status_code == (201 if number < 10 - taken else 422)


async def test_uploads_under_way_have_their_limit(dispute_room: Room) -> None:
    for _ in range(10):
        assert (await dispute_room.announce(dispute_room.buyer)).status_code == 201
    refused = await dispute_room.announce(dispute_room.buyer)
    assert (refused.status_code, refused.json()["details"]["rule"]) == (422, "uploads_pending")
    assert (await dispute_room.announce(dispute_room.seller)).status_code == 201


# Who


async def test_only_members_announce(dispute_room: Room, calling: Calling) -> None:
    backstage = dispute_room.backstage
    auditor = calling(backstage.token("auditor-1", Role.AUDITOR))
    backend = calling(await backstage.key(ApiScope.DISPUTES_WRITE, ApiScope.DISPUTES_READ))
    for who, status in ((dispute_room.stranger, 404), (auditor, 403), (backend, 403), (calling(None), 401)):
        assert (await dispute_room.announce(who)).status_code == status


async def test_an_agent_needs_the_case(dispute_room: Room) -> None:
    evidence = await dispute_room.upload(dispute_room.agent)
    refused = await dispute_room.complete(dispute_room.agent, evidence)
    assert refused.status_code == 422
    assert await dispute_room.kinds() == []


async def test_what_one_may_not_see_is_not_there(dispute_room: Room, calling: Calling) -> None:
    evidence = await dispute_room.sealed(dispute_room.buyer)
    orders_key = calling(await dispute_room.backstage.key(ApiScope.ORDERS_WRITE))
    for who, status in ((dispute_room.stranger, 404), (calling(None), 401), (orders_key, 403)):
        assert (await who.get(f"/v1/evidence/{evidence}")).status_code == status
    assert (await dispute_room.buyer.get("/v1/evidence/none")).status_code == 404
    for call in (
        dispute_room.complete(dispute_room.seller, evidence),
        dispute_room.seller.get(f"/v1/evidence/{evidence}/upload"),
    ):
        assert (await call).status_code == 404
    over = await dispute_room.buyer.get(f"/v1/evidence/{evidence}/upload")
    assert (over.status_code, over.json()["details"]) == (409, {"state": "sealed"})


async def test_withdrawn_evidence_is_hidden_from_the_other_party_alone(dispute_room: Room) -> None:
    evidence = await dispute_room.sealed(dispute_room.buyer)

    async def withdraw(who: Caller, **body: str) -> httpx.Response:
        return await who.client.request("DELETE", f"/v1/evidence/{evidence}", json=body, headers=who.headers)

    assert (await withdraw(dispute_room.seller, reason="x")).status_code == 403
    assert (await withdraw(dispute_room.buyer, reason="my address")).status_code == 200
    assert "withdrawn_at" in (await withdraw(dispute_room.buyer, reason="again")).json()
    assert await dispute_room.kinds() == [EntryKind.EVIDENCE_ADDED, EntryKind.EVIDENCE_WITHDRAWN]
    for who, status in ((dispute_room.seller, 404), (dispute_room.buyer, 200), (dispute_room.agent, 200)):
        assert (await who.get(f"/v1/evidence/{evidence}")).status_code == status


async def test_an_upload_that_is_not_wanted_any_more_is_dropped(dispute_room: Room) -> None:
    async def drop(who: Caller, evidence: str) -> httpx.Response:
        return await who.client.request("DELETE", f"/v1/evidence/{evidence}", json={}, headers=who.headers)

    buyer = dispute_room.buyer
    begun = [(await dispute_room.announce(buyer)).json()["evidence_id"] for _ in range(9)]
    begun.append(await dispute_room.upload(buyer))
    assert (await dispute_room.announce(buyer)).json()["details"]["rule"] == "uploads_pending"
    assert (await drop(dispute_room.seller, begun[-1])).status_code == 403
    for evidence in begun[-2:]:
        dropped = await drop(buyer, evidence)
        assert (dropped.status_code, dropped.json()["state"]) == (200, "abandoned")
        assert (await drop(buyer, evidence)).status_code == 409
        assert (await dispute_room.complete(buyer, evidence)).status_code == 404
    store = dispute_room.backstage.services.objects
    assert [found.key async for found in store.listing("") if found.key.endswith(begun[-1])] == []
    assert [(await dispute_room.announce(buyer)).status_code for _ in range(3)] == [201, 201, 422]
    assert await dispute_room.kinds() == []


async def test_the_record_hides_what_was_withdrawn_although_no_more_was_written(dispute_room: Room) -> None:
    """As when the server is killed between the two."""
    evidence = await dispute_room.sealed(dispute_room.buyer)
    services = dispute_room.backstage.services
    known = await services.evidence.get(evidence)  # type: ignore[arg-type]
    assert known is not None
    assert (await dispute_room.seller.get(f"/v1/evidence/{evidence}")).status_code == 200
    await services.custody._register.withdrawn(known, "")
    assert (await dispute_room.seller.get(f"/v1/evidence/{evidence}")).status_code == 404
    withdrawn = await dispute_room.buyer.client.request(
        "DELETE", f"/v1/evidence/{evidence}", json={}, headers=dispute_room.buyer.headers
    )
    assert "withdrawn_at" in withdrawn.json()
    assert await dispute_room.kinds() == [EntryKind.EVIDENCE_ADDED, EntryKind.EVIDENCE_WITHDRAWN]


# Asked for, and late


async def test_evidence_that_was_asked_for_comes_in_time_or_late(dispute_room: Room) -> None:
    backstage, desk, dispute = dispute_room.backstage, dispute_room.backstage.services.desk, dispute_of(dispute_room)
    agent = Author(UserId("agent-1"), Role.AGENT, "Al")
    await dispute_room.sealed(dispute_room.seller)
    backstage.clock.advance(timedelta(hours=73).total_seconds())
    await backstage.tick(dispute)
    await desk.run(dispute, JoinAsAgent(agent, CommandId("j")))
    for kind in (EvidenceKind.TRACKING, EvidenceKind.DOCUMENT):
        await desk.run(dispute, RequestEvidence(agent, CommandId(kind), Role.SELLER, "it", None, (kind,)))
    seller = dispute_room.seller
    seller.headers["Authorization"] = f"Bearer {backstage.token(backstage.seller, name='Shop')}"
    await dispute_room.sealed(seller, kind="tracking")
    backstage.clock.advance(timedelta(hours=49).total_seconds())
    await backstage.tick(dispute)
    seller.headers["Authorization"] = f"Bearer {backstage.token(backstage.seller, name='Shop')}"
    for late in ("tracking", "document"):
        await dispute_room.sealed(seller, kind=late)
    entries = [each.body for each in backstage.announced if each.kind is EntryKind.EVIDENCE_ADDED]
    assert [(body["kind"], body.get("late")) for body in entries] == [
        ("photo", None),
        ("tracking", None),
        ("tracking", None),
        ("document", True),
    ]


# Trouble


async def test_a_swap_after_sealing_is_said_and_nothing_given_out(dispute_room: Room) -> None:
    evidence = await dispute_room.sealed(dispute_room.buyer)
    store = dispute_room.backstage.services.intake._store
    await store.put(f"sealed/{dispute_room.room}/{evidence}", files.image("JPEG", 99, 99), "image/jpeg")
    swapped = await dispute_room.agent.get(f"/v1/evidence/{evidence}")
    assert (swapped.status_code, swapped.json()["details"]) == (409, {"state": "changed"})
    await store.delete([f"sealed/{dispute_room.room}/{evidence}"])
    gone = await dispute_room.agent.get(f"/v1/evidence/{evidence}")
    assert (gone.status_code, gone.json()["details"]) == (409, {"state": "gone"})
    assert b"dispute_chat_evidence_swapped_total 2.0" in dispute_room.backstage.services.metrics.exposition()


@pytest.mark.parametrize("prefix", ["shown", "thumbnails"])
async def test_a_swap_of_what_the_other_party_sees_is_said_too(dispute_room: Room, prefix: str) -> None:
    evidence = await dispute_room.sealed(dispute_room.buyer)
    store = dispute_room.backstage.services.intake._store
    await store.put(f"{prefix}/{dispute_room.room}/{evidence}", files.image("JPEG", 99, 99), "image/jpeg")
    swapped = await dispute_room.seller.get(f"/v1/evidence/{evidence}")
    assert (swapped.status_code, swapped.json()["details"]) == (409, {"state": "changed"})
    page = (await dispute_room.seller.get(f"/v1/rooms/{dispute_room.room}/transcript", format="html")).text
    assert page.count("data:image/webp") == (1 if prefix == "shown" else 0)


async def test_a_store_in_trouble_loses_nothing(dispute_room: Room, gate: S3Gate) -> None:
    """At each request that completing makes in turn, the store fails; then it works again."""
    evidence = await dispute_room.upload(dispute_room.buyer)
    failed = 0
    for good in range(20):
        seen = 0

        def broken(_: Any, good: int = good) -> int | None:
            nonlocal seen
            seen += 1
            return 503 if seen > good else None

        gate.broken = broken
        answer = await dispute_room.complete(dispute_room.buyer, evidence)
        if answer.status_code == 200:
            break
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        failed += 1
    gate.broken = lambda _: None
    assert failed >= 5
    last = await dispute_room.complete(dispute_room.buyer, evidence)
    assert last.json()["state"] == "sealed"
    assert await dispute_room.kinds() == [EntryKind.EVIDENCE_ADDED]
    assert (await dispute_room.seller.get(f"/v1/evidence/{evidence}")).status_code == 200


async def test_a_room_that_closes_meanwhile_takes_nothing(order_room: Room) -> None:
    evidence = await order_room.upload(order_room.buyer)
    rooms = order_room.backstage.services.rooms
    await rooms._rooms.update_one({"_id": order_room.room}, {"$set": {"closed": True}})
    refused = await order_room.complete(order_room.buyer, evidence)
    assert (refused.status_code, refused.json()["details"]["rule"]) == (422, "room_closed")
    known = await order_room.backstage.services.evidence.get(evidence)  # type: ignore[arg-type]
    assert known is not None
    assert known.state is EvidenceState.REFUSED
    assert (await order_room.announce(order_room.buyer)).json()["code"] == "room_closed"


async def test_a_case_file_shows_evidence_to_those_who_may_see_it(dispute_room: Room, gate: S3Gate) -> None:
    async def pictures(who: Caller, form: str = "html") -> httpx.Response:
        answer = await who.get(f"/v1/rooms/{dispute_room.room}/transcript", format=form)
        assert answer.status_code == 200, answer.text
        return answer

    def shown(page: str) -> int:
        return page.count('src="data:image/webp;base64,UklGR')

    first, second = [await dispute_room.sealed(dispute_room.buyer) for _ in range(2)]
    people = {"buyer": dispute_room.buyer, "seller": dispute_room.seller, "agent": dispute_room.agent}
    for who in people.values():
        page = await pictures(who)
        assert "img-src data:" in page.headers["content-security-policy"]
        assert shown(page.text) == 2
        document = pypdfium2.PdfDocument((await pictures(who, "pdf")).content)
        images = [each for sheet in document for each in sheet.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE])]
        assert len(images) == 2
        document.close()
    gate.broken = lambda _: 503
    assert shown((await pictures(dispute_room.buyer)).text) == 0  # the record does not depend on the store
    gate.broken = lambda _: None
    await dispute_room.buyer.client.request(
        "DELETE", f"/v1/evidence/{first}", json={"reason": "wrong one"}, headers=dispute_room.buyer.headers
    )
    found = {name: (await pictures(who)).text for name, who in people.items()}
    assert {name: shown(page) for name, page in found.items()} == {"buyer": 2, "seller": 1, "agent": 2}
    assert all("Withdrawn with entry " in page for page in found.values())
    store = dispute_room.backstage.office.store
    await store.put(f"thumbnails/{dispute_room.room}/{second}", b"no picture at all", "image/webp")
    assert (await pictures(dispute_room.seller, "pdf")).content.startswith(b"%PDF-")
    await store.put(f"thumbnails/{dispute_room.room}/{second}", b"x" * 200_000, "image/webp")
    assert shown((await pictures(dispute_room.seller)).text) == 0
    await store.delete([f"thumbnails/{dispute_room.room}/{second}"])
    assert shown((await pictures(dispute_room.seller)).text) == 0
