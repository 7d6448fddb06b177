"""A room with people who add evidence, and a store behind a gate that enforces what S3 enforces."""

import hashlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from chatserver.settings import Settings
from policies.vocabulary import ApiScope, DisputeId, EntryKind, Role, RoomId
from tests.chatserver.evidence import files
from tests.chatserver.http.conftest import Backstage, Caller, Calling
from tests.chatserver.tokens import SECRET
from tests.s3_gate import S3Gate

PHOTO = files.photo()


@pytest.fixture
async def gate(s3_url: str) -> AsyncIterator[S3Gate]:
    async with S3Gate(s3_url, {"key-1": "secret-1"}).running() as gate:
        yield gate


@pytest.fixture
def settings(gate: S3Gate) -> Settings:
    return Settings(
        jwt_secret=SecretStr(SECRET),
        s3_url=gate.url,
        s3_bucket=f"http-{uuid.uuid4().hex}",
        s3_path_style=True,
        s3_access_key=SecretStr("key-1"),
        s3_secret_key=SecretStr("secret-1"),
    )


class Room:
    """A room with its people, and what they do about evidence."""

    def __init__(self, backstage: Backstage, calling: Calling, room: RoomId) -> None:
        self.backstage = backstage
        self.room = room
        self.buyer = calling(backstage.token(backstage.buyer, name="Ada"))
        self.seller = calling(backstage.token(backstage.seller, name="Shop"))
        self.agent = calling(backstage.token("agent-1", Role.AGENT, name="Al"))
        self.stranger = calling(backstage.token("stranger"))

    async def announce(self, who: Caller, content: bytes = PHOTO, **changed: Any) -> httpx.Response:
        said = {
            "filename": "parcel.jpg",
            "content_type": "image/jpeg",
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "kind": "photo",
            "caption": "the parcel",
            "captured_at": "2026-01-30T18:00:00Z",
            "origin": "camera",
            **changed,
        }
        return await who.post(f"/v1/rooms/{self.room}/evidence", said)

    async def upload(self, who: Caller, content: bytes = PHOTO, **changed: Any) -> str:
        """Announce and upload. Returns the evidence's id."""
        answer = await self.announce(who, content, **changed)
        assert answer.status_code == 201, answer.text
        assert await send(answer.json()["upload"], content) == 200
        return str(answer.json()["evidence_id"])

    async def complete(self, who: Caller, evidence: str) -> httpx.Response:
        return await who.post(f"/v1/evidence/{evidence}/complete", None)

    async def sealed(self, who: Caller, content: bytes = PHOTO, **changed: Any) -> str:
        evidence = await self.upload(who, content, **changed)
        answer = await self.complete(who, evidence)
        assert answer.status_code == 200, answer.text
        return evidence

    async def kinds(self) -> list[EntryKind]:
        entries = await self.backstage.services.log.read_before(self.room, None, 100)
        return [entry.kind for entry in entries if entry.kind.value.startswith("evidence")]


async def send(request: dict[str, Any], content: bytes) -> int:
    async with httpx.AsyncClient(trust_env=False) as web:
        return (
            await web.request(request["method"], request["url"], content=content, headers=request["headers"])
        ).status_code


async def fetch(request: dict[str, Any]) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as web:
        return await web.get(request["url"])


@pytest.fixture
async def order_room(backstage: Backstage, calling: Calling) -> Room:
    await backstage.services.intake._store.ensure_bucket()
    key = calling(await backstage.key(ApiScope.ORDERS_WRITE))
    assert (await key.put(f"/v1/orders/{backstage.order_id}", backstage.report())).status_code == 201
    return Room(backstage, calling, backstage.room)


@pytest.fixture
async def dispute_room(order_room: Room) -> Room:
    opened = await order_room.buyer.post("/v1/disputes", order_room.backstage.opening())
    assert opened.status_code == 201, opened.text
    order_room.room = RoomId(opened.json()["room"])
    return order_room


def dispute_of(room: Room) -> DisputeId:
    return DisputeId(room.room.removeprefix("dispute-"))
