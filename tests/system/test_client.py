"""The Python client and the terminal client with real servers."""

import asyncio
import subprocess
import sys
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest

from chatserver.client import ChatClient, ConnectionEnded, Entry, Offline, Room
from chatserver.errors import CloseCode
from chatserver.protocol import Presence, TypingNow
from policies.errors import BadRequest, Conflict, NotFound, TooLarge, Unauthenticated
from policies.vocabulary import PresenceState, Role
from tests.eventually import eventually
from tests.program import PROJECT, Program, environment_with
from tests.proxy import Proxy
from tests.system.conftest import Serve
from tests.system.record import Record
from tests.system.site import Order, Server, Site, token

Pair = tuple[Server, Server]
WITHIN_S = 30.0


@pytest.fixture
def order(site: Site, pair: Pair) -> Order:
    return site.order(pair[0])


def client_of(server: Server | str, user: str, *, ttl_s: float = 3600, **options: object) -> ChatClient:
    url = server if isinstance(server, str) else server.url
    given = {"token": token(user, name=user, ttl_s=ttl_s), "proxy": None, "rng": Random(7), **options}
    return ChatClient(url, **given)  # type: ignore[arg-type]


async def read(room: Room, count: int) -> list[Entry]:
    async with asyncio.timeout(WITHIN_S):
        return [await anext(room.entries()) for _ in range(count)]


def seqs(entries: list[Entry]) -> list[int]:
    return [entry.seq for entry in entries]


async def test_two_people_talk_across_processes(pair: Pair, order: Order) -> None:
    async with client_of(pair[0], order.buyer) as ann, client_of(pair[1], order.seller) as bob:
        buyer, seller = await ann.join(order.room, after=0), await bob.join(order.room, after=0)
        assert (buyer.role, seller.role) == (Role.BUYER, Role.SELLER)
        said = []
        for number in range(3):
            for room in (buyer, seller):
                said.append(f"{room.role} {number}")
                sent = await room.send(said[-1])
                assert (sent.seq, sent.duplicate) == (len(said), False)
        for room in (buyer, seller):
            entries = await read(room, 6)
            assert [entry.text for entry in entries] == said
        page = await buyer.history(before=5, limit=2)
        assert (seqs(page.entries), page.more) == ([3, 4], True)
        assert 0 < await ann.ping() < WITHIN_S


async def test_presence_typing_and_receipts_reach_the_other_side(pair: Pair, order: Order) -> None:
    async with client_of(pair[0], order.buyer) as ann:
        buyer = await ann.join(order.room)
        async with client_of(pair[1], order.seller) as bob:
            seller = await bob.join(order.room)
            sent = await buyer.send("hello")
            await read(seller, 1)
            seller.receipt(read=sent.seq)
            seller.typing(True)
            await eventually(lambda: order.seller in buyer.cursors and buyer.cursors[order.seller].read == sent.seq)
            await eventually(lambda: buyer.members[order.seller].state is PresenceState.ONLINE)
        await eventually(lambda: buyer.members[order.seller].state is PresenceState.OFFLINE)
        seen = []
        async with asyncio.timeout(WITHIN_S):
            async for event in ann.events():
                seen.append(event)
                if isinstance(event, Presence) and event.state is PresenceState.OFFLINE:
                    break
        assert any(isinstance(event, TypingNow) and event.user == order.seller and event.on for event in seen)


async def test_rooms_and_messages_that_cannot_be_are_refused(site: Site, pair: Pair, order: Order) -> None:
    other = site.order(pair[0])
    async with client_of(pair[0], order.buyer) as ann:
        for name in (other.room, "order-nothing"):
            with pytest.raises(NotFound):
                await ann.join(name)
        room = await ann.join(order.room)
        with pytest.raises(TooLarge):
            await room.send("x" * (ann.limits.message_chars + 1))
        await room.send("hello", command_id="first")
        with pytest.raises(Conflict):
            await room.send("something else", command_id="first")
        assert (await room.send("hello", command_id="first")).duplicate
        with pytest.raises(BadRequest):
            await room.send("hello", reply_to=99)


