import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any, Protocol

import pytest

from storage.client import MongoConfig, open_database
from tests.system.peer import Peer, Position
from tests.system.record import Record
from tests.system.schemas import FrameSchemas
from tests.system.site import Server, Site, token

Serve = Callable[..., Awaitable[Server]]
"""``await serve(site, **settings)``: a running server, stopped after the test."""


class Dial(Protocol):
    """``await dial(server, user, rooms)``: a connected peer, closed after the test."""

    async def __call__(
        self,
        server: Server | str,
        user: str,
        rooms: Iterable[Position] = (),
        *,
        role: str | None = None,
        **options: Any,
    ) -> Peer: ...


class Knock(Protocol):
    """``await knock(server)``: an open WebSocket that has said nothing yet."""

    async def __call__(self, server: Server | str, **options: Any) -> Peer: ...


@pytest.fixture(scope="session")
def site(mongo_url: str, redis_url: str) -> Iterator[Site]:
    """The deployment that most tests share; each has users and orders of its own."""
    with Site.prepare(mongo_url, redis_url) as prepared:
        yield prepared
        # Whatever the tests have done to the servers, every room is whole.
        verified = prepared.run("verify", "--all", check=False)
        assert verified.returncode == 0, verified.stdout


@pytest.fixture(scope="session")
def pair(site: Site) -> Iterator[tuple[Server, Server]]:
    """Two processes of that deployment."""
    with ExitStack() as stack:
        begun = [site.begin(typing_lapse_s=1.5, sweep_s=1, hub_lease_s=5) for _ in range(2)]
        for server in begun:
            stack.enter_context(server.program)
        one, two = (server.await_start() for server in begun)
        yield one, two


@pytest.fixture(scope="session")
def fast(site: Site) -> Iterator[Server]:
    """A process where a user may send as fast as they can; alone, in the same database."""
    server = site.apart().begin(messages_per_s=100_000, message_burst=100_000)
    with server.program:
        yield server.await_start()


@pytest.fixture(scope="session")
def schemas() -> FrameSchemas:
    return FrameSchemas()


@pytest.fixture
async def record(site: Site) -> AsyncIterator[Record]:
    opened = Record(open_database(MongoConfig(site.mongo_url, site.database)))
    yield opened
    await opened.close()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    with ExitStack() as stack:

        async def begin(site: Site, **settings: object) -> Server:
            server = site.begin(**settings)
            stack.enter_context(server.program)
            return await asyncio.to_thread(server.await_start)

        yield begin


@pytest.fixture
async def knock(serve: Serve, schemas: FrameSchemas) -> AsyncIterator[Knock]:
    async with AsyncExitStack() as stack:

        async def open_one(server: Server | str, **options: Any) -> Peer:
            return await stack.enter_async_context(await Peer.dial(_url(server), schemas, **options))

        yield open_one


@pytest.fixture
async def dial(serve: Serve, schemas: FrameSchemas) -> AsyncIterator[Dial]:
    # After ``serve``, so that connections are closed before the servers are stopped.
    async with AsyncExitStack() as stack:

        async def connect(
            server: Server | str, user: str, rooms: Iterable[Position] = (), *, role: str | None = None, **options: Any
        ) -> Peer:
            peer = await Peer.enter(_url(server), schemas, token(user, role=role), rooms, **options)
            return await stack.enter_async_context(peer)

        yield connect


def _url(server: Server | str) -> str:
    return server if isinstance(server, str) else server.websocket_url
