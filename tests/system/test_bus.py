"""The bus against a real server that is killed, paused, restarted and cut off."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from chatserver.embedded import Valkey
from chatserver.hub.redis_url import RedisUrlError, open_redis
from tests.chatserver.hub.station import QUICK, station
from tests.eventually import eventually
from tests.proxy import Proxy


@pytest.fixture(scope="module")
def valkey_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with Valkey(tmp_path_factory.mktemp("bus")) as service:
        yield service


@pytest.fixture
def url(valkey_of_module: Valkey) -> str:
    """A server that the test leaves as it is."""
    return valkey_of_module.url


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A server to maltreat."""
    with Valkey(tmp_path) as service:
        yield service


@pytest.fixture
async def operator(url: str) -> AsyncIterator[Redis]:
    """Redis's own view of things."""
    client = Redis.from_url(url)
    yield client
    await client.aclose()


async def tell(valkey: Valkey, *words: str) -> None:
    """Run an operator's command."""
    async with Redis.from_url(valkey.url) as client:
        run: Any = client.execute_command
        await run(*words)


async def test_a_subscription_is_confirmed_before_subscribe_returns(url: str, operator: Redis) -> None:
    async with station(url) as one:
        assert await one.bus.subscribe("p:3") is True
        assert await operator.publish("t:p:3", b"hello") == 1
        await eventually(lambda: one.messages == [("p:3", b"hello")])
        assert one.troubles == []


@pytest.mark.parametrize("payload", [b"", b"\r\n$5\r\n", bytes(range(256)), b"x" * 1_000_000])
async def test_a_payload_arrives_unchanged_at_all_processes(url: str, payload: bytes) -> None:
    async with station(url, "one") as one, station(url, "two") as two:
        assert await one.bus.subscribe("p:0")
        assert await two.bus.subscribe("p:0")
        one.bus.publish("p:0", payload)
        await eventually(lambda: one.messages == two.messages == [("p:0", payload)])


async def test_order_is_kept_per_channel(url: str) -> None:
    async with station(url, "one") as one, station(url, "two") as two:
        for channel in range(4):
            assert await two.bus.subscribe(f"p:{channel}")
        for number in range(4000):
            one.bus.publish(f"p:{number % 4}", b"%d" % number)
            if number % 37 == 0:
                await asyncio.sleep(0)
        await eventually(lambda: len(two.messages) == 4000)
        for channel in range(4):
            assert two.on(f"p:{channel}") == [b"%d" % number for number in range(channel, 4000, 4)]
        assert one.observer.drops == 0


async def test_it_is_told_what_nobody_listened_to(url: str) -> None:
    async with station(url, "one") as one, station(url, "two") as two:
        assert await two.bus.subscribe("hub:two")
        for channel in ("hub:raise", "hub:two", "hub:four"):
            one.bus.publish(channel, b"hello")
        await eventually(lambda: one.unheard == ["hub:raise", "hub:four"])
        await eventually(lambda: two.messages == [("hub:two", b"hello")])
        assert one.observer.failures["callback"] == 1


async def test_what_is_published_in_one_turn_travels_together(url: str) -> None:
    async with station(url, times=replace(QUICK, probe_every_s=60.0)) as one:
        one.observer.batches.clear()
        for number in range(100):
            one.bus.publish("p:0", b"%d" % number)
        await eventually(lambda: one.observer.batches == [100])


async def test_a_batch_has_a_bounded_size(url: str) -> None:
    times = replace(QUICK, probe_every_s=60.0, batch_bytes=1000)
    async with station(url, times=times) as one:
        one.observer.batches.clear()
        for _ in range(10):
            one.bus.publish("p:0", b"x" * 400)
        await eventually(lambda: sum(one.observer.batches) == 10)
        assert max(one.observer.batches) <= 3


async def test_channels_of_other_prefixes_are_other_channels(url: str) -> None:
    async with station(url, prefix="a") as one, station(url, prefix="b") as two:
        await one.bus.subscribe("p:0")
        await two.bus.subscribe("p:0")
        one.bus.publish("p:0", b"mine")
        await eventually(lambda: one.messages == [("p:0", b"mine")])
        assert two.messages == []


