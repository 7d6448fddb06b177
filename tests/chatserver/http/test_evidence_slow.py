"""Evidence while its store is slow: given up in time at each request, and completed when the store is itself again."""

from typing import Any

import pytest

from chatserver.settings import Settings
from chatserver.transcript import pictures
from policies.vocabulary import EntryKind
from tests.chatserver.http.evidence_room import Room, dispute_room, fetch, gate, order_room
from tests.chatserver.http.evidence_room import settings as quick_settings
from tests.s3_gate import S3Gate

__all__ = ["dispute_room", "gate", "order_room", "quick_settings"]

PATIENCE_S = 0.25
"""Of the server, for one answer of the store."""


@pytest.fixture
def settings(quick_settings: Settings) -> Settings:
    return quick_settings.model_copy(update={"s3_timeout_s": PATIENCE_S})


async def test_a_case_file_does_not_wait_for_a_slow_store(
    dispute_room: Room, gate: S3Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "PATIENCE_S", PATIENCE_S)
    for _ in range(2):
        await dispute_room.sealed(dispute_room.buyer)
    path, small = f"/v1/rooms/{dispute_room.room}/transcript", 'src="data:image/webp;base64,UklGR'

    def slower(_: Any) -> int | None:
        gate.delay_s = 2 * PATIENCE_S  # from the next one on
        return None

    gate.broken = slower
    page = await dispute_room.seller.get(path, format="html")
    assert (page.status_code, page.text.count(small)) == (200, 1)  # what came in time is there
    gate.broken, gate.delay_s = lambda _: None, 0.0
    assert (await dispute_room.seller.get(path, format="html")).text.count(small) == 2


async def test_a_slow_store_loses_nothing(dispute_room: Room, gate: S3Gate) -> None:
    """At each request that completing makes in turn, the store is slower than the server waits."""
    evidence = await dispute_room.upload(dispute_room.buyer)
    slow = 0
    for good in range(20):
        seen = 0

        def count(_: Any, good: int = good) -> int | None:
            nonlocal seen
            seen += 1
            if seen >= good:  # from the next one on
                gate.delay_s = 4 * PATIENCE_S
            return None

        gate.delay_s = 0.0 if good else 4 * PATIENCE_S
        gate.broken = count
        answer = await dispute_room.complete(dispute_room.buyer, evidence)
        if answer.status_code == 200:
            break
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        slow += 1
    gate.broken, gate.delay_s = lambda _: None, 0.0
    assert slow >= 5
    last = await dispute_room.complete(dispute_room.buyer, evidence)
    assert last.json()["state"] == "sealed"
    assert await dispute_room.kinds() == [EntryKind.EVIDENCE_ADDED]
    read = (await dispute_room.seller.get(f"/v1/evidence/{evidence}")).json()
    assert (await fetch(read["download"])).status_code == 200
