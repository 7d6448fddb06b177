"""How many processes write."""

import pytest

from chatserver.hub.workload import COUNTS_FOR_S, Workload

HUBS = ("a", "b", "c", "d")


def sent(workload: Workload, messages: int, now: float) -> float | None:
    """A second goes by in which this process was sent so many messages."""
    workload.messages += messages
    return workload.measure(len(HUBS), now)


def test_at_first_one_process_writes() -> None:
    assert Workload(100, 0.0).writers(HUBS, 0.0) == ("a",)


@pytest.mark.parametrize(("messages", "writers"), [(0, 1), (100, 1), (101, 2), (300, 3), (301, 4), (5000, 4)])
def test_there_are_as_many_writers_as_the_messages_need(messages: int, writers: int) -> None:
    workload = Workload(100, 0.0)
    sent(workload, messages, 1.0)
    assert workload.writers(HUBS, 1.0) == HUBS[:writers]


def test_what_the_others_are_sent_counts_while_they_tell_of_it() -> None:
    workload = Workload(100, 0.0)
    workload.heard("b", 60.0, 0.0)
    workload.heard("c", 60.0, 1.0)
    sent(workload, 90, 1.0)
    assert workload.writers(HUBS, 1.0) == HUBS[:3]
    workload.heard("c", 20.0, 1.5)
    sent(workload, 0, 2.0)
    assert workload.writers(HUBS, COUNTS_FOR_S) == HUBS[:2]
    assert workload.writers(HUBS, 1.5 + COUNTS_FOR_S) == HUBS[:1]


def test_writers_become_fewer_one_by_one_and_only_when_the_rest_have_spare_time() -> None:
    workload = Workload(100, 0.0)
    sent(workload, 301, 1.0)
    assert workload.writers(HUBS, 1.0) == HUBS
    sent(workload, 225, 2.0)
    assert workload.writers(HUBS, 2.0) == HUBS, "three could, but with nothing to spare"
    sent(workload, 224, 3.0)
    assert workload.writers(HUBS, 3.0) == HUBS[:3]
    sent(workload, 0, 4.0)
    assert workload.writers(HUBS, 4.0) == HUBS[:2]


def test_there_are_no_more_writers_than_processes() -> None:
    workload = Workload(1, 0.0)
    sent(workload, 100, 1.0)
    assert workload.writers(("a",), 1.0) == ("a",)
    assert workload.writers(HUBS, 1.0) == HUBS


def test_the_others_are_told_what_matters() -> None:
    workload = Workload(160, 0.0)
    assert sent(workload, 9, 1.0) is None, "four times as much is less than a quarter of what one writes"
    assert sent(workload, 10, 2.0) == 10.0
    assert sent(workload, 30, 4.0) == 15.0
