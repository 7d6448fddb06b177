"""Receipts: forward only, never ahead of the log, gathered and not lost."""

from hypothesis import given
from hypothesis import strategies as st

from chatserver.hub.receipts import Advance, ReceiptLedger
from policies.vocabulary import RoomId, UserId
from tests.chatserver.hub.footprint import footprint

ROOM = RoomId("order-1")
ANN = UserId("ann")
BOB = UserId("bob")


def test_several_receipts_are_one_advance() -> None:
    ledger = ReceiptLedger()
    for seq in range(1, 6):
        assert ledger.advance(ROOM, ANN, 10, seq, None)
    assert ledger.advance(ROOM, ANN, 10, None, 3)
    assert ledger.waiting == 1
    assert ledger.take() == [Advance(ROOM, ANN, 5, 3)]
    assert ledger.take() == []


def test_each_user_of_a_room_has_a_cursor() -> None:
    ledger = ReceiptLedger()
    ledger.advance(ROOM, ANN, 10, 2, None)
    ledger.advance(ROOM, BOB, 10, 4, 4)
    ledger.advance(RoomId("order-2"), ANN, 10, 9, None)
    assert sorted(ledger.take()) == [(ROOM, ANN, 2, 0), (ROOM, BOB, 4, 4), ("order-2", ANN, 9, 0)]


def test_what_is_read_was_delivered() -> None:
    ledger = ReceiptLedger()
    ledger.advance(ROOM, ANN, 10, None, 7)
    assert ledger.take() == [Advance(ROOM, ANN, 7, 7)]


def test_late_and_repeated_receipts_change_nothing() -> None:
    ledger = ReceiptLedger()
    ledger.advance(ROOM, ANN, 10, 7, 5)
    ledger.take()
    assert not ledger.advance(ROOM, ANN, 10, 7, 5)
    assert not ledger.advance(ROOM, ANN, 10, 3, 2)
    assert not ledger.advance(ROOM, ANN, 10, None, None)
    assert ledger.take() == []


def test_nobody_has_what_does_not_exist_yet() -> None:
    ledger = ReceiptLedger()
    assert ledger.advance(ROOM, ANN, 4, 2**52, 2**52)
    assert ledger.take() == [Advance(ROOM, ANN, 4, 4)]
    assert not ledger.advance(ROOM, BOB, 0, 5, 5)


def test_an_older_head_does_not_move_a_cursor_back() -> None:
    ledger = ReceiptLedger()
    ledger.advance(ROOM, ANN, 9, 9, 9)
    assert not ledger.advance(ROOM, ANN, 4, 9, 9)
    assert ledger.take() == [Advance(ROOM, ANN, 9, 9)]


def test_what_is_stored_is_not_told_again_after_a_reconnect() -> None:
    ledger = ReceiptLedger()
    ledger.learn(ROOM, ANN, 8, 6)
    assert not ledger.advance(ROOM, ANN, 10, 8, 6)
    assert ledger.advance(ROOM, ANN, 10, 8, 7)
    assert ledger.take() == [Advance(ROOM, ANN, 8, 7)]


def test_a_stored_cursor_that_is_read_was_delivered() -> None:
    ledger = ReceiptLedger()
    ledger.learn(ROOM, ANN, 3, 5)
    assert not ledger.advance(ROOM, ANN, 10, 4, None)


def test_another_device_on_another_hub_was_faster() -> None:
    ledger = ReceiptLedger()
    ledger.advance(ROOM, ANN, 10, 5, 5)
    ledger.learn(ROOM, ANN, 9, 9)
    assert ledger.take() == []
    assert not ledger.advance(ROOM, ANN, 10, 7, 7)


def test_another_device_was_faster_in_one_of_the_two() -> None:
    ledger = ReceiptLedger()
    ledger.advance(ROOM, ANN, 10, 9, 2)
    ledger.learn(ROOM, ANN, 5, 5)
    assert ledger.take() == [Advance(ROOM, ANN, 9, 5)]


def test_a_failed_store_is_made_up_for() -> None:
    ledger = ReceiptLedger()
    ledger.advance(ROOM, ANN, 10, 5, 5)
    ledger.advance(ROOM, BOB, 10, 3, 0)
    failed = ledger.take()
    ledger.advance(ROOM, ANN, 10, 6, 5)
    ledger.put_back(failed)
    assert sorted(ledger.take()) == [(ROOM, ANN, 6, 5), (ROOM, BOB, 3, 0)]


