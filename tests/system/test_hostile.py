"""Peers that mean no good: they cost little, and nobody else notices."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode

from chatserver.errors import MESSAGE_TOO_BIG, CloseCode
from tests.eventually import eventually
from tests.system.conftest import Dial, Knock, Serve
from tests.system.peer import Peer
from tests.system.site import Server, Site, token, unique
from tests.system.wire import Wire, frame

Pair = tuple[Server, Server]
MIB = 1024 * 1024
PATIENT_S = 2.0
"""Longest that an honest user waits for an answer while others attack; some 10 ms are usual."""


@pytest.fixture
async def honest(site: Site, pair: Pair, dial: Dial) -> Peer:
    order = site.order(pair[0])
    return await dial(pair[0], order.buyer, [order.room])


@asynccontextmanager
async def undisturbed(server: Server, honest: Peer, memory_mib: float = 12) -> AsyncIterator[None]:
    """While this lasts the honest user is served, and in the end the process has grown by no more than some MiB."""
    process = psutil.Process(server.pid)
    before = process.memory_info().rss
    slowest = 0.0
    over = False

    async def talk() -> None:
        nonlocal slowest
        while not over:
            began = time.monotonic()
            await honest.in_step()
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(0.1)  # not to be limited

    talking = asyncio.create_task(talk())
    try:
        yield
    finally:
        over = True
        await talking
    assert slowest < PATIENT_S
    assert process.memory_info().rss - before < memory_mib * MIB


async def test_a_frame_of_10_mb_is_refused_by_its_header(pair: Pair, knock: Knock, honest: Peer) -> None:
    async with undisturbed(pair[0], honest):
        peers = [await knock(pair[0]) for _ in range(5)]
        for peer in peers:
            with contextlib.suppress(ConnectionClosed):
                await peer.raw("x" * 10_000_000)
        for peer in peers:
            # What it still sends makes the kernel drop the close frame.
            assert await peer.closed() in (MESSAGE_TOO_BIG, 1006)


@pytest.mark.parametrize("size", [32 * 1024 + 1, 10_000_000, 2**63 - 1])
async def test_the_announcement_of_a_large_frame_is_enough(size: int, pair: Pair, honest: Peer) -> None:
    async with undisturbed(pair[0], honest), Wire(pair[0]) as wire:
        await wire.upgrade()
        wire.writer.write(b"\x81\xff" + size.to_bytes(8) + os.urandom(4))
        assert MESSAGE_TOO_BIG.to_bytes(2) in await wire.ended()


@pytest.mark.parametrize(
    "garbage",
    [
        os.urandom(4096),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(512),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"\x00" * 100_000,
    ],
    ids=["random", "tls", "http2", "half an upgrade", "zeros"],
)
async def test_garbage_before_the_handshake_harms_nobody(garbage: bytes, pair: Pair, honest: Peer) -> None:
    async with undisturbed(pair[0], honest), contextlib.AsyncExitStack() as stack:
        for _ in range(5):
            wire = await stack.enter_async_context(Wire(pair[0]))
            await wire.pour(garbage, 1)
            said = await wire.ended()
            assert said == b"" or said.startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize(
    ("beginning", "more"),
    [(b"GET /", b"x" * 6_000), (b"GET / HTTP/1.1\r\nX: ", b"x" * 6_000), (b"GET / HTTP/1.1\r\n", b"X: y\r\n" * 1_000)],
    ids=["line", "header", "headers"],
)
async def test_an_endless_head_of_a_request_ends_at_the_limit(
    beginning: bytes, more: bytes, pair: Pair, honest: Peer
) -> None:
    async with undisturbed(pair[0], honest), Wire(pair[0]) as wire:
        wire.writer.write(beginning)
        assert await wire.pour(more, 10_000) < 2_000
        assert (await wire.ended())[:12] in (b"HTTP/1.1 400", b"")


async def test_who_does_not_finish_asking_is_hung_up_on(site: Site, serve: Serve) -> None:
    server = await serve(site.apart(), connect_timeout_s=1)

    async def begin(beginning: bytes) -> bytes:
        async with Wire(server) as wire:
            wire.writer.write(beginning)
            return await wire.ended()

    whole = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    silent, half, second = await asyncio.gather(begin(b""), begin(whole[:-2]), begin(whole + whole[:4]))
    assert (silent, half) == (b"", b"")
    assert second.startswith(b"HTTP/1.1 200 ")


async def test_half_open_connections_harm_nobody(pair: Pair, honest: Peer) -> None:
    beginnings = [
        b"",
        b"GET",
        b"GET /v1/ws HTTP/1.1\r\nHost:",
        b"POST /v1/orders HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
    ]
    async with undisturbed(pair[0], honest), contextlib.AsyncExitStack() as stack:
        for number in range(100):
            wire = await stack.enter_async_context(Wire(pair[0]))
            wire.writer.write(beginnings[number % len(beginnings)])
        half = await stack.enter_async_context(Wire(pair[0]))
        await half.upgrade()
        half.writer.write(frame(Opcode.TEXT, b'{"type":"ping"}')[:7])
        for _ in range(10):
            await honest.in_step()
    await eventually(lambda: pair[0].metric("connections") == 1)


async def test_a_flood_of_bad_frames_is_slowed_down_and_the_others_are_served(
    pair: Pair, knock: Knock, honest: Peer
) -> None:
    flooders = [await knock(pair[0]) for _ in range(4)]
    for flooder in flooders:
        await flooder.ask("connect", expect="connected", token=token(unique("flooder")))
    async with undisturbed(pair[0], honest):
        began = time.monotonic()

        async def flood(peer: Peer) -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(4):
                    while True:
                        await peer.send("nonsense", id="n")
                        await asyncio.sleep(0)  # it reads what it is told

        await asyncio.gather(*(flood(flooder) for flooder in flooders))
        took = time.monotonic() - began
    for flooder in flooders:
        flooder.abort()  # its close frame would wait behind the flood
        refusals = flooder.of_type("error")
        assert {refusal["code"] for refusal in refusals} == {"bad_request", "rate_limited"}
        # A burst of 60, and 60 more after each pause of a second.
        assert len(refusals) < 130 * (took + 1)


async def test_pings_whose_answers_nobody_reads_are_not_hoarded(pair: Pair, honest: Peer) -> None:
    pings = frame(Opcode.PING, b"p" * 125) * 500
    async with undisturbed(pair[0], honest), Wire(pair[0]) as wire:
        await wire.upgrade()
        await wire.pour(pings, 400)


async def test_what_comes_after_a_refused_handshake_is_not_hoarded(pair: Pair, honest: Peer) -> None:
    async def refused() -> None:
        async with Wire(pair[0]) as wire:
            await wire.upgrade(Sec_WebSocket_Protocol="dispute-chat.v2")
            await wire.pour(b"x" * 65536, 300)
            assert CloseCode.WRONG_SUBPROTOCOL.to_bytes(2) in await wire.ended()

    async with undisturbed(pair[0], honest):
        await asyncio.gather(*(refused() for _ in range(3)))


async def test_a_small_frame_that_unfolds_into_a_large_one_is_refused(site: Site, serve: Serve, dial: Dial) -> None:
    server = await serve(site.apart(), compression=True)
    order = site.order(server)
    honest = await dial(server, order.buyer, [order.room])
    async with undisturbed(server, honest):
        for _ in range(3):
            bomber = await dial(server, order.seller, compression="deflate")
            assert bomber.websocket.protocol.extensions
            await bomber.send("ping", padding="x" * 25_000_000)
            assert await bomber.closed() == MESSAGE_TOO_BIG


async def test_a_message_in_endless_pieces_ends_at_the_limit(pair: Pair, honest: Peer) -> None:
    async with undisturbed(pair[0], honest), Wire(pair[0]) as wire:
        await wire.upgrade()
        wire.writer.write(frame(Opcode.TEXT, b'{"type":"ping","t":"', fin=False))
        # No more than it takes: what the server leaves unread would make the kernel drop its answer.
        await wire.pour(frame(Opcode.CONT, b"x" * 1000, fin=False), 33)
        assert MESSAGE_TOO_BIG.to_bytes(2) in await wire.ended()


@pytest.mark.parametrize(
    "violation",
    [
        b"\x81\x0f" + b'{"type":"ping"}',
        b"\xf1" + frame(Opcode.TEXT, b'{"type":"ping"}')[1:],
        b"\x83" + frame(Opcode.TEXT, b"")[1:],
        frame(Opcode.CONT, b"x"),
        frame(Opcode.TEXT, b"x", fin=False) + frame(Opcode.TEXT, b"x"),
        b"\x89\xfe\x00\x7e" + b"\x00" * 4 + b"p" * 126,
        b"\x09\x80" + b"\x00" * 4,
        frame(Opcode.CLOSE, b"\x03"),
    ],
    ids=[
        "unmasked",
        "reserved bits",
        "reserved opcode",
        "stray piece",
        "two at once",
        "long ping",
        "ping piece",
        "close",
    ],
)
async def test_a_violation_of_the_websocket_protocol_ends_that_connection(
    violation: bytes, pair: Pair, honest: Peer
) -> None:
    async with undisturbed(pair[0], honest), Wire(pair[0]) as wire:
        await wire.upgrade()
        wire.writer.write(violation)
        assert (1002).to_bytes(2) in await wire.ended()


@pytest.mark.parametrize("number", ["9" * 30, "1e400", "NaN", "-Infinity", "0.1" + "0" * 400])
async def test_numbers_that_json_hardly_carries_harm_nobody(number: str, pair: Pair, honest: Peer) -> None:
    async with undisturbed(pair[0], honest):
        await honest.raw(f'{{"type":"ping","id":"odd","t":{number}}}')
        assert (await honest.answer("odd"))["type"] in ("pong", "error")