async def test_a_burst_over_the_rate_is_held_back_and_arrives_whole_and_in_order(pair: Pair, order: Order) -> None:
    async with client_of(pair[0], order.buyer) as ann:
        room = await ann.join(order.room, after=0)
        texts = [f"m{number}" for number in range(14)]
        sent = await asyncio.gather(*(room.send(text) for text in texts))
        assert [one.seq for one in sent] == list(range(1, 15))
        assert [entry.text for entry in await read(room, 14)] == texts


async def test_a_reader_that_stops_reads_everything_later(site: Site, serve: Serve) -> None:
    server = await serve(site.apart(), messages_per_s=1000, message_burst=1000)
    order = site.order(server)
    async with (
        client_of(server, order.buyer, buffer=10) as ann,
        client_of(server, order.seller, buffer=40) as bob,
    ):
        buyer, seller = await ann.join(order.room, after=0), await bob.join(order.room, after=0)
        await asyncio.gather(*(buyer.send(f"m{number}") for number in range(300)))
        for room in (buyer, seller):
            assert [entry.text for entry in await read(room, 300)] == [f"m{number}" for number in range(300)]


async def test_a_killed_server_that_comes_back_is_resumed(site: Site, serve: Serve, record: Record) -> None:
    apart = site.apart()
    server = await serve(apart, hub_lease_s=1.5)
    order = apart.order(server)
    async with client_of(server, order.buyer) as ann, client_of(server, order.seller) as bob:
        buyer, seller = await ann.join(order.room, after=0), await bob.join(order.room, after=0)
        await buyer.send("before")
        server.kill()
        sending = asyncio.gather(buyer.send("during"), seller.send("during too"))
        await serve(apart, hub_lease_s=1.5, port=server.port)
        async with asyncio.timeout(WITHIN_S):
            await sending
        await seller.send("after")
        for room in (buyer, seller):
            assert seqs(await read(room, 4)) == [1, 2, 3, 4]
    assert sorted(await record.texts(order.room)) == ["after", "before", "during", "during too"]


async def test_a_planned_stop_says_when_to_come_back(site: Site, serve: Serve) -> None:
    apart = site.apart()
    server = await serve(apart, reconnect_spread_s=0.5)
    order = apart.order(server)
    async with client_of(server, order.buyer) as ann:
        room = await ann.join(order.room, after=0)
        await room.send("before")
        server.terminate()
        async with asyncio.timeout(WITHIN_S):
            async for event in ann.events():
                if isinstance(event, Offline):
                    assert 0 <= event.retry_in_s <= 2
                    break
        assert await server.ended() == 0
        await serve(apart, port=server.port)
        async with asyncio.timeout(WITHIN_S):
            await room.send("after")
        assert [entry.text for entry in await read(room, 2)] == ["before", "after"]


class Hasty(Random):
    """Jitter that is a hundred times shorter."""

    def uniform(self, a: float, b: float) -> float:
        return super().uniform(a, b) / 100


class Cutter(Proxy):
    """A network that breaks connections."""

    @property
    def web_url(self) -> str:
        return f"http://127.0.0.1:{urlsplit(self.url).port}"

    def cut(self) -> None:
        for client in self._clients:
            client.transport.abort()


async def test_a_network_that_keeps_breaking_loses_and_repeats_nothing(
    site: Site, serve: Serve, record: Record
) -> None:
    server = await serve(site.apart(), messages_per_s=1000, message_burst=1000)
    order = site.order(server)
    rng = Random(11)
    count = 40
    async with Cutter(server.url) as near, Cutter(server.url) as far:
        people = [(near.web_url, order.buyer), (far.web_url, order.seller)]
        clients = [client_of(url, user, rng=Hasty(3)) for url, user in people]
        async with clients[0] as ann, clients[1] as bob:
            rooms = [await client.join(order.room, after=0) for client in (ann, bob)]

            async def talk(room: Room) -> None:
                for number in range(count):
                    await room.send(f"{room.role} {number}")

            async def break_down() -> None:
                while True:
                    await asyncio.sleep(rng.uniform(0.0, 0.15))
                    rng.choice([near, far]).cut()

            breaking = asyncio.create_task(break_down())
            reading = asyncio.gather(*(read(room, 2 * count) for room in rooms))
            async with asyncio.timeout(2 * WITHIN_S):
                await asyncio.gather(*map(talk, rooms))
            breaking.cancel()
            seen = await reading
    stored = await record.texts(order.room)
    for entries in seen:
        assert seqs(entries) == list(range(1, 2 * count + 1))
        assert [entry.text for entry in entries] == stored
    for role in ("buyer", "seller"):
        assert [text for text in stored if text.startswith(role)] == [f"{role} {number}" for number in range(count)]


