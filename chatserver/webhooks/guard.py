"""Where a webhook may go: over https, to public addresses only, so that nobody makes this server ask its own network.

A name says nothing about where it leads, and may lead elsewhere a second later (DNS rebinding). So every address that
the name has now is checked, one that is not public refuses them all, and the connection is made to an address that was
checked, never by asking for the name again.

What is public: IANA's special-purpose registries (RFC 6890) for IPv4; for IPv6, global unicast (2000::/3) without its
special ranges. Addresses that carry an IPv4 address (IPv4-mapped, NAT64) are judged by that one.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from policies.errors import BadRequest

URL_CHARS: Final = 2048
CHECK_S: Final = 3.0
"""How long a URL that somebody wants to add may take to resolve."""
QUESTIONS: Final = 64
"""Names that may be asked for at once; of one name there is never more than one question under way."""

_SPECIAL_V4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by a carrier's customers
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, cloud metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays, deprecated
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_SPECIAL_V6: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # IETF protocol assignments: Teredo, ORCHID, benchmarking
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: leads to whatever IPv4 address is in it
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")


class TargetRefused(BadRequest):
    """A webhook must not go there."""


class NameUnknown(Exception):
    """The name has no address now."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads, before any name is resolved."""

    url: str
    host: str
    port: int
    secure: bool


def is_public(address: str) -> bool:
    """Whether anybody on the internet could reach this IP address; also False for what is none."""
    try:
        parsed: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address):
        inner = parsed.ipv4_mapped or (IPv4Address(int(parsed) & 0xFFFFFFFF) if parsed in _NAT64 else None)
        if inner is None:
            # One with a zone is of a link of this machine.
            return (
                parsed.scope_id is None
                and parsed in _GLOBAL_UNICAST
                and not any(parsed in network for network in _SPECIAL_V6)
            )
        parsed = inner
    return not any(parsed in network for network in _SPECIAL_V4)


def parse_target(url: str, *, private: bool) -> Target:
    """What a URL says by itself.

    Args:
        url: the endpoint's URL.
        private: whether the configuration allows http and addresses that are not public.

    Raises:
        TargetRefused: it is no URL of a webhook, or names an address that must not be asked.
    """
    parts = _split(url)
    host = parts.hostname or ""
    if not host or len(host) > 253:
        raise TargetRefused("The URL names no host.", details={"field": "url"})
    if parts.scheme != "https" and not (private and parts.scheme == "http"):
        raise TargetRefused("A webhook's URL begins with https://.", details={"field": "url"})
    if parts.username is not None or parts.password is not None:
        raise TargetRefused("The URL must not hold a user or password.", details={"field": "url"})
    if parts.fragment:
        raise TargetRefused("The URL must not have a fragment.", details={"field": "url"})
    secure = parts.scheme == "https"
    if not private and _is_address(host) and not is_public(host):
        raise _not_public(host)
    return Target(url, host, parts.port or (443 if secure else 80), secure)


def _split(url: str) -> SplitResult:
    wrong = TargetRefused("This is not a URL that can be called.", details={"field": "url"})
    if len(url) > URL_CHARS or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise wrong
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  raises for one that is none
        if parts.hostname:
            parts.hostname.encode("idna")
    except ValueError:
        raise wrong from None
    return parts


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _not_public(address: str) -> TargetRefused:
    return TargetRefused(f"{address} is not a public address.", details={"field": "url"})


Lookup = Callable[[str, int], Sequence[Any]]
"""``socket.getaddrinfo(host, port)``."""


class Guard:
    """Says which addresses a webhook may be sent to.

    Args:
        private: whether the configuration allows addresses that are not public.
        lookup: asks the system's resolver; it blocks, and is called in a thread.
    """

    def __init__(self, *, private: bool, lookup: Lookup | None = None) -> None:
        self.private = private
        self._lookup = lookup or _getaddrinfo
        self._under_way: dict[str, asyncio.Future[Sequence[Any]]] = {}

    async def addresses(self, target: Target) -> list[str]:
        """The addresses to connect to, all of them checked, in the resolver's order.

        Raises:
            TargetRefused: one of them is not public.
            NameUnknown: there is none.
        """
        if _is_address(target.host):
            found = [target.host]
        else:
            found = await self._resolve(target.host, target.port)
        for address in found:
            if not self.private and not is_public(address):
                raise _not_public(address)
        return found

    async def require_usable(self, url: str) -> None:
        """Refuse a URL that could never be sent to. One whose name cannot be resolved now may be right later.

        Raises:
            TargetRefused: it is no URL of a webhook, or leads to an address that is not public.
        """
        target = parse_target(url, private=self.private)
        with contextlib.suppress(NameUnknown, TimeoutError):
            async with asyncio.timeout(CHECK_S):
                await self.addresses(target)

    async def _resolve(self, host: str, port: int) -> list[str]:
        """One question at a time for a name, so that one whose servers are silent holds one thread and not all."""
        asking = self._under_way.get(host)
        if asking is None:
            if len(self._under_way) >= QUESTIONS:
                raise NameUnknown(f"{host} was not resolved: too many names are being resolved")
            asking = self._under_way[host] = self._ask(host, port)
            asking.add_done_callback(lambda ended: self._answered(host, ended))
        try:
            answers = await asyncio.shield(asking)
        except (OSError, UnicodeError) as error:
            raise NameUnknown(f"{host} cannot be resolved") from error
        found = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
        if not found:
            raise NameUnknown(f"{host} has no address")
        return found

    def _ask(self, host: str, port: int) -> "asyncio.Future[Sequence[Any]]":
        """The resolver's answer. Its thread may be left behind: a silent resolver must not hold up a process's end."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[Any]] = loop.create_future()

        def settle(found: Sequence[Any] | None, error: Exception | None) -> None:
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(found or ())

        def look() -> None:
            found, failure = None, None
            try:
                found = self._lookup(host, port)
            except Exception as error:  # noqa: BLE001  whoever waits has to be told, whatever it is
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(settle, found, failure)

        threading.Thread(target=look, name="webhook name", daemon=True).start()
        return answer

    def _answered(self, host: str, ended: "asyncio.Future[Sequence[Any]]") -> None:
        self._under_way.pop(host, None)
        if not ended.cancelled():
            ended.exception()  # seen here, for the case that nobody waits any more


def _getaddrinfo(host: str, port: int) -> Sequence[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
