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

A transaction that a crashed process left behind blocks whoever writes to the same place of the same room, for up to a
minute, and with it every insert that shares a command. So after a commit that got no answer its rooms are under
suspicion: each one's next append is committed by itself, until it has an outcome. The one that is blocked then delays
nobody else.

Whoever lost can read what it lost against: MongoDB answers an insert with w=majority, also one that failed on a unique
key, only when everything it met is on a majority, and so visible to ``RoomLog``'s reads. (Where it cannot wait for that
it says so, and the outcome is unknown.)
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from policies.entry import Entry
from policies.errors import Unavailable
from storage.append_queue import Append, AppendQueue, Batch
from storage.chain import Head
from storage.client import Database
from storage.documents import encode_entry
from storage.errors import AppendLost, CommandTaken, EntryRejected, HeadMoved
from storage.insertion import Insertion

DUPLICATE_KEY: Final = 11000
VALIDATION_FAILED: Final = 121
SUSPECT_COMMITS: Final = 4
"""Commits in flight of rooms under suspicion, beside the others."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an append.

    ``appended`` entries, counted from its first, are durable. ``failure`` says why the next one is not: ``HeadMoved``,
    ``CommandTaken``, or ``Unavailable``. After ``Unavailable`` it is unknown whether it, and those after it, were or
    will yet be written: send the same command again, it cannot be written twice.
    """

    appended: int
    failure: AppendLost | Unavailable | None = None


_ONE_WRITTEN: Final = Outcome(1)
"""What nearly every append comes to."""


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


