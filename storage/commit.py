"""Group commit: appends of many rooms are written together, and none waits for company.

The first append to find nothing under way is written at once. What arrives while commits are in flight is gathered and
goes out together when one of them returns, so batches grow with the load and by nothing else. MongoDB's commit (a
majority's journals) takes about as long for 64 entries as for one.

What keeps a room's log free of holes:

* Of a room at most one append is in flight. A batch of single entries is *unordered*, so each of its inserts succeeds
  or fails by itself; two of one room in it could lose the first and keep the second.
* An append of several entries (a burst) goes into an *ordered* insert: it stops at the first failure, and what it
  leaves behind is a prefix. Bursts of several rooms share one; those behind the failure are inserted after it.
* An append submitted while one of its room is queued or in flight waits for it, and when that fails it is not written;
  nor is what is submitted later but linked to an entry whose append failed.
* An append whose outcome is unknown may still be written later. That is safe: its place is taken by at most one entry,
  and only by one whose predecessor was there.

Whoever lost can read what it lost against: MongoDB answers an insert with w=majority, also one that failed on a unique
key, only when everything it met is on a majority, and so visible to ``RoomLog``'s reads. (Where it cannot wait for that
it says so, and the outcome is unknown.)
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pymongo.errors import BulkWriteError

from policies.entry import Entry
from policies.errors import Unavailable
from policies.vocabulary import RoomId
from storage.chain import Head
from storage.client import Database
from storage.documents import encode_entry
from storage.errors import AppendLost, CommandTaken, EntryRejected, HeadMoved

DUPLICATE_KEY: Final = 11000
VALIDATION_FAILED: Final = 121


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an append.

    ``appended`` entries, counted from its first, are durable. ``failure`` says why the next one is not: ``HeadMoved``,
    ``CommandTaken``, or ``Unavailable``. After ``Unavailable`` it is unknown whether it, and those after it, were or
    will yet be written: send the same command again, it cannot be written twice.
    """

    appended: int
    failure: AppendLost | Unavailable | None = None


class CommitObserver(Protocol):
    """Is told what the commits do, for metrics."""

    def committed(self, entries: int, seconds: float) -> None:
        """One commit came back, having taken so long; ``entries`` were in it."""

    def conflicted(self, failure: AppendLost) -> None:
        """One append lost against another writer, or repeated a command."""

    def failed(self, failure: Unavailable) -> None:
        """One commit's outcome is unknown."""


class _Unobserved:
    def committed(self, entries: int, seconds: float) -> None: ...

    def conflicted(self, failure: AppendLost) -> None: ...

    def failed(self, failure: Unavailable) -> None: ...


class _Append:
    """Entries of one room on their way, and the future that waits for them."""

    __slots__ = ("documents", "entries", "future", "room")

    def __init__(self, entries: Sequence[Entry], future: "asyncio.Future[Outcome]") -> None:
        self.room = entries[0].room
        self.entries = entries
        self.documents = [encode_entry(entry) for entry in entries]
        self.future = future

    def end(self, appended: int, failure: Exception | None = None) -> None:
        if self.future.done():  # cancelled: nobody waits any more
            return
        if failure is None or isinstance(failure, AppendLost | Unavailable):
            self.future.set_result(Outcome(appended, failure))
        else:
            self.future.set_exception(failure)


