"""The Python client against a scripted far end: losses, repeats and refusals exactly where the test wants them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from chatserver.client import (
    ChatClient,
    ClientClosed,
    ConnectionEnded,
    ConnectTimeout,
    Ended,
    Entry,
    Offline,
    Online,
    Room,
    Stream,
    websocket_url,
)
from chatserver.protocol import Presence, ReceiptNow, TypingNow
from policies.errors import BadRequest, ChatError, Conflict, Forbidden, NotFound, Refused, TooLarge, Unauthenticated
from policies.vocabulary import PresenceState, Role, RoomKind
from tests.chatserver.client_peer import AT, ROOM, WAIT_S, AtOnce, Peer, Wire, joined, listening, meeting, wire_entry


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with listening() as peer:
        yield peer


async def take(stream: Stream[Any], count: int) -> list[Any]:
    async with asyncio.timeout(WAIT_S):
        return [await anext(stream) for _ in range(count)]


async def seqs(room: Room, count: int) -> list[int]:
    return [entry.seq for entry in await take(room.entries(), count)]


async def join(client: ChatClient, wire: Wire, *present: int, after: int | None = 0) -> Room:
    joining = asyncio.create_task(client.join(ROOM, after=after))
    frame = await wire.receive("join")
    await wire.send(joined(*present, id=frame["id"]))
    return await joining


async def again(peer: Peer, *present: int, **fields: Any) -> Wire:
    """The client's next connection, with its room joined again."""
    wire = await peer.accept()
    await wire.connected()
    await wire.send(joined(*present, **fields))
    return wire


# Connecting


async def test_connecting_sends_the_token_in_the_first_frame_and_reads_the_limits(peer: Peer) -> None:
    async with meeting(peer, name="bot", version="1.0") as (client, wire):
        assert wire.connect["token"] == "token-1"
        assert wire.connect["client"] == {"name": "bot", "version": "1.0"}
        assert client.limits.message_chars == 4000
        assert (client.user.id, client.session) == ("ann", "s1")
        assert client.rooms == {}


async def test_a_server_that_comes_up_late_is_waited_for(peer: Peer) -> None:
    peer.statuses = iter([503, 502, 429, None])
    async with meeting(peer):
        pass


async def test_a_server_that_is_not_there_is_given_up_after_the_timeout() -> None:
    async with listening() as peer:
        url = peer.url
    client = ChatClient(url, token="t", proxy=None, connect_timeout_s=0.2)
    with pytest.raises(ConnectTimeout) as caught:
        await client.__aenter__()
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refused_upgrade_is_final(peer: Peer, status: int) -> None:
    peer.statuses = iter([status])
    with pytest.raises(ConnectionEnded, match=str(status)):
        await peer.client().__aenter__()


async def test_a_server_without_our_subprotocol_is_final() -> None:
    async with listening(subprotocols=None) as peer:
        with pytest.raises(ConnectionEnded, match=r"dispute-chat\.v1"):
            await peer.client().__aenter__()


async def test_an_invalid_token_is_told_and_final(peer: Peer) -> None:
    entering = asyncio.create_task(peer.client().__aenter__())
    wire = await peer.accept()
    await wire.error(await wire.receive("connect"), "unauthenticated")
    await wire.close(4501, "invalid token")
    with pytest.raises(ConnectionEnded) as caught:
        await entering
    assert caught.value.close_code == 4501
    assert isinstance(caught.value.__cause__, Unauthenticated)


async def test_entering_can_be_cancelled_and_leaves_nothing_behind(peer: Peer) -> None:
    entering = asyncio.create_task(peer.client(connect_timeout_s=None).__aenter__())
    wire = await peer.accept()
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    async with asyncio.timeout(WAIT_S):
        await wire.connection.wait_closed()


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="token"):
        ChatClient("http://127.0.0.1")
    with pytest.raises(ValueError, match="buffer"):
        ChatClient("http://127.0.0.1", token="t", buffer=0)
    with pytest.raises(RuntimeError, match="not entered"):
        _ = ChatClient("http://127.0.0.1", token="t").user


