"""For any interleaving, loss, repetition and delay, every member sees 1..n once and in order.

A small world: a log in MongoDB (of which a read may see less than there is), a bus that loses, repeats, delays and
reorders, two hubs that come and go, and clients that join, resume on either hub, and leave at any moment. Hypothesis
looks for a history in which a client sees something twice, out of order or not at all.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chatserver.hub.feed import LONGEST_PAUSE_S, Position, RoomFeed

WINDOW = 5
PAGE = 4
HUBS = 2
CLIENTS = 3


@dataclass(frozen=True, slots=True)
class Link:
    seq: int


@dataclass(eq=False, slots=True)
class Client:
    """A device: what it has seen of the room, over all of its connections."""

    seen: list[int] = field(default_factory=list)
    hub: "Hub | None" = None
    position: Position[Link] = field(default_factory=lambda: Position(window=WINDOW))
    snapshot: int | None = None
    """The head that the join's read under way has seen."""

    @property
    def joining(self) -> bool:
        return self.hub is not None and self.position.joining

    @property
    def live(self) -> bool:
        return self.hub is not None and not self.position.joining

    def receive(self, run: list[Link]) -> None:
        for link in run:
            assert link.seq == len(self.seen) + 1, f"{link.seq} follows {self.seen}"
            self.seen.append(link.seq)


@dataclass(eq=False, slots=True)
class Hub:
    """The room on one hub: what hub code does around a feed, without the I/O. Made by the first join."""

    feed: RoomFeed[Link] = field(default_factory=lambda: RoomFeed(window=WINDOW))
    members: list[Client] = field(default_factory=list)
    mail: list[int] = field(default_factory=list)
    """Notifications on their way."""
    fetch: tuple[int, int] | None = None
    """The read under way: after, and the head that it sees."""
    known_head: int = 0
    """The largest head that the feed was seen to know."""

    def deliver(self, run: list[Link]) -> None:
        assert [link.seq for link in run] == list(range(self.next_expected(run), self.next_expected(run) + len(run)))
        for client in self.members:
            client.receive(client.position.deliver(run))
            assert not client.position.lost

    @staticmethod
    def next_expected(run: list[Link]) -> int:
        return run[0].seq if run else 0