def test_who_leaves_before_the_flush_is_still_stored() -> None:
    ledger = ReceiptLedger()
    ledger.advance(ROOM, ANN, 10, 5, 5)
    ledger.forget(ROOM, ANN)
    ledger.forget(ROOM, BOB)
    assert ledger.remembered == 0
    assert ledger.take() == [Advance(ROOM, ANN, 5, 5)]


def test_a_room_that_is_served_no_longer_costs_nothing() -> None:
    """Cursors of members on other hubs are learned too; nobody leaves here for them."""
    ledger = ReceiptLedger()
    ledger.advance(ROOM, ANN, 10, 5, 5)
    ledger.learn(ROOM, BOB, 7, 7)
    ledger.forget(ROOM, ANN)
    assert ledger.remembered == 1
    ledger.forget_room(ROOM)
    ledger.forget_room(ROOM)
    assert ledger.remembered == 0
    assert ledger.take() == [Advance(ROOM, ANN, 5, 5)]


def test_rooms_that_all_have_left_cost_nothing() -> None:
    ledger = ReceiptLedger()
    before = footprint(ledger)
    for number in range(1000):
        ledger.learn(RoomId(str(number)), ANN, 1, 1)
        ledger.forget(RoomId(str(number)), ANN)
    assert footprint(ledger) <= before + 200


def test_who_leaves_and_comes_back_before_the_flush_does_not_go_back() -> None:
    ledger = ReceiptLedger()
    ledger.advance(ROOM, ANN, 10, 5, 5)
    ledger.forget(ROOM, ANN)
    assert not ledger.advance(ROOM, ANN, 10, 3, 3)
    ledger.learn(ROOM, ANN, 2, 2)
    assert ledger.take() == [Advance(ROOM, ANN, 5, 5)]


def test_a_failed_store_of_someone_who_left() -> None:
    ledger = ReceiptLedger()
    ledger.advance(ROOM, ANN, 10, 5, 5)
    failed = ledger.take()
    ledger.forget(ROOM, ANN)
    ledger.put_back(failed)
    assert ledger.take() == failed


POSITIONS = st.none() | st.integers(0, 30)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["advance", "advance", "learn", "take", "fail", "forget", "close"]), POSITIONS, POSITIONS
        ),
        max_size=60,
    )
)
def test_what_is_stored_ends_as_the_farthest_of_all_and_never_goes_back(
    steps: list[tuple[str, int | None, int | None]],
) -> None:
    """MongoDB keeps the larger of what it has and what it is told ($max); another hub writes there too."""
    ledger = ReceiptLedger()
    head = 0
    said = (0, 0)
    stored = (0, 0)
    for what, delivered, read in steps:
        if what == "advance":
            head += 1
            moved = ledger.advance(ROOM, ANN, head, delivered, read)
            seen = min(read or 0, head)
            now = (max(said[0], min(delivered or 0, head), seen), max(said[1], seen))
            assert moved or now == said or (now[0] <= stored[0] and now[1] <= stored[1])
            said = now
        elif what == "learn":
            both = (min(max(delivered or 0, read or 0), head), min(read or 0, head))
            stored = (max(stored[0], both[0]), max(stored[1], both[1]))
            ledger.learn(ROOM, ANN, *stored)
            said = (max(said[0], stored[0]), max(said[1], stored[1]))
        elif what in ("forget", "close"):
            if what == "forget":
                ledger.forget(ROOM, ANN)
            else:
                ledger.forget_room(ROOM)
            ledger.learn(ROOM, ANN, *stored)  # the next join reads it
        else:
            taken = ledger.take()
            assert len(taken) <= 1
            for advance in taken:
                assert head >= advance.delivered >= advance.read
            if what == "fail":
                ledger.put_back(taken)
            else:
                for advance in taken:
                    stored = (max(stored[0], advance.delivered), max(stored[1], advance.read))
    for advance in ledger.take():
        stored = (max(stored[0], advance.delivered), max(stored[1], advance.read))
    assert stored == said