class GroupCommit:
    """Writes appends of plain entries.

    Args:
        database: where to.
        batch: most single-entry appends, or entries of longer appends, that are committed together.
        concurrency: most commits in flight.
        waiting: most appends that may wait; more are refused at once.
        observer: is told of commits, conflicts and errors.
    """

    def __init__(
        self,
        database: Database,
        *,
        batch: int = 64,
        concurrency: int = 2,
        waiting: int = 10_000,
        observer: CommitObserver | None = None,
    ) -> None:
        self._collection = database.collection("entries")
        self._batch = batch
        self._concurrency = concurrency
        self._most_waiting = waiting
        self._observer: CommitObserver = observer or _Unobserved()
        self._lines: dict[RoomId, deque[_Append]] = {}
        """What waits, by room. A room is in here while it is ready or in flight."""
        self._singles: deque[RoomId] = deque()
        """Rooms that are ready with one entry."""
        self._bursts: deque[RoomId] = deque()
        """Rooms that are ready with more."""
        self._bursts_next = False
        self._doubtful: dict[bytes, None] = {}
        """Hashes of entries, oldest first, whose append failed here: nothing may be written behind one of them."""
        self._waiting = 0
        self._commits: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._closed = False

    @property
    def waiting(self) -> int:
        """Appends that no commit has taken up yet."""
        return self._waiting

    def submit(self, entries: Sequence[Entry]) -> "asyncio.Future[Outcome]":
        """Hand over linked entries of one room, to be written in this order.

        More of the same room may follow before the outcome is known, linked to these: if these fail, those do too.
        After a failure, link to what ``RoomLog.head`` says.

        Once submitted, entries are written even if the future is cancelled.

        Returns:
            A future of the outcome. It fails only by a fault of the program, such as ``EntryRejected``.

        Raises:
            TooLarge: an entry is too large to be kept.
        """
        loop = asyncio.get_running_loop()
        append = _Append(entries, loop.create_future())
        refusal = self._refusal(append)
        if refusal is not None:
            append.end(0, refusal)
            self._give_up(append)
            return append.future
        self._waiting += 1
        line = self._lines.get(append.room)
        if line is not None:
            line.append(append)
            return append.future
        self._lines[append.room] = deque((append,))
        self._make_ready(append.room)
        if not self._scheduled and len(self._commits) < self._concurrency:
            # At the end of this turn of the loop, so that what else arrives within it comes along.
            self._scheduled = True
            loop.call_soon(self._start, loop)
        return append.future

    def confirm(self, head: Head) -> None:
        """A head was read from the database: even if its append seemed to fail, it is there to build upon."""
        self._doubtful.pop(head.hash, None)

    async def close(self) -> None:
        """Refuse new appends, write what was submitted, and wait for it."""
        self._closed = True
        while self._commits or self._waiting:
            if self._commits:
                await asyncio.wait(self._commits)
            await asyncio.sleep(0)  # lets what is scheduled start

    def _refusal(self, append: _Append) -> HeadMoved | Unavailable | None:
        if self._closed or self._waiting >= self._most_waiting:
            return Unavailable("The server is too busy to write this now.", retry_after_ms=1000)
        if append.entries[0].prev_hash in self._doubtful:
            return _predecessor_lost(append)
        return None

    def _make_ready(self, room: RoomId) -> None:
        line = self._lines[room]
        single = len(line) == 1 and len(line[0].documents) == 1
        (self._singles if single else self._bursts).append(room)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = False
        while len(self._commits) < self._concurrency and (self._singles or self._bursts):
            bursts = bool(self._bursts) and (self._bursts_next or not self._singles)
            self._bursts_next = not bursts
            appends = self._take_bursts() if bursts else self._take_singles()
            task = loop.create_task(self._commit(appends, ordered=bursts))
            self._commits.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._commits.discard(task)
        self._start(task.get_loop())

    def _take_singles(self) -> list[_Append]:
        return self._take(self._singles.popleft() for _ in range(min(len(self._singles), self._batch)))

    def _take_bursts(self) -> list[_Append]:
        """Bursts until the batch is full; one that is longer than a batch goes alone."""
        bursts = self._bursts
        rooms = [bursts.popleft()]
        entries = len(self._lines[rooms[0]][0].entries)
        while bursts and entries + len(self._lines[bursts[0]][0].entries) <= self._batch:
            rooms.append(bursts.popleft())
            entries += len(self._lines[rooms[-1]][0].entries)
        return self._take(rooms)

    def _take(self, rooms: Iterable[RoomId]) -> list[_Append]:
        """The first append of each room; the others of the room stay until it has come back."""
        taken = [self._lines[room].popleft() for room in rooms]
        self._waiting -= len(taken)
        return taken

    async def _commit(self, appends: list[_Append], *, ordered: bool) -> None:
        while appends:
            try:
                failures = await self._insert(appends, ordered=ordered)
            except Exception as error:  # noqa: BLE001  (each one who waits is told)
                for append in appends:
                    self._end(append, 0, error)
                return
            appends = self._end_ordered(appends, failures) if ordered else self._end_unordered(appends, failures)

    async def _insert(self, appends: list[_Append], *, ordered: bool) -> dict[int, Exception]:
        """Insert all documents, and say of which ones that failed, and why."""
        documents = [document for append in appends for document in append.documents]
        started = asyncio.get_running_loop().time()
        failures: dict[int, Exception] = {}
        try:
            await self._collection.insert_many(documents, ordered=ordered)
        except Unavailable as error:
            self._observer.failed(error)
            raise
        except BulkWriteError as error:
            if error.details.get("writeConcernErrors"):
                unknown = Unavailable("The database could not confirm the write.")
                self._observer.failed(unknown)
                raise unknown from error
            entries = [entry for append in appends for entry in append.entries]
            failures = {e["index"]: append_failure(e, entries[e["index"]]) for e in error.details["writeErrors"]}
        self._observer.committed(len(documents), asyncio.get_running_loop().time() - started)
        return failures

    def _end_unordered(self, appends: list[_Append], failures: dict[int, Exception]) -> list[_Append]:
        for index, append in enumerate(appends):
            failure = failures.get(index)
            self._end(append, 0 if failure else 1, failure)
        return []

    def _end_ordered(self, appends: list[_Append], failures: dict[int, Exception]) -> list[_Append]:
        """An ordered insert stopped at the first failure: the appends behind that one were not tried yet."""
        stop, failure = next(iter(failures.items()), (None, None))
        start = 0
        for index, append in enumerate(appends):
            end = start + len(append.entries)
            if stop is not None and stop < end:
                self._end(append, stop - start, failure)
                return appends[index + 1 :]
            self._end(append, len(append.entries), None)
            start = end
        return []

    def _end(self, append: _Append, appended: int, failure: Exception | None) -> None:
        """Tell who waits, and let the room's next append go on, or fail with this one."""
        if isinstance(failure, AppendLost):
            self._observer.conflicted(failure)
        append.end(appended, failure)
        line = self._lines[append.room]
        if failure is None:
            self._doubtful.pop(append.entries[-1].hash, None)  # for an entry that was submitted again
        else:
            self._give_up(append)
            while line:
                follower = line.popleft()
                self._waiting -= 1
                follower.end(0, failure if isinstance(failure, Unavailable) else _predecessor_lost(follower))
                self._give_up(follower)
        if line:
            self._make_ready(append.room)
        else:
            del self._lines[append.room]

    def _give_up(self, append: _Append) -> None:
        self._doubtful[append.entries[-1].hash] = None
        if len(self._doubtful) > self._most_waiting:
            del self._doubtful[next(iter(self._doubtful))]


def append_failure(error: Mapping[str, Any], entry: Entry) -> Exception:
    """What a write error of MongoDB's says about an entry."""
    code = error["code"]
    if code == DUPLICATE_KEY:
        if "seq" in error["keyPattern"]:
            return HeadMoved(entry.room, entry.seq)
        return CommandTaken(entry.room, entry.author.id, entry.command_id)
    if code == VALIDATION_FAILED:
        return EntryRejected(f"entry {entry.seq} of room {entry.room}: {error.get('errInfo')}")
    return Unavailable(f"The database did not write this (code {code}).")


def _predecessor_lost(append: _Append) -> HeadMoved:
    return HeadMoved(append.room, append.entries[0].seq)
