"""Rate limits: bursts are allowed, floods are not, and nobody pays for being refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatserver.hub.rates import TokenBucket, UserRates
from policies.vocabulary import UserId
from tests.chatserver.hub.footprint import footprint

RATES = st.floats(0.1, 1000.0)
BURSTS = st.integers(1, 50)
PAUSES = st.lists(st.floats(0.0, 3.0), max_size=80)
EPOCH = 123_456.789


def test_a_burst_then_the_rate() -> None:
    bucket = TokenBucket(5.0, 10)
    assert [bucket.take(EPOCH) for _ in range(10)] == [0.0] * 10
    assert bucket.take(EPOCH) == pytest.approx(0.2)
    assert bucket.take(EPOCH + 0.2) == 0.0
    assert bucket.take(EPOCH + 0.2) == pytest.approx(0.2)


def test_the_bucket_fills_again_and_not_beyond_its_burst() -> None:
    bucket = TokenBucket(5.0, 3)
    for _ in range(3):
        bucket.take(EPOCH)
    assert [bucket.take(EPOCH + 1000) > 0 for _ in range(4)] == [False, False, False, True]


def test_a_burst_of_one_is_a_pause_between_takes() -> None:
    bucket = TokenBucket(2.0, 1)
    assert bucket.take(EPOCH) == 0.0
    assert bucket.take(EPOCH + 0.4) == pytest.approx(0.1)
    assert bucket.take(EPOCH + 0.5) == 0.0


def test_refused_takes_do_not_lengthen_the_wait() -> None:
    bucket = TokenBucket(1.0, 1)
    bucket.take(EPOCH)
    for _ in range(100):
        assert bucket.take(EPOCH + 0.5) == pytest.approx(0.5)
    assert bucket.take(EPOCH + 1.0) == 0.0


@pytest.mark.parametrize(("rate", "burst"), [(0.0, 1), (-1.0, 1), (1.0, 0)])
def test_a_limit_that_allows_nothing_is_a_fault(rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        TokenBucket(rate, burst)
    with pytest.raises(ValueError, match="must be"):
        UserRates(rate, burst)


def test_a_bucket_costs_little() -> None:
    assert footprint(TokenBucket(5.0, 10)) <= 150


@given(rate=RATES, burst=BURSTS, pauses=PAUSES)
def test_never_more_than_the_burst_and_the_rate_in_any_span(rate: float, burst: int, pauses: list[float]) -> None:
    bucket = TokenBucket(rate, burst)
    now = EPOCH
    taken: list[float] = []
    for pause in pauses:
        now += pause
        if bucket.take(now) == 0.0:
            taken.append(now)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + rate * (taken[last] - taken[first]) + 0.01


def test_waiting_as_long_as_told_is_enough_although_floats_are_rounded() -> None:
    bucket = TokenBucket(20.0, 3)
    for _ in range(3):
        bucket.take(EPOCH)
    assert bucket.take(EPOCH + bucket.take(EPOCH)) == 0.0


@given(rate=RATES, burst=BURSTS, pauses=PAUSES)
def test_waiting_as_long_as_told_is_enough(rate: float, burst: int, pauses: list[float]) -> None:
    bucket = TokenBucket(rate, burst)
    now = EPOCH
    for pause in pauses:
        now += pause
        wait = bucket.take(now)
        if wait:
            assert wait <= 1 / rate + 1e-6
            now += wait
            assert bucket.take(now) == 0.0


@given(
    rate=st.sampled_from([0.7, 1.0, 5.0]),
    burst=st.integers(1, 4),
    steps=st.lists(
        st.tuples(st.sampled_from("aab"), st.sampled_from([0.0, 0.0, 0.1, 0.4, 0.9, 2.0, 7.0])), max_size=99
    ),
)
def test_forgetting_full_buckets_changes_nothing(rate: float, burst: int, steps: list[tuple[str, float]]) -> None:
    rates = UserRates(rate, burst)
    buckets = {user: TokenBucket(rate, burst) for user in "abc"}
    now = EPOCH
    for user, pause in steps:
        now += pause
        assert rates.take(UserId(user), now) == buckets[user].take(now)


def test_an_emptied_bucket_is_remembered_across_the_change_of_generations() -> None:
    rates = UserRates(5.0, 10)
    rates.take(UserId("bob"), EPOCH)
    for _ in range(10):
        assert rates.take(UserId("ann"), EPOCH + 9.9) == 0.0
    assert rates.take(UserId("ann"), EPOCH + 10.0) == pytest.approx(0.1)


def test_after_a_quiet_time_nobody_is_remembered() -> None:
    rates = UserRates(5.0, 10)
    for number in range(100):
        rates.take(UserId(str(number)), EPOCH)
    rates.take(UserId("ann"), EPOCH + 60)
    assert len(rates) == 1


def test_what_is_taken_elsewhere_is_missing_here() -> None:
    rates = UserRates(5.0, 10)
    for _ in range(9):
        rates.taken_elsewhere(UserId("ann"), EPOCH)
    assert [rates.take(UserId("ann"), EPOCH) for _ in range(2)] == [0.0, pytest.approx(0.2)]
    assert rates.take(UserId("bob"), EPOCH) == 0.0


@given(
    rate=st.sampled_from([0.7, 1.0, 5.0]),
    burst=st.integers(1, 4),
    steps=st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.1, 0.4, 0.9, 2.0, 7.0])), max_size=200
    ),
    late=st.sampled_from([0.0, 0.05]),
)
def test_over_five_processes_a_user_gets_a_burst_on_each_and_the_rate_once(
    rate: float, burst: int, steps: list[tuple[int, float]], late: float
) -> None:
    """Each process hears of the others' tokens a moment later; whatever order they come in, the sum is bounded."""
    ann = UserId("ann")
    processes = [UserRates(rate, burst) for _ in range(5)]
    untold: list[tuple[float, int]] = []
    now = EPOCH
    taken: list[float] = []
    for at, pause in steps:
        now += pause
        while untold and untold[0][0] <= now:
            told_at, source = untold.pop(0)
            for number, process in enumerate(processes):
                if number != source:
                    process.taken_elsewhere(ann, told_at)
        if processes[at].take(ann, now) == 0.0:
            taken.append(now)
            untold.append((now + late, at))
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            span = taken[last] - taken[first] + late
            assert last - first + 1 <= len(processes) * burst + rate * span + 0.01


