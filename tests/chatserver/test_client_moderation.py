"""What the client tells of moderation: flags, what became of one's own text, and entries that staff have changed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson
import pytest

from chatserver.client import Cause, Changed, ChatClient, Entry, Flag, Notice, Room, Sent
from chatserver.client.frames import Acked, decode
from policies.errors import BadRequest
from tests.chatserver.client_peer import (
    AT,
    DISPUTE_ROOM,
    ROOM,
    WAIT_S,
    Peer,
    in_dispute,
    joined,
    joined_dispute,
    listening,
    meeting,
    wire_entry,
)

FLAG: dict[str, Any] = {
    "mark": "withheld",
    "confidence": 97,
    "causes": [
        {
            "kind": "contact",
            "category": "phone",
            "field": "text",
            "start": 8,
            "end": 20,
            "confidence": 97,
            "rule": "phone.international",
        }
    ],
    "state": "released",
    "decided_by": "ada",
    "decided_at": AT,
}


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with listening() as peer:
        yield peer


def entry(**fields: Any) -> Entry:
    return Entry.model_validate_json(orjson.dumps(wire_entry(12, **fields)))


async def changed(client: ChatClient) -> Changed:
    async with asyncio.timeout(WAIT_S):
        while not isinstance(event := await anext(client.events()), Changed):
            pass
    return event


def test_staff_read_the_flag_of_an_entry() -> None:
    flag = entry(flag=FLAG).flag
    assert isinstance(flag, Flag)
    assert (flag.mark, flag.state, flag.decided_by) == ("withheld", "released", "ada")
    [cause] = flag.causes
    assert isinstance(cause, Cause)
    assert (cause.category, cause.start, cause.end, cause.rule) == ("phone", 8, 20, "phone.international")
    assert entry().flag is None


def test_the_text_is_what_everybody_sees() -> None:
    masked = {"text": "it is \u2022\u2022\u2022", "masked": {"fields": ["text"], "digest": "00"}}
    whole = {"text": "it is abc"}
    assert entry(body=masked).text == "it is \u2022\u2022\u2022"
    own = entry(body=masked, whole=whole)
    assert (own.text, own.whole) == ("it is \u2022\u2022\u2022", whole)
    assert entry(body=masked, whole=whole, released=True).text == "it is abc"
    assert entry(body={}, withheld=True).text == ""
    assert entry(body=masked, whole={"caption": "x"}, released=True).text == "it is \u2022\u2022\u2022"


def test_words_of_a_newer_server_are_read() -> None:
    newer = {**FLAG, "mark": "blurred", "state": "appealed", "score": 3}
    newer["causes"] = [{**FLAG["causes"][0], "kind": "picture", "category": "face"}]
    flag = entry(flag=newer).flag
    assert flag is not None
    assert (flag.mark, flag.causes[0].category) == ("blurred", "face")
    notice = {"mark": "blurred", "message": "Another picture, please.", "link": "x"}
    ack = decode(orjson.dumps({"type": "ack", "id": "c1", "seq": 3, "entry_id": "e", "at": AT, "notice": notice}))
    assert isinstance(ack, Acked)
    assert ack.notice == Notice(mark="blurred", message="Another picture, please.")


async def test_who_sends_is_told_what_became_of_the_text(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        joining = asyncio.create_task(client.join(ROOM))
        await wire.send(joined(id=(await wire.receive("join"))["id"]))
        room = await joining
        notice = {"mark": "withheld", "message": "Please say it again without that part."}
        for duplicate in (False, True):
            sending = asyncio.create_task(room.send("call me", command_id="c1"))
            frame = await wire.receive("message.send")
            ack = {"type": "ack", "id": "c1", "room": ROOM, "seq": 1, "entry_id": "e", "at": AT}
            await wire.send(ack | {"duplicate": duplicate, "notice": notice})
            sent = await sending
            assert (frame["id"], sent.seq, sent.duplicate) == ("c1", 1, duplicate)
            assert sent.notice == Notice.model_validate(notice)
        sending = asyncio.create_task(room.send("hello"))
        await wire.ack(await wire.receive("message.send"), 2)
        assert (await sending).notice is None


@pytest.mark.parametrize(
    ("act", "frame"),
    [
        (lambda room: room.release(3, "no number"), {"type": "message.release", "seq": 3, "reason": "no number"}),
        (lambda room: room.release(3), {"type": "message.release", "seq": 3, "reason": ""}),
        (lambda room: room.redact(3, "an address"), {"type": "message.redact", "seq": 3, "reason": "an address"}),
    ],
)
async def test_staff_rule_on_an_entry_until_it_is_acknowledged(
    peer: Peer, act: Callable[[Room], Awaitable[Sent | None]], frame: dict[str, Any]
) -> None:
    async with in_dispute(peer, you={"role": "agent"}) as (_, room, wire):
        ruling = asyncio.ensure_future(act(room))
        sent = await wire.receive()
        assert sent == {"id": sent["id"], "room": DISPUTE_ROOM, **frame}
        wire.cut()
        wire = await peer.accept()
        await wire.connected()
        await wire.send(joined_dispute(you={"role": "agent"}))
        assert await wire.receive() == sent
        await wire.ack(sent, 15, duplicate=True)
        answer = await ruling
        assert answer is not None
        assert (answer.command_id, answer.seq, answer.duplicate) == (sent["id"], 15, True)


async def test_a_ruling_that_writes_nothing_has_no_place(peer: Peer) -> None:
    async with in_dispute(peer, you={"role": "agent"}) as (_, room, wire):
        ruling = asyncio.create_task(room.redact(3, "as before", command_id="r1"))
        await wire.send(type="ack", id=(await wire.receive("message.redact"))["id"], room=DISPUTE_ROOM)
        assert await ruling is None
        with pytest.raises(BadRequest):
            await room.redact(0, "none")
        with pytest.raises(BadRequest):
            await room.redact(3, "")


async def test_the_strikes_of_a_member_outlast_their_presence(peer: Peer) -> None:
    members = [{"user": "bob", "role": "seller", "name": "Bob", "state": "online", "strikes": 2.5}]
    async with in_dispute(peer, members=members) as (client, room, wire):
        await wire.send(type="presence", room=DISPUTE_ROOM, user="bob", role="seller", state="offline", last_seen=AT)
        async with asyncio.timeout(WAIT_S):
            while room.members["bob"].state != "offline":
                await anext(client.events())
        assert room.members["bob"].strikes == 2.5


async def test_an_entry_that_staff_have_changed_is_an_event_and_not_read_again(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        joining = asyncio.create_task(client.join(ROOM, after=0))
        frame = await wire.receive("join")
        hidden = wire_entry(1, body={}, withheld=True)
        await wire.send(joined(id=frame["id"], head=1) | {"entries": [hidden]})
        room = await joining
        async with asyncio.timeout(WAIT_S):
            assert (await anext(room.entries())).text == ""
        await wire.send(type="entry.changed", room=ROOM, entry=wire_entry(1, "hello", released=True))
        await wire.send(type="entry.changed", room="order-2", entry=wire_entry(1, "not ours"))
        event = await changed(client)
        assert (event.room, event.entry.seq, event.entry.text, event.entry.released) == (ROOM, 1, "hello", True)
        await wire.entry(2, "the next one")
        async with asyncio.timeout(WAIT_S):
            assert (await anext(room.entries())).seq == 2


async def test_who_reads_late_reads_the_entry_as_it_is_now(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        joining = asyncio.create_task(client.join(ROOM, after=0))
        frame = await wire.receive("join")
        await wire.send(joined(1, 2, 3, id=frame["id"]))
        room = await joining
        await wire.send(type="entry.changed", room=ROOM, entry=wire_entry(2, body={}, withheld=True))
        await changed(client)
        async with asyncio.timeout(WAIT_S):
            read = [await anext(room.entries()) for _ in range(3)]
        assert [(one.seq, one.text) for one in read] == [(1, "text 1"), (2, ""), (3, "text 3")]
