"""Typing: told once, renewed seldom, ended for certain."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from chatserver.hub.typing_notices import TypingNotices
from policies.vocabulary import RoomId, UserId

ROOM = RoomId("order-1")
OTHER_ROOM = RoomId("order-2")
ANN = UserId("ann")
BOB = UserId("bob")
T = 1000.0


def notices() -> TypingNotices:
    return TypingNotices(6.0)


def test_the_start_is_told_and_the_end() -> None:
    typing = notices()
    assert typing.set(ROOM, ANN, True, T)
    assert typing.set(ROOM, ANN, False, T + 1)
    assert typing.lapsed(T + 100) == []
    assert typing.next_at is None


def test_an_end_without_a_start_is_not_told() -> None:
    typing = notices()
    assert not typing.set(ROOM, ANN, False, T)
    typing.set(ROOM, ANN, True, T)
    typing.set(ROOM, ANN, False, T)
    assert not typing.set(ROOM, ANN, False, T)


def test_a_client_that_renews_with_every_key_is_told_on_every_two_seconds() -> None:
    typing = notices()
    told = [tick / 10 for tick in range(100) if typing.set(ROOM, ANN, True, T + tick / 10)]
    assert told == [0.0, 2.0, 4.0, 6.0, 8.0]


def test_renewals_reach_the_others_before_their_own_lapse() -> None:
    typing = notices()
    told = [second for second in range(0, 60, 3) if typing.set(ROOM, ANN, True, T + second)]
    assert all(later - earlier < 6 for earlier, later in pairwise(told))


def test_a_client_that_dies_while_typing_lapses() -> None:
    typing = notices()
    typing.set(ROOM, ANN, True, T)
    assert typing.next_at == T + 6
    assert typing.lapsed(T + 5.9) == []
    assert typing.lapsed(T + 6) == [(ROOM, ANN)]
    assert typing.lapsed(T + 6) == []
    assert typing.next_at is None


def test_a_renewal_that_is_not_told_still_delays_the_lapse() -> None:
    typing = notices()
    typing.set(ROOM, ANN, True, T)
    assert not typing.set(ROOM, ANN, True, T + 1)
    assert typing.next_at == T + 7
    assert typing.lapsed(T + 6.5) == []


def test_the_first_to_lapse_is_the_one_renewed_longest_ago() -> None:
    typing = notices()
    typing.set(ROOM, ANN, True, T)
    typing.set(ROOM, BOB, True, T + 1)
    typing.set(OTHER_ROOM, ANN, True, T + 2)
    typing.set(ROOM, ANN, True, T + 3)
    assert typing.next_at == T + 7
    assert typing.lapsed(T + 8) == [(ROOM, BOB), (OTHER_ROOM, ANN)]
    assert typing.next_at == T + 9


def test_a_user_who_starts_and_stops_all_the_time_does_not_flood_the_room() -> None:
    typing = notices()
    told = 0
    for tick in range(100):
        told += typing.set(ROOM, ANN, tick % 2 == 0, T + tick / 10)
    assert told <= 10, "5 starts in 10 s, and their ends"


def test_a_start_that_was_not_told_is_made_good_by_a_renewal_or_ends_unseen() -> None:
    typing = notices()
    typing.set(ROOM, ANN, True, T)
    typing.set(ROOM, ANN, False, T + 0.1)
    assert not typing.set(ROOM, ANN, True, T + 0.2)
    assert typing.remembered == 1
    assert not typing.set(ROOM, ANN, False, T + 0.3), "the others do not know that it began"
    assert not typing.set(ROOM, ANN, True, T + 0.4)
    assert typing.set(ROOM, ANN, True, T + 2.0)
    assert typing.set(ROOM, ANN, False, T + 2.1)


def test_a_start_that_was_never_told_lapses_unseen() -> None:
    typing = notices()
    typing.set(ROOM, ANN, True, T)
    typing.set(ROOM, ANN, False, T + 0.1)
    typing.set(ROOM, ANN, True, T + 0.2)
    assert typing.lapsed(T + 10) == []
    assert typing.next_at is None


def test_a_renewal_after_the_lapse_that_nobody_noticed_yet_is_told() -> None:
    typing = notices()
    typing.set(ROOM, ANN, True, T)
    assert typing.set(ROOM, ANN, True, T + 7)
    assert typing.lapsed(T + 8) == []


def test_a_crowd_beyond_the_capacity_types_unseen_and_costs_nothing() -> None:
    typing = TypingNotices(6.0, capacity=2)
    assert typing.set(ROOM, ANN, True, T)
    assert typing.set(ROOM, BOB, True, T)
    assert not typing.set(OTHER_ROOM, ANN, True, T)
    assert not typing.set(OTHER_ROOM, ANN, False, T)
    assert typing.set(ROOM, BOB, False, T)
    assert typing.set(OTHER_ROOM, ANN, True, T)


def test_those_who_stopped_are_forgotten() -> None:
    typing = TypingNotices(6.0, capacity=3)
    for number in range(10):
        user = UserId(str(number))
        assert typing.set(ROOM, user, True, T)
        assert typing.set(ROOM, user, False, T)
    assert typing.remembered == 3
    typing.lapsed(T + 2)
    assert typing.remembered == 0


def test_those_who_stopped_are_forgotten_when_the_next_one_stops() -> None:
    typing = notices()
    for user, at in ((ANN, T), (BOB, T + 2)):
        typing.set(ROOM, user, True, at)
        typing.set(ROOM, user, False, at)
        assert typing.remembered == 1


def test_with_a_short_lapse_renewals_still_reach_the_others_before_it() -> None:
    typing = TypingNotices(1.5)
    assert [typing.set(ROOM, ANN, True, T + tick / 4) for tick in range(5)] == [True, False, True, False, True]


STEPS = st.lists(
    st.tuples(
        st.sampled_from([(ROOM, ANN), (ROOM, BOB), (OTHER_ROOM, ANN)]),
        st.sampled_from([True, True, False, None]),
        st.floats(0.0, 1.0) | st.floats(0.0, 8.0),
    ),
    max_size=80,
)


@given(STEPS)
def test_what_the_others_believe_is_true_or_ends_by_itself(
    steps: list[tuple[tuple[RoomId, UserId], bool | None, float]],
) -> None:
    typing = notices()
    now = T
    renewed: dict[tuple[RoomId, UserId], float] = {}
    believed: set[tuple[RoomId, UserId]] = set()
    starts: dict[tuple[RoomId, UserId], float] = {}
    for key, on, pause in steps:
        now += pause
        ended = typing.lapsed(now)
        for other in ended:
            assert other in believed
            assert now >= renewed[other] + 6.0
        believed -= set(ended)
        renewed = {other: at for other, at in renewed.items() if now < at + 6.0}
        assert believed <= set(renewed)
        if on is None:
            continue
        told = typing.set(*key, on, now)
        if on:
            renewed[key] = now
            if told:
                assert now - starts.get(key, 0.0) >= 2.0
                starts[key] = now
                believed.add(key)
            else:
                assert now - starts[key] < 2.0
        else:
            assert told == (key in believed)
            renewed.pop(key, None)
            believed.discard(key)
        assert typing.next_at == (min(renewed.values()) + 6.0 if renewed else None)
        assert typing.remembered <= 3
    assert set(typing.lapsed(now + 6.0)) == believed