async def test_a_token_is_renewed_before_it_expires(site: Site, serve: Serve) -> None:
    server = await serve(site.apart(), token_warning_s=1, token_grace_s=0.2, jwt_leeway_s=0)
    order = site.order(server)
    given = []

    async def provide() -> str:
        given.append(token(order.buyer, ttl_s=2.5))
        return given[-1]

    async with client_of(server, order.buyer, token=None, token_provider=provide) as ann:
        room = await ann.join(order.room)
        session = ann.session
        await eventually(lambda: len(given) >= 3)
        await room.send("still here")
        assert ann.session == session, "the connection was kept"


async def test_an_expired_token_is_replaced_or_the_end(site: Site, pair: Pair, order: Order) -> None:
    tokens = [token(order.buyer), token(order.buyer, ttl_s=-60)]

    async def provide() -> str:
        return tokens.pop()

    async with client_of(pair[0], order.buyer, token=None, token_provider=provide) as ann:
        assert ann.user.id == order.buyer
    with pytest.raises(ConnectionEnded) as caught:
        await client_of(pair[0], order.buyer, ttl_s=-60).__aenter__()
    assert caught.value.close_code == CloseCode.TOKEN_EXPIRED
    with pytest.raises(ConnectionEnded) as caught:
        await client_of(pair[0], order.buyer, token="nonsense").__aenter__()
    assert caught.value.close_code == CloseCode.INVALID_TOKEN
    assert isinstance(caught.value.__cause__, Unauthenticated)


async def test_revoked_access_ends_the_client(site: Site, pair: Pair, order: Order) -> None:
    async with client_of(pair[0], order.buyer) as ann:
        room = await ann.join(order.room)
        reading = asyncio.create_task(anext(room.entries()))
        await asyncio.to_thread(site.run, "revoke", order.buyer)
        with pytest.raises(ConnectionEnded) as caught:
            async with asyncio.timeout(WITHIN_S):
                await reading
        assert caught.value.close_code == CloseCode.ACCESS_REVOKED


async def test_scripts_talk_through_the_terminal_client(pair: Pair, order: Order) -> None:
    async with client_of(pair[1], order.seller) as bob:
        seller = await bob.join(order.room)
        await seller.send("Any news?\x1b[2J")
        buyer = {"DISPUTE_CHAT_TOKEN": token(order.buyer, name="Bo")}
        said = "It came today.\nAll is well.\n"
        ended = await asyncio.to_thread(chat, order.room, "--url", pair[0].url, text=said, **buyer)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert [line.partition("#")[2] for line in ended.stdout.splitlines()] == [
            f"1 seller {order.seller}: Any news?",
            "2 buyer Bo: It came today. \u2713",
            "3 buyer Bo: All is well. \u2713",
        ]
        assert [entry.text for entry in await read(seller, 3)][1:] == ["It came today.", "All is well."]
        refused = await asyncio.to_thread(chat, "order-nothing", "--url", pair[0].url, text="hello\n", **buyer)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr == "chatserver: No such room.\n"


def test_the_people_of_a_development_instance_talk(tmp_path: Path) -> None:
    with Program(["-m", "chatserver", "dev", "--port", "0", "--data", str(tmp_path)]) as instance:
        instance.line("ready ")
        for seq, role in enumerate(("buyer", "seller", "agent"), start=1):
            ended = chat("--as", role, "--data", str(tmp_path), text=f"hello from the {role}\n")
            assert (ended.returncode, ended.stderr) == (0, "")
            lines = ended.stdout.splitlines()
            assert len(lines) == seq, "what was said before is shown"
            assert f"#{seq} {role} " in lines[-1]
            assert lines[-1].endswith(f": hello from the {role} \u2713")


def chat(*arguments: str, text: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """``chatserver chat`` in a pipe."""
    return subprocess.run(
        [sys.executable, "-m", "chatserver", "chat", *arguments],
        cwd=PROJECT,
        env=environment_with(environment),
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
