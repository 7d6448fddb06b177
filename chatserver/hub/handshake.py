"""The opening handshake of a WebSocket as an ASGI application sees it.

Lives from the upgrade request until the application has accepted and attached, or denied; then it is dropped, so
that an idle connection does not keep request headers, a scope and a task in memory.
"""

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from starlette.types import Message
from uvicorn.config import Config
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

logger = logging.getLogger(__name__)


class Handshake:
    """One upgrade request on its way through the application.

    Args:
        transport: of the upgraded connection.
        accepted: called with the finished protocol when the application accepted.
        extension: what the application finds in ``scope["extensions"]``: a name and the object to attach to.
    """

    def __init__(
        self,
        config: Config,
        server: ServerState,
        state: dict[str, Any],
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        accepted: Callable[[ServerProtocol], None],
        extension: tuple[str, object],
    ) -> None:
        self._config = config
        self._server = server
        self._state = state
        self._transport = transport
        self._loop = loop
        self._accepted = accepted
        self._extension = extension
        deflate = ServerPerMessageDeflateFactory(
            server_max_window_bits=12, client_max_window_bits=12, compress_settings={"memLevel": 5}
        )
        self._protocol = ServerProtocol(
            extensions=[deflate] if config.ws_per_message_deflate else None, max_size=config.ws_max_size, logger=logger
        )
        self._response: Response | None = None
        self._denial: Message | None = None
        self._done = False
        self._connect_told = False
        self.early = bytearray()
        """What the peer sent before the application attached."""
        self.gone = asyncio.Event()

    def receive(self, data: bytes) -> None:
        """Take bytes of the upgrade request."""
        if self._response is not None:
            self.early += data
            return
        self._protocol.receive_data(data)
        if self._protocol.handshake_exc is not None or self._protocol.parser_exc is not None:
            self._finish()
            self._transport.close()
            return
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._begin(event)

    def deny(self, status: HTTPStatus) -> None:
        """Answer with an empty error response, unless the handshake has ended."""
        if not self._done:
            self._protocol.send_response(self._protocol.reject(status, status.phrase))
            self._finish()
            self._transport.close()

    def _begin(self, request: Request) -> None:
        self._response = self._protocol.accept(request)
        if self._response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._protocol.send_response(self._response)
            self._finish()
            self._transport.close()
            return
        task = self._loop.create_task(self._run(self._scope(request)))
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    def _scope(self, request: Request) -> dict[str, Any]:
        path, _, query = request.path.partition("?")
        root = self._config.root_path
        offered = request.headers.get_all("Sec-WebSocket-Protocol")
        return {
            "type": "websocket",
            "asgi": {"version": self._config.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if is_ssl(self._transport) else "ws",
            "server": get_local_addr(self._transport),
            "client": get_remote_addr(self._transport),
            "root_path": root,
            "path": root + unquote(path),
            "raw_path": (root + path).encode("ascii"),
            "query_string": query.encode("ascii"),
            "headers": [(k.lower().encode("ascii"), v.encode("latin-1")) for k, v in request.headers.raw_items()],
            "subprotocols": [name.strip() for header in offered for name in header.split(",")],
            "state": self._state.copy(),
            "extensions": {"websocket.http.response": {}, self._extension[0]: self._extension[1]},
        }

    async def _run(self, scope: dict[str, Any]) -> None:
        try:
            await self._config.loaded_app(scope, self._receive, self._send)
        except Exception:  # the application's fault ends this one handshake, not the server
            logger.exception("the application failed in a WebSocket handshake")
            self.deny(HTTPStatus.INTERNAL_SERVER_ERROR)
            if self._done:
                self._transport.close()
        else:
            self.deny(HTTPStatus.INTERNAL_SERVER_ERROR)  # it returned without an answer

    async def _receive(self) -> Message:
        if not self._connect_told:
            self._connect_told = True
            return {"type": "websocket.connect"}
        await self.gone.wait()
        return {"type": "websocket.disconnect", "code": 1006}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if self._done or self._transport.is_closing():
            raise OSError("the connection is closed")
        assert self._response is not None
        if kind == "websocket.accept":
            for name, value in message.get("headers", []):
                self._response.headers[name.decode("latin-1")] = value.decode("latin-1")
            if message.get("subprotocol"):
                self._response.headers["Sec-WebSocket-Protocol"] = message["subprotocol"]
            self._protocol.send_response(self._response)
            self._finish()
            self._accepted(self._protocol)
        elif kind == "websocket.close":
            self.deny(HTTPStatus.FORBIDDEN)
        elif kind == "websocket.http.response.start":
            self._denial = message
        elif kind == "websocket.http.response.body":
            assert self._denial is not None
            self._deny_with(self._denial, message.get("body", b""))
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r} in a WebSocket handshake")

    def _deny_with(self, start: Message, body: bytes) -> None:
        headers = Headers({"Connection": "close", "Content-Length": str(len(body))})
        for name, value in start.get("headers", []):
            if name.lower() not in (b"connection", b"content-length"):
                headers[name.decode("latin-1")] = value.decode("latin-1")
        status = HTTPStatus(start["status"])
        self._protocol.send_response(Response(status.value, status.phrase, headers, body))
        self._finish()
        self._transport.close()

    def _finish(self) -> None:
        self._done = True
        output = b"".join(self._protocol.data_to_send())
        if output and not self._transport.is_closing():
            self._transport.write(output)
