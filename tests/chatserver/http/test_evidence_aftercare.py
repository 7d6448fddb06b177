"""What a worker does about evidence, with what was begun over HTTP: interrupted, quarantined, abandoned, too old."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from chatserver.evidence.aftercare import LOOK_EVERY, EvidenceAftercare
from chatserver.evidence.clearing import INCOMING, PREFIXES, object_key
from chatserver.evidence.inventory import Inventory
from chatserver.settings import Settings
from policies.evidence import EvidenceId
from policies.vocabulary import ApiScope, EntryKind, Role
from storage.chain import Verification, genesis
from storage.evidence import Evidence, EvidenceState
from tests.chatserver.evidence.clamd import EICAR, ClamdServer
from tests.chatserver.http.conftest import Calling, assert_problem
from tests.chatserver.http.evidence_room import PHOTO, Room, dispute_of, dispute_room, gate, order_room, send
from tests.chatserver.http.evidence_room import settings as settings_with_store
from tests.s3_gate import S3Gate

__all__ = ["dispute_room", "gate", "order_room", "settings_with_store"]

MINUTE = 60
VIDEO_IN_PARTS: dict[str, Any] = {
    "content_type": "video/mp4",
    "filename": "a.mp4",
    "size": 16_000_001,
    "sha256": "0" * 64,
}
TEXT = {"filename": "a.txt", "content_type": "text/plain"}


@pytest.fixture
async def scanner() -> AsyncIterator[ClamdServer]:
    async with ClamdServer().running() as server:
        yield server


@pytest.fixture
def settings(settings_with_store: Settings, scanner: ClamdServer) -> Settings:
    return settings_with_store.model_copy(update={"scanner_url": scanner.url})


@pytest.fixture
def aftercare(dispute_room: Room) -> EvidenceAftercare:
    return dispute_room.backstage.office.aftercare


async def known(room: Room, evidence: str) -> Evidence:
    found = await room.backstage.office.known.get(EvidenceId(evidence))
    assert found is not None
    return found


async def objects(room: Room, evidence: str) -> list[str]:
    """Under which prefixes there is something of a piece."""
    piece = await known(room, evidence)
    store = room.backstage.office.store
    return [prefix for prefix in PREFIXES if await store.look(object_key(prefix, piece)) is not None]


# Quarantine


async def test_a_file_waits_in_quarantine_until_the_scanner_is_back(
    dispute_room: Room, aftercare: EvidenceAftercare, scanner: ClamdServer
) -> None:
    scanner.hangs_up = True
    evidence = await dispute_room.upload(dispute_room.buyer)
    for _ in range(2):
        answer = await dispute_room.complete(dispute_room.buyer, evidence)
        assert (answer.status_code, answer.json()["state"]) == (202, "quarantined")
    assert (await dispute_room.seller.get(f"/v1/evidence/{evidence}")).status_code == 404
    assert_problem(await dispute_room.buyer.get(f"/v1/evidence/{evidence}"), 409, "conflict")
    assert await dispute_room.kinds() == []
    dispute_room.backstage.clock.advance(2 * MINUTE)
    assert await aftercare.scan_again() == 0  # it is not back
    scanner.hangs_up = False
    assert await aftercare.scan_again() == 1
    assert await dispute_room.kinds() == [EntryKind.EVIDENCE_ADDED]
    assert (await known(dispute_room, evidence)).state is EvidenceState.SEALED
    assert await objects(dispute_room, evidence) == ["sealed", "shown", "thumbnails"]
    assert await aftercare.scan_again() == 0


async def test_what_the_scanner_finds_is_not_taken(
    dispute_room: Room, aftercare: EvidenceAftercare, scanner: ClamdServer
) -> None:
    evidence = await dispute_room.upload(dispute_room.buyer, EICAR, **TEXT)
    refused = assert_problem(await dispute_room.complete(dispute_room.buyer, evidence), 422, "refused")
    assert refused["details"]["rule"] == "infected"
    assert await objects(dispute_room, evidence) == []
    scanner.hangs_up = True
    waiting = await dispute_room.upload(dispute_room.buyer, EICAR, **TEXT)
    assert (await dispute_room.complete(dispute_room.buyer, waiting)).status_code == 202
    scanner.hangs_up = False
    dispute_room.backstage.clock.advance(2 * MINUTE)
    assert await aftercare.scan_again() == 1
    assert (await known(dispute_room, waiting)).rule == "infected"
    assert await objects(dispute_room, waiting) == []
    assert await dispute_room.kinds() == []


async def test_a_file_that_cannot_be_scanned_keeps_no_other_waiting(
    dispute_room: Room, aftercare: EvidenceAftercare, scanner: ClamdServer
) -> None:
    scanner.most = 100
    large = await dispute_room.upload(dispute_room.buyer)
    assert (await dispute_room.complete(dispute_room.buyer, large)).status_code == 202
    dispute_room.backstage.clock.advance(2 * MINUTE)
    before = await known(dispute_room, large)
    assert await aftercare.scan_again() == 0
    after = await known(dispute_room, large)
    assert after.state is EvidenceState.QUARANTINED
    assert after.touched_at > before.touched_at  # behind the others
    await dispute_room.backstage.office.store.delete([object_key(INCOMING, after)])
    dispute_room.backstage.clock.advance(2 * MINUTE)
    assert await aftercare.scan_again() == 1
    assert (await known(dispute_room, large)).state is EvidenceState.ABANDONED


# Interrupted


async def test_a_sealing_that_was_interrupted_is_finished(
    dispute_room: Room, aftercare: EvidenceAftercare, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = await dispute_room.upload(dispute_room.seller)

    async def crash(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(dispute_room.backstage.office.intake._register, "added", crash)
        assert (await dispute_room.complete(dispute_room.seller, evidence)).status_code == 500
    assert (await known(dispute_room, evidence)).state is EvidenceState.SEALING
    assert await aftercare.finish() == 0  # whoever has begun may still be at it
    dispute_room.backstage.clock.advance(2 * MINUTE)
    assert await aftercare.finish() == 1
    assert await aftercare.finish() == 0
    assert await dispute_room.kinds() == [EntryKind.EVIDENCE_ADDED]
    assert await objects(dispute_room, evidence) == ["sealed", "shown", "thumbnails"]


async def test_one_that_cannot_be_finished_keeps_no_other_waiting(
    dispute_room: Room, aftercare: EvidenceAftercare, monkeypatch: pytest.MonkeyPatch
) -> None:
    register = dispute_room.backstage.office.intake._register
    added = register.added
    first, second = [await dispute_room.upload(dispute_room.seller) for _ in range(2)]

    async def crash(evidence: Evidence, *, late: bool) -> object:
        if evidence.id in broken:
            raise RuntimeError("killed")
        return await added(evidence, late=late)

    monkeypatch.setattr(register, "added", crash)
    broken = {first, second}
    for evidence in (first, second):
        assert (await dispute_room.complete(dispute_room.seller, evidence)).status_code == 500
    dispute_room.backstage.clock.advance(2 * MINUTE)
    broken = {first}
    assert await aftercare.finish() == 1
    assert (await known(dispute_room, second)).state is EvidenceState.SEALED
    assert (await known(dispute_room, first)).state is EvidenceState.SEALING


# Abandoned, and strays


async def test_uploads_that_nobody_completes_are_dropped(dispute_room: Room, aftercare: EvidenceAftercare) -> None:
    whole = await dispute_room.upload(dispute_room.buyer)
    parts = await dispute_room.announce(dispute_room.buyer, **VIDEO_IN_PARTS)
    in_parts = parts.json()["evidence_id"]
    [first, *_] = parts.json()["upload"]["parts"]
    assert await send(first, b"x" * int(first["headers"]["Content-Length"])) == 200
    after = dispute_room.backstage.services.policy.evidence.abandoned_after.total_seconds()
    dispute_room.backstage.clock.advance(after)
    await aftercare.abandon()
    assert (await known(dispute_room, whole)).state is EvidenceState.ANNOUNCED  # at the limit
    dispute_room.backstage.clock.advance(1)
    assert await aftercare.abandon() >= 2
    for evidence in (whole, in_parts):
        piece = await known(dispute_room, evidence)
        assert (piece.state, piece.leftover) == (EvidenceState.ABANDONED, False)
        assert await objects(dispute_room, evidence) == []
        if piece.upload is not None:
            store = dispute_room.backstage.office.store
            assert await store.parts(object_key(INCOMING, piece), piece.upload) is None


async def test_objects_that_a_dead_store_kept_are_deleted_later(
    dispute_room: Room, aftercare: EvidenceAftercare, gate: S3Gate
) -> None:
    evidence = await dispute_room.upload(dispute_room.buyer, EICAR, **TEXT)
    gate.broken = lambda request: 503 if "delete" in request.query_params or request.method == "DELETE" else None
    assert (await dispute_room.complete(dispute_room.buyer, evidence)).status_code in (422, 503)
    assert (await known(dispute_room, evidence)).leftover
    assert await objects(dispute_room, evidence) == ["incoming"]
    gate.broken = lambda _: None
    dispute_room.backstage.clock.advance(2 * MINUTE)
    assert await aftercare.clear() == 1
    assert await objects(dispute_room, evidence) == []
    assert not (await known(dispute_room, evidence)).leftover


async def test_what_is_uploaded_again_after_the_end_is_deleted(
    dispute_room: Room, aftercare: EvidenceAftercare
) -> None:
    announced = (await dispute_room.announce(dispute_room.buyer)).json()
    waiting = await dispute_room.upload(dispute_room.buyer)
    assert await send(announced["upload"], PHOTO) == 200
    assert (await dispute_room.complete(dispute_room.buyer, announced["evidence_id"])).status_code == 200
    assert await send(announced["upload"], PHOTO) == 200  # the name is free again, and the request still good
    assert "incoming" in await objects(dispute_room, announced["evidence_id"])
    assert await aftercare.clear() >= 1
    assert await objects(dispute_room, announced["evidence_id"]) == ["sealed", "shown", "thumbnails"]
    assert await objects(dispute_room, waiting) == ["incoming"]


# Too old, and held


async def test_evidence_of_an_ended_dispute_goes_when_its_time_is_up(
    dispute_room: Room, aftercare: EvidenceAftercare, calling: Calling
) -> None:
    backstage = dispute_room.backstage
    retention = backstage.services.policy.evidence.retention.total_seconds()
    evidence = await dispute_room.sealed(dispute_room.buyer)
    backstage.clock.advance(2 * retention)
    await aftercare.retire()
    assert (await known(dispute_room, evidence)).state is EvidenceState.SEALED  # the dispute goes on
    await backstage.close(dispute_of(dispute_room))
    backstage.clock.advance(retention)
    await aftercare.retire()
    assert (await known(dispute_room, evidence)).state is EvidenceState.SEALED  # at the limit
    backstage.clock.advance(LOOK_EVERY.total_seconds() + 1)
    assert await aftercare.retire() >= 1
    assert (await known(dispute_room, evidence)).state is EvidenceState.DELETED
    assert await aftercare.retire() == 0
    assert await objects(dispute_room, evidence) == []
    assert await dispute_room.kinds() == [EntryKind.EVIDENCE_ADDED]
    services, chain = backstage.services, Verification(dispute_room.room, genesis(dispute_room.room))
    assert {chain.feed(entry) async for entry in services.log.scan(dispute_room.room)} == {None}
    inventory = Inventory(services.objects, services.evidence, services.log, deep=True)
    assert [fault async for fault in inventory.faults(dispute_room.room)] == []
    agent = calling(backstage.token("agent-1", Role.AGENT))  # the time of the other token is over, too
    over = assert_problem(await agent.get(f"/v1/evidence/{evidence}"), 409, "conflict")
    assert over["details"]["state"] == "deleted"


async def test_evidence_of_an_order_room_stays_as_long_as_a_dispute_of_the_order_may_need_it(
    order_room: Room, aftercare: EvidenceAftercare
) -> None:
    # The dispute has been opened by the fixture of ``aftercare``: evidence goes into the order's room beside it.
    backstage = order_room.backstage
    dispute = dispute_of(order_room)
    order_room.room = backstage.room
    evidence = await order_room.sealed(order_room.buyer)
    retention = backstage.services.policy.evidence.retention.total_seconds()
    backstage.clock.advance(2 * retention)
    await aftercare.retire()
    assert "sealed" in await objects(order_room, evidence)
    await backstage.close(dispute)
    backstage.clock.advance(retention + LOOK_EVERY.total_seconds() + 1)
    assert await aftercare.retire() >= 1
    assert await objects(order_room, evidence) == []


async def test_held_evidence_stays_until_the_hold_is_lifted(
    dispute_room: Room, aftercare: EvidenceAftercare, calling: Calling
) -> None:
    backstage = dispute_room.backstage
    senior = calling(backstage.token("senior-1", Role.SENIOR_AGENT))
    path = f"/v1/disputes/{dispute_of(dispute_room)}/hold"
    evidence = await dispute_room.sealed(dispute_room.buyer)
    held = await senior.post(path, {"on": True, "reason": "a lawsuit"})
    assert held.status_code == 200
    assert {name: held.json()[name] for name in ("on", "reason", "by")} == {
        "on": True,
        "reason": "a lawsuit",
        "by": "senior-1",
    }
    await backstage.close(dispute_of(dispute_room))
    backstage.clock.advance(2 * backstage.services.policy.evidence.retention.total_seconds())
    await aftercare.retire()
    assert "sealed" in await objects(dispute_room, evidence)
    key = calling(await backstage.key(ApiScope.DISPUTES_WRITE))
    lifted = await key.post(path, {"on": False})
    assert (lifted.status_code, lifted.json()["on"]) == (200, False)
    backstage.clock.advance(LOOK_EVERY.total_seconds() + 1)
    assert await aftercare.retire() >= 1
    assert await objects(dispute_room, evidence) == []
    records = (await backstage.services.audit.page(dispute_of(dispute_room), 10)).records
    actions = [(each.action, each.role) for each in records]
    assert actions[:2] == [("hold.off", Role.SYSTEM), ("hold.on", Role.SENIOR_AGENT)]


async def test_who_may_not_hold_does_not(dispute_room: Room, calling: Calling) -> None:
    path = f"/v1/disputes/{dispute_of(dispute_room)}/hold"
    order = {"on": True, "reason": "because"}
    for who in (dispute_room.buyer, dispute_room.seller, dispute_room.agent):
        assert_problem(await who.post(path, order), 403, "forbidden")
    reads = calling(await dispute_room.backstage.key(ApiScope.DISPUTES_READ))
    assert_problem(await reads.post(path, order), 403, "forbidden")
    assert_problem(await dispute_room.stranger.post(path, order), 404, "not_found")
    senior = calling(dispute_room.backstage.token("senior-1", Role.SENIOR_AGENT))
    assert_problem(await senior.post("/v1/disputes/0123/hold", order), 404, "not_found")
    assert_problem(await senior.post(path, {"on": True, "reason": " "}), 400, "bad_request")
    assert_problem(await calling().post(path, order), 401, "unauthenticated")
