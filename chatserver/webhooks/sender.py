"""One attempt to deliver: a POST to an address that was checked, bounded in time and in what is read back."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx

from chatserver.webhooks.guard import Guard, NameUnknown, Target, TargetRefused, parse_target

RESPONSE_BYTES: Final = 64 * 1024
"""So much of an answer's body is taken from the wire, and forgotten: only its status counts."""
DRAIN_S: Final = 1.0
"""How long for that: enough that a receiver's own write succeeds, too short to be held up by one that drips."""
CONNECT_S: Final = 5.0
ADDRESSES: Final = 4
"""Of a name with many addresses so many are tried."""
ERROR_CHARS: Final = 200
GONE: Final = 410


@dataclass(frozen=True, slots=True)
class Answer:
    """How an attempt ended: with a status, or without one because of ``error``.

    ``asked``: the pause that the endpoint asked for.
    """

    status: int | None
    error: str | None
    took_ms: int
    asked: timedelta = timedelta()

    @property
    def accepted(self) -> bool:
        """Whether the event was taken: any 2xx."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        """Whether the endpoint wants nothing any more."""
        return self.status == GONE


class Sender:
    """Sends webhooks. Connections are not kept: two names may share an address, and must not share a connection.

    Args:
        guard: says where they may go.
        timeout_s: longest attempt, from resolving the name to the status of the answer.
        agent: the User-Agent.
        ca_file: PEM file with authorities to trust beside the well-known ones.
        monotonic: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        timeout_s: float,
        agent: str,
        ca_file: Path | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._guard = guard
        self._timeout_s = timeout_s
        self._agent = agent
        self._monotonic = monotonic
        trusted = httpx.create_ssl_context()
        if ca_file is not None:
            trusted.load_verify_locations(ca_file)
        self._client = httpx.AsyncClient(
            verify=trusted,
            trust_env=False,  # a proxy would resolve the name again
            follow_redirects=False,
            timeout=httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s)),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST once. Never raises for what the other side does: that is in the answer."""
        begun = self._monotonic()

        def took_ms() -> int:
            return round((self._monotonic() - begun) * 1000)

        try:
            async with asyncio.timeout(self._timeout_s):
                target = parse_target(url, private=self._guard.private)
                response = await self._post(target, await self._guard.addresses(target), headers, body)
        except TimeoutError:
            return Answer(None, f"no answer within {self._timeout_s:g} s", took_ms())
        except (TargetRefused, NameUnknown, httpx.HTTPError, httpx.InvalidURL, OSError) as failure:
            return Answer(None, _describe(failure), took_ms())
        answer = Answer(response.status_code, _objection(response.status_code), took_ms(), _asked(response))
        await _drain(response)
        return answer

    async def close(self) -> None:
        """Let go of what is open."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _post(
        self, target: Target, addresses: list[str], headers: Mapping[str, str], body: bytes
    ) -> httpx.Response:
        tried = addresses[:ADDRESSES]
        for address in tried[:-1]:
            try:
                return await self._post_to(address, target, headers, body)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue  # nothing was sent: the next address may do
        return await self._post_to(tried[-1], target, headers, body)

    async def _post_to(self, address: str, target: Target, headers: Mapping[str, str], body: bytes) -> httpx.Response:
        """The answer, of which status and headers are read."""
        url = httpx.URL(target.url)
        fixed = {"Host": url.netloc.decode(), "Content-Type": "application/json", "User-Agent": self._agent}
        request = self._client.build_request(
            "POST",
            url.copy_with(host=address),
            headers={**headers, **fixed},
            content=body,
            # The certificate is checked against the name, although the connection goes to the address.
            extensions={"sni_hostname": target.host},
        )
        return await self._client.send(request, stream=True)


async def _drain(response: httpx.Response) -> None:
    """Read a little of an answer, and close it. Its status is known, and is all that counts."""
    taken = 0
    try:
        async with asyncio.timeout(DRAIN_S):
            async for part in response.aiter_raw():
                taken += len(part)
                if taken > RESPONSE_BYTES:
                    break
    except (TimeoutError, httpx.HTTPError):
        pass
    finally:
        await response.aclose()


def _objection(status: int) -> str | None:
    return "a redirect is not followed" if 300 <= status < 400 else None


def _asked(response: httpx.Response) -> timedelta:
    value = response.headers.get("retry-after", "")
    return timedelta(seconds=int(value)) if value.isascii() and value.isdecimal() and len(value) < 8 else timedelta()


def _describe(failure: Exception) -> str:
    """What went wrong, for the delivery log: never what the other side wrote."""
    match failure:
        case TargetRefused():
            text = failure.message
        case httpx.TimeoutException():
            text = "connecting took too long" if isinstance(failure, httpx.ConnectTimeout) else "no answer in time"
        case httpx.RemoteProtocolError() | httpx.DecodingError():
            text = "the answer is not HTTP"
        case httpx.ConnectError() | httpx.ReadError() | httpx.WriteError():
            text = f"no connection: {failure}" if str(failure) else f"no connection ({type(failure).__name__})"
        case _:
            text = str(failure) or type(failure).__name__
    return text[:ERROR_CHARS]
