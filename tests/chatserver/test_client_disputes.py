"""The client in a dispute, against a scripted far end: what it sends, what it believes, and what it tries again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Any

import httpx
import orjson
import pytest

from chatserver import protocol
from chatserver.client import Noted, Notice, Sent
from chatserver.client.opening import post_dispute
from chatserver.client.web import Web as Api
from policies.errors import BadRequest, ChatError, Conflict, Refused
from tests.chatserver.client_peer import (
    DISPUTE,
    DISPUTE_CHANGED,
    DISPUTE_ROOM,
    WAIT_S,
    AtOnce,
    Peer,
    in_dispute,
    joined,
    joined_dispute,
    listening,
    meeting,
    wire_entry,
)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with listening() as peer:
        yield peer


async def test_a_room_shows_its_dispute_and_follows_it(peer: Peer) -> None:
    async with in_dispute(peer) as (client, room, wire):
        assert room.dispute is not None
        assert (room.dispute.id, room.dispute.status) == (DISPUTE["id"], "waiting_for_buyer")
        assert {action.action for action in room.available_actions} == {
            action["action"] for action in DISPUTE_CHANGED["available_actions"]
        }
        await wire.send(DISPUTE_CHANGED | {"dispute": DISPUTE | {"status": "under_review"}, "available_actions": []})
        async with asyncio.timeout(WAIT_S):
            changed = await anext(client.events())
            while not isinstance(changed, protocol.DisputeNow):
                changed = await anext(client.events())
        assert (room.dispute.status, room.available_actions) == ("under_review", ())


async def test_a_note_is_an_event(peer: Peer) -> None:
    async with in_dispute(peer) as (client, _, wire):
        await wire.send(type="note", room=DISPUTE_ROOM, entry=wire_entry(3, "the third case this week"))
        async with asyncio.timeout(WAIT_S):
            noted = await anext(client.events())
            while not isinstance(noted, Noted):
                noted = await anext(client.events())
        assert (noted.entry.seq, noted.entry.text) == (3, "the third case this week")


async def test_an_order_room_has_no_dispute(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        joining = asyncio.create_task(client.join("order-1"))
        frame = await wire.receive("join")
        await wire.send(joined(id=frame["id"]))
        assert (await joining).dispute is None


INDIA_AHEAD = timedelta(hours=5, minutes=30)
INDIA = timezone(INDIA_AHEAD)
RULING = {"outcome": "compromise", "statement": "Both are right.", "reason_codes": ["late"], "evidence": []}


@pytest.mark.parametrize(
    ("act", "frame"),
    [
        (lambda case: case.propose("replacement"), {"type": "proposal.make", "resolution": "replacement", "note": ""}),
        (
            lambda case: case.propose("partial_refund", amount=1250, currency="EUR", note="for the scratch"),
            {
                "type": "proposal.make",
                "resolution": "partial_refund",
                "amount": 1250,
                "currency": "EUR",
                "note": "for the scratch",
            },
        ),
        (
            lambda case: case.propose("delivery_fix", expires_at=datetime(2024, 2, 29, 1, 0, tzinfo=INDIA)),
            {
                "type": "proposal.make",
                "resolution": "delivery_fix",
                "note": "",
                "expires_at": "2024-02-28T19:30:00.000Z",
            },
        ),
        (lambda case: case.accept(9), {"type": "proposal.accept", "proposal": 9}),
        (lambda case: case.reject(9, "too little"), {"type": "proposal.reject", "proposal": 9, "reason": "too little"}),
        (lambda case: case.withdraw(9), {"type": "proposal.withdraw", "proposal": 9, "reason": ""}),
        (lambda case: case.mark_fulfilled("sent"), {"type": "fulfillment.mark", "note": "sent"}),
        (lambda case: case.confirm_fulfilled(), {"type": "fulfillment.confirm", "note": ""}),
        (lambda case: case.escalate("no answer"), {"type": "dispute.escalate", "reason": "no answer"}),
        (lambda case: case.close("it came"), {"type": "dispute.close", "reason": "it came"}),
        (lambda case: case.reopen("it broke"), {"type": "dispute.reopen", "reason": "it broke"}),
        (lambda case: case.appeal("new", ["e1"]), {"type": "dispute.appeal", "reason": "new", "evidence": ["e1"]}),
        (lambda case: case.claim(), {"type": "agent.join", "take_over": False}),
        (lambda case: case.claim(take_over=True), {"type": "agent.join", "take_over": True}),
        (lambda case: case.release("away"), {"type": "agent.leave", "recuse": False, "reason": "away"}),
        (
            lambda case: case.request_evidence("seller", "the tracking", kinds=["tracking"]),
            {"type": "evidence.request", "of": "seller", "what": "the tracking", "kinds": ["tracking"]},
        ),
        (
            lambda case: case.request_evidence("buyer", "a photo", due_at=datetime(2026, 3, 1, 2, 0, tzinfo=INDIA)),
            {
                "type": "evidence.request",
                "of": "buyer",
                "what": "a photo",
                "kinds": [],
                "due_at": "2026-02-28T20:30:00.000Z",
            },
        ),
        (
            lambda case: case.recommend("compromise", "split", "Both are right.", ["late"], amount=500),
            {"type": "decision.recommend", "resolution": "split", "amount": 500, **RULING},
        ),
        (
            lambda case: case.decide("compromise", "full_refund", "Both are right.", ["late"]),
            {"type": "decision.issue", "resolution": "full_refund", **RULING},
        ),
        (lambda case: case.add_note("odd"), {"type": "note.add", "text": "odd"}),
    ],
)
async def test_every_command_is_a_frame_and_its_ack_the_answer(
    peer: Peer, act: Callable[[Any], Awaitable[Sent]], frame: dict[str, Any]
) -> None:
    async with in_dispute(peer) as (_, room, wire):
        acting = asyncio.ensure_future(act(room.case))
        sent = await wire.receive()
        assert sent == {"id": sent["id"], "room": DISPUTE_ROOM, **frame}
        await wire.ack(sent, 12)
        answer = await acting
        assert (answer.room, answer.command_id, answer.seq, answer.duplicate) == (DISPUTE_ROOM, sent["id"], 12, False)


async def test_a_note_is_acknowledged_in_the_staff_log(peer: Peer) -> None:
    async with in_dispute(peer) as (_, room, wire):
        acting = asyncio.create_task(room.case.add_note("odd"))
        frame = await wire.receive("note.add")
        await wire.ack(frame | {"room": "staff-1"}, 2)
        assert (await acting).room == "staff-1"


async def test_commands_keep_their_place_among_the_messages(peer: Peer) -> None:
    async with in_dispute(peer) as (_, room, wire):
        message = asyncio.create_task(room.send("I can offer half."))
        await asyncio.sleep(0)
        offer = asyncio.create_task(room.case.propose("partial_refund", amount=500))
        first = await wire.receive("message.send")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wire.connection.recv(), 0.05)
        await wire.ack(first, 10)
        await wire.ack(await wire.receive("proposal.make"), 11)
        assert ((await message).seq, (await offer).seq) == (10, 11)


async def test_a_lost_command_is_sent_again_under_its_id(peer: Peer) -> None:
    async with in_dispute(peer) as (_, room, wire):
        accepting = asyncio.create_task(room.case.accept(9))
        frame = await wire.receive("proposal.accept")
        wire.cut()
        wire = await peer.accept()
        await wire.connected()
        await wire.send(joined_dispute())
        assert await wire.receive("proposal.accept") == frame
        await wire.ack(frame, 14, duplicate=True)
        assert (await accepting).duplicate


async def test_a_rule_that_says_no_is_raised_with_its_name(peer: Peer) -> None:
    async with in_dispute(peer) as (_, room, wire):
        escalating = asyncio.create_task(room.case.escalate("now"))
        frame = await wire.receive("dispute.escalate")
        await wire.error(frame, "refused", details={"rule": "escalate_from", "opens_at": "2026-02-01T08:00:00.000Z"})
        with pytest.raises(Refused) as refusal:
            await escalating
        assert refusal.value.details["rule"] == "escalate_from"


@pytest.mark.parametrize(
    "act",
    [
        lambda case: case.propose("split"),
        lambda case: case.accept(0),
        lambda case: case.propose("delivery_fix", expires_at=datetime(9999, 12, 31, 23, tzinfo=timezone(-INDIA_AHEAD))),
        lambda case: case.request_evidence("agent", "x"),
        lambda case: case.request_evidence("buyer", "x", kinds=["rumour"]),
        lambda case: case.decide("agreed", "split", "x", ["late"]),
        lambda case: case.decide("compromise", "nothing", "x", ["late"]),
        lambda case: case.decide("compromise", "split", "x", []),
    ],
)
async def test_what_the_protocol_has_no_word_for_is_not_sent(peer: Peer, act: Callable[[Any], Awaitable[Sent]]) -> None:
    async with in_dispute(peer) as (_, room, wire):
        with pytest.raises(BadRequest):
            await act(room.case)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wire.connection.recv(), 0.05)


# Opening, over HTTP


class Web:
    """A scripted HTTP server."""

    def __init__(self, *answers: tuple[int, Any] | None) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split("\r\n")[0].split(" ")
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        body = await reader.readexactly(int(headers["content-length"]))
        self.requests.append(httpx.Request(method, f"http://test{path}", headers=headers, content=body))
        answer = self._answers.pop(0)
        if answer is not None:
            status, content = answer
            payload = content if isinstance(content, bytes) else orjson.dumps(content)
            writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: {len(payload)}\r\n\r\n".encode() + payload)
            await writer.drain()
        writer.close()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Web"]:
        async with await asyncio.start_server(self.serve, "127.0.0.1", 0) as server:
            self.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/chat{protocol.PATH}"
            yield self

    async def open(self, rng: Random | None = None) -> Any:
        async def token() -> str:
            return "token-1"

        async with asyncio.timeout(WAIT_S):
            api = Api(self.url, token, tls=None, trust_env=False, rng=rng or AtOnce())
            return await post_dispute(api, {"order_id": "1042"}, key="key-1")


def problem(code: str, **more: Any) -> dict[str, Any]:
    return {"code": code, "detail": f"no: {code}", **more}


async def test_a_dispute_is_opened_with_the_users_token_and_the_key() -> None:
    async with Web((201, DISPUTE)).running() as web:
        opened = await web.open()
    assert (opened.room, opened.created, opened.dispute.id) == (DISPUTE_ROOM, True, DISPUTE["id"])
    [request] = web.requests
    assert (request.method, request.url.path) == ("POST", "/chat/v1/disputes")
    assert (request.headers["authorization"], request.headers["idempotency-key"]) == ("bearer token-1", "key-1")
    assert orjson.loads(request.content) == {"order_id": "1042"}


async def test_what_became_of_a_description_is_told() -> None:
    notice = {"mark": "masked", "message": "A part of this is hidden."}
    async with Web((201, DISPUTE | {"notice": notice})).running() as web:
        assert (await web.open()).notice == Notice.model_validate(notice)
    async with Web((201, DISPUTE | {"notice": "of a newer server"})).running() as web:
        assert (await web.open()).notice is None


async def test_opening_is_tried_again_under_the_same_key_until_it_is_answered() -> None:
    trouble = [
        None,
        (502, b"<html>bad gateway</html>"),
        (503, problem("unavailable", retry_after_ms=1)),
        (200, DISPUTE),
    ]
    async with Web(*trouble).running() as web:
        opened = await web.open()
    assert not opened.created
    assert [request.headers["idempotency-key"] for request in web.requests] == ["key-1"] * 4


@pytest.mark.parametrize(
    ("status", "content", "error"),
    [
        (422, problem("refused", details={"rule": "too_early"}), Refused),
        (409, problem("conflict", details={"dispute": "d1"}), Conflict),
        (400, problem("from_the_future"), ChatError),
        (404, b"not found", ChatError),
        (201, {"id": "x"}, ChatError),
    ],
)
async def test_a_final_answer_is_raised(status: int, content: Any, error: type[ChatError]) -> None:
    async with Web((status, content)).running() as web:
        with pytest.raises(error) as raised:
            await web.open()
    if isinstance(content, dict):
        assert raised.value.details == content.get("details", {})
    assert len(web.requests) == 1


def test_the_address_follows_from_the_websockets() -> None:
    async def token() -> str:
        return "token-1"

    def address(url: str) -> str:
        return Api(url, token, tls=None, trust_env=False, rng=Random()).address("/v1/disputes")

    assert address("wss://chat.example/v1/ws") == "https://chat.example/v1/disputes"
    assert address("ws://127.0.0.1:8000/base/v1/ws") == "http://127.0.0.1:8000/base/v1/disputes"


async def test_the_client_opens_with_its_own_token(peer: Peer) -> None:
    web = Web((201, DISPUTE))
    async with web.running(), meeting(peer) as (client, _):
        client._url = web.url  # the scripted far end speaks WebSocket alone
        opened = await client.open_dispute("1042", "defective", "It is broken.", "partial_refund", amount=500)
    assert opened.created
    assert orjson.loads(web.requests[0].content) == {
        "order_id": "1042",
        "reason": "defective",
        "description": "It is broken.",
        "desired_resolution": "partial_refund",
        "amount": 500,
    }
