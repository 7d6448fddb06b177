"""Where a WebSocket comes in: who may open one, and in which language."""

from collections.abc import Callable

from starlette.websockets import WebSocket

from chatserver.errors import CloseCode
from chatserver.http.problems import problem
from chatserver.hub.hub import Hub
from chatserver.hub.session import Session
from chatserver.hub.socket import EXTENSION, FrameSocket
from chatserver.protocol import SUBPROTOCOL
from policies.errors import ChatError, Forbidden, Unavailable


class Endpoint:
    """``GET /v1/ws``.

    The Origin is checked before the upgrade: a browser tells it truthfully, and a page of another site could otherwise
    use what the browser knows. Native clients and back ends send none; their token alone decides.

    Args:
        allowed_origins: exact origins, or ``*`` for all.
        new_id: names a connection.
    """

    def __init__(self, hub: Callable[[], Hub], allowed_origins: list[str], new_id: Callable[[], str]) -> None:
        self._hub = hub
        self._any_origin = "*" in allowed_origins
        self._origins = frozenset(origin.rstrip("/").lower() for origin in allowed_origins)
        self._new_id = new_id

    async def open(self, websocket: WebSocket) -> None:
        """Answer one upgrade request."""
        hub = self._hub()
        refusal = self._refusal(websocket, hub)
        if refusal is not None:
            await websocket.send_denial_response(
                problem(
                    refusal.code, refusal.message, temporary=refusal.temporary, retry_after_ms=refusal.retry_after_ms
                )
            )
            return
        offered = websocket.scope["subprotocols"]
        known = SUBPROTOCOL in offered
        await websocket.accept(subprotocol=SUBPROTOCOL if known else None)
        socket = websocket.scope["extensions"][EXTENSION]
        assert isinstance(socket, FrameSocket)
        if not known:
            # Said with a close code, which a browser shows its page; a failed upgrade it does not.
            socket.close(CloseCode.WRONG_SUBPROTOCOL, f"offer the subprotocol {SUBPROTOCOL}")
            return
        address = websocket.client.host if websocket.client else ""
        session = Session(hub, socket, self._new_id(), address, _bearer(websocket))
        socket.attach(session, hub.settings.heartbeat_s, hub.settings.heartbeat_timeout_s)

    def _refusal(self, websocket: WebSocket, hub: Hub) -> ChatError | None:
        origin = websocket.headers.get("origin")
        if origin is not None and not self._any_origin and origin.rstrip("/").lower() not in self._origins:
            return Forbidden("This origin may not open a WebSocket here.")
        if hub.sessions.full:
            return Unavailable("The server takes no more connections.", retry_after_ms=5000)
        return None


def _bearer(websocket: WebSocket) -> str | None:
    scheme, _, token = websocket.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None
