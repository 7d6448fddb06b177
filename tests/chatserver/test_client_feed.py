"""The client's order of entries."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from chatserver.client.feed import RoomFeed
from chatserver.client.frames import Author, Entry


def entry(seq: int) -> Entry:
    return Entry(
        seq=seq,
        id=f"{seq:032x}",
        kind="message",
        author=Author(id="ann", role="buyer", name="Ann"),
        at=datetime(2026, 1, 31, tzinfo=UTC),
        body={"text": f"text {seq}"},
    )


def taken(feed: RoomFeed) -> list[int]:
    seqs = []
    while (one := feed.take()) is not None:
        seqs.append(one.seq)
    return seqs


def test_in_order_entries_pass_straight_through() -> None:
    feed = RoomFeed(0, 10)
    for seq in (1, 2, 3):
        feed.offer(entry(seq))
    assert taken(feed) == [1, 2, 3]
    assert (feed.position, feed.tail, feed.head, feed.missing) == (3, 3, 3, None)


def test_a_changed_entry_takes_its_own_place_and_only_until_it_was_read() -> None:
    feed = RoomFeed(0, 10)
    for seq in (1, 2, 3, 5):
        feed.offer(entry(seq))
    assert feed.take() is not None
    for seq in (1, 2, 5, 4, 6):  # read, ready, aside, missing, not there yet
        feed.amend(entry(seq).model_copy(update={"withheld": True}))
    feed.offer(entry(4))
    rest = list(iter(feed.take, None))
    assert [(one.seq, one.withheld) for one in rest] == [(2, True), (3, None), (4, None), (5, True)]


def test_repeats_are_dropped() -> None:
    feed = RoomFeed(0, 10)
    for seq in (1, 1, 2, 1, 2):
        feed.offer(entry(seq))
    assert taken(feed) == [1, 2]
    feed.offer(entry(2))
    assert taken(feed) == []


def test_a_hole_is_waited_for_and_names_where_to_fetch() -> None:
    feed = RoomFeed(0, 10)
    feed.offer(entry(1))
    feed.offer(entry(4))
    feed.offer(entry(5))
    assert taken(feed) == [1]
    assert feed.missing == 1
    feed.extend([entry(2), entry(3)])
    assert taken(feed) == [2, 3, 4, 5]
    assert feed.missing is None


def test_the_first_joined_answer_sets_the_position() -> None:
    feed = RoomFeed(None, 10)
    feed.offer(entry(41))  # before the answer: it will be in it
    assert feed.tail is None
    assert feed.missing is None
    feed.begin([entry(40), entry(41)], 41)
    feed.offer(entry(42))
    assert taken(feed) == [40, 41, 42]


def test_an_empty_room_begins_at_its_head() -> None:
    feed = RoomFeed(None, 10)
    feed.begin([], 0)
    feed.offer(entry(1))
    assert taken(feed) == [1]


def test_a_later_joined_answer_goes_on_where_the_feed_is() -> None:
    feed = RoomFeed(None, 10)
    feed.begin([entry(40)], 40)
    feed.begin([entry(41), entry(42)], 50)
    assert taken(feed) == [40, 41, 42]
    assert feed.missing == 42


def test_a_reader_that_stops_costs_a_bounded_amount() -> None:
    feed = RoomFeed(0, 4)
    for seq in range(1, 101):
        feed.offer(entry(seq))
    assert [feed.missing] == [None]  # not before there is space
    assert taken(feed) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [feed.missing, feed.head] == [8, 100]
    feed.extend(entry(seq) for seq in range(9, 15))
    assert taken(feed) == [9, 10, 11, 12, 13, 14]
    assert feed.missing == 14


def test_what_waits_aside_is_bounded_too() -> None:
    feed = RoomFeed(0, 3)
    for seq in range(2, 12):
        feed.offer(entry(seq))
    assert feed.missing == 0
    feed.offer(entry(1))
    assert taken(feed) == [1, 2, 3, 4]
    assert feed.missing == 4


def test_what_waits_aside_comes_forward_when_the_reader_takes() -> None:
    feed = RoomFeed(0, 2)
    feed.offer(entry(2))
    feed.offer(entry(3))
    feed.offer(entry(1))
    assert feed.tail == 2
    first = feed.take()
    assert first is not None
    assert feed.tail == 3
    assert [first.seq, *taken(feed)] == [1, 2, 3]


@given(st.data(), st.integers(1, 30), st.integers(1, 8))
def test_any_order_of_arrivals_and_reads_gives_each_entry_once(data: st.DataObject, head: int, capacity: int) -> None:
    feed = RoomFeed(0, capacity)
    read: list[int] = []
    for _ in range(data.draw(st.integers(0, 80), label="steps")):
        match data.draw(st.sampled_from(["live", "page", "read"])):
            case "live":
                feed.offer(entry(data.draw(st.integers(1, head))))
            case "page":
                after = feed.missing
                if after is not None:
                    feed.extend(entry(seq) for seq in range(after + 1, min(after + 5, head) + 1))
            case "read":
                if (one := feed.take()) is not None:
                    read.append(one.seq)
    feed.begin([], head)
    while len(read) < head:  # a quiet network at last
        read += taken(feed)
        after = feed.missing
        if after is not None:
            feed.extend(entry(seq) for seq in range(after + 1, min(after + 5, head) + 1))
    assert read == list(range(1, head + 1))
