"""Recovery: how one hub turns unreliable notifications of a room's log into an exact stream for its members.

The log of a room is the entries 1, 2, 3 ... head, without holes, in MongoDB. Entries reach a hub from several sources:
its own appends, the bus, reads of MongoDB. A `RoomFeed` puts them into one **stream**: entries in order of seq, each
once. Its **position** is the last seq it has handed out; everything up to ``known_head`` exists, so what lies between
the two and is not held is a **hole** and is fetched from MongoDB.

A `Position` is a member's place in that stream. What a member sees is what its join read from MongoDB, up to the
head of that moment, and then the stream after it.

A join, on a feed of any state, goes like this, with nothing awaited from step 3 on::

    position = Position()                        # 1. among the members before the read: what arrives is held
    head, page = await read(room)                # 2. after the subscription to the room's channel was confirmed
    deliver_to_members(feed.start(head))         # 3. the first read starts the feed, a later one tells it the head
    live = position.go_live(max(head, after), feed.position)  # 4. None: the read was stale, go to 2
    send(joined(head, page)), send(live)         # 5.

``after`` is what a client that resumes says it has. It is believed for the client's own position only, never for the
head: a client that claims more than there is hears nothing until the room is there.

What can go wrong, under the name that the tests use:

* lost: a notification never comes. The next one shows the hole, and it is fetched.
* lost tail: the last notification never comes, so nothing shows the hole. `RoomFeed.learn_head` does (sweep, join).
* repeated: the same entry comes again, from the same or another source. It is dropped.
* reordered: an entry overtakes another. It is held until the other one comes, or the hole is fetched.
* flood: more arrives beyond a hole than is held. The farthest is dropped, and fetched after the hole.
* early: an entry comes before the room's first read. It is held until the feed is started.
* stale sweep: a head older than the position. It is ignored.
* stale fetch: a read returns less than is known to exist. What it brought is used; the rest is fetched after a pause.
* failed fetch: MongoDB does not answer. The next attempt waits, longer each time.
* phantom head: a notification of an entry that is not in the log. Each read for it is a stale fetch, so it costs one
  read every ``LONGEST_PAUSE_S`` and holds back nothing.
* stale join: a member's read is older than what the hub handed out before the member was there. It must read again.
* late join: entries come while a member's read is under way. They are held and follow the read's head.
* ahead: a member's read is newer than the stream. What the stream brings up to that head is skipped for this member.
* hole at a member: the stream goes on after a place the member never reached. The member is told to join again.
"""

from collections.abc import Iterable
from typing import Final, Generic, Protocol, TypeVar

WINDOW: Final = 512
"""Entries held beyond a hole; about what a busy room produces while one fetch is under way."""
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0


class Sequenced(Protocol):
    """An entry in whatever form it travels; recovery looks at nothing but its place."""

    @property
    def seq(self) -> int:
        """1, 2, 3 ... within the room."""


E = TypeVar("E", bound=Sequenced)


