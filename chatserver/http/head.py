"""Bounds on the head of a request, its first line and headers: httptools, which parses them for uvicorn, has none."""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES: Final = 64 * 1024
"""Several times what browsers and proxies let through. Parsed headers take twenty times their size in memory."""


def bounded_head(timeout_s: float) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol for a port that strangers reach.

    It closes a connection whose request's head grows beyond ``HEAD_BYTES``, or is not complete in time: after the
    connection was opened, or after the next request on it began. In between uvicorn's own keep-alive timeout holds.

    Args:
        timeout_s: how long a head may take.
    """

    class BoundedHead(HttpToolsProtocol):
        _head_bytes = 0
        _head_timer: asyncio.TimerHandle | None = None
        """Runs while a head is awaited."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._await_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._end_head()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._head_timer is not None:
                self._head_bytes += len(data)
                if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
                    self.send_400_response("The request's headers are too large.")

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._await_head()

        def on_headers_complete(self) -> None:
            self._end_head()
            super().on_headers_complete()

        def _await_head(self) -> None:
            if self._head_timer is None:
                self._head_bytes = 0
                self._head_timer = self.loop.call_later(timeout_s, self.transport.close)

        def _end_head(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

    return BoundedHead
