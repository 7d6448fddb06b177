"""The sending half of the bus over all shards: which publisher a channel goes through."""

from collections.abc import Callable
from typing import Final

from redis.exceptions import ResponseError

from chatserver.hub.publisher import BusObserver, BusTimes, Publisher, Uniform
from chatserver.hub.shards import Shards

_ROUTES: Final = 4096
"""Channels whose route is remembered; far more than partitions and hubs that live at one time."""


class Outlet:
    """Publishes to channels, with one publisher for each shard that is used, once it was opened.

    Args:
        shards: the servers that carry the channels.
        prefix: of every channel.
        times: all times and bounds.
        uniform: a random number between two.
        observer: told what happens, for metrics.
        on_refused: called when Redis refused a publication, as a Cluster does whose channels have moved.
        on_homeless: called when nobody is known to carry a channel.
        on_unheard: called with the short name of a channel that nobody listened to when it was published to.
    """

    def __init__(
        self,
        shards: Shards,
        *,
        prefix: str,
        times: BusTimes,
        uniform: Uniform,
        observer: BusObserver,
        on_refused: Callable[[ResponseError], None],
        on_homeless: Callable[[], None],
        on_unheard: Callable[[str], None] | None = None,
    ) -> None:
        self._shards = shards
        self._prefix = prefix
        self._times = times
        self._uniform = uniform
        self._observer = observer
        self._on_refused = on_refused
        self._on_homeless = on_homeless
        self._on_unheard = on_unheard or (lambda _: None)
        self._publishers: dict[str, Publisher] = {}
        self._routes: dict[str, tuple[Publisher, bytes]] = {}
        """How to publish to a channel: through whom, and the command up to the payload's length."""
        self._open = False

    @property
    def waiting(self) -> int:
        """Publications that have not been sent yet."""
        return sum(publisher.waiting for publisher in self._publishers.values())

    def full_name(self, channel: str) -> bytes:
        """A channel's name in Redis."""
        return f"{self._prefix}:{channel}".encode()

    def open(self) -> None:
        """Take publications from now on."""
        self._open = True

    def put(self, channel: str, payload: bytes) -> None:
        """Queue a publication. Never blocks and never raises; everything queued in one turn goes out together."""
        route = self._routes.get(channel)
        if route is None:
            route = self._route(self.full_name(channel))
            if route is None:
                self._observer.dropped(1)
                self._on_homeless()
                return
            if len(self._routes) >= _ROUTES:
                self._routes.clear()
            self._routes[channel] = route
        _put(route, payload, channel)

    def put_full(self, full: bytes, payload: bytes) -> None:
        """Queue a publication to a channel of this full name, if anybody is known to carry it."""
        route = self._route(full)
        if route is not None:
            _put(route, payload, "")

    def rearranged(self) -> list[Publisher]:
        """The shards are not what they were: forget the routes. Returns the publishers to be stopped."""
        self._routes.clear()
        current = self._shards.current()
        return [self._publishers.pop(shard) for shard in list(self._publishers) if shard not in current]

    def close(self) -> list[Publisher]:
        """Take nothing more. Returns the publishers to be stopped."""
        self._open = False
        self._routes.clear()
        publishers = list(self._publishers.values())
        self._publishers.clear()
        return publishers

    def _route(self, full: bytes) -> tuple[Publisher, bytes] | None:
        shard = self._shards.of(full) if self._open else None
        if shard is None:
            return None
        publisher = self._publishers.get(shard)
        if publisher is None:
            publisher = self._publishers[shard] = Publisher(
                shard, self._shards, self._times, self._uniform, self._observer, self._on_refused, self._on_unheard
            )
        name = self._shards.publish
        return publisher, b"*3\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$" % (len(name), name, len(full), full)


def _put(route: tuple[Publisher, bytes], payload: bytes, channel: str) -> None:
    publisher, head = route
    publisher.put(b"%b%d\r\n%b\r\n" % (head, len(payload), payload), channel)
