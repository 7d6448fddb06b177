"""An integrator moves the clock of a development instance and watches what the rules do, over the WebSocket."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from chatserver import instance
from chatserver.auth import mint
from chatserver.errors import CloseCode
from tests.program import Program
from tests.system.peer import Peer
from tests.system.schemas import FrameSchemas
from tests.system.site import Order, unique

HOUR_S = 3600
SOON_S = 3.0
"""What an integrator waits for without wondering."""


class Sandbox:
    """The HTTP side of a development instance."""

    def __init__(self, folder: Path) -> None:
        told = instance.read(folder)
        self._folder = folder
        self.jwt_secret = told.jwt_secret
        self._key = {"Authorization": f"Bearer {told.api_key}"}
        self._http = httpx.Client(base_url=told.base_url, trust_env=False, timeout=15.0)
        self.websocket_url = f"ws{told.base_url.removeprefix('http')}/v1/ws"

    def token(self, user: str, role: str | None = None) -> str:
        wanted = {"sub": user, "name": user} | ({"role": role} if role else {})
        return str(self._post("/v1/sandbox/tokens", wanted)["token"])

    def order(self) -> Order:
        order = Order(unique("o"), unique("buyer"), unique("seller"))
        self._http.put(f"/v1/orders/{order.id}", json=order.report(), headers=self._key).raise_for_status()
        return order

    def dispute(self, order: Order) -> dict[str, Any]:
        wanted = {
            "order_id": order.id,
            "reason": "defective",
            "description": "It does not switch on.",
            "desired_resolution": "full_refund",
        }
        return self._post("/v1/disputes", wanted, Authorization=f"Bearer {self.token(order.buyer)}")

    def rooms(self, token: str) -> httpx.Response:
        return self._http.get("/v1/rooms", headers={"Authorization": f"Bearer {token}"})

    def advance(self, seconds: float) -> None:
        self._post("/v1/sandbox/clock", {"advance_s": seconds})

    def revoke(self, user: str) -> None:
        command = [sys.executable, "-m", "chatserver", "revoke", user, "--data", str(self._folder)]
        subprocess.run(command, check=True, capture_output=True)

    def _post(self, path: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
        told: dict[str, Any] = self._http.post(path, json=body, headers=headers).raise_for_status().json()
        return told

    def close(self) -> None:
        self._http.close()


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("sandbox")
    with Program(["-m", "chatserver", "dev", "--port", "0", "--data", str(folder)]) as running:
        running.line("ready ")
        made = Sandbox(folder)
        yield made
        made.close()


@pytest.fixture
async def enter(sandbox: Sandbox, schemas: FrameSchemas) -> AsyncIterator[Any]:
    async with AsyncExitStack() as stack:

        async def connect(user: str, *rooms: str, role: str | None = None) -> Peer:
            token = await asyncio.to_thread(sandbox.token, user, role)
            return await stack.enter_async_context(await Peer.enter(sandbox.websocket_url, schemas, token, rooms))

        yield connect


async def sees(peer: Peer, began: float, kind: str) -> dict[str, Any]:
    """The entry of a kind, that must come soon after the clock was moved."""
    frame = await peer.expect("entry", kind=kind)
    assert time.monotonic() - began < SOON_S
    entry: dict[str, Any] = frame["entry"]
    return entry


async def test_a_seller_who_does_not_answer_for_24_h_brings_support_in(sandbox: Sandbox, enter: Any) -> None:
    order = await asyncio.to_thread(sandbox.order)
    dispute = await asyncio.to_thread(sandbox.dispute, order)
    buyer = await enter(order.buyer, dispute["room"])

    began = time.monotonic()
    await asyncio.to_thread(sandbox.advance, 18 * HOUR_S + 1)
    reminder = await sees(buyer, began, "deadline.approaching")
    assert reminder["body"]["rule"] == "seller_attend"
    began = time.monotonic()
    await asyncio.to_thread(sandbox.advance, 6 * HOUR_S)
    escalated = await sees(buyer, began, "dispute.escalated")
    assert escalated["body"]["rule"] == "seller_attend"
    frame = await buyer.expect("dispute", room=dispute["room"])
    while frame["dispute"]["stage"] != "mediation":
        frame = await buyer.expect("dispute", room=dispute["room"])
    assert frame["dispute"]["status"] == "under_review"


async def test_silence_of_72_h_brings_support_in_and_talk_puts_it_off(sandbox: Sandbox, enter: Any) -> None:
    order = await asyncio.to_thread(sandbox.order)
    dispute = await asyncio.to_thread(sandbox.dispute, order)
    room = dispute["room"]
    buyer, seller = await enter(order.buyer, room), await enter(order.seller, room)
    await seller.say(room, "I will have a look at it.")
    await asyncio.to_thread(sandbox.advance, 48 * HOUR_S)
    await buyer.say(room, "And?")

    began = time.monotonic()
    await asyncio.to_thread(sandbox.advance, 60 * HOUR_S + 1)
    reminder = await sees(buyer, began, "deadline.approaching")
    assert reminder["body"]["rule"] == "no_update"
    began = time.monotonic()
    await asyncio.to_thread(sandbox.advance, 12 * HOUR_S)
    for peer in (buyer, seller):
        escalated = await sees(peer, began, "dispute.escalated")
        assert escalated["body"]["rule"] == "no_update"
    receipt = escalated["body"]["receipt"]
    assert receipt["rule"] == "no_update"


async def test_an_agent_who_is_connected_keeps_the_case_when_the_clock_is_moved(sandbox: Sandbox, enter: Any) -> None:
    order = await asyncio.to_thread(sandbox.order)
    dispute = await asyncio.to_thread(sandbox.dispute, order)
    room = dispute["room"]
    buyer = await enter(order.buyer, room)
    began = time.monotonic()
    await asyncio.to_thread(sandbox.advance, 24 * HOUR_S + 1)
    await sees(buyer, began, "dispute.escalated")
    agent = await enter(unique("agent"), room, role="agent")
    await agent.ask("agent.join", expect="ack", room=room)
    await asyncio.to_thread(sandbox.advance, 48 * HOUR_S)
    await asyncio.sleep(6)  # the worker has looked for claims that have run out
    assert "agent.left" not in [entry["kind"] for entry in agent.entries(room)]


async def test_tokens_live_on_when_the_clock_is_moved(sandbox: Sandbox, schemas: FrameSchemas) -> None:
    order = await asyncio.to_thread(sandbox.order)
    room = f"order-{order.id}"
    before = await asyncio.to_thread(sandbox.token, order.buyer)
    await asyncio.to_thread(sandbox.advance, 40 * 24 * HOUR_S)
    of_the_shop = mint(sandbox.jwt_secret, order.seller, now=datetime.now(UTC), ttl=timedelta(minutes=5))
    for token in (before, of_the_shop):
        told = (await asyncio.to_thread(sandbox.rooms, token)).raise_for_status().json()
        assert [each["room"] for each in told["rooms"]] == [room]
        async with await Peer.enter(sandbox.websocket_url, schemas, token, (room,)):
            pass


async def test_access_that_is_taken_away_after_the_clock_was_moved_is_gone(sandbox: Sandbox, enter: Any) -> None:
    order = await asyncio.to_thread(sandbox.order)
    await asyncio.to_thread(sandbox.advance, HOUR_S)
    token = await asyncio.to_thread(sandbox.token, order.buyer)
    peer = await enter(order.buyer, f"order-{order.id}")
    await asyncio.to_thread(sandbox.revoke, order.buyer)
    assert await peer.closed() == CloseCode.ACCESS_REVOKED
    assert (await asyncio.to_thread(sandbox.rooms, token)).status_code == 401
