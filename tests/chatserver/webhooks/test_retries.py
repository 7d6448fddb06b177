from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from chatserver.webhooks.retries import LEAST_ATTEMPTS, SPREAD, Retries
from tests.chatserver.moving_time import NOW

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
RETRIES = Retries()


def pauses(retries: Retries, spread: float) -> list[timedelta]:
    """Of an endpoint that never answers: the pauses after each failed attempt, until the event is parked."""
    now = NOW
    found: list[timedelta] = []
    while (again := retries.next_at(len(found) + 1, NOW, now, spread)) is not None:
        found.append(again - now)
        now = again
    return found


def test_pauses_grow_to_the_longest_and_end_after_three_days() -> None:
    found = pauses(RETRIES, 0.0)
    assert found[:9] == [SECOND * seconds for seconds in (5, 15, 45, 135, 405, 1215, 3645, 10_935, 28_800)]
    assert all(pause <= 8 * HOUR for pause in found)
    assert sum(found, timedelta()) == 3 * DAY


@given(st.floats(-1, 1))
def test_the_last_attempt_is_at_the_very_end_whatever_the_spread(spread: float) -> None:
    found = pauses(RETRIES, spread)
    assert sum(found, timedelta()) == 3 * DAY
    assert 15 <= len(found) <= 22


def test_pauses_vary_so_that_what_failed_together_does_not_come_back_together() -> None:
    assert RETRIES.next_at(2, NOW, NOW, 1) == NOW + 15 * SECOND * (1 + SPREAD)
    assert RETRIES.next_at(2, NOW, NOW, -1) == NOW + 15 * SECOND * (1 - SPREAD)


def test_an_attempt_at_the_end_is_made_and_one_after_it_is_not() -> None:
    last = NOW + 3 * DAY
    assert RETRIES.next_at(9, NOW, last - SECOND, 0) == last
    assert RETRIES.next_at(9, NOW, last, 0) is None
    assert RETRIES.next_at(9, NOW, last + SECOND, 0) is None


def test_an_event_that_waited_behind_another_is_still_tried_some_times() -> None:
    late = NOW + 10 * DAY
    assert RETRIES.next_at(LEAST_ATTEMPTS - 1, NOW, late, 0) == late + 135 * SECOND
    assert RETRIES.next_at(LEAST_ATTEMPTS, NOW, late, 0) is None


def test_an_endpoint_may_ask_for_a_longer_pause_but_not_for_a_shorter_one() -> None:
    assert RETRIES.next_at(1, NOW, NOW, 0, 60 * SECOND) == NOW + 60 * SECOND
    assert RETRIES.next_at(4, NOW, NOW, 0, 60 * SECOND) == NOW + 135 * SECOND
    assert RETRIES.next_at(1, NOW, NOW, 0, 30 * DAY) == NOW + 8 * HOUR


def test_many_attempts_overflow_nothing() -> None:
    patient = Retries(lasting=timedelta(days=3650))
    assert patient.next_at(10**6, NOW, NOW, 0) == NOW + 8 * HOUR


def test_none_but_the_least_attempts_where_nothing_else_is_wanted() -> None:
    assert len(pauses(Retries(lasting=timedelta()), 0)) == LEAST_ATTEMPTS - 1
