"""How much evidence a side may add: each number at its limit, and one past it."""

import asyncio
from pathlib import Path

import pytest

from chatserver.settings import Settings
from tests.chatserver.http.evidence_room import Room, dispute_room, gate, order_room
from tests.chatserver.http.evidence_room import settings as plain_settings

__all__ = ["dispute_room", "gate", "order_room", "plain_settings"]

POLICY = """
[evidence]
per_side = 4
[evidence.per_kind]
video = 2
"""


@pytest.fixture
def settings(plain_settings: Settings, tmp_path: Path) -> Settings:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    return plain_settings.model_copy(update={"policy_file": str(policy)})


async def test_a_side_adds_so_much_of_a_kind_and_so_much_in_all(dispute_room: Room) -> None:
    buyer, seller = dispute_room.buyer, dispute_room.seller
    of_kind = {"rule": "evidence_kind_limit", "kind": "video", "limit": 2}
    for _ in range(2):
        await dispute_room.sealed(buyer, kind="video")
    refused = await dispute_room.announce(buyer, kind="video")
    assert (refused.status_code, refused.json()["code"], refused.json()["details"]) == (422, "refused", of_kind)
    for _ in range(2):
        await dispute_room.sealed(buyer, kind="photo")
    refused = await dispute_room.announce(buyer, kind="photo")
    assert (refused.status_code, refused.json()["code"]) == (422, "refused")
    assert refused.json()["details"] == {"rule": "evidence_limit", "limit": 4}
    assert (await dispute_room.announce(seller, kind="video")).status_code == 201  # the other side has its own


async def test_announcing_at_once_does_not_pass_the_limit_of_a_kind(dispute_room: Room) -> None:
    at_once = await asyncio.gather(*(dispute_room.announce(dispute_room.buyer, kind="video") for _ in range(8)))
    assert {answer.status_code for answer in at_once} <= {201, 422}
    taken = sum(answer.status_code == 201 for answer in at_once)
    assert taken <= 2
    for number in range(4):
        answer = await dispute_room.announce(dispute_room.buyer, kind="video")
        assert answer.status_code == (201 if number < 2 - taken else 422)
