"""Several server processes behind one listening socket, watched by their parent.

uvicorn's own supervisor makes uvicorn's own ``Server``, which closes every WebSocket before the application hears of
a stop, and its processes go on as orphans when it is killed. So this one: a process that ends is replaced, a process
whose parent is gone stops itself, and a stop gives each the time to send its clients elsewhere.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Final

RESTART_PAUSE_S: Final = 1.0
"""Before a process that ended is replaced, so that one which cannot live does not take the machine."""
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

logger = logging.getLogger(__name__)

Target = Callable[[Connection], None]
"""What a process runs; it sends ``None`` over the connection when it serves. Must be picklable."""


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    news: Connection
    serving: bool = False


class Workers:
    """A number of processes that all run the same.

    Args:
        target: what each of them runs.
        count: how many there shall be.
        stop_s: how long they may take to stop after SIGTERM, in seconds, before they are killed.
        on_serving: called once, when all of them serve.
        on_ended: called with the process id of each one that has ended.
    """

    def __init__(
        self,
        target: Target,
        count: int,
        stop_s: float,
        on_serving: Callable[[], None],
        on_ended: Callable[[int], None],
    ) -> None:
        self._target = target
        self._count = count
        self._stop_s = stop_s
        self._on_serving = on_serving
        self._on_ended = on_ended
        self._spawn = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._due: list[float] = []
        self._announced = False

    def run(self) -> int:
        """Start them and stay until a signal says to stop, or one of them cannot start.

        Returns:
            The exit code: 0 after a planned stop, 1 when one could not start at the beginning.
        """
        with _signals() as signals:
            for _ in range(self._count):
                self._start()
            failed = False
            while not failed and not _pending(signals):
                self._await_news(signals)
                failed = self._take_leave() and not self._announced
                self._replace()
            self._stop(signals)
        return 1 if failed else 0

    def _start(self) -> None:
        ours, theirs = self._spawn.Pipe(duplex=False)
        process = self._spawn.Process(target=self._target, args=(theirs,))
        process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours))

    def _await_news(self, signals: int) -> None:
        patience = max(0.0, min(self._due) - time.monotonic()) if self._due else None
        news = {worker.news: worker for worker in self._workers if not worker.serving}
        for source in wait([signals, *news, *(worker.process.sentinel for worker in self._workers)], patience):
            if isinstance(source, Connection):
                with contextlib.suppress(EOFError):  # it has ended; _take_leave sees to that
                    source.recv()
                    news[source].serving = True
        if not self._announced and len(self._workers) == self._count and all(each.serving for each in self._workers):
            self._announced = True
            self._on_serving()

    def _take_leave(self) -> bool:
        """Whether some have ended."""
        ended = [worker for worker in self._workers if worker.process.exitcode is not None]
        for worker in ended:
            logger.error("server process %s ended with code %s", worker.process.pid, worker.process.exitcode)
            self._let_go(worker)
            self._due.append(time.monotonic() + RESTART_PAUSE_S)
        return bool(ended)

    def _replace(self) -> None:
        now = time.monotonic()
        for _ in [due for due in self._due if due <= now]:
            self._start()
        self._due = [due for due in self._due if due > now]

    def _stop(self, signals: int) -> None:
        deadline = time.monotonic() + self._stop_s
        for worker in self._workers:
            worker.process.terminate()
        while running := [worker.process.sentinel for worker in self._workers if worker.process.exitcode is None]:
            # A second Ctrl-C means: at once.
            if time.monotonic() >= deadline or _pending(signals):
                break
            wait([signals, *running], deadline - time.monotonic())
        for worker in list(self._workers):
            worker.process.kill()
            worker.process.join()
            self._let_go(worker)

    def _let_go(self, worker: _Worker) -> None:
        pid = worker.process.pid
        assert pid is not None  # it was started
        self._workers.remove(worker)
        worker.news.close()
        worker.process.close()
        self._on_ended(pid)


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """A descriptor that becomes readable, one byte a signal, when the process is told to stop."""
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(writable, False)
    before = {number: signal.signal(number, lambda *_: None) for number in STOP_SIGNALS}
    before_fd = signal.set_wakeup_fd(writable)
    try:
        yield readable
    finally:
        signal.set_wakeup_fd(before_fd)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(readable)
        os.close(writable)


def _pending(signals: int) -> bool:
    """Take what signals there are; whether one of them says to stop."""
    try:
        return any(number in STOP_SIGNALS for number in os.read(signals, 64))
    except BlockingIOError:
        return False