async def test_nothing_arrives_after_unsubscribe(url: str, operator: Redis) -> None:
    async with station(url) as one:
        await one.bus.subscribe("p:0")
        await one.bus.subscribe("p:1")
        one.bus.unsubscribe("p:0")
        one.bus.unsubscribe("p:0")
        one.bus.unsubscribe("never")
        one.bus.publish("p:0", b"lost")
        one.bus.publish("p:1", b"last")
        await eventually(lambda: one.messages == [("p:1", b"last")])
        subscribers = dict(await operator.pubsub_numsub("t:p:0", "t:p:1"))
        assert subscribers == {b"t:p:0": 0, b"t:p:1": 1}


async def test_subscribing_again_at_once_after_unsubscribing(url: str) -> None:
    async with station(url) as one:
        await one.bus.subscribe("p:0")
        for _ in range(3):
            one.bus.unsubscribe("p:0")
            assert await one.bus.subscribe("p:0")
        given_up = asyncio.create_task(one.bus.subscribe("p:1"))
        await asyncio.sleep(0)
        one.bus.unsubscribe("p:1")
        assert await given_up is False
        assert await one.bus.subscribe("p:1")
        one.bus.publish("p:0", b"here")
        one.bus.publish("p:1", b"there")
        await eventually(lambda: one.messages == [("p:0", b"here"), ("p:1", b"there")])
        assert one.troubles == []


async def test_one_who_stops_waiting_does_not_disturb_the_others(url: str) -> None:
    async with station(url) as one:
        impatient = asyncio.create_task(one.bus.subscribe("p:0"))
        patient = asyncio.create_task(one.bus.subscribe("p:0"))
        await asyncio.sleep(0)
        impatient.cancel()
        assert await patient is True
        assert await one.bus.subscribe("p:0") is True


