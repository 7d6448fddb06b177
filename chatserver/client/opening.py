"""Opening a dispute: the one thing of an application's that goes over HTTP."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import orjson
from pydantic import ValidationError

from chatserver.client.backoff import full_jitter
from chatserver.protocol import PATH, Dispute
from policies.errors import ChatError, Unavailable, error_class

TIMEOUT_S: Final = 10.0
"""How long one try may take."""


@dataclass(frozen=True, slots=True)
class OpenedDispute:
    """A dispute as the server answers its opening. ``created``: this call opened it, and not an earlier try."""

    dispute: Dispute
    created: bool

    @property
    def room(self) -> str:
        """The room to join."""
        return self.dispute.room


async def post_dispute(
    url: str,
    content: Mapping[str, Any],
    *,
    key: str,
    token: Callable[[], Awaitable[str]],
    tls: ssl.SSLContext | None,
    trust_env: bool,
    rng: Random,
) -> OpenedDispute:
    """Ask until there is an answer; the key makes all tries one.

    Args:
        url: of the WebSocket.
        content: the request.
        key: the idempotency key.
        token: gives the user's current token.
        tls: for https; None takes the system's trust store.
        trust_env: whether proxies of the environment are used.
        rng: source of the jitter.

    Raises:
        ChatError: the server's final error.
    """
    import httpx  # whoever only chats need not wait for it

    async with httpx.AsyncClient(verify=tls or True, trust_env=trust_env, timeout=TIMEOUT_S) as client:
        tries = 0
        while True:
            headers = {"Authorization": f"Bearer {await token()}", "Idempotency-Key": key}
            try:
                answer = await client.post(disputes_url(url), json=content, headers=headers)
                error = _error(answer)
            except httpx.TransportError:
                error = Unavailable("The server cannot be reached.")
            if error is None:
                return _opened(answer)
            if not error.temporary:
                raise error
            await asyncio.sleep(max(full_jitter(tries, rng), (error.retry_after_ms or 0) / 1000))
            tries += 1


def disputes_url(url: str) -> str:
    """Where disputes are opened, on the server of a WebSocket's URL."""
    parts = urlsplit(url)
    scheme = "https" if parts.scheme == "wss" else "http"
    return urlunsplit((scheme, parts.netloc, parts.path.removesuffix(PATH) + "/v1/disputes", "", ""))


def _opened(answer: Any) -> OpenedDispute:
    try:
        return OpenedDispute(Dispute.model_validate_json(answer.content), answer.status_code == 201)
    except ValidationError as error:
        raise ChatError("The server's answer is not a dispute.") from error


def _error(answer: Any) -> ChatError | None:
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
