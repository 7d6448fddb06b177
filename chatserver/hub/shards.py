"""Which server a channel lives on, and connections to it.

A single server, or the master that Sentinels name, is one shard and uses classic pub/sub. On a Cluster every
primary is a shard and sharded pub/sub is used, so that a publication stays on the node that owns its channel.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final, Protocol, cast

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import SlotNotCoveredError

from chatserver.hub.redis_url import Client

ONE: Final = "redis"
"""The only shard where there is no Cluster."""


class Link(Protocol):
    """What is used of redis-py's ``Connection``: one socket, no retries, no reconnect behind one's back."""

    @property
    def is_connected(self) -> bool: ...

    async def connect(self) -> None: ...

    async def disconnect(self, nowait: bool = False) -> None: ...

    async def send_packed_command(self, command: bytes | Iterable[bytes], check_health: bool = True) -> None: ...

    async def read_response(self) -> Any: ...


class Shards(Protocol):
    """The servers that carry the channels."""

    publish: bytes
    subscribe: bytes
    unsubscribe: bytes
    movable: bool
    """Whether a channel may move to another shard."""

    def of(self, channel: bytes) -> str | None:
        """The shard of a channel, or ``None`` while that is not known."""
        ...

    def current(self) -> frozenset[str]:
        """All shards there are, as far as is known."""
        ...

    async def dial(self, shard: str) -> Link:
        """A new connection to a shard, logged in.

        Raises:
            one of REDIS_ERRORS: nobody answered, or refused.
        """
        ...

    async def refresh(self) -> None:
        """Ask again who owns what.

        Raises:
            one of REDIS_ERRORS: nobody answered.
        """
        ...


def shards_of(client: Client, connect_timeout_s: float) -> Shards:
    """The shards behind a client.

    Args:
        connect_timeout_s: longest wait for a connection, login included.
    """
    if isinstance(client, RedisCluster):
        return ClusterShards(client, connect_timeout_s)
    return OneShard(client, connect_timeout_s)


class OneShard:
    """A single server or a Sentinel-watched master: every new connection goes to whoever is master then."""

    publish = b"PUBLISH"
    subscribe = b"SUBSCRIBE"
    unsubscribe = b"UNSUBSCRIBE"
    movable = False

    def __init__(self, client: Redis, connect_timeout_s: float) -> None:
        self._client = client
        self._timeout_s = connect_timeout_s

    def of(self, channel: bytes) -> str | None:
        return ONE

    def current(self) -> frozenset[str]:
        return frozenset({ONE})

    async def dial(self, shard: str) -> Link:
        # Not taken from the pool: it would be one of the pool's last in a storm of commands, and could be stale.
        pool: Any = self._client.connection_pool
        return await _connected(pool.make_connection(), self._timeout_s)

    async def refresh(self) -> None:
        return None


class ClusterShards:
    """The primaries of a Cluster, by the slot of a channel's name."""

    publish = b"SPUBLISH"
    subscribe = b"SSUBSCRIBE"
    unsubscribe = b"SUNSUBSCRIBE"
    movable = True

    def __init__(self, client: RedisCluster, connect_timeout_s: float) -> None:
        self._client = client
        self._timeout_s = connect_timeout_s

    def of(self, channel: bytes) -> str | None:
        try:
            node = self._client.get_node_from_key(cast(str, channel))
        except SlotNotCoveredError:
            return None
        return None if node is None else str(node.name)

    def current(self) -> frozenset[str]:
        return frozenset(str(node.name) for node in self._client.get_primaries())

    async def dial(self, shard: str) -> Link:
        node = self._client.get_node(node_name=shard)
        if node is None:
            raise ConnectionError(f"{shard} is no longer a node of the Cluster")
        make: Any = node.connection_class
        return await _connected(make(**node.connection_kwargs), self._timeout_s)

    async def refresh(self) -> None:
        await self._client.initialize()
        await self._client.nodes_manager.initialize()


async def _connected(connection: Any, timeout_s: float) -> Link:
    # A retry inside would hide a lost connection, and with it the messages that were lost.
    connection.retry = Retry(NoBackoff(), 0)
    link = cast(Link, connection)
    try:
        async with asyncio.timeout(timeout_s):
            await link.connect()
    except BaseException:
        await link.disconnect(nowait=True)
        raise
    # From here on deadlines are the owner's: a timer for every read and a task for every write cost more than both.
    connection.socket_timeout = None
    return link
