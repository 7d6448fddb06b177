import pytest
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedSSLConnection

from chatserver.hub.redis_url import RedisAddress, RedisLimits, RedisUrlError, close_redis, open_redis, parse_redis_url


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://localhost", RedisAddress("server", (("localhost", 6379),))),
        ("redis://:p%40ss@db.example:7000/3", RedisAddress("server", (("db.example", 7000),), db=3, password="p@ss")),
        (
            "redis://us%3Aer:p:w@[::1]:7000?db=2",
            RedisAddress("server", (("::1", 7000),), db=2, username="us:er", password="p:w"),
        ),
        (
            "rediss://h?ssl_ca_certs=/ca.pem&ssl_check_hostname=false",
            RedisAddress(
                "server",
                (("h", 6379),),
                tls=True,
                tls_options={"ssl_ca_certs": "/ca.pem", "ssl_check_hostname": False},
            ),
        ),
        ("unix:///run/redis.sock?db=4", RedisAddress("server", unix_path="/run/redis.sock", db=4)),
        (
            "unix://me:secret@/run/redis%20socket",
            RedisAddress("server", unix_path="/run/redis socket", username="me", password="secret"),
        ),
        (
            "redis+sentinel://user:pass@h1:26380,h2/mymaster/5?sentinel_username=s&sentinel_password=w",
            RedisAddress(
                "sentinel",
                (("h1", 26380), ("h2", 26379)),
                service="mymaster",
                db=5,
                username="user",
                password="pass",
                sentinel_username="s",
                sentinel_password="w",
            ),
        ),
        ("redis+cluster://h1:7000,[::2]:7001", RedisAddress("cluster", (("h1", 7000), ("::2", 7001)))),
        ("rediss+cluster://h1", RedisAddress("cluster", (("h1", 6379),), tls=True)),
    ],
)
def test_what_a_url_says(url: str, address: RedisAddress) -> None:
    assert parse_redis_url(url) == address


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "unknown scheme ''"),
        ("localhost:6379", "unknown scheme 'localhost'"),
        ("http://h", "unknown scheme 'http'"),
        ("unix+cluster:///run/redis.sock", "unknown scheme"),
        ("redis+sharded://h", "unknown scheme"),
        ("redis://", "names no host"),
        ("redis://user:secret@:6379", "names no host"),
        ("redis://h:port", "not a host and port: 'h:port'"),
        ("redis://h:99999", "not a host and port"),
        ("redis://[::1", "not a URL"),
        ("redis://h1,h2", "several hosts need"),
        ("redis://h/one", "must be a number, not 'one'"),
        ("redis://h/1/2", "too many parts"),
        ("redis://h?db=-1", "must be a number"),
        ("redis://h?socket_timeout=1", "unknown option 'socket_timeout'"),
        ("redis://h?ssl_ca_certs=/ca.pem", "unknown option 'ssl_ca_certs'"),
        ("rediss://h?ssl_check_hostname=perhaps", "true or false"),
        ("rediss://h?ssl_cert_reqs=never", "ssl_cert_reqs must be"),
        ("redis+sentinel://h1,h2", "names its service"),
        ("redis+cluster://h/1", "only database 0"),
        ("unix://", "names the socket's path"),
    ],
)
def test_a_url_that_cannot_be_used_says_why_without_the_password(url: str, complaint: str) -> None:
    with pytest.raises(RedisUrlError) as caught:
        parse_redis_url(url)
    assert complaint in str(caught.value)
    assert "secret" not in str(caught.value)


def test_passwords_are_not_printed() -> None:
    assert "hush" not in repr(parse_redis_url("redis+sentinel://u:hush@h/m?sentinel_password=hush"))


async def test_times_and_sizes_are_those_asked_for() -> None:
    limits = RedisLimits(timeout_s=1.5, connect_timeout_s=0.5, retries=2, connections=7)
    client = open_redis("redis://user:pass@h:7000/3", limits)
    assert isinstance(client, Redis)
    pool = client.connection_pool
    assert pool.max_connections == 7
    for name, value in {
        "host": "h",
        "port": 7000,
        "db": 3,
        "username": "user",
        "password": "pass",
        "socket_timeout": 1.5,
        "socket_connect_timeout": 0.5,
        "protocol": 2,
    }.items():
        assert pool.connection_kwargs[name] == value
    assert pool.connection_kwargs["retry"].get_retries() == 2
    await close_redis(client)


async def test_each_scheme_makes_its_kind_of_client() -> None:
    plain = open_redis("unix:///run/redis.sock")
    assert isinstance(plain, Redis)
    assert plain.connection_pool.connection_class is UnixDomainSocketConnection
    secure = open_redis("rediss://h?ssl_check_hostname=no")
    assert isinstance(secure, Redis)
    assert secure.connection_pool.connection_class is SSLConnection
    assert secure.connection_pool.connection_kwargs["ssl_check_hostname"] is False
    watched = open_redis("rediss+sentinel://:pw@h1,h2/mymaster/2?sentinel_password=sp")
    assert isinstance(watched, Redis)
    pool = watched.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.connection_class is SentinelManagedSSLConnection
    assert pool.service_name == "mymaster"
    assert pool.connection_kwargs["password"] == "pw"
    assert pool.connection_kwargs["db"] == 2
    assert [s.connection_pool.connection_kwargs["password"] for s in pool.sentinel_manager.sentinels] == ["sp", "sp"]
    cluster = open_redis("rediss+cluster://:pw@h1:7000,h2")
    assert isinstance(cluster, RedisCluster)
    assert [(node.host, node.port) for node in cluster.nodes_manager.startup_nodes.values()] == [
        ("h1", 7000),
        ("h2", 6379),
    ]
    assert cluster.connection_kwargs["password"] == "pw"
    assert cluster.connection_kwargs["connection_class"] is SSLConnection
    for client in (plain, secure, watched, cluster):
        await close_redis(client)