class RoomFeed(Generic[E]):
    """The stream of one room on one hub.

    Args:
        next_seq: the first seq to hand out; None when the head of the log is yet to be read (see `start`).
        window: an entry this far beyond the next one, or farther, is not held but fetched when its turn comes.
            A window of seqs, and not a count of held entries, because then dropping the farthest needs no search.
    """

    __slots__ = ("_failures", "_fetching_from", "_held", "_window", "known_head", "next_seq", "retry_at")

    next_seq: int
    """The seq that is handed out next; 0 before the start."""
    known_head: int
    """The largest seq known to exist."""
    retry_at: float
    """When the next fetch may begin: after a failure, a pause."""

    def __init__(self, next_seq: int | None = None, *, window: int = WINDOW) -> None:
        self.next_seq = next_seq or 0
        self.known_head = self.next_seq - 1 if next_seq else 0
        self.retry_at = float("-inf")
        self._window = window
        self._held: dict[int, E] | None = None  # made for a hole, dropped with it: most rooms never need one
        self._fetching_from = 0  # next_seq when the fetch under way began; 0: none is
        self._failures = 0

    @property
    def started(self) -> bool:
        return self.next_seq > 0

    @property
    def position(self) -> int:
        """The last seq handed out, or the head at the start.

        Raises:
            RuntimeError: the feed was not started.
        """
        if not self.next_seq:
            raise RuntimeError("a feed has no position before its start")
        return self.next_seq - 1

    @property
    def held(self) -> int:
        """How many entries wait for an earlier one."""
        return len(self._held) if self._held else 0

    @property
    def missing(self) -> tuple[int, int] | None:
        """The first hole as (after, before), both exclusive; None when there is none."""
        if not self.next_seq or self.known_head < self.next_seq:
            return None
        return self.next_seq - 1, min(self._held) if self._held else self.known_head + 1

    def start(self, head: int) -> list[E]:
        """MongoDB was read up to ``head``, after the subscription was confirmed: the stream begins after it.

        On a feed that was started before it only tells the head. Returns what can be handed out now.
        """
        if self.next_seq:
            self.learn_head(head)
            return []
        self.next_seq = head + 1
        self.known_head = max(self.known_head, head)
        early, self._held = self._held, None
        return self.offer(early.values()) if early else []

    def offer(self, entries: Iterable[E]) -> list[E]:
        """Take entries from any source, in any order.

        Returns what can be handed out now: a run without holes that continues what was handed out before.
        """
        next_seq = self.next_seq
        if not next_seq:
            self._hold_early(entries)
            return []
        held = self._held
        run: list[E] = []
        for entry in entries:
            seq = entry.seq
            if seq == next_seq:
                run.append(entry)
                next_seq += 1
                while held and (follower := held.pop(next_seq, None)) is not None:
                    run.append(follower)
                    next_seq += 1
            elif seq > next_seq:  # lost or reordered
                if seq > self.known_head:
                    self.known_head = seq
                if seq - next_seq < self._window:
                    if held is None:
                        held = self._held = {}
                    held[seq] = entry
            # else: repeated
        self.next_seq = next_seq
        if next_seq > self.known_head:
            self.known_head = next_seq - 1
        if held is not None and not held:
            self._held = None
        return run

    def learn_head(self, head: int) -> None:
        """The log reaches at least ``head``, says a sweep, a join's read or a notification without its entry."""
        if head > self.known_head:
            self.known_head = head

    def begin_fetch(self, now: float) -> int | None:
        """Ask whether to fetch from MongoDB now; if so, a fetch counts as under way until it ends or fails.

        Returns the seq to read after, or None: nothing is missing, a fetch is under way, or it is too early
        (``retry_at``). ``missing`` says how far to read at most; a shorter page will do.
        """
        if self._fetching_from or self.known_head < self.next_seq or not self.next_seq or now < self.retry_at:
            return None
        self._fetching_from = self.next_seq
        return self.next_seq - 1

    def end_fetch(self, entries: Iterable[E], now: float) -> list[E]:
        """The fetch brought ``entries``. Returns what can be handed out now, as `offer` does.

        When more is missing, `begin_fetch` gives the next page at once, unless this one brought nothing new.
        """
        run = self.offer(entries)
        if self.next_seq == self._fetching_from:
            self.fetch_failed(now)
        else:
            self._fetching_from = 0
            self._failures = 0
            self.retry_at = float("-inf")
        return run

    def fetch_failed(self, now: float) -> None:
        """The fetch brought nothing, failed or was cancelled: the next one waits, twice as long as the last."""
        self._fetching_from = 0
        self.retry_at = now + min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**self._failures)
        self._failures = min(self._failures + 1, 16)

    def _hold_early(self, entries: Iterable[E]) -> None:
        held = self._held
        if held is None:
            held = self._held = {}
        for entry in entries:
            seq = entry.seq
            if seq > self.known_head:
                self.known_head = seq
            if len(held) < self._window:
                held[seq] = entry


class Position(Generic[E]):
    """The place of one member in the stream of a room.

    Args:
        seq: the last seq the member has, when it goes on live from there; None while it joins, that is while
            its read of MongoDB is under way: runs are then held for it.
        window: most entries held for a joining member. Beyond it the oldest go, which the read most likely has.
    """

    __slots__ = ("_held", "_window", "lost", "seq")

    seq: int
    """The last seq the member was given; 0 while it joins."""
    lost: bool
    """A hole was found: nothing more is delivered, the member must be told to join again (``resync``)."""

    def __init__(self, seq: int | None = None, *, window: int = WINDOW) -> None:
        self.seq = seq or 0
        self.lost = False
        self._window = window
        self._held: list[E] | None = [] if seq is None else None

    @property
    def joining(self) -> bool:
        return self._held is not None

    def deliver(self, run: list[E]) -> list[E]:
        """The stream went on by ``run``, as the feed returned it: in order, without holes inside.

        Returns the part that is new to the member (the same list where it is all of it). Check ``lost`` afterwards.
        """
        if not run:
            return run
        if self._held is not None:
            self._hold(self._held, run)
            return []
        known = self.seq - run[0].seq + 1
        if known == 0:
            self.seq += len(run)
            return run
        if known < 0:
            self.lost = True
            return []
        fresh = run[known:]  # ahead: its read was newer than the stream
        self.seq += len(fresh)
        return fresh

    def go_live(self, head: int, delivered: int) -> list[E] | None:
        """The join's read reached ``head``: what was held after it follows, then the stream.

        Args:
            head: the last seq that the member has with its read.
            delivered: the feed's position now.

        Returns the held entries after ``head``, or None when the read is older than what the hub has handed out
        without the member (stale join): still joining, it reads again.

        Raises:
            RuntimeError: the member is live already.
        """
        held = self._held
        if held is None:
            raise RuntimeError("the member is live already")
        fresh = held[max(0, head + 1 - held[0].seq) :] if held else []
        seq = head + len(fresh)
        if seq < delivered:
            return None
        self.seq = seq
        self._held = None
        return fresh

    def _hold(self, held: list[E], run: list[E]) -> None:
        if held and held[-1].seq + 1 != run[0].seq:
            held.clear()  # what came before a hole can no longer be joined to the stream: the read must reach past it
        held += run
        excess = len(held) - self._window
        if excess > 0:
            del held[:excess]
