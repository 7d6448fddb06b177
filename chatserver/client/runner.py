"""Runs the client's core on asyncio and a WebSocket."""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final, Literal

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from chatserver.client.commands import Submittable
from chatserver.client.core import ClientCore, Link
from chatserver.client.errors import ConnectionEnded
from chatserver.client.events import Answered, CoreEvent, TokenWanted
from chatserver.client.frames import Arrived, decode
from chatserver.protocol import SUBPROTOCOL, Presence, ReceiptNow, TypingNow
from policies.errors import ChatError

OPEN_TIMEOUT_S: Final = 10.0
"""For TCP, TLS and the opening handshake together."""
CLOSE_TIMEOUT_S: Final = 2.0
"""How long the closing handshake may take."""
TOKEN_TIMEOUT_S: Final = 30.0
"""How long the token provider may take."""
MAX_FRAME: Final = 16 * 1024 * 1024
"""Largest frame accepted, in bytes: a page of 100 entries of the longest text is about 2 MB."""

TokenProvider = Callable[[], Awaitable[str]]
_RETRIED_STATUS: Final = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_QUIET: Final = (Arrived, Presence, TypingNow, ReceiptNow)
"""Frames that change nothing about what is due when."""

logger = logging.getLogger(__name__)


class _Connection(ClientConnection):
    """A connection that notes when it last heard from its peer: pings and parts of frames count too."""

    heard_at = 0.0

    def data_received(self, data: bytes) -> None:
        self.heard_at = self.loop.time()
        super().data_received(data)


