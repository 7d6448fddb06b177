from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from policies.vocabulary import RoomId
from storage.append_queue import Append, AppendQueue, Batch
from storage.documents import encode_entry
from tests.storage.making import linked

BATCH = 4
NOBODY: Any = None
"""Who waits for an outcome is not the queue's business."""


def append(room: str, length: int = 1) -> Append:
    entries = linked(*map(str, range(length)), room=RoomId(room))
    return Append(RoomId(room), entries, [encode_entry(entry) for entry in entries], 0.0, NOBODY)


def rooms(batch: Batch | None) -> list[str]:
    return [] if batch is None else [str(append.room) for append in batch.appends]


def test_single_entries_share_up_to_a_batch_in_the_order_they_came() -> None:
    queue = AppendQueue(BATCH)
    for name in "abcdef":
        queue.put(append(name))
    first, second = queue.take_shared(), queue.take_shared()
    assert (rooms(first), rooms(second)) == (["a", "b", "c", "d"], ["e", "f"])
    assert first is not None
    assert not first.ordered
    assert queue.take_shared() is None
    assert queue.waiting == 0


def test_a_rooms_next_append_is_ready_when_the_one_before_is_released() -> None:
    queue = AppendQueue(BATCH)
    queue.put(append("a"))
    queue.put(append("a"))
    assert rooms(queue.take_shared()) == ["a"]
    assert queue.take_shared() is None
    queue.release(RoomId("a"))
    assert rooms(queue.take_shared()) == ["a"]


def test_suspects_wait_apart_until_they_have_an_outcome() -> None:
    queue = AppendQueue(BATCH)
    queue.put(append("a"))
    queue.take_shared()
    assert queue.give_up(RoomId("a"), suspect=True) == []
    queue.put(append("a"))
    queue.put(append("b"))
    assert rooms(queue.take_shared()) == ["b"]
    assert rooms(queue.take_suspect()) == ["a"]
    assert queue.take_suspect() is None
    queue.give_up(RoomId("a"), suspect=None)
    queue.put(append("a"))
    assert rooms(queue.take_suspect()) == ["a"]
    queue.release(RoomId("a"))
    queue.put(append("a"))
    assert rooms(queue.take_shared()) == ["a"]


class Queueing(RuleBasedStateMachine):
    """Whatever comes, is taken, written or fails: nothing is lost, doubled or overtaken within its room."""

    taken = Bundle("taken")

    def __init__(self) -> None:
        super().__init__()
        self.queue = AppendQueue(BATCH)
        self.waiting: dict[RoomId, list[Append]] = {}
        self.in_flight: set[RoomId] = set()

    @rule(room=st.sampled_from("abcdefgh"), length=st.sampled_from([1, 1, 1, 2, 3, 6]))
    def put(self, room: str, length: int) -> None:
        one = append(room, length)
        self.queue.put(one)
        self.waiting.setdefault(one.room, []).append(one)

    @rule(target=taken, suspect=st.booleans())
    def take(self, suspect: bool) -> object:
        batch = self.queue.take_suspect() if suspect else self.queue.take_shared()
        if batch is None:
            return multiple()
        lengths = [len(one.documents) for one in batch.appends]
        assert len(lengths) == 1 or sum(lengths) <= BATCH
        assert batch.ordered or set(lengths) == {1}
        assert not suspect or len(lengths) == 1
        for one in batch.appends:
            assert one.room not in self.in_flight
            assert self.waiting[one.room].pop(0) is one
            self.in_flight.add(one.room)
        return multiple(*(one.room for one in batch.appends))

    @rule(room=consumes(taken))
    def written(self, room: RoomId) -> None:
        self.queue.release(room)
        self.in_flight.discard(room)

    @rule(room=consumes(taken), suspect=st.sampled_from([True, False, None]))
    def failed(self, room: RoomId, suspect: bool | None) -> None:
        assert self.queue.give_up(room, suspect=suspect) == self.waiting.pop(room)
        self.in_flight.discard(room)

    @invariant()
    def counts(self) -> None:
        assert self.queue.waiting == sum(map(len, self.waiting.values()))

    def teardown(self) -> None:
        """In the end everything that waits can be taken."""
        for room in self.in_flight:
            self.queue.release(room)
        while batch := self.queue.take_shared() or self.queue.take_suspect():
            for one in batch.appends:
                assert self.waiting[one.room].pop(0) is one
                self.queue.release(one.room)
        assert not any(self.waiting.values())
        assert self.queue.waiting == 0


TestQueueing = settings(max_examples=60, stateful_step_count=40, deadline=None)(Queueing).TestCase


@given(st.lists(st.sampled_from([1, 1, 2, 3]), max_size=30))
def test_single_entries_and_bursts_take_turns(lengths: list[int]) -> None:
    """Neither kind can keep the other waiting for ever."""
    queue = AppendQueue(BATCH)
    for number, length in enumerate(lengths):
        queue.put(append(f"room-{number}", length))
    kinds = []
    while batch := queue.take_shared():
        kinds.append(batch.ordered)
    both = min(kinds.count(True), kinds.count(False))
    assert kinds[: 2 * both] == [False, True] * both