async def test_a_callback_that_raises_is_counted_and_the_next_message_arrives(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with station(url) as one:
        await one.bus.subscribe("p:0")
        one.bus.publish("p:0", b"raise")
        one.bus.publish("p:0", b"next")
        await eventually(lambda: one.on("p:0") == [b"raise", b"next"])
        assert one.observer.failures == {"callback": 1}
        assert "could not be handled" in caplog.text
        assert one.troubles == []


async def test_stop_sends_what_is_queued(url: str) -> None:
    async with station(url, "two") as two:
        await two.bus.subscribe("p:0")
        async with station(url, "one") as one:
            for number in range(50):
                one.bus.publish("p:0", b"%d" % number)
        assert one.observer.drops == 0
        assert one.bus.alive is False
        assert one.observer.lives == [True, False]
        one.bus.publish("p:0", b"too late")
        assert one.observer.drops == 1
        await eventually(lambda: two.on("p:0") == [b"%d" % number for number in range(50)])


async def test_a_killed_subscription_is_reported_and_renewed(valkey: Valkey) -> None:
    async with station(valkey.url) as one:
        await one.bus.subscribe("p:0")
        await tell(valkey, "CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(lambda: len(one.troubles) == 2 and one.bus.alive)
        assert "lost" in one.troubles[0]
        assert "back" in one.troubles[1]
        assert one.observer.lives == [True, False, True]
        one.bus.publish("p:0", b"again")
        await eventually(lambda: one.messages == [("p:0", b"again")])


async def test_a_killed_publisher_connection_is_renewed_and_what_it_carried_counted(valkey: Valkey) -> None:
    async with station(valkey.url) as one:
        await one.bus.subscribe("p:0")
        await tell(valkey, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

        def arrived() -> bool:
            one.bus.publish("p:0", b"again")
            return bool(one.messages)

        await eventually(arrived)
        await eventually(lambda: one.bus.alive)


async def test_a_paused_server_is_noticed_and_its_return_too(valkey: Valkey) -> None:
    async with station(valkey.url) as one:
        await one.bus.subscribe("p:0")
        valkey.pause()
        assert await one.bus.subscribe("p:0") is True, "a channel that was confirmed needs no answer"
        assert await one.bus.subscribe("p:1") is False, "the wait for a confirmation is bounded"
        await eventually(lambda: not one.bus.alive)
        started = time.monotonic()
        assert await one.bus.subscribe("p:2") is False
        assert time.monotonic() - started < 0.5, "nobody waits for a server that is known to be away"
        assert len(one.troubles) == 1
        valkey.resume()
        await eventually(lambda: one.bus.alive)
        assert len(one.troubles) == 2
        assert await one.bus.subscribe("p:1") is True
        for channel in ("p:0", "p:1", "p:2"):
            one.bus.publish(channel, b"after")
        await eventually(lambda: [one.on(c)[-1:] for c in ("p:0", "p:1", "p:2")] == [[b"after"]] * 3)


async def test_a_killed_server_that_comes_back(valkey: Valkey) -> None:
    async with station(valkey.url) as one:
        await one.bus.subscribe("p:0")
        valkey.kill()
        await eventually(lambda: not one.bus.alive)
        assert await one.bus.subscribe("p:1") is False
        valkey.start()
        await eventually(lambda: one.bus.alive)
        assert len(one.troubles) == 2, "one report for the outage, however many attempts failed, and one for its end"
        one.bus.publish("p:1", b"back")
        await eventually(lambda: one.messages == [("p:1", b"back")])


async def test_a_server_that_is_absent_at_start(valkey: Valkey) -> None:
    valkey.kill()
    async with station(valkey.url) as one:
        assert one.bus.alive is False
        assert len(one.troubles) == 1
        assert await one.bus.subscribe("p:0") is False
        valkey.start()
        await eventually(lambda: one.bus.alive)
        assert len(one.troubles) == 2
        one.bus.publish("p:0", b"at last")
        await eventually(lambda: one.messages == [("p:0", b"at last")])


async def test_a_server_that_is_silent_at_start(valkey: Valkey) -> None:
    valkey.pause()
    async with station(valkey.url, times=replace(QUICK, connect_s=0.2, probe_within_s=0.2)) as one:
        assert one.bus.alive is False
        valkey.resume()
        await eventually(lambda: one.bus.alive)


@pytest.mark.parametrize("bound", [{"queue_messages": 10}, {"queue_bytes": 800}])
async def test_the_queue_is_bounded_and_keeps_the_newest(url: str, bound: dict[str, int]) -> None:
    times = replace(QUICK, reply_s=30.0, probe_within_s=30.0, probe_every_s=30.0, **bound)
    async with Proxy(url) as proxy, station(proxy.url, "one", times=times) as one, station(url, "two") as two:
        await two.bus.subscribe("p:0")
        proxy.hold()
        one.bus.publish("p:0", b"on its way")
        await eventually(lambda: one.bus.waiting == 0)
        for number in range(100, 125):
            one.bus.publish("p:0", b"%d" % number + b"x" * 40)
        kept = one.bus.waiting
        assert 5 <= kept <= 10
        assert one.observer.drops == 25 - kept
        proxy.let_go()
        await eventually(lambda: len(two.messages) == 1 + kept)
        assert [payload[:3] for payload in two.on("p:0")[1:]] == [b"%d" % n for n in range(125 - kept, 125)]


async def test_what_waited_too_long_is_not_sent(valkey: Valkey) -> None:
    async with station(valkey.url, times=replace(QUICK, stale_s=0.2)) as one:
        await one.bus.subscribe("p:0")
        valkey.kill()
        await eventually(lambda: not one.bus.alive)
        before = one.observer.drops
        one.bus.publish("p:0", b"old news")
        await eventually(lambda: one.observer.drops > before)
        valkey.start()
        await eventually(lambda: one.bus.alive)
        one.bus.publish("p:0", b"news")
        await eventually(lambda: one.messages == [("p:0", b"news")])


async def test_stop_does_not_wait_for_a_server_that_is_away(valkey: Valkey) -> None:
    async with station(valkey.url) as one:
        valkey.kill()
        await eventually(lambda: not one.bus.alive)
        for _ in range(3):
            one.bus.publish("p:0", b"never")
        started = time.monotonic()
        await one.bus.stop()
        assert time.monotonic() - started < 0.5
        assert one.observer.drops >= 3


async def test_a_connection_that_falls_silent_is_noticed(url: str) -> None:
    async with Proxy(url) as proxy, station(proxy.url, times=replace(QUICK, probe_within_s=0.3)) as one:
        await one.bus.subscribe("p:0")
        proxy.hold()
        await eventually(lambda: not one.bus.alive)
        assert "probe" in one.troubles[0]
        assert one.observer.failures["probe"] == 1
        proxy.let_go()
        await eventually(lambda: one.bus.alive)
        one.bus.publish("p:0", b"again")
        await eventually(lambda: one.messages[-1:] == [("p:0", b"again")])


@pytest.mark.parametrize(
    "words",
    [
        b"*3\r\n$9\r\nsubscribe\r\n$5\r\nt:p:0\r\n:1\r\n",  # what a connection renewed behind our back would say
        b":1\r\n",  # no message at all
        b"-ERR no\r\n",
        b"nonsense\r\n",
    ],
)
async def test_an_answer_nobody_asked_for_means_trouble(url: str, words: bytes) -> None:
    async with Proxy(url) as proxy, station(proxy.url) as one:
        await one.bus.subscribe("p:0")
        proxy.say(words)
        await eventually(lambda: len(one.troubles) >= 2 and one.bus.alive)
        one.bus.publish("p:0", b"again")
        await eventually(lambda: one.messages[-1:] == [("p:0", b"again")])


async def test_a_process_that_did_not_run_for_a_while_is_not_a_lost_server(url: str) -> None:
    async with station(url, times=replace(QUICK, probe_within_s=0.3)) as one:
        await one.bus.subscribe("p:0")
        for _ in range(3):
            await asyncio.sleep(0)
            time.sleep(0.5)  # noqa: ASYNC251  the event loop stands still, as it does under a long computation
            one.bus.publish("p:0", b"on")
            await eventually(lambda: one.messages[-1:] == [("p:0", b"on")])
            one.messages.clear()
        assert one.troubles == []


async def test_trouble_that_cannot_be_reported_does_not_end_the_bus(
    valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    async with station(valkey.url, prefix="raise") as one:
        await one.bus.subscribe("p:0")
        await tell(valkey, "CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(lambda: len(one.troubles) == 2 and one.bus.alive)
        assert one.observer.failures["callback"] == 2
        assert "trouble could not be reported" in caplog.text
        one.bus.publish("p:0", b"on")
        await eventually(lambda: one.messages == [("p:0", b"on")])


async def test_a_publication_that_redis_refuses_is_counted_and_the_others_go_on(valkey: Valkey) -> None:
    await tell(
        valkey, "ACL", "SETUSER", "narrow", "on", ">secret", "+@all", "~*", "resetchannels", "&t:probe:*", "&t:p:*"
    )
    narrow = valkey.url.replace("redis://", "redis://narrow:secret@")
    async with station(narrow) as one:
        await one.bus.subscribe("p:0")
        one.bus.publish("q:0", b"forbidden")
        one.bus.publish("p:0", b"allowed")
        await eventually(lambda: one.messages == [("p:0", b"allowed")])
        assert one.observer.drops == 1
        assert one.observer.failures == {"publish": 1}
        assert one.troubles == []


async def test_wrong_credentials_are_told(valkey: Valkey) -> None:
    await tell(valkey, "CONFIG", "SET", "requirepass", "right")
    async with station(valkey.url.replace("redis://", "redis://:wrong@")) as one:
        assert one.bus.alive is False
        assert "password" in one.troubles[0]
        assert "wrong" not in one.troubles[0]
    async with station(valkey.url.replace("redis://", "redis://:right@")) as one:
        assert one.bus.alive is True


async def test_trouble_with_sentinels_keeps_their_passwords_to_itself() -> None:
    async with station("redis+sentinel://me:hush@127.0.0.1:1/mymaster?sentinel_password=hush") as one:
        assert "mymaster" in one.troubles[0]
        assert "hush" not in one.troubles[0]


async def test_a_fault_in_the_publisher_is_logged_and_it_goes_on(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with station(url) as one:
        await one.bus.subscribe("p:0")

        def broken(count: int) -> None:
            monkeypatch.undo()
            raise ValueError("not what an observer should do")

        monkeypatch.setattr(one.observer, "published", broken)
        await eventually(lambda: "publishing to redis broke" in caplog.text)
        one.bus.publish("p:0", b"on")
        await eventually(lambda: one.messages == [("p:0", b"on")])


async def test_a_flood_of_messages_leaves_turns_to_others(url: str) -> None:
    async with station(url, "one") as one, station(url, "two") as two:
        await two.bus.subscribe("p:0")
        longest = 0

        async def watch() -> None:
            nonlocal longest
            before = 0
            while len(two.messages) < 3000:
                await asyncio.sleep(0)
                longest = max(longest, len(two.messages) - before)
                before = len(two.messages)

        for _ in range(3000):
            one.bus.publish("p:0", b"x" * 50)
        await watch()
        assert longest <= 128


async def test_before_start_nothing_is_sent_and_wishes_are_kept(url: str) -> None:
    async with station(url, start=False) as one:
        assert await one.bus.subscribe("p:0") is False
        one.bus.publish("p:0", b"nobody hears it")
        assert one.observer.drops == 1
        await one.bus.start()
        one.bus.publish("p:0", b"heard")
        await eventually(lambda: one.messages == [("p:0", b"heard")])


def test_a_url_that_cannot_be_used_is_refused_at_once() -> None:
    with pytest.raises(RedisUrlError):
        open_redis("http://localhost")
