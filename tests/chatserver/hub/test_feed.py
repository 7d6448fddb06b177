"""Every way to lose, repeat or reorder entries between the log and a member, by the name it has in `feed`."""

from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from chatserver.hub.feed import FIRST_PAUSE_S, LONGEST_PAUSE_S, Position, RoomFeed
from tests.chatserver.hub.footprint import footprint


@dataclass(frozen=True, slots=True)
class Link:
    seq: int


def links(*seqs: int) -> list[Link]:
    return [Link(seq) for seq in seqs]


def seqs(run: Iterable[Link] | None) -> list[int]:
    assert run is not None
    return [link.seq for link in run]


class TestStream:
    def test_entries_in_order_pass_at_once(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(1)
        assert seqs(feed.offer(links(1))) == [1]
        assert seqs(feed.offer(links(2, 3))) == [2, 3]
        assert (feed.position, feed.known_head, feed.held, feed.missing) == (3, 3, 0, None)

    def test_nothing_offered_changes_nothing(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(4)
        assert feed.offer([]) == []
        assert feed.position == feed.known_head == 3

    def test_lost_the_next_one_shows_the_hole(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(1)
        assert feed.offer(links(3)) == []
        assert feed.missing == (0, 3)
        assert feed.begin_fetch(0.0) == 0
        assert seqs(feed.end_fetch(links(1, 2), 0.0)) == [1, 2, 3]
        assert feed.missing is None
        assert feed.held == 0

    def test_lost_in_several_places_the_first_hole_is_missing_first(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(1)
        feed.offer(links(8, 4, 6))
        assert feed.missing == (0, 4)
        assert seqs(feed.offer(links(1, 2, 3))) == [1, 2, 3, 4]
        assert feed.missing == (4, 6)
        assert seqs(feed.offer(links(7, 5))) == [5, 6, 7, 8]

    def test_lost_tail_is_shown_by_the_head(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(6)
        assert feed.missing is None
        feed.learn_head(7)
        assert feed.missing == (5, 8)
        assert feed.begin_fetch(0.0) == 5
        assert seqs(feed.end_fetch(links(6, 7), 0.0)) == [6, 7]
        assert feed.begin_fetch(0.0) is None

    def test_repeated_after_it_was_handed_out(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(1)
        feed.offer(links(1, 2))
        assert feed.offer(links(1, 2, 2)) == []
        assert feed.position == 2

    def test_repeated_while_it_is_held(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(1)
        feed.offer(links(2, 2))
        assert feed.held == 1
        assert seqs(feed.offer(links(2, 1, 1, 2))) == [1, 2]

    def test_repeated_from_before_the_start(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(10)
        assert feed.offer(links(9, 1)) == []
        assert feed.held == 0

    def test_reordered(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(1)
        assert feed.offer(links(2)) == []
        assert seqs(feed.offer(links(1))) == [1, 2]

    def test_reordered_within_one_batch(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(1)
        assert seqs(feed.offer(links(3, 1, 2, 5, 4))) == [1, 2, 3, 4, 5]

    def test_flood_beyond_a_hole_is_held_within_the_window_and_fetched_later(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(1, window=4)
        feed.offer(links(*range(2, 100)))
        assert feed.held == 3
        assert feed.known_head == 99
        assert seqs(feed.offer(links(1))) == [1, 2, 3, 4]
        assert feed.missing == (4, 100)
        assert feed.begin_fetch(0.0) == 4
        assert len(feed.end_fetch(links(*range(5, 100)), 0.0)) == 95

    def test_a_hole_leaves_no_memory_behind(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(1)
        before = footprint(feed)
        feed.offer(links(*range(2, 500)))
        assert footprint(feed) > before + 498 * 8
        feed.offer(links(1))
        assert footprint(feed) <= before + 64

    def test_stale_sweep_is_ignored(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(1)
        feed.offer(links(1, 2, 3))
        feed.learn_head(2)
        assert feed.missing is None
        assert feed.known_head == 3


class TestStart:
    def test_before_the_start_nothing_is_handed_out_or_fetched(self) -> None:
        feed: RoomFeed[Link] = RoomFeed()
        assert not feed.started
        assert feed.offer(links(1)) == []
        assert feed.missing is None
        assert feed.begin_fetch(0.0) is None

    def test_before_the_start_there_is_no_position(self) -> None:
        with pytest.raises(RuntimeError):
            _ = RoomFeed[Link]().position

    def test_the_head_of_an_empty_room(self) -> None:
        feed: RoomFeed[Link] = RoomFeed()
        assert feed.start(0) == []
        assert feed.started
        assert feed.position == 0
        assert seqs(feed.offer(links(1))) == [1]

    def test_early_entries_follow_the_head(self) -> None:
        feed: RoomFeed[Link] = RoomFeed()
        feed.offer(links(7, 6))
        feed.offer(links(5, 9))
        assert seqs(feed.start(5)) == [6, 7]
        assert feed.missing == (7, 9)

    def test_early_entries_that_the_read_had_are_repeated(self) -> None:
        feed: RoomFeed[Link] = RoomFeed()
        feed.offer(links(4, 5))
        assert feed.start(5) == []
        assert (feed.position, feed.held, feed.missing) == (5, 0, None)

    def test_early_flood_is_bounded_and_nothing_of_it_forgotten(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(window=4)
        feed.offer(links(*range(1, 50)))
        assert feed.held == 4
        assert seqs(feed.start(2)) == [3, 4]
        assert feed.missing == (4, 50)

    def test_early_entries_beyond_the_window_are_not_held_after_the_start(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(window=4)
        feed.offer(links(80, 81, 82, 2))
        assert feed.start(0) == []
        assert feed.held == 1
        assert feed.known_head == 82

    def test_an_early_notification_newer_than_a_stale_read_shows_the_hole(self) -> None:
        feed: RoomFeed[Link] = RoomFeed()
        feed.offer(links(8))
        assert feed.start(6) == []
        assert feed.missing == (6, 8)

    def test_a_second_start_only_tells_the_head(self) -> None:
        feed: RoomFeed[Link] = RoomFeed()
        feed.start(3)
        assert feed.start(5) == []
        assert feed.position == 3
        assert feed.missing == (3, 6)
        assert feed.start(1) == []
        assert feed.known_head == 5

    def test_a_head_told_before_the_start_counts(self) -> None:
        feed: RoomFeed[Link] = RoomFeed()
        feed.learn_head(9)
        feed.start(7)
        assert feed.missing == (7, 10)


class TestFetch:
    def test_single_flight(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(1)
        feed.offer(links(3))
        assert feed.begin_fetch(0.0) == 0
        feed.offer(links(5))
        assert feed.begin_fetch(100.0) is None
        feed.end_fetch(links(1, 2), 100.0)
        assert feed.begin_fetch(100.0) == 3

    def test_nothing_missing_nothing_fetched(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(1)
        feed.offer(links(1))
        assert feed.begin_fetch(0.0) is None

    def test_a_hole_longer_than_a_page_is_fetched_page_by_page_without_a_pause(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(1)
        feed.learn_head(5)
        assert feed.begin_fetch(0.0) == 0
        assert seqs(feed.end_fetch(links(1, 2), 0.0)) == [1, 2]
        assert feed.begin_fetch(0.0) == 2
        assert seqs(feed.end_fetch(links(3, 4, 5), 0.0)) == [3, 4, 5]

    def test_entries_that_come_live_during_a_fetch_are_not_repeated_by_it(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(1)
        feed.offer(links(3))
        feed.begin_fetch(0.0)
        assert seqs(feed.offer(links(1, 2))) == [1, 2, 3]
        assert feed.end_fetch(links(1, 2, 3), 0.0) == []
        assert feed.retry_at < 0.0

    def test_stale_fetch_what_it_brought_is_used_and_the_rest_is_read_at_once(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(1)
        feed.learn_head(3)
        feed.begin_fetch(0.0)
        assert seqs(feed.end_fetch(links(1), 0.0)) == [1]
        assert feed.begin_fetch(0.0) == 1

    def test_stale_fetch_that_brought_nothing_waits(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(1)
        feed.learn_head(3)
        feed.begin_fetch(7.0)
        assert feed.end_fetch([], 7.0) == []
        assert feed.retry_at == 7.0 + FIRST_PAUSE_S
        assert feed.begin_fetch(7.0) is None
        assert feed.begin_fetch(7.0 + FIRST_PAUSE_S) == 0

    def test_a_fetch_of_the_wrong_part_is_no_progress(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(1)
        feed.learn_head(3)
        feed.begin_fetch(0.0)
        assert feed.end_fetch(links(2, 3), 0.0) == []
        assert feed.begin_fetch(0.0) is None
        assert feed.missing == (0, 2)

    def test_failed_fetch_does_not_hammer_mongodb(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(1)
        feed.learn_head(1)
        now, attempts = 0.0, 0
        while now < 60.0:
            if feed.begin_fetch(now) is not None:
                attempts += 1
                feed.fetch_failed(now)
            now += 0.01
        assert attempts <= 20

    def test_failed_fetch_waits_twice_as_long_each_time_up_to_the_longest_pause(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(1)
        feed.learn_head(1)
        pauses = []
        for _ in range(40):
            now = max(0.0, feed.retry_at)
            assert feed.begin_fetch(now) == 0
            feed.fetch_failed(now)
            pauses.append(round(feed.retry_at - now, 6))
        assert pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
        assert set(pauses[10:]) == {LONGEST_PAUSE_S}

    def test_failed_fetch_does_not_hold_back_what_comes_by_the_bus(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(1)
        feed.offer(links(2))
        feed.begin_fetch(0.0)
        feed.fetch_failed(0.0)
        assert seqs(feed.offer(links(1, 3))) == [1, 2, 3]

    def test_after_a_success_the_pauses_begin_anew(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(1)
        feed.learn_head(2)
        for now in (0.0, 10.0, 20.0):
            assert feed.begin_fetch(now) == 0
            feed.fetch_failed(now)
        assert feed.begin_fetch(30.0) == 0
        feed.end_fetch(links(1), 30.0)
        assert feed.begin_fetch(30.0) == 1
        feed.fetch_failed(30.0)
        assert feed.retry_at == 30.0 + FIRST_PAUSE_S

    def test_phantom_head_costs_a_read_now_and_then_and_holds_back_nothing(self) -> None:
        feed: RoomFeed[Link] = RoomFeed(1)
        feed.offer(links(10**9))
        reads = 0
        for tick in range(6000):
            if feed.begin_fetch(tick / 100) is not None:
                feed.end_fetch([], tick / 100)
                reads += 1
        assert reads <= 20
        assert seqs(feed.offer(links(1, 2))) == [1, 2]
        assert feed.held == 0


class TestPosition:
    def test_the_whole_run_is_shared_not_copied(self) -> None:
        position: Position[Link] = Position(3)
        run = links(4, 5)
        assert position.deliver(run) is run
        assert position.seq == 5

    def test_an_empty_run(self) -> None:
        position: Position[Link] = Position(3)
        assert position.deliver([]) == []
        assert not position.lost

    def test_ahead_what_the_read_had_is_skipped(self) -> None:
        position: Position[Link] = Position(6)
        assert position.deliver(links(4, 5)) == []
        assert seqs(position.deliver(links(6, 7, 8))) == [7, 8]
        assert seqs(position.deliver(links(9))) == [9]
        assert position.seq == 9
        assert not position.lost

    def test_hole_at_a_member_is_reported_and_nothing_is_delivered_after_it(self) -> None:
        position: Position[Link] = Position(3)
        assert position.deliver(links(5, 6)) == []
        assert position.lost
        assert position.seq == 3
        assert position.deliver(links(7)) == []
        assert position.lost

    def test_late_join_what_came_during_the_read_follows_it(self) -> None:
        position: Position[Link] = Position()
        assert position.joining
        assert position.deliver(links(5)) == []
        assert position.deliver(links(6, 7)) == []
        assert seqs(position.go_live(5, 7)) == [6, 7]
        assert not position.joining
        assert position.seq == 7
        assert seqs(position.deliver(links(8))) == [8]

    def test_late_join_the_read_had_all_of_it(self) -> None:
        position: Position[Link] = Position()
        position.deliver(links(5, 6))
        assert position.go_live(9, 6) == []
        assert position.seq == 9
        assert position.deliver(links(7, 8, 9)) == []
        assert seqs(position.deliver(links(10))) == [10]

    def test_late_join_nothing_came(self) -> None:
        position: Position[Link] = Position()
        assert position.go_live(4, 4) == []
        assert seqs(position.deliver(links(5))) == [5]

    def test_stale_join_of_a_quiet_room(self) -> None:
        """Nothing would ever tell this member of 5: the hub has handed it out before the member was there."""
        position: Position[Link] = Position()
        assert position.go_live(4, 5) is None
        assert position.joining
        assert position.go_live(5, 5) == []

    def test_stale_join_with_held_entries_beyond_a_hole(self) -> None:
        position: Position[Link] = Position()
        position.deliver(links(8, 9))
        assert position.go_live(6, 9) is None
        position.deliver(links(10))
        assert seqs(position.go_live(8, 10)) == [9, 10]

    def test_stale_join_when_the_hub_has_handed_out_more_than_was_held(self) -> None:
        position: Position[Link] = Position()
        position.deliver(links(8))
        assert position.go_live(7, 9) is None
        assert position.go_live(9, 9) == []

    def test_hole_at_a_joining_member_makes_it_read_past_it(self) -> None:
        position: Position[Link] = Position()
        position.deliver(links(4, 5))
        position.deliver(links(8))
        assert position.go_live(4, 8) is None
        assert seqs(position.go_live(7, 8)) == [8]

    def test_flood_during_a_join_is_bounded_and_the_read_must_reach_past_what_was_dropped(self) -> None:
        position: Position[Link] = Position(window=4)
        for seq in range(1, 21):
            position.deliver(links(seq))
        assert position.go_live(10, 20) is None
        assert seqs(position.go_live(16, 20)) == [17, 18, 19, 20]

    def test_a_live_member_costs_little(self) -> None:
        position: Position[Link] = Position()
        position.deliver(links(*range(1, 500)))
        position.go_live(499, 499)
        assert footprint(position) <= 200

    def test_going_live_twice_is_a_fault(self) -> None:
        position: Position[Link] = Position(3)
        with pytest.raises(RuntimeError):
            position.go_live(2, 2)