class Room(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.head = 0
        self.now = 0.0
        self.hubs: list[Hub | None] = [None] * HUBS
        self.clients = [Client() for _ in range(CLIENTS)]

    def running(self) -> Iterator[Hub]:
        return (hub for hub in self.hubs if hub)

    # The log and the bus

    @rule(
        count=st.sampled_from([1, 1, 2, 3, 8]),
        writer=st.integers(0, HUBS - 1),
        local=st.booleans(),
        data=st.data(),
    )
    def append(self, count: int, writer: int, local: bool, data: st.DataObject) -> None:
        """Entries are stored; their notifications go out, or do not, once or twice, to each hub."""
        new = range(self.head + 1, self.head + count + 1)
        self.head += count
        for index, hub in enumerate(self.hubs):
            if hub is None:
                continue
            if local and index == writer:
                hub.deliver(hub.feed.offer([Link(seq) for seq in new]))
            else:
                for seq in new:
                    hub.mail += [seq] * data.draw(st.sampled_from([1, 1, 1, 0, 2]))

    @precondition(lambda self: any(hub.mail for hub in self.running()))
    @rule(data=st.data())
    def notify(self, data: st.DataObject) -> None:
        """Some notifications arrive, in any order."""
        hub = data.draw(st.sampled_from([hub for hub in self.running() if hub.mail]))
        batch = [hub.mail.pop(data.draw(st.integers(0, len(hub.mail) - 1))) for _ in range(min(len(hub.mail), 3))]
        hub.deliver(hub.feed.offer([Link(seq) for seq in batch]))

    @precondition(lambda self: any(hub.mail for hub in self.running()))
    @rule(data=st.data())
    def redis_restarts(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from([hub for hub in self.running() if hub.mail])).mail.clear()

    @precondition(lambda self: any(self.running()))
    @rule(data=st.data())
    def sweep(self, data: st.DataObject) -> None:
        """A hub is told the head, as it is or as it was."""
        data.draw(st.sampled_from(list(self.running()))).feed.learn_head(data.draw(st.integers(0, self.head)))

    # MongoDB reads for holes

    @precondition(lambda self: any(self.running()))
    @rule(data=st.data())
    def begin_fetch(self, data: st.DataObject) -> None:
        hub = data.draw(st.sampled_from(list(self.running())))
        after = hub.feed.begin_fetch(self.now)
        if after is None:
            return
        assert hub.fetch is None, "single flight"
        assert self.now >= hub.feed.retry_at
        assert hub.feed.missing is not None
        assert hub.feed.missing[0] == after
        hub.fetch = (after, data.draw(st.integers(0, self.head)))

    @precondition(lambda self: any(hub.fetch for hub in self.running()))
    @rule(fails=st.booleans(), data=st.data())
    def end_fetch(self, fails: bool, data: st.DataObject) -> None:
        hub = data.draw(st.sampled_from([hub for hub in self.running() if hub.fetch]))
        assert hub.fetch is not None
        after, sees = hub.fetch
        hub.fetch = None
        if fails:
            hub.feed.fetch_failed(self.now)
        else:
            page = [Link(seq) for seq in range(after + 1, min(sees, after + PAGE) + 1)]
            hub.deliver(hub.feed.end_fetch(page, self.now))

    @rule(seconds=st.floats(0.0, LONGEST_PAUSE_S))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    # Clients

    @precondition(lambda self: any(client.hub is None for client in self.clients))
    @rule(data=st.data())
    def join(self, data: st.DataObject) -> None:
        """A client joins on a hub, for the first time or with what it has seen; the hub may be new to the room."""
        client = data.draw(st.sampled_from([client for client in self.clients if client.hub is None]))
        index = data.draw(st.integers(0, HUBS - 1))
        hub = self.hubs[index] or Hub()
        self.hubs[index] = hub
        client.hub = hub
        client.position = Position(window=WINDOW)
        client.snapshot = None
        hub.members.append(client)

    @precondition(lambda self: any(client.joining for client in self.clients))
    @rule(fresh=st.booleans(), data=st.data())
    def go_on_joining(self, fresh: bool, data: st.DataObject) -> None:
        """A join's read sees the log, as it is or as it was; a while later the client gets it and goes live."""
        client = data.draw(st.sampled_from([client for client in self.clients if client.joining]))
        hub, head = client.hub, client.snapshot
        assert hub is not None
        if head is None:
            client.snapshot = self.head if fresh else data.draw(st.integers(0, self.head))
            return
        client.snapshot = None  # should it be stale, the read is made again
        hub.deliver(hub.feed.start(head))
        held = client.position.go_live(max(head, len(client.seen)), hub.feed.position)
        if held is not None:
            client.receive([Link(seq) for seq in range(len(client.seen) + 1, head + 1)])
            client.receive(held)

    @precondition(lambda self: any(client.live for client in self.clients))
    @rule(data=st.data())
    def resume_without_a_read(self, data: st.DataObject) -> None:
        """A client comes back to a hub that has not handed out more than the client has: it is live at once."""
        client = data.draw(st.sampled_from([client for client in self.clients if client.live]))
        hub = data.draw(st.sampled_from([hub for hub in self.running() if hub.feed.started]))
        if hub.feed.position > len(client.seen):
            return
        self._leave(client)
        client.hub = hub
        client.position = Position(len(client.seen))
        hub.members.append(client)
        if hub not in self.hubs:
            self.hubs[self.hubs.index(None)] = hub

    @precondition(lambda self: any(client.hub for client in self.clients))
    @rule(killed=st.sampled_from([False, False, True]), data=st.data())
    def leave(self, killed: bool, data: st.DataObject) -> None:
        """A client goes, or its hub is killed and all of its clients go."""
        client = data.draw(st.sampled_from([client for client in self.clients if client.hub]))
        assert client.hub is not None
        for gone in list(client.hub.members) if killed else [client]:
            self._leave(gone)

    def _leave(self, client: Client) -> None:
        hub = client.hub
        assert hub is not None
        client.hub = None
        hub.members.remove(client)
        if not hub.members:
            self.hubs[self.hubs.index(hub)] = None

    # What must hold

    @invariant()
    def the_buffer_stays_within_its_bound(self) -> None:
        for hub in self.running():
            assert hub.feed.held <= WINDOW

    @invariant()
    def what_is_known_to_exist_is_not_forgotten(self) -> None:
        for hub in self.running():
            assert self.head >= hub.feed.known_head >= hub.known_head
            hub.known_head = hub.feed.known_head
            if hub.feed.started:
                assert (hub.feed.missing is not None) == (hub.feed.known_head > hub.feed.position)

    @invariant()
    def a_live_member_has_all_that_its_hub_has_handed_out(self) -> None:
        for client in self.clients:
            if client.live:
                assert client.hub is not None
                assert len(client.seen) == client.position.seq >= client.hub.feed.position

    @invariant()
    def nobody_sees_what_is_not_in_the_log(self) -> None:
        for client in self.clients:
            assert len(client.seen) <= self.head

    def calm(self) -> None:
        """The sweep tells every hub the head, and reads succeed: everybody gets to it."""
        for client in self.clients:
            if client.joining:
                assert client.hub is not None
                client.hub.deliver(client.hub.feed.start(self.head))
                held = client.position.go_live(self.head, client.hub.feed.position)
                assert held == [], "a read of the whole log is never stale"
                client.receive([Link(seq) for seq in range(len(client.seen) + 1, self.head + 1)])
        for hub in self.running():
            hub.feed.learn_head(self.head)
            if hub.fetch is not None:
                hub.feed.fetch_failed(self.now)
                hub.fetch = None
            for _ in range(self.head):
                if not hub.feed.missing:
                    break
                self.now = max(self.now, hub.feed.retry_at)
                after = hub.feed.begin_fetch(self.now)
                assert after is not None
                page = [Link(seq) for seq in range(after + 1, min(self.head, after + PAGE) + 1)]
                hub.deliver(hub.feed.end_fetch(page, self.now))
            assert hub.feed.missing is None
            assert hub.feed.held == 0
            for client in hub.members:
                assert client.seen == list(range(1, self.head + 1))

    def teardown(self) -> None:
        self.calm()


Room.TestCase.settings = settings(
    max_examples=120, stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestRoom = Room.TestCase


@given(
    start=st.integers(0, 5),
    runs=st.lists(st.tuples(st.integers(1, 4), st.booleans())),
)
def test_a_member_that_misses_a_run_never_sees_what_follows_it(start: int, runs: list[tuple[int, bool]]) -> None:
    """Should a hub ever fail to pass on a run, the hole is reported with the next one and never skipped silently."""
    position: Position[Link] = Position(start)
    seen, last, missed = start, start, False
    for length, passed_on in runs:
        run = [Link(seq) for seq in range(last + 1, last + length + 1)]
        last += length
        if not passed_on:
            missed = True
            continue
        for link in position.deliver(run):
            seen += 1
            assert link.seq == seen
        assert position.lost == missed
    assert seen == position.seq


@given(
    order=st.permutations(range(1, 13)),
    repeats=st.lists(st.integers(1, 12)),
    cuts=st.lists(st.integers(0, 20)),
)
def test_any_order_with_repeats_in_any_batches(order: list[int], repeats: list[int], cuts: list[int]) -> None:
    """Nothing lost and a window for all of it: the stream is whole as soon as the last entry is there."""
    feed: RoomFeed[Link] = RoomFeed(1, window=12)
    arrivals = [Link(seq) for seq in [*order, *repeats]]
    out: list[Link] = []
    begin = 0
    for end in [*sorted(cuts), len(arrivals)]:
        out += feed.offer(arrivals[begin:end])
        begin = max(begin, end)
    assert [link.seq for link in out] == list(range(1, 13))
    assert feed.missing is None
