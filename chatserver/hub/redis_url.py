"""From a URL to a Redis client whose timeouts, retries and pool size are all chosen here.

``redis://``, ``rediss://`` and ``unix://`` mean one server, ``redis+sentinel://`` the master that Sentinels name,
``redis+cluster://`` a Cluster; ``rediss+sentinel://`` and ``rediss+cluster://`` the same over TLS::

    redis://user:pass@host:6379/0
    rediss://host:6380/0?ssl_ca_certs=/etc/ca.pem
    unix:///run/redis.sock?db=0
    redis+sentinel://user:pass@h1:26379,h2:26379/mymaster/0?sentinel_password=secret
    redis+cluster://h1:7000,h2:7001
"""

from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError

Client = Redis | RedisCluster

REDIS_ERRORS: Final = (RedisError, RedisClusterException, OSError)
"""What a call raises when Redis is away, is the wrong one or refuses."""

_REDIS_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_TLS_OPTIONS: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname", "ssl_cert_reqs"})
_SENTINEL_OPTIONS: Final = frozenset({"sentinel_username", "sentinel_password"})
_BOOLEANS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_READ_BYTES: Final = 64 * 1024
"""How much is read from a socket at once; a subscriber under load gets dozens of messages by one read."""


class RedisUrlError(ValueError):
    """The URL cannot be used; the message says why and never holds a password."""


@dataclass(frozen=True, slots=True)
class RedisLimits:
    """How long and how often a client tries. Seconds.

    Args:
        timeout_s: longest wait for an answer.
        connect_timeout_s: longest wait for a connection, TLS and login included.
        retries: attempts after the first when a connection fails. Commands may then run twice: send only those
            that may.
        backoff_s: longest pause before the first retry; it doubles with each one, with jitter.
        connections: most connections of the pool, or of each node of a Cluster.
    """

    timeout_s: float = 2.0
    connect_timeout_s: float = 2.0
    retries: int = 1
    backoff_s: float = 0.05
    connections: int = 32


DEFAULT_LIMITS: Final = RedisLimits()


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """What a URL says."""

    kind: Literal["server", "sentinel", "cluster"]
    hosts: tuple[tuple[str, int], ...] = ()
    unix_path: str = ""
    tls: bool = False
    service: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    tls_options: dict[str, str | bool] = field(default_factory=dict)


def open_redis(url: str, limits: RedisLimits = DEFAULT_LIMITS) -> Client:
    """A client for the server, Sentinel-watched master or Cluster of a URL. It connects when first used.

    Raises:
        RedisUrlError: the URL is not one of the forms above.
    """
    address = parse_redis_url(url)
    options = _client_options(address, limits)
    if address.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in address.hosts]
        # Waiting for full coverage would take the whole chat down with one lost node.
        return RedisCluster(startup_nodes=nodes, require_full_coverage=False, ssl=address.tls, **options)
    if address.kind == "sentinel":
        return _open_sentinel(address, limits, options)
    options |= {"db": address.db, "single_connection_client": False}
    if address.unix_path:
        return Redis(unix_socket_path=address.unix_path, **options)
    host, port = address.hosts[0]
    return Redis(host=host, port=port, ssl=address.tls, **options)


async def close_redis(client: Client) -> None:
    """Close a client of ``open_redis`` with all its connections, those to Sentinels too."""
    await client.aclose()
    pool = None if isinstance(client, RedisCluster) else client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        sentinel: Sentinel = pool.sentinel_manager
        await sentinel.aclose()