async def test_a_client_is_used_once_and_only_inside(peer: Peer) -> None:
    client = peer.client()
    with pytest.raises(RuntimeError, match="not entered"):
        await client.join(ROOM)
    await client.close()  # nothing to close
    async with meeting(peer) as (client, _):
        with pytest.raises(RuntimeError, match="once"):
            await client.__aenter__()
    with pytest.raises(ClientClosed):
        await client.join(ROOM)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000", "ws://127.0.0.1:8000/v1/ws"),
        ("https://chat.example/", "wss://chat.example/v1/ws"),
        ("wss://chat.example/disputes", "wss://chat.example/disputes/v1/ws"),
        ("ws://chat.example/v1/ws", "ws://chat.example/v1/ws"),
        ("https://chat.example/#token=secret", "wss://chat.example/v1/ws"),
    ],
)
def test_urls_are_completed(url: str, expected: str) -> None:
    assert websocket_url(url) == expected


@pytest.mark.parametrize("url", ["", "chat.example", "ftp://chat.example", "http://"])
def test_what_is_not_a_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not the URL"):
        websocket_url(url)


# Sending


async def test_a_message_is_acknowledged_with_its_place(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        room = await join(client, wire)
        sending = asyncio.create_task(room.send("hello", reply_to=3, command_id="mine"))
        frame = await wire.receive("message.send")
        assert frame == {"type": "message.send", "id": "mine", "room": ROOM, "text": "hello", "reply_to": 3}
        await wire.ack(frame, 4)
        sent = await sending
        assert (sent.room, sent.command_id, sent.seq, sent.duplicate) == (ROOM, "mine", 4, False)
        assert sent.at.isoformat() == AT


async def test_a_message_survives_losses_errors_and_pauses_under_one_id(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        room = await join(client, wire)
        sending = asyncio.create_task(room.send("hello"))
        first = await wire.receive("message.send")
        wire.cut()
        wire = await again(peer)
        assert await wire.receive("message.send") == first
        await wire.error(first, "unavailable", temporary=True, retry_after_ms=1)
        assert await wire.receive("message.send") == first
        await wire.error(first, "rate_limited", temporary=True, retry_after_ms=60)
        assert await wire.receive("message.send") == first
        await wire.close(4002, "slow consumer")
        wire = await again(peer)
        assert await wire.receive("message.send") == first
        await wire.ack(first, 1, duplicate=True)
        assert (await sending).duplicate


async def test_an_ack_right_before_the_close_counts(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        room = await join(client, wire)
        sending = asyncio.create_task(room.send("hello"))
        frame = await wire.receive("message.send")
        await wire.ack(frame, 1)
        await wire.send(type="bye", reason="shutdown", reconnect_after_ms=1)
        await wire.close(4000, "going away")
        assert (await sending).seq == 1
        wire = await again(peer, 1)
        assert await seqs(room, 1) == [1]


async def test_a_final_error_is_raised_with_its_code_and_details(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        room = await join(client, wire)
        sending = asyncio.create_task(room.send("hello"))
        await wire.error(await wire.receive("message.send"), "refused", details={"rule": "closed"})
        with pytest.raises(Refused) as caught:
            await sending
        assert caught.value.details == {"rule": "closed"}


async def test_messages_are_appended_in_the_order_of_the_calls(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        room = await join(client, wire)
        sending = [asyncio.create_task(room.send(f"m{number}")) for number in range(3)]
        first = await wire.receive("message.send")
        await wire.error(first, "rate_limited", temporary=True, retry_after_ms=50)
        for number in range(3):
            frame = await wire.receive("message.send")
            assert frame["text"] == f"m{number}"
            await wire.ack(frame, number + 1)
        assert [(await one).seq for one in sending] == [1, 2, 3]


async def test_what_the_server_would_not_take_is_refused_here(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        room = await join(client, wire)
        with pytest.raises(TooLarge):
            await room.send("x" * 4001)
        for text in ("", "\ud800"):
            with pytest.raises(BadRequest):
                await room.send(text)
        with pytest.raises(BadRequest):
            await room.send("hello", reply_to=0)
        with pytest.raises(BadRequest):
            await room.send("hello", command_id="x" * 65)
        with pytest.raises(BadRequest):
            await client.join("")


async def test_the_same_message_sent_twice_at_once_is_one(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        room = await join(client, wire)
        twice = [asyncio.create_task(room.send("hello", command_id="c1")) for _ in range(2)]
        frame = await wire.receive("message.send")
        with pytest.raises(Conflict):
            await room.send("other", command_id="c1")
        twice[0].cancel()
        await asyncio.gather(twice[0], return_exceptions=True)
        await wire.ack(frame, 1)
        assert (await twice[1]).seq == 1


async def test_a_cancelled_send_is_not_sent_again(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        room = await join(client, wire)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await room.send("hello")
        assert (await wire.receive("message.send"))["text"] == "hello"
        wire.cut()
        wire = await again(peer)
        await client_is_idle(client, wire)
        room.typing(True)
        assert (await wire.receive())["type"] == "typing"


async def test_an_ack_that_does_not_say_where_is_an_error(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        room = await join(client, wire)
        sending = asyncio.create_task(room.send("hello"))
        frame = await wire.receive("message.send")
        await wire.send(type="ack", id=frame["id"])
        with pytest.raises(ChatError, match="where"):
            await sending


async def test_closing_the_client_fails_what_waits_and_ends_what_reads(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        room = await join(client, wire)
        sending = asyncio.create_task(room.send("hello"))
        reading = asyncio.create_task(collect(room.entries()))
        await wire.receive("message.send")
        await client.close()
        with pytest.raises(ClientClosed):
            await sending
        assert await reading == []
        async with asyncio.timeout(WAIT_S):
            await wire.connection.wait_closed()
        assert wire.connection.close_code == 1000


async def collect(stream: Stream[Any]) -> list[Any]:
    return [item async for item in stream]


# Reading


async def test_entries_come_once_and_in_order_whatever_the_network_does(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        room = await join(client, wire, 1, 2)
        for seq in (2, 3, 3, 6, 5):  # repeats, a hole, an exchange
            await wire.entry(seq)
        fetch = await wire.receive("history")
        assert fetch["after"] == 3
        wire.cut()
        wire = await peer.accept()
        assert (await wire.connected())["rooms"] == [{"room": ROOM, "after": 3}]
        await wire.send(joined(4, 5, head=8, more=True))
        fetch = await wire.receive("history")
        assert fetch["after"] == 6  # 6 had waited aside
        await wire.entry(9)
        await wire.send(type="history", id=fetch["id"], room=ROOM, entries=[wire_entry(7), wire_entry(8)], more=False)
        assert await seqs(room, 9) == list(range(1, 10))
        assert (room.position, room.head) == (9, 9)


async def test_a_join_without_position_begins_with_the_latest(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        room = await join(client, wire, 41, 42, after=None)
        await wire.entry(43)
        [first, *_] = entries = await take(room.entries(), 3)
        assert isinstance(first, Entry)
        assert [entry.seq for entry in entries] == [41, 42, 43]
        assert (first.text, first.author.name, first.kind) == ("text 41", "Bob", "message")


async def test_resync_is_obeyed(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        room = await join(client, wire, 1)
        await wire.send(type="resync", room=ROOM, head=3)
        frame = await wire.receive("join")
        assert frame["after"] == 1
        await wire.send(joined(2, 3, id=frame["id"]))
        assert await seqs(room, 3) == [1, 2, 3]


async def test_a_reader_that_does_not_keep_up_gets_the_rest_from_history(peer: Peer) -> None:
    async with meeting(peer, buffer=10) as (client, wire):
        room = await join(client, wire)
        for seq in range(1, 201):
            await wire.entry(seq)
        await client_is_idle(client, wire)
        reading = asyncio.create_task(seqs(room, 200))
        while not reading.done():
            frame = asyncio.create_task(wire.receive("history"))
            await asyncio.wait({frame, reading}, return_when=asyncio.FIRST_COMPLETED)
            if not frame.done():
                frame.cancel()
                break
            asked = await frame
            page = [wire_entry(seq) for seq in range(asked["after"] + 1, min(asked["after"] + 100, 200) + 1)]
            await wire.send(type="history", id=asked["id"], room=ROOM, entries=page, more=False)
        assert await reading == list(range(1, 201))


async def client_is_idle(client: ChatClient, wire: Wire) -> None:
    """Wait until the client has handled everything that was sent to it."""
    ping = asyncio.create_task(client.ping())
    frame = await wire.receive("ping")
    await wire.send(type="pong", id=frame["id"], server_time=AT)
    assert 0 <= await ping < WAIT_S


async def test_only_one_task_reads_a_room_and_a_cancelled_wait_loses_nothing(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        room = await join(client, wire)
        waiting = asyncio.create_task(anext(room.entries()))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await anext(room.entries())
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await wire.entry(1)
        await wire.entry(2)
        async for entry in room.entries():
            assert entry.seq == 1
            break
        assert await seqs(room, 1) == [2]


async def test_history_pages(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        room = await join(client, wire)
        asking = asyncio.create_task(room.history(before=9, limit=2))
        frame = await wire.receive("history")
        assert (frame["before"], frame["limit"], "after" in frame) == (9, 2, False)
        await wire.send(type="history", id=frame["id"], room=ROOM, entries=[wire_entry(7), wire_entry(8)], more=True)
        page = await asking
        assert ([entry.seq for entry in page.entries], page.more) == ([7, 8], True)
        with pytest.raises(BadRequest, match="not both"):
            await room.history(before=9, after=2)
        with pytest.raises(BadRequest):
            await room.history(limit=101)


# Rooms


async def test_a_room_knows_its_members_and_follows_them(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        room = await join(client, wire, 1, 2)
        assert (room.id, room.kind, room.role, room.joined) == (ROOM, RoomKind.ORDER, Role.BUYER, True)
        assert room.members["bob"].state is PresenceState.OFFLINE
        assert room.cursors["bob"].read == 1
        await wire.send(type="presence", room=ROOM, user="bob", role="seller", state="online")
        await wire.send(type="presence", room=ROOM, user="eve", role="agent", state="online")
        await wire.send(type="receipt", room=ROOM, user="bob", delivered=2, read=2)
        await wire.send(type="typing", room=ROOM, user="bob", on=True)
        [online, *frames] = await take(client.events(), 5)
        assert isinstance(online, Online)
        assert [type(frame) for frame in frames] == [Presence, Presence, ReceiptNow, TypingNow]
        assert (room.members["bob"].name, room.members["bob"].state) == ("Bob", PresenceState.ONLINE)
        assert room.members["eve"].role is Role.AGENT
        assert room.cursors["bob"].read == 2


async def test_typing_and_receipts_are_sent(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        room = await join(client, wire, 1, 2)
        room.typing(True)
        assert await wire.receive() == {"type": "typing", "room": ROOM, "on": True}
        room.receipt(delivered=1)
        assert await wire.receive() == {"type": "receipt", "room": ROOM, "delivered": 1}
        room.receipt(read=2)  # after the pause, by the timer
        assert await wire.receive() == {"type": "receipt", "room": ROOM, "delivered": 2, "read": 2}


async def test_a_room_that_is_not_ours_is_not_found(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        joining = asyncio.create_task(client.join("order-2"))
        await wire.error(await wire.receive("join"), "not_found")
        with pytest.raises(NotFound):
            await joining
        assert client.rooms == {}


async def test_a_join_that_is_cancelled_leaves_the_room(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.join(ROOM)
        await wire.receive("join")
        assert (await wire.receive("leave"))["room"] == ROOM
        assert client.rooms == {}


async def test_leaving_ends_the_entries(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        room = await join(client, wire, 1)
        leaving = asyncio.create_task(room.leave())
        frame = await wire.receive("leave")
        await wire.send(type="ack", id=frame["id"], room=ROOM)
        await leaving
        await room.leave()  # it is left already
        assert [entry.seq for entry in await collect(room.entries())] == [1]
        with pytest.raises(ClientClosed):
            room.typing(True)
        with pytest.raises(ClientClosed):
            room.receipt(read=1)
        with pytest.raises(ClientClosed):
            await room.send("hello")
        assert (await join(client, wire, 1)).id == ROOM


async def test_joining_twice_is_a_conflict(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        await join(client, wire)
        with pytest.raises(Conflict):
            await client.join(ROOM)


async def test_several_rooms_come_back_with_their_positions_and_one_may_be_gone(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        first = await join(client, wire, 1, 2)
        joining = asyncio.create_task(client.join("order-2", after=7))
        frame = await wire.receive("join")
        await wire.send(joined(8, room="order-2", id=frame["id"]))
        second = await joining
        wire.cut()
        wire = await peer.accept()
        connect = await wire.connected()
        assert connect["rooms"] == [{"room": "order-1", "after": 2}, {"room": "order-2", "after": 8}]
        await wire.error(connect, "forbidden", details={"room": "order-2"})
        await wire.send(joined(3))
        assert await seqs(first, 3) == [1, 2, 3]
        assert await seqs(second, 1) == [8]  # what had arrived is still read
        with pytest.raises(Forbidden):
            await anext(second.entries())
        with pytest.raises(Forbidden):
            await second.send("hello")


# Coming back


async def test_the_connection_is_watched(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        events = client.events()
        assert isinstance(await anext(events), Online)
        await wire.close(4006, "a fault")
        offline = await anext(events)
        assert isinstance(offline, Offline)
        assert offline.reason == "a fault"
        await (await peer.accept()).connected()
        assert isinstance(await anext(events), Online)


async def test_a_final_close_raises_in_everything_that_waits(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        room = await join(client, wire, 1)
        sending = asyncio.create_task(room.send("hello"))
        await wire.receive("message.send")
        assert await seqs(room, 1) == [1]
        reading = asyncio.create_task(anext(room.entries()))
        pinging = asyncio.create_task(client.ping())
        await wire.receive("ping")
        await wire.close(4503, "access revoked")
        waiting: Iterable[asyncio.Task[Any]] = (sending, reading, pinging)
        for task in waiting:
            with pytest.raises(ConnectionEnded) as caught:
                await task
            assert caught.value.close_code == 4503
        with pytest.raises(ConnectionEnded):
            await client.join("order-2")
        events = await collect(client.events())
        assert isinstance(events[-1], Ended)


async def test_bye_is_obeyed(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        await wire.send(type="bye", reason="shutdown", reconnect_after_ms=150)
        await wire.close(4000, "going away")
        [_, offline] = await take(client.events(), 2)
        assert offline.retry_in_s == 0.15
        loop = asyncio.get_running_loop()
        before = loop.time()
        await peer.accept()
        assert loop.time() - before >= 0.1


async def test_a_silent_server_is_replaced_and_its_pings_count_as_signs_of_life(peer: Peer) -> None:
    client = peer.client()
    entering = asyncio.create_task(client.__aenter__())
    wire = await peer.accept()
    await wire.connected(heartbeat_s=-9.7)  # with the margin of 10 s: 0.3 s of silence
    await entering
    for _ in range(5):
        await asyncio.sleep(0.1)
        await wire.connection.ping()
    assert wire.connection.close_code is None
    await (await peer.accept()).connected()
    await client.close()


async def test_a_silent_server_is_noticed_while_a_send_is_stuck(peer: Peer) -> None:
    client = peer.client()
    entering = asyncio.create_task(client.__aenter__())
    wire = await peer.accept()
    await wire.connected(heartbeat_s=-9.0, frame_bytes=10**9, message_chars=10**9)
    await entering
    room = await join(client, wire)
    wire.connection.transport.pause_reading()
    sending = asyncio.create_task(room.send("x" * 40_000_000))
    wire = await peer.accept()
    sending.cancel()
    await client.close()


# Tokens


class Tokens:
    """A provider that counts; what it raises can be set."""

    def __init__(self) -> None:
        self.given = 0
        self.fails: list[Exception] = []

    async def __call__(self) -> str:
        self.given += 1
        if self.fails:
            raise self.fails.pop()
        return f"given-{self.given}"


async def test_the_provider_gives_the_first_token_and_is_asked_again_when_it_expired(peer: Peer) -> None:
    tokens = Tokens()
    async with meeting(peer, token_provider=tokens) as (_, wire):
        assert wire.connect["token"] == "given-1"
        wire.cut()
        wire = await peer.accept()
        assert (await wire.connected())["token"] == "given-1"  # still good
        await wire.close(4001, "token expired")
        wire = await peer.accept()
        assert (await wire.connected())["token"] == "given-2"


async def test_a_token_that_expires_is_refreshed_on_the_connection(peer: Peer) -> None:
    tokens = Tokens()
    async with meeting(peer, token_provider=tokens) as (client, wire):
        await wire.send(type="token.expiring", in_s=60.0)
        refresh = await wire.receive("token.refresh")
        assert refresh["token"] == "given-2"
        await wire.send(type="ack", id=refresh["id"])
        await client_is_idle(client, wire)
        wire.cut()
        assert (await (await peer.accept()).connected())["token"] == "given-2"


async def test_a_provider_that_fails_is_asked_again(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    tokens = Tokens()
    async with meeting(peer, token_provider=tokens) as (client, wire):
        tokens.fails = [OSError("the back end is away")]
        await wire.send(type="token.expiring", in_s=60.0)
        await client_is_idle(client, wire)
        tokens.fails = [OSError("the back end is away")]
        await wire.close(4001, "token expired")
        wire = await peer.accept()
        assert (await wire.connected())["token"] == "given-4"
    assert caplog.text.count("the token provider failed") == 2


async def test_a_provider_can_end_the_client(peer: Peer) -> None:
    tokens = Tokens()
    tokens.fails = [Unauthenticated("signed out")]
    with pytest.raises(Unauthenticated, match="signed out"):
        await peer.client(token_provider=tokens).__aenter__()


async def test_without_a_provider_an_expired_token_is_the_end(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    async with meeting(peer) as (client, wire):
        await wire.send(type="token.expiring", in_s=60.0)
        await wire.close(4001, "token expired")
        events = await collect(client.events())
        assert isinstance(events[-1], Ended)
    assert "no token provider" in caplog.text


# Faults


async def test_a_fault_of_the_client_leaves_nobody_waiting(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    client = peer.client()
    entering = asyncio.create_task(client.__aenter__())
    wire = await peer.accept()
    await wire.connected()
    await entering

    def broken(_text: bytes) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("chatserver.client.runner.decode", broken)
    pinging = asyncio.create_task(client.ping())
    await wire.receive("ping")
    for _ in range(2):  # the first is read by the call that is under way
        await wire.send(type="pong", server_time=AT)
    with pytest.raises(ConnectionEnded):
        await pinging
    with pytest.raises(RuntimeError, match="a bug"):
        await client.close()


async def test_frames_that_cannot_be_used_are_passed_over(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    async with meeting(peer) as (client, wire):
        with caplog.at_level(logging.DEBUG, "chatserver.client"):
            await wire.send(type="hologram")
            await wire.send(type="entry", room=ROOM)
            await client_is_idle(client, wire)
    assert "unknown type" in caplog.text
    assert "invalid frame" in caplog.text


def test_jitter_of_the_tests_is_none() -> None:
    assert AtOnce().uniform(0, 5) == 0
