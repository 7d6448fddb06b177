"""The server's HTTP API, for what does not go over the WebSocket: asked until there is an answer."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import orjson

from chatserver.client.backoff import full_jitter
from chatserver.protocol import PATH
from policies.errors import ChatError, Unavailable, error_class

TIMEOUT_S: Final = 10.0
"""How long one try may take."""


@dataclass(frozen=True, slots=True)
class Web:
    """How to reach the API.

    Args:
        url: of the WebSocket.
        token: gives the user's current token.
        tls: for https; None takes the system's trust store.
        trust_env: whether proxies of the environment are used.
        rng: source of the jitter.
    """

    url: str
    token: Callable[[], Awaitable[str]]
    tls: ssl.SSLContext | None
    trust_env: bool
    rng: Random

    @asynccontextmanager
    async def connected(self, timeout_s: float = TIMEOUT_S) -> AsyncIterator[Any]:
        """An ``httpx.AsyncClient``."""
        import httpx  # whoever only chats need not wait for it

        async with httpx.AsyncClient(verify=self.tls or True, trust_env=self.trust_env, timeout=timeout_s) as client:
            yield client

    def address(self, path: str) -> str:
        """Where a path of the API is, on the server of the WebSocket's URL."""
        parts = urlsplit(self.url)
        scheme = "https" if parts.scheme == "wss" else "http"
        return urlunsplit((scheme, parts.netloc, parts.path.removesuffix(PATH) + path, "", ""))

    async def ask(
        self,
        client: Any,
        method: str,
        path: str,
        content: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Ask until there is an answer; it is asked again after lost connections and temporary errors.

        Returns:
            The ``httpx.Response``, a success.

        Raises:
            ChatError: the server's final error.
        """
        import httpx

        tries = 0
        while True:
            told = {"Authorization": f"Bearer {await self.token()}", **(headers or {})}
            try:
                answer = await client.request(method, self.address(path), json=content, headers=told)
                error = error_in(answer)
            except httpx.TransportError:
                error = Unavailable("The server cannot be reached.")
            if error is None:
                return answer
            if not error.temporary:
                raise error
            await self.pause(tries, error)
            tries += 1

    async def pause(self, tries: int, error: ChatError) -> None:
        """Wait before the next try."""
        await asyncio.sleep(max(full_jitter(tries, self.rng), (error.retry_after_ms or 0) / 1000))


def error_in(answer: Any) -> ChatError | None:
    """The error that an answer stands for: its problem document, or else its status."""
    if answer.is_success:
        return None
    try:
        problem = orjson.loads(answer.content)
        kind = error_class(problem["code"]) or ChatError
        return kind(
            str(problem["detail"]), details=problem.get("details"), retry_after_ms=problem.get("retry_after_ms")
        )
    except (orjson.JSONDecodeError, KeyError, TypeError):
        if answer.is_server_error:  # a proxy in front of the server
            return Unavailable(f"The server answered with HTTP status {answer.status_code}.")
        return ChatError(f"The server answered with HTTP status {answer.status_code}.")