def parse_redis_url(url: str) -> RedisAddress:
    """Read a URL without connecting.

    Raises:
        RedisUrlError: the URL is not one of the forms of this module.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise RedisUrlError(f"not a URL: {error}") from None
    base, _, kind = parts.scheme.partition("+")
    if base == "unix" and not kind:
        return _unix(parts)
    if base not in ("redis", "rediss") or kind not in ("", "sentinel", "cluster"):
        raise RedisUrlError(
            f"unknown scheme {parts.scheme!r}: use redis, rediss, unix, redis+sentinel, rediss+sentinel, "
            "redis+cluster or rediss+cluster"
        )
    tls = base == "rediss"
    allowed = (_TLS_OPTIONS if tls else frozenset()) | (_SENTINEL_OPTIONS if kind == "sentinel" else frozenset())
    options = _options(parts, allowed | {"db"})
    userinfo, _, hosts = parts.netloc.rpartition("@")
    username, password = _credentials(userinfo)
    path = [unquote(step) for step in parts.path.strip("/").split("/") if step]
    service = ""
    if kind == "sentinel":
        if not path:
            raise RedisUrlError("a Sentinel URL names its service in the path: redis+sentinel://host:26379/mymaster")
        service = path.pop(0)
    db = _db(path, options)
    if kind == "cluster" and db:
        raise RedisUrlError("a Cluster has only database 0")
    addresses = _hosts(hosts, _SENTINEL_PORT if kind == "sentinel" else _REDIS_PORT)
    if not kind and len(addresses) > 1:
        raise RedisUrlError("several hosts need redis+sentinel:// or redis+cluster://")
    return RedisAddress(
        kind="sentinel" if kind == "sentinel" else "cluster" if kind == "cluster" else "server",
        hosts=addresses,
        tls=tls,
        service=service,
        db=db,
        username=username,
        password=password,
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
        tls_options=_tls_options(options),
    )


def _unix(parts: SplitResult) -> RedisAddress:
    options = _options(parts, frozenset({"db"}))
    if not parts.path:
        raise RedisUrlError("a unix URL names the socket's path: unix:///run/redis.sock")
    username, password = _credentials(parts.netloc.rpartition("@")[0])
    return RedisAddress(
        kind="server", unix_path=unquote(parts.path), db=_db([], options), username=username, password=password
    )


def _options(parts: SplitResult, allowed: frozenset[str]) -> dict[str, str]:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(options.keys() - allowed)
    if unknown:
        known = ", ".join(sorted(allowed))
        raise RedisUrlError(f"unknown option {unknown[0]!r} in the Redis URL: known here are {known}")
    return options


def _credentials(userinfo: str) -> tuple[str | None, str | None]:
    username, _, password = userinfo.partition(":")
    return unquote(username) or None, unquote(password) or None


def _db(path: list[str], options: dict[str, str]) -> int:
    if len(path) > 1:
        raise RedisUrlError("the path of the Redis URL has too many parts")
    text = options.get("db", path[0] if path else "0")
    if not text.isdecimal():
        raise RedisUrlError(f"the database must be a number, not {text!r}")
    return int(text)


def _hosts(text: str, default_port: int) -> tuple[tuple[str, int], ...]:
    found = []
    for item in text.split(","):
        try:
            one = urlsplit(f"//{item}")
            host, port = one.hostname, one.port
        except ValueError:
            raise RedisUrlError(f"not a host and port: {item!r}") from None
        if not host:
            raise RedisUrlError("the Redis URL names no host")
        found.append((host, default_port if port is None else port))
    return tuple(found)


def _tls_options(options: dict[str, str]) -> dict[str, str | bool]:
    found: dict[str, str | bool] = {name: options[name] for name in _TLS_OPTIONS & options.keys()}
    if "ssl_check_hostname" in found:
        text = str(found["ssl_check_hostname"]).lower()
        if text not in _BOOLEANS:
            raise RedisUrlError("ssl_check_hostname must be true or false")
        found["ssl_check_hostname"] = _BOOLEANS[text]
    if found.get("ssl_cert_reqs", "required") not in ("required", "optional", "none"):
        raise RedisUrlError("ssl_cert_reqs must be required, optional or none")
    return found


def _client_options(address: RedisAddress, limits: RedisLimits) -> dict[str, Any]:
    return {
        "username": address.username,
        "password": address.password,
        "socket_timeout": limits.timeout_s,
        "socket_connect_timeout": limits.connect_timeout_s,
        "socket_read_size": _READ_BYTES,
        "socket_keepalive": True,
        "health_check_interval": 0,
        "max_connections": limits.connections,
        "retry": Retry(
            ExponentialWithJitterBackoff(cap=1.0, base=limits.backoff_s),
            limits.retries,
            supported_errors=(RedisConnectionError,),
        ),
        # RESP2: with RESP3 redis-py logs every push, which costs more than the message.
        "protocol": 2,
        "decode_responses": False,
        **address.tls_options,
    }


def _open_sentinel(address: RedisAddress, limits: RedisLimits, options: dict[str, Any]) -> Redis:
    watch: dict[str, Any] = {
        **options,
        "username": address.sentinel_username,
        "password": address.sentinel_password,
        # The next Sentinel is asked instead of the same one again.
        "retry": Retry(ExponentialWithJitterBackoff(cap=1.0, base=limits.backoff_s), 0),
        "ssl": address.tls,
    }
    make: Any = Sentinel
    master: Redis = make(address.hosts, sentinel_kwargs=watch).master_for(
        address.service, ssl=address.tls, db=address.db, **options
    )
    return master
