"""What is remembered about credentials, for how long, and how much of it."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from chatserver.access import FailedAttempts, Recent
from chatserver.metrics import Metrics
from policies.errors import RateLimited, Unavailable
from tests.chatserver.moving_time import Stopwatch


class Source:
    """Answers questions, counts them, and fails or waits on demand."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.value = "a"
        self.fails = False
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, key: str) -> str:
        self.asked.append(key)
        value = self.value
        await self.open.wait()
        if self.fails:
            raise Unavailable("down")
        return f"{key}:{value}"


@pytest.fixture
def watch() -> Stopwatch:
    return Stopwatch()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def recent(source: Source, watch: Stopwatch) -> Recent[str, str]:
    return Recent(source, 5.0, 3, watch)


async def test_an_answer_holds_for_its_time(recent: Recent[str, str], source: Source, watch: Stopwatch) -> None:
    assert await recent.get("k") == "k:a"
    source.value = "b"
    watch.advance(4.999)
    assert "k" in recent
    assert await recent.get("k") == "k:a"
    watch.advance(0.001)
    assert "k" not in recent
    assert await recent.get("k") == "k:b"


async def test_many_ask_once(recent: Recent[str, str], source: Source) -> None:
    source.open.clear()
    waiting = [asyncio.create_task(recent.get("k")) for _ in range(20)]
    await asyncio.sleep(0)
    assert "k" in recent
    source.open.set()
    assert await asyncio.gather(*waiting) == ["k:a"] * 20
    assert source.asked == ["k"]


async def test_no_more_than_so_many_are_remembered(recent: Recent[str, str], source: Source) -> None:
    for key in ("one", "two", "three", "one", "four"):
        await recent.get(key)
    assert len(recent) == 3
    assert "two" not in recent, "the least recently used goes first"
    assert "one" in recent


async def test_an_error_is_told_to_all_and_not_remembered(recent: Recent[str, str], source: Source) -> None:
    source.fails = True
    answers = await asyncio.gather(recent.get("k"), recent.get("k"), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable, Unavailable]
    source.fails = False
    assert await recent.get("k") == "k:a"


async def test_one_who_goes_away_leaves_the_answer_to_the_others(recent: Recent[str, str], source: Source) -> None:
    source.open.clear()
    first, second = asyncio.create_task(recent.get("k")), asyncio.create_task(recent.get("k"))
    await asyncio.sleep(0)
    first.cancel()
    source.open.set()
    assert await second == "k:a"
    assert source.asked == ["k"]


async def test_an_error_that_nobody_waits_for_is_no_lost_task(recent: Recent[str, str], source: Source) -> None:
    source.open.clear()
    source.fails = True
    only = asyncio.create_task(recent.get("k"))
    await asyncio.sleep(0)
    only.cancel()
    source.open.set()
    with pytest.raises(asyncio.CancelledError):
        await only
    await asyncio.sleep(0)


async def test_an_answer_from_before_it_was_forgotten_is_not_kept(recent: Recent[str, str], source: Source) -> None:
    source.open.clear()
    before = asyncio.create_task(recent.get("k"))
    while not source.asked:  # noqa: ASYNC110  # a turn or two of the loop
        await asyncio.sleep(0)
    recent.forget("k")
    source.value = "b"
    after = asyncio.create_task(recent.get("k"))
    while len(source.asked) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    source.open.set()
    assert (await before, await after) == ("k:a", "k:b")
    assert await recent.get("k") == "k:b"
    assert source.asked == ["k", "k"]


def test_failures_at_the_limit_and_one_past_it() -> None:
    attempts = FailedAttempts(rate=1.0, burst=3)
    for _ in range(3):
        attempts.count("192.0.2.1", 100.0)
    with pytest.raises(RateLimited) as refused:
        attempts.count("192.0.2.1", 100.0)
    assert refused.value.retry_after_ms == 1000
    attempts.count("192.0.2.2", 100.0)
    attempts.count("192.0.2.1", 101.0)
    with pytest.raises(RateLimited):
        attempts.count("192.0.2.1", 101.0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("unix", "unix", True),
        ("", "", True),
    ],
)
def test_which_addresses_count_as_one(one: str, other: str, same: bool) -> None:
    attempts = FailedAttempts(rate=1.0, burst=1)
    attempts.count(one, 0.0)
    if same:
        with pytest.raises(RateLimited):
            attempts.count(other, 0.0)
    else:
        attempts.count(other, 0.0)


def test_no_more_than_so_many_addresses_are_remembered() -> None:
    attempts = FailedAttempts(most=100)
    for number in range(1000):
        attempts.count(f"10.0.{number // 256}.{number % 256}", 0.0)
    assert len(attempts) == 100


def test_metrics_are_there_to_be_counted_in() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.auth_failed("limited")
    assert 'auth_failures_total{reason="limited"} 1.0' in metrics.exposition().decode()
