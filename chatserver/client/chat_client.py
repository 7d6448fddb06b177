"""The client, as an application uses it."""

import asyncio
import ssl
import uuid
from collections import deque
from collections.abc import Callable
from random import Random
from types import TracebackType
from typing import Final, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from chatserver.client.core import ClientCore
from chatserver.client.errors import ClientClosed, ConnectTimeout
from chatserver.client.events import (
    ClientEvent,
    CoreEvent,
    Ended,
    Observed,
    Offline,
    Online,
    Postponed,
    Readable,
    RoomEnded,
    RoomOpened,
)
from chatserver.client.frames import command
from chatserver.client.opening import OpenedDispute, post_dispute
from chatserver.client.room import Room
from chatserver.client.runner import Runner, TokenProvider
from chatserver.client.stream import Stream
from chatserver.client.web import Web
from chatserver.protocol import PATH, ClientInfo, Connected, Limits, Ping, RoomPosition, User
from policies.errors import ChatError

EVENTS_KEPT: Final = 256
"""Events of the moment that are held for a reader; the oldest go first, they are out of date."""
BUFFER: Final = 500
"""Entries held per room for a slow reader: about ten pages of history."""


class ChatClient:
    """A connection to the chat server that is kept up: lost ones are replaced, and nothing is lost or repeated.

    Use it as ``async with ChatClient(url, token=...) as client``. After a lost connection it comes back by itself,
    with full jitter from 0.5 to 20 seconds (or after the pause the server's ``bye`` asks for), joins its rooms again
    where it stopped and sends again what was not acknowledged. It stops for good when the server says so (close codes
    4500-4999, an invalid token, an HTTP error 4xx): then everything that waits raises ``ConnectionEnded``.

    Args:
        url: of the server: ``http(s)://host[:port]`` or ``ws(s)://host[:port]``, the path may be left out.
        token: the user's JWT.
        token_provider: called without arguments for a new token: at the start when there is no ``token``, when the
            token is about to expire, and when the server says it has expired. It may take 30 s. What it raises is
            logged and it is called again with the next try; a ``ChatError`` ends the client.
        name: of the application, for the server's log.
        version: of the application.
        connect_timeout_s: how long entering may take, over several tries; None waits without end.
        buffer: entries held per room for a reader that does not keep up.
        tls: for wss and https; None takes the system's trust store.
        proxy: URL of a proxy; True takes the system's setting, None goes direct.
        rng: source of the jitter.
        new_id: makes the ids of commands, up to 64 characters, never the same one twice for this user.

    Raises:
        ValueError: the URL is not one, or there is neither a token nor a provider.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        token_provider: TokenProvider | None = None,
        name: str = "python",
        version: str | None = None,
        connect_timeout_s: float | None = 10.0,
        buffer: int = BUFFER,
        tls: ssl.SSLContext | None = None,
        proxy: str | Literal[True] | None = True,
        rng: Random | None = None,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        if token is None and token_provider is None:
            raise ValueError("a token or a token provider is required")
        if buffer < 1:
            raise ValueError("buffer must be at least 1")
        self._url = websocket_url(url)
        self._token = token
        self._token_provider = token_provider
        self._info = ClientInfo(name=name, version=version)
        self._connect_timeout_s = connect_timeout_s
        self._buffer = buffer
        self._tls = tls
        self._proxy = proxy
        self._rng = rng or Random()  # noqa: S311  spreads reconnects, guards nothing
        self._new_id = new_id or (lambda: uuid.uuid4().hex)
        self._rooms: dict[str, Room] = {}
        self._recent: deque[ClientEvent] = deque(maxlen=EVENTS_KEPT)
        self._events: Stream[ClientEvent] = Stream(self._next_event)
        self._settled = asyncio.Event()
        self._connected: Connected | None = None
        self._error: ChatError | None = None
        self._runner: Runner | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ConnectTimeout: there was no connection in ``connect_timeout_s``.
            ConnectionEnded: the server does not want this client.
        """
        if self._task is not None:
            raise RuntimeError("a client is used once; make another")
        loop = asyncio.get_running_loop()
        core = ClientCore(
            info=self._info,
            rng=self._rng,
            new_id=self._new_id,
            capacity=self._buffer,
            renewable=self._token_provider is not None,
            now=loop.time(),
        )
        self._runner = Runner(
            core,
            self._url,
            token=self._token,
            token_provider=self._token_provider,
            tell=self._told,
            tls=self._tls,
            proxy=self._proxy,
        )
        self._task = asyncio.create_task(self._runner.run(), name="chat-client")
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await self._settled.wait()
            self._check()
        except TimeoutError:
            await self.close()
            message = f"The server could not be reached in {self._connect_timeout_s:g} s."
            raise ConnectTimeout(message) from self._runner.last_failure
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection. What still waits fails with ``ClientClosed``; iterations of entries end."""
        if self._runner is None or self._task is None:
            return
        if self._error is None:
            self._runner.core.end(ClientClosed("The client was closed."))
            self._runner.poke()
        self._task.cancel()
        try:
            await self._task
        except asyncio.CancelledError:
            if (current := asyncio.current_task()) is not None and current.cancelling():
                raise

    @property
    def user(self) -> User:
        """Who the server says we are."""
        return self._session.user

    @property
    def session(self) -> str:
        """The server's id of the connection that stands, or of the last one: what its log calls it."""
        return self._session.session

    @property
    def limits(self) -> Limits:
        """What the server accepts."""
        return self._session.limits

    @property
    def rooms(self) -> dict[str, Room]:
        """The rooms that are joined or being joined, by id."""
        return dict(self._rooms)

    async def join(self, room: str, *, after: int | None = None) -> Room:
        """Join a room and stay in it.

        Args:
            room: its id.
            after: the last seq that the application has seen, 0 to begin at the beginning; None: begin with the
                latest entries (the server shows about 50).

        Raises:
            NotFound: there is no such room, or this user may not see it.
            Conflict: it is joined already.
            ChatError: another final error, or the client has ended.
        """
        runner = self._running()
        position = command(RoomPosition, room=room, after=after)
        state = runner.core.join(position.room, position.after, runner.now())
        joined = self._rooms[room] = Room(runner, state, self._new_id, self._web(runner))
        runner.poke()
        try:
            await joined.wait_joined()
        except asyncio.CancelledError:
            if self._rooms.get(room) is joined:
                runner.core.leave(room, runner.now())
                runner.poke()
            raise
        return joined

    async def open_dispute(
        self,
        order_id: str,
        reason: str,
        description: str,
        desired_resolution: str,
        *,
        amount: int | None = None,
        key: str | None = None,
    ) -> OpenedDispute:
        """Open a dispute as the order's buyer; join its ``room`` then.

        It is asked again after lost connections and temporary errors, under the same key. There is no time limit: use
        ``asyncio.timeout``. (This goes over HTTP and needs ``httpx``.)

        Args:
            order_id: the order.
            reason: one of ``policies.vocabulary.Reason``.
            description: what happened.
            desired_resolution: ``delivery_fix``, ``replacement``, ``partial_refund`` or ``full_refund``.
            amount: in minor units, with ``partial_refund``.
            key: the idempotency key; a random one by default.

        Raises:
            Refused: the order is not eligible; ``details`` has ``rule``, and ``opens_at`` or ``fallback``.
            Conflict: the order has an active dispute: ``details["dispute"]``.
            ChatError: another final error.
        """
        runner = self._running()
        wanted = {
            "order_id": order_id,
            "reason": reason,
            "description": description,
            "desired_resolution": desired_resolution,
            "amount": amount,
        }
        content = {name: value for name, value in wanted.items() if value is not None}
        return await post_dispute(self._web(runner), content, key=key or self._new_id())

    def _web(self, runner: Runner) -> Web:
        return Web(self._url, runner.current_token, self._tls, self._proxy is True, self._rng)

    async def ping(self) -> float:
        """Ask the server for an answer: seconds it took. After a lost connection it is asked again.

        Raises:
            ConnectionEnded: the client has ended.
        """
        return (await self._running().call(command(Ping, type="ping", id=self._new_id()))).took_s

    def events(self) -> Stream[ClientEvent]:
        """What happens beside the entries: presence, typing, receipts, disputes and notes of the joined rooms, entries
        that staff have released or withheld after the fact (``Changed``), and the connection itself (``Online``,
        ``Offline``, ``Ended``), and what has to wait before it is sent again (``Postponed``).

        One reader at a time. At most 256 events wait for it, the oldest are dropped: they are of the moment. (That
        staff have hidden an entry comes with ``room.entries()`` as well: ``message.redacted``.) The iteration ends
        after ``Ended``.
        """
        return self._events

    @property
    def _session(self) -> Connected:
        if self._connected is None:
            raise RuntimeError("the client was not entered")
        return self._connected

    def _running(self) -> Runner:
        if self._runner is None:
            raise RuntimeError("the client was not entered")
        self._check()
        return self._runner

    def _check(self) -> None:
        if self._error is not None:
            raise self._error.with_traceback(None)

    def _told(self, event: CoreEvent) -> None:
        """An event of the core: to the room it is about, and to who watches."""
        match event:
            case Readable():
                if (room := self._rooms.get(event.room)) is not None:
                    room.readable()
            case RoomOpened():
                if (room := self._rooms.get(event.opened.room)) is not None:
                    room.opened(event.opened)
            case RoomEnded():
                if (room := self._rooms.pop(event.room, None)) is not None:
                    room.ended(event.error)
            case Observed():
                if (room := self._rooms.get(event.frame.room)) is not None:
                    room.observed(event.frame)
                self._happened(event.frame)
            case Online():
                self._connected = event.connected
                self._settled.set()
                self._happened(event)
            case Offline() | Postponed():
                self._happened(event)
            case Ended():
                self._error = event.error
                self._settled.set()
                self._happened(event)
                self._events.finish(None)

    def _next_event(self) -> ClientEvent | None:
        return self._recent.popleft() if self._recent else None

    def _happened(self, event: ClientEvent) -> None:
        self._recent.append(event)
        self._events.notify()


def websocket_url(url: str) -> str:
    """The WebSocket's URL for a server's base URL.

    Raises:
        ValueError: it is not an http(s) or ws(s) URL.
    """
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise ValueError(f"not the URL of a chat server: {url!r}")
    path = parts.path.rstrip("/")
    return urlunsplit((scheme, parts.netloc, path if path.endswith(PATH) else path + PATH, "", ""))
