"""What waits for a slow client: bounded, in order, and only what may be lost is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatserver.hub.outbound import Outbound
from tests.chatserver.hub.footprint import footprint

EVERYTHING = 1 << 30


def test_frames_come_out_in_the_order_they_went_in_whatever_their_kind() -> None:
    queue = Outbound(10, 100)
    assert queue.put(b"entry 1", False)
    assert queue.put(b"typing", True)
    assert queue.put(b"entry 2", False)
    assert (queue.frames, queue.size) == (3, 20)
    assert queue.drain(EVERYTHING) == [b"entry 1", b"typing", b"entry 2"]
    assert (queue.frames, queue.size) == (0, 0)


def test_an_empty_queue_drains_to_nothing() -> None:
    assert Outbound(10, 100).drain(EVERYTHING) == []


def test_waiting_frames_are_shared_not_copied() -> None:
    frame = b"x" * 5000
    queues = [Outbound(10, 10_000) for _ in range(3)]
    for queue in queues:
        queue.put(frame, False)
    assert all(queue.drain(EVERYTHING)[0] is frame for queue in queues)


def test_drain_takes_what_fits_and_leaves_the_rest() -> None:
    queue = Outbound(10, 100)
    for frame in (b"aaaa", b"bbbb", b"cccc"):
        queue.put(frame, False)
    assert queue.drain(9) == [b"aaaa", b"bbbb"]
    assert (queue.frames, queue.size) == (1, 4)
    assert queue.drain(9) == [b"cccc"]


def test_drain_takes_one_frame_even_if_it_does_not_fit() -> None:
    queue = Outbound(10, 100)
    queue.put(b"a" * 50, False)
    queue.put(b"b", False)
    assert queue.drain(10) == [b"a" * 50]
    assert queue.drain(0) == [b"b"]
    assert queue.drain(0) == []


def test_after_a_drain_the_kinds_still_belong_to_their_frames() -> None:
    queue = Outbound(3, 100)
    queue.put(b"old typing", True)
    queue.put(b"entry 1", False)
    queue.put(b"typing", True)
    assert queue.drain(10) == [b"old typing"]
    queue.put(b"entry 2", False)
    queue.put(b"entry 3", False)
    assert queue.drain(EVERYTHING) == [b"entry 1", b"entry 2", b"entry 3"]


@pytest.mark.parametrize(("max_frames", "max_bytes"), [(3, EVERYTHING), (1000, 11)])
def test_full_an_entry_displaces_the_oldest_ephemeral(max_frames: int, max_bytes: int) -> None:
    queue = Outbound(max_frames, max_bytes)
    queue.put(b"ent1", False)
    queue.put(b"typ1", True)
    queue.put(b"typ2"[:3], True)
    assert queue.put(b"ent2", False)
    assert queue.dropped == 1
    assert queue.drain(EVERYTHING) == [b"ent1", b"typ", b"ent2"]


def test_full_the_newest_ephemeral_displaces_the_oldest() -> None:
    queue = Outbound(2, 100)
    for state in (b"on", b"off", b"on again"):
        assert queue.put(state, True)
    assert queue.dropped == 1
    assert queue.drain(EVERYTHING) == [b"off", b"on again"]


def test_full_of_entries_an_ephemeral_is_lost_and_nothing_else_happens() -> None:
    queue = Outbound(2, 100)
    queue.put(b"entry 1", False)
    queue.put(b"entry 2", False)
    assert not queue.put(b"typing", True)
    assert not queue.overflowed
    assert queue.dropped == 1
    assert queue.drain(EVERYTHING) == [b"entry 1", b"entry 2"]


def test_one_large_entry_displaces_as_many_ephemerals_as_it_needs() -> None:
    queue = Outbound(100, 100)
    for _ in range(10):
        queue.put(b"t" * 10, True)
    queue.put(b"e" * 35, False)
    assert (queue.dropped, queue.size, queue.frames) == (4, 95, 7)


@pytest.mark.parametrize(("max_frames", "max_bytes"), [(2, EVERYTHING), (1000, 15)])
def test_slow_consumer_an_entry_without_a_place_overflows(max_frames: int, max_bytes: int) -> None:
    queue = Outbound(max_frames, max_bytes)
    queue.put(b"entry 1", False)
    queue.put(b"entry 2", False)
    assert not queue.put(b"entry 3", False)
    assert queue.overflowed


def test_slow_consumer_nothing_is_kept_or_taken_for_it_after_the_overflow() -> None:
    queue = Outbound(1, 100)
    queue.put(b"entry 1", False)
    queue.put(b"entry 2", False)
    assert not queue.put(b"entry 3", False)
    assert not queue.put(b"typing", True)
    assert (queue.frames, queue.size, queue.drain(EVERYTHING)) == (0, 0, [])


def test_a_page_larger_than_the_limit_reaches_a_client_that_has_nothing_else_waiting() -> None:
    page = b"p" * 500
    queue = Outbound(10, 100)
    assert queue.put(page, False)
    assert not queue.overflowed
    assert queue.drain(64) == [page]
    queue.put(b"typing", True)
    assert queue.put(page, False), "an ephemeral frame is no reason to refuse it"
    assert queue.drain(64) == [page]


def test_congested_from_half_to_an_eighth_so_that_reading_does_not_flutter() -> None:
    queue = Outbound(16, 1 << 20)
    for _ in range(8):
        queue.put(b"x", False)
    assert not queue.congested
    queue.put(b"x", False)
    assert queue.congested
    queue.drain(6)
    assert queue.frames == 3
    assert queue.congested, "an eighth of 16 is 2"
    queue.drain(1)
    assert not queue.congested


def test_congested_by_bytes() -> None:
    queue = Outbound(1000, 80)
    queue.put(b"x" * 30, False)
    queue.put(b"x" * 10, False)
    assert not queue.congested
    queue.put(b"x", False)
    assert queue.congested
    queue.drain(30)
    assert queue.congested, "an eighth of 80 is 10"
    queue.drain(30)
    assert not queue.congested


def test_an_idle_queue_costs_nearly_nothing() -> None:
    queue = Outbound(256, 1 << 20)
    before = footprint(queue)
    assert before <= 350
    for _ in range(200):
        queue.put(b"x" * 100, False)
    queue.drain(EVERYTHING)
    assert footprint(queue) <= before
    queue.put(b"x" * 5000, False)
    queue.drain(1000)
    assert footprint(queue) <= before


PUT = st.tuples(st.booleans(), st.integers(1, 40))
DRAIN = st.integers(0, 120)


@given(max_frames=st.integers(1, 8), max_bytes=st.integers(30, 100), steps=st.lists(PUT | DRAIN, max_size=60))
def test_only_ephemerals_are_lost_the_oldest_first_and_all_counts_are_exact(
    max_frames: int, max_bytes: int, steps: list[tuple[bool, int] | int]
) -> None:
    queue = Outbound(max_frames, max_bytes)
    waiting: list[tuple[int, bool, bytes]] = []  # serial, ephemeral, frame
    out: list[bytes] = []
    puts = 0
    lost: set[int] = set()
    for serial, step in enumerate(steps):
        if isinstance(step, int):
            batch = queue.drain(step)
            assert sum(map(len, batch)) <= step or len(batch) == 1
            assert batch or not waiting
            assert batch == [frame for *_, frame in waiting[: len(batch)]]
            out += batch
            del waiting[: len(batch)]
        else:
            ephemeral, size = step
            frame = serial.to_bytes(2, "big").ljust(size, b".")
            puts += 1
            was_over = queue.overflowed
            accepted = queue.put(frame, ephemeral)
            if queue.overflowed:
                assert not accepted
                durable = sum(len(other) for _, kind, other in waiting if not kind)
                count = sum(1 for _, kind, _ in waiting if not kind)
                assert was_over or (not ephemeral and (durable + len(frame) > max_bytes or count == max_frames))
                waiting = []
            else:
                waiting.append((serial, ephemeral, frame))
                excess = len(waiting) - queue.frames
                victims = [item for item in waiting if item[1]][:excess]
                waiting = [item for item in waiting if item not in victims]
                lost |= {number for number, *_ in victims}
                assert accepted == (serial not in lost)
                assert queue.dropped == len(lost)
        assert queue.frames == len(waiting)
        assert queue.size == sum(len(frame) for *_, frame in waiting)
        assert queue.frames <= max_frames
        assert queue.size <= max_bytes or queue.frames == 1
    assert queue.drain(EVERYTHING) == [frame for *_, frame in waiting]