def test_a_debt_is_remembered_until_it_is_paid_and_has_an_end() -> None:
    rates = UserRates(5.0, 10)
    for _ in range(50):
        rates.taken_elsewhere(UserId("ann"), EPOCH)
    assert rates.take(UserId("ann"), EPOCH + 8.1) == pytest.approx(0.1)
    assert rates.take(UserId("ann"), EPOCH + 8.2) == 0.0
    for _ in range(10_000):
        rates.taken_elsewhere(UserId("ann"), EPOCH + 20)
    assert rates.take(UserId("ann"), EPOCH + 20) == pytest.approx(8.2), "a fault of others does not last for hours"


def test_a_user_has_one_bucket_whatever_others_do() -> None:
    rates = UserRates(1.0, 1)
    assert rates.take(UserId("ann"), EPOCH) == 0.0
    assert rates.take(UserId("bob"), EPOCH) == 0.0
    assert rates.take(UserId("ann"), EPOCH) == pytest.approx(1.0)


def test_a_million_users_are_not_remembered() -> None:
    rates = UserRates(5.0, 10)  # the emptiest bucket is full again after 10 s
    most = 0
    for number in range(100_000):
        rates.take(UserId(str(number)), EPOCH + number / 1000)
        most = max(most, len(rates))
    assert most <= 20_001


def test_a_refused_flood_is_not_remembered_longer() -> None:
    rates = UserRates(5.0, 10)
    for number in range(10_000):
        rates.take(UserId("ann"), EPOCH + number / 100)
    assert len(rates) <= 2