class GroupCommit:
    """Writes appends of plain entries.

    Args:
        database: where to.
        batch: most single-entry appends, or entries of longer appends, that are committed together.
        concurrency: most commits in flight; those of rooms under suspicion, of which there are few, come on top.
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
        self._insertion = Insertion(database)
        self._patience_s = database.timeout_s
        self._concurrency = concurrency
        self._most_waiting = waiting
        self._observer: CommitObserver = observer or _Unobserved()
        self._queue = AppendQueue(batch)
        self._doubtful: OrderedDict[bytes, None] = OrderedDict()
        """Hashes of entries, oldest first, whose append failed here: nothing may be written behind one of them."""
        self._shared: set[asyncio.Task[None]] = set()
        self._alone: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._closed = False

    @property
    def waiting(self) -> int:
        """Appends that no commit has taken up yet."""
        return self._queue.waiting

    def submit(self, entries: Sequence[Entry]) -> "asyncio.Future[Outcome]":
        """``put`` for those who wait with ``await``.

        Returns:
            A future of the outcome. It fails only by a fault of the program, such as ``EntryRejected``.
        """
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def done(outcome: Outcome | Exception) -> None:
            if future.done():  # cancelled: nobody waits any more
                return
            if isinstance(outcome, Outcome):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)

        self.put(entries, done)
        return future

    def put(self, entries: Sequence[Entry], done: Callable[[Outcome | Exception], None]) -> None:
        """Hand over linked entries of one room, to be written in this order.

        More of the same room may follow before the outcome is known, linked to these: if these fail, those do too.
        After a failure, link to what ``RoomLog.head`` says.

        Args:
            entries: at least one.
            done: called once with the outcome, in a later turn of the loop. It gets an exception only for a fault of
                the program, such as ``EntryRejected``.

        Raises:
            TooLarge: an entry is too large to be kept.
        """
        loop = asyncio.get_running_loop()
        append = Append(entries[0].room, entries, [encode_entry(entry) for entry in entries], loop.time(), done)
        if self._closed or self._queue.waiting >= self._most_waiting or entries[0].prev_hash in self._doubtful:
            self._doubt(append)
            loop.call_soon(self._tell, append, Outcome(0, self._refusal(append)))
            return
        self._queue.put(append)
        if not self._scheduled:
            # At the end of this turn of the loop, so that what else arrives within it comes along.
            self._scheduled = True
            loop.call_soon(self._start, loop)

    def confirm(self, head: Head) -> None:
        """A head was read from the database: even if its append seemed to fail, it is there to build upon."""
        self._doubtful.pop(head.hash, None)

    async def close(self) -> None:
        """Refuse new appends, write what was submitted, and wait for it."""
        self._closed = True
        while self._queue.waiting or self._shared or self._alone:
            await asyncio.sleep(0)  # lets what is scheduled start
            if commits := self._shared | self._alone:
                await asyncio.wait(commits)

    def _refusal(self, append: Append) -> HeadMoved | Unavailable:
        if self._closed or self._queue.waiting >= self._most_waiting:
            return Unavailable("The server is too busy to write this now.", retry_after_ms=1000)
        return _predecessor_lost(append)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = False
        while len(self._shared) < self._concurrency and (batch := self._queue.take_shared()):
            self._launch(loop, batch, self._shared)
        while len(self._alone) < SUSPECT_COMMITS and (batch := self._queue.take_suspect()):
            self._launch(loop, batch, self._alone)

    def _launch(self, loop: asyncio.AbstractEventLoop, batch: Batch, lane: set[asyncio.Task[None]]) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            lane.discard(task)
            self._start(loop)

        appends = self._still_wanted(batch.appends, loop.time() - self._patience_s)
        if appends:
            task = loop.create_task(self._commit(appends, ordered=batch.ordered))
            lane.add(task)
            task.add_done_callback(ended)

    def _still_wanted(self, appends: list[Append], oldest: float) -> list[Append]:
        """Without those that have waited as long as a commit may take: then MongoDB does not answer, and who waits is
        to be told so, not to wait for the turn of all who came before."""
        late = [append for append in appends if append.since <= oldest]
        for append in late:
            self._failed(append, 0, Unavailable("The database did not answer in time."), tried=False)
        return [append for append in appends if append.since > oldest] if late else appends

    async def _commit(self, appends: list[Append], *, ordered: bool) -> None:
        while appends:
            try:
                failures = await self._insert(appends, ordered=ordered)
            except Exception as error:  # noqa: BLE001  (each one who waits is told)
                for append in appends:
                    self._failed(append, 0, error)
                return
            appends = self._end_ordered(appends, failures) if ordered else self._end_unordered(appends, failures)

    async def _insert(self, appends: list[Append], *, ordered: bool) -> dict[int, Exception]:
        """Insert all documents, and say of which ones that failed, and why."""
        entries = [entry for append in appends for entry in append.entries]
        documents = [document for append in appends for document in append.documents]
        started = asyncio.get_running_loop().time()
        try:
            if ordered:
                errors = await self._insertion.up_to_the_first_failure(documents)
            else:
                errors = await self._insertion.each(entries, documents)
        except Unavailable as error:
            self._observer.failed(error)
            raise
        self._observer.committed(len(documents), asyncio.get_running_loop().time() - started)
        return {index: append_failure(error, entries[index]) for index, error in errors.items()}

    def _end_unordered(self, appends: list[Append], failures: dict[int, Exception]) -> list[Append]:
        for index, append in enumerate(appends):
            failure = failures.get(index)
            if failure is None:
                self._written(append)
            else:
                self._failed(append, 0, failure)
        return []

    def _end_ordered(self, appends: list[Append], failures: dict[int, Exception]) -> list[Append]:
        """An ordered insert stopped at the first failure: the appends behind that one were not tried yet."""
        stop, failure = next(iter(failures.items()), (None, None))
        start = 0
        for index, append in enumerate(appends):
            end = start + len(append.entries)
            if stop is not None and failure is not None and stop < end:
                self._failed(append, stop - start, failure)
                return appends[index + 1 :]
            self._written(append)
            start = end
        return []

    def _written(self, append: Append) -> None:
        if self._doubtful:  # for an entry that was submitted again
            self._doubtful.pop(append.entries[-1].hash, None)
        self._queue.release(append.room)
        count = len(append.entries)
        self._tell(append, _ONE_WRITTEN if count == 1 else Outcome(count))

    def _failed(self, append: Append, appended: int, failure: Exception, *, tried: bool = True) -> None:
        if isinstance(failure, AppendLost):
            self._observer.conflicted(failure)
        unknown = isinstance(failure, Unavailable)
        followers = self._queue.give_up(append.room, suspect=unknown if tried else None)
        self._fail(append, appended, failure)
        for follower in followers:
            self._fail(follower, 0, failure if unknown else _predecessor_lost(follower))

    def _fail(self, append: Append, appended: int, failure: Exception) -> None:
        self._doubt(append)
        self._tell(append, Outcome(appended, failure) if isinstance(failure, AppendLost | Unavailable) else failure)

    def _doubt(self, append: Append) -> None:
        self._doubtful[append.entries[-1].hash] = None
        if len(self._doubtful) > self._most_waiting:
            self._doubtful.popitem(last=False)

    @staticmethod
    def _tell(append: Append, outcome: Outcome | Exception) -> None:
        try:
            append.done(outcome)
        except Exception:  # a fault of one who waits must not keep the outcomes of the same commit from the others
            logger.exception("an append's outcome could not be taken")


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


def _predecessor_lost(append: Append) -> HeadMoved:
    return HeadMoved(append.room, append.entries[0].seq)
