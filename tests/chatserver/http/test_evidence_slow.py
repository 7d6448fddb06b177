"""Evidence while its store is slow: given up in time at each request, and completed when the store is itself again."""

from typing import Any

import pytest

from chatserver.settings import Settings
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