class Runner:
    """Keeps one connection up, carries out what the core wants sent, and hands out answers.

    Args:
        core: the state machine; whoever calls its methods calls ``poke`` afterwards.
        url: of the WebSocket, ws or wss.
        token: the first token, or None to ask the provider for it.
        token_provider: gives a new token.
        tell: called with every event of the core that is not an answer.
        tls: for wss; None takes the system's trust store.
        proxy: as for ``websockets``: True takes the system's setting, None goes direct.
    """

    def __init__(
        self,
        core: ClientCore,
        url: str,
        *,
        token: str | None,
        token_provider: TokenProvider | None,
        tell: Callable[[CoreEvent], None],
        tls: ssl.SSLContext | None,
        proxy: str | Literal[True] | None,
    ) -> None:
        self.core = core
        self.last_failure: BaseException | None = None
        """Why the last try to connect failed."""
        self._url = url
        self._token = token
        self._token_provider = token_provider
        self._tell = tell
        self._tls = tls
        self._proxy = proxy
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._waiters: dict[str, list[asyncio.Future[Answered]]] = {}
        self._connection: _Connection | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._renewal: asyncio.Task[None] | None = None

    def now(self) -> float:
        """Seconds of a monotonic clock."""
        return self._loop.time()

    def poke(self) -> None:
        """The core was told something: hand out its events, send what it wants sent."""
        self._dispatch()
        self._wake.set()

    async def call(self, command: Submittable) -> Answered:
        """Submit a command and wait for its answer. When the wait is cancelled, the command is no longer retried.

        Raises:
            ChatError: the answer is an error, or the client has ended.
        """
        self.core.submit(command, self.now())
        return await self.answer_to(command.id or "")

    async def answer_to(self, command_id: str) -> Answered:
        """Wait for the answer to a command that was just submitted."""
        waiter: asyncio.Future[Answered] = self._loop.create_future()
        waiters = self._waiters.setdefault(command_id, [])
        waiters.append(waiter)
        self.poke()
        try:
            return await waiter
        finally:
            if waiter.done() and not waiter.cancelled():
                waiter.exception()  # seen, also when the wait was cancelled at the same moment
            waiters.remove(waiter)
            if not waiters and self._waiters.get(command_id) is waiters:
                del self._waiters[command_id]
                self.core.abandon(command_id, self.now())
                self.poke()

    async def run(self) -> None:
        """Connect, and connect again, until the core says it is over."""
        try:
            while self.core.link is not Link.ENDED:
                await asyncio.sleep(self.core.retry_at - self.now())
                await self._connect()
                self.poke()
        except Exception:  # a fault of the client's own: nobody may be left waiting; raised to the one who closes it
            self.core.end(ConnectionEnded("The client has failed; the error was raised where it is closed."))
            self._dispatch()
            raise
        finally:
            if self._renewal is not None:
                self._renewal.cancel()

    async def _connect(self) -> None:
        """One connection, from its opening to its end."""
        try:
            token = await self.current_token()
        except ChatError as error:
            self.core.end(error)
            return
        except Exception as error:  # the application's code: whatever failed there may work the next time
            logger.warning("the token provider failed", exc_info=True)
            self._failed(error, "no token could be had")
            return
        try:
            connection = await connect(
                self._url,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                compression=None,
                ssl=self._tls,
                proxy=self._proxy,
                open_timeout=OPEN_TIMEOUT_S,
                ping_interval=None,  # the server pings, and its silence is noticed
                close_timeout=CLOSE_TIMEOUT_S,
                max_size=MAX_FRAME,
                create_connection=_Connection,
            )
        except (OSError, WebSocketException) as error:  # TimeoutError is an OSError
            self._refused(error)
            return
        assert isinstance(connection, _Connection)
        try:
            await self._serve(connection, token)
        finally:
            self._disarm()
            await connection.close()
        told = connection.protocol.close_rcvd
        reason = self.core.broken or (told.reason if told is not None and told.reason else "the connection was lost")
        self.core.closed(told.code if told is not None else None, reason, self.now())

    async def _serve(self, connection: _Connection, token: str) -> None:
        if connection.subprotocol != SUBPROTOCOL:
            self.core.end(ConnectionEnded(f"The server does not speak {SUBPROTOCOL}."))
            self._dispatch()
            return
        self._connection = connection
        self.core.opened(token, self.now())
        reader = asyncio.create_task(self._read(connection))
        writer = asyncio.create_task(self._write(connection))
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            if not writer.done() or writer.exception() is None:
                await reader  # to the end, for the answers that came before the close
        finally:
            self._connection = None
            reader.cancel()
            writer.cancel()
            ended = await asyncio.gather(reader, writer, return_exceptions=True)
        faults = [one for one in ended if isinstance(one, Exception)]
        if faults:
            raise faults[0]

    async def _read(self, connection: _Connection) -> None:
        try:
            while True:
                frame = decode(await connection.recv(decode=False))
                if frame is None:
                    continue
                self.core.received(frame, self.now())
                self._dispatch()
                if self.core.outgoing or not isinstance(frame, _QUIET):
                    self._wake.set()
        except ConnectionClosed:
            return

    async def _write(self, connection: _Connection) -> None:
        try:
            while True:
                self._wake.clear()
                self._arm()
                while self.core.outgoing:
                    await connection.send(self.core.outgoing.popleft(), text=True)
                await self._wake.wait()
        except ConnectionClosed:
            return

    def _arm(self) -> None:
        """Set the timer for what is due next. A timer, because the writer may be stuck in a send."""
        self._disarm()
        if self._connection is not None:
            self._timer = self._loop.call_at(self.core.wakes_at(self._connection.heard_at), self._tick)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        if self._connection is None:
            return
        self.core.tick(self.now(), self._connection.heard_at)
        if self.core.broken is not None:
            self._connection.transport.abort()  # a peer that is stuck does not take part in a closing handshake
            return
        self._arm()
        self.poke()

    def _dispatch(self) -> None:
        while self.core.events:
            event = self.core.events.popleft()
            if isinstance(event, Answered):
                self._hand_out(event)
            elif isinstance(event, TokenWanted):
                self._renew()
            else:
                self._tell(event)

    def _hand_out(self, event: Answered) -> None:
        for waiter in self._waiters.pop(event.id, ()):
            if waiter.done():
                continue
            if isinstance(event.answer, ChatError):
                waiter.set_exception(event.answer)
            else:
                waiter.set_result(event)

    async def current_token(self) -> str:
        """The user's token; asks the provider when there is none that holds."""
        if self._token_provider is not None and (self._token is None or self.core.token_stale):
            async with asyncio.timeout(TOKEN_TIMEOUT_S):
                self._token = await self._token_provider()
            self.core.token_stale = False
        assert self._token is not None
        return self._token

    def _renew(self) -> None:
        if self._token_provider is None:
            logger.warning("the token expires, and there is no token provider")
        elif self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._renew_token(self._token_provider))

    async def _renew_token(self, provider: TokenProvider) -> None:
        try:
            async with asyncio.timeout(TOKEN_TIMEOUT_S):
                token = await provider()
        except Exception:  # the application's code; the server closes with 4001 then, and the provider is asked again
            logger.warning("the token provider failed", exc_info=True)
            return
        self._token = token
        self.core.refresh(token, self.now())
        self.poke()

    def _refused(self, error: OSError | WebSocketException) -> None:
        """No connection came about."""
        if isinstance(error, InvalidStatus):
            status = error.response.status_code
            reason = f"the server answered with HTTP status {status}"
            if 400 <= status < 500 and status not in _RETRIED_STATUS:
                end = ConnectionEnded(f"The server refused the connection: HTTP status {status}.")
                end.__cause__ = error
                self.core.end(end)
                return
        else:
            reason = "the server cannot be reached"
        self._failed(error, reason)

    def _failed(self, error: Exception, reason: str) -> None:
        self.last_failure = error
        self.core.closed(None, reason, self.now())
