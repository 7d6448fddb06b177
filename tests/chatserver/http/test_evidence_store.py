"""Evidence and what its store does by itself: drops uploads, keeps versions or none."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from chatserver.settings import Settings
from tests.chatserver.captured_logs import captured_logs
from tests.chatserver.evidence import files
from tests.chatserver.http.conftest import Caller
from tests.chatserver.http.evidence_room import PHOTO, Room, dispute_room, fetch, gate, order_room, send
from tests.chatserver.http.evidence_room import settings as plain_settings
from tests.s3_gate import S3Gate

__all__ = ["dispute_room", "gate", "order_room", "plain_settings"]

OTHER = files.image("JPEG", 99, 99)
LARGE = b"a line of sixteen\n" * 550_000
POLICY = """
[evidence]
parts_from = 5242880
part_bytes = 5242880
"""


@pytest.fixture
def settings(plain_settings: Settings, tmp_path: Path) -> Settings:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    return plain_settings.model_copy(update={"policy_file": str(policy)})


@pytest.fixture
async def versioned_room(dispute_room: Room) -> Room:
    store = dispute_room.backstage.services.objects
    await store._ask("put_bucket_versioning", VersioningConfiguration={"Status": "Enabled"})
    return dispute_room


async def send_parts(upload: dict[str, Any], *numbers: int) -> list[int]:
    size = upload["part_size"]
    parts = [part for part in upload["parts"] if part["number"] in numbers]
    return [await send(part, LARGE[(part["number"] - 1) * size :][:size]) for part in parts]


async def test_an_upload_in_parts_that_the_store_has_dropped_begins_anew(dispute_room: Room) -> None:
    """As by a lifecycle rule, after days."""
    buyer, services = dispute_room.buyer, dispute_room.backstage.services
    said = {"filename": "a.txt", "content_type": "text/plain", "kind": "chat_export"}
    announced = (await dispute_room.announce(buyer, LARGE, **said)).json()
    evidence = announced["evidence_id"]
    assert await send_parts(announced["upload"], 1) == [200]
    known = await services.evidence.get(evidence)
    assert known is not None
    assert known.upload is not None
    await services.objects.abandon_parts(f"incoming/{dispute_room.room}/{evidence}", known.upload)
    assert await send_parts(announced["upload"], 2) == [404]
    assert (await dispute_room.complete(buyer, evidence)).json()["details"] == {"rule": "not_uploaded"}
    anew = (await buyer.get(f"/v1/evidence/{evidence}/upload")).json()["upload"]
    assert await send_parts(anew, 1, 2) == [200, 200]
    assert (await buyer.get(f"/v1/evidence/{evidence}/upload")).json()["upload"]["parts"] == []
    assert (await dispute_room.complete(buyer, evidence)).json()["state"] == "sealed"


async def test_a_store_in_trouble_keeps_nobody_from_trying_again(dispute_room: Room, gate: S3Gate) -> None:
    """At each step but completing, which has tests of its own."""
    buyer, seller = dispute_room.buyer, dispute_room.seller
    sealed = await dispute_room.sealed(buyer)
    said = {"filename": "a.txt", "content_type": "text/plain", "kind": "chat_export"}
    large = (await dispute_room.announce(buyer, LARGE, **said)).json()["evidence_id"]
    keyed = Caller(buyer.client, {**buyer.headers, "Idempotency-Key": "large"})
    steps: dict[str, Callable[[], Awaitable[httpx.Response]]] = {
        "announce in parts": lambda: dispute_room.announce(keyed, LARGE, **said),
        "resume": lambda: buyer.get(f"/v1/evidence/{large}/upload"),
        "download": lambda: seller.get(f"/v1/evidence/{sealed}"),
    }
    for step, call in steps.items():
        gate.broken = lambda _: 503
        failed = await call()
        assert (failed.status_code, failed.json()["code"]) == (503, "unavailable"), step
        gate.broken = lambda _: None
        assert (await call()).is_success, step
    # What needs no answer of the store goes on without it.
    gate.broken = lambda _: 503
    assert (await dispute_room.announce(buyer)).status_code == 201
    withdrawn = await buyer.client.request("DELETE", f"/v1/evidence/{sealed}", json={}, headers=buyer.headers)
    assert withdrawn.status_code == 200


async def test_a_signed_download_is_of_the_sealed_version(versioned_room: Room) -> None:
    evidence = await versioned_room.sealed(versioned_room.buyer)
    store = versioned_room.backstage.services.objects
    given = {
        prefix: (await who.get(f"/v1/evidence/{evidence}")).json()["download"]
        for prefix, who in (("sealed", versioned_room.agent), ("shown", versioned_room.seller))
    }
    for prefix, download in given.items():
        before = (await fetch(download)).content
        await store.put(f"{prefix}/{versioned_room.room}/{evidence}", OTHER, "image/jpeg")
        assert (await fetch(download)).content == before != OTHER
        again = await versioned_room.agent.get(f"/v1/evidence/{evidence}")
        assert (again.status_code, again.json()["details"]) == (409, {"state": "changed"})
    small = {"url": given["shown"]["thumbnail_url"]}
    before = (await fetch(small)).content
    await store.put(f"thumbnails/{versioned_room.room}/{evidence}", OTHER, "image/webp")
    assert (await fetch(small)).content == before


async def test_a_bucket_without_versions_is_told_of_once(dispute_room: Room) -> None:
    with captured_logs() as logs:
        for _ in range(2):
            await dispute_room.sealed(dispute_room.buyer)
    assert logs.getvalue().count("evidence_bucket_keeps_no_versions") == 1


async def test_a_bucket_with_versions_is_not(versioned_room: Room) -> None:
    with captured_logs() as logs:
        await versioned_room.sealed(versioned_room.buyer, PHOTO)
    assert "evidence_bucket_keeps_no_versions" not in logs.getvalue()
