"""What the embedded services have in common: start, wait until they answer, stop."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Self

from chatserver.embedded.child import Child
from chatserver.embedded.errors import StartFailed
from chatserver.embedded.ports import LOOPBACK, free_port, is_free, require_port


class Service(ABC):
    """A server program on 127.0.0.1. Start it again after ``stop`` or ``kill``: port and data stay.

    Args:
        folder: where its data and its log are kept.
        port: the port to listen on; 0 takes a free one.
        held: descriptors that stay open as long as the service runs, such as a folder's lock.
    """

    name: ClassVar[str]

    def __init__(self, folder: Path, port: int = 0, held: Sequence[int] = ()) -> None:
        self.folder = folder.absolute()
        self.port = port
        self._held = tuple(held)
        self._child: Child | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """What clients connect to; known once it has started."""

    @abstractmethod
    def _command(self) -> list[str]:
        """The command to run, after everything it needs has been prepared."""

    @abstractmethod
    def _answers(self) -> bool:
        """One attempt to use the service; must take no longer than about a second."""

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    @property
    def child(self) -> Child:
        """The running process, to watch, pause or kill it.

        Raises:
            RuntimeError: it has not been started.
        """
        if self._child is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._child

    def start(self, timeout_s: float = 60.0) -> Self:
        """Start the process and wait until it answers.

        Args:
            timeout_s: how long it may take.

        Raises:
            EmbeddedError: which subclass says why, and what to do.
        """
        chosen = self.port == 0
        deadline = time.monotonic() + timeout_s
        while True:
            if chosen:
                self.port = free_port()
            else:
                require_port(self.port)
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            child = Child(self._command(), log=self.log, held=self._held)
            self._child = child
            try:
                self._wait(child, deadline)
            except StartFailed:
                self.kill()
                # Between the choice of a free port and its use, somebody else took it.
                if chosen and not is_free(self.port) and time.monotonic() < deadline:
                    continue
                raise
            except BaseException:
                self.kill()
                raise
            return self

    def _wait(self, child: Child, deadline: float, poll_s: float = 0.02) -> None:
        while not self._answers():
            if child.exit_code is not None:
                raise StartFailed(self.name, f"ended with code {child.exit_code}", self.log, child.output())
            if time.monotonic() >= deadline:
                raise StartFailed(self.name, "did not answer in time", self.log, child.output())
            time.sleep(poll_s)

    def stop(self, timeout_s: float = 8.0) -> None:
        """End it: SIGTERM, a wait, SIGKILL. Does nothing when it does not run."""
        if self._child is not None:
            self._child.stop(timeout_s)
            self._child = None

    def kill(self) -> None:
        """End it as a crash would (SIGKILL). Does nothing when it does not run."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nothing is answered."""
        self.child.pause()

    def resume(self) -> None:
        """Let it go on after ``pause``."""
        self.child.resume()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def stop_all(parts: Iterable[Service | Child], timeout_s: float = 8.0) -> None:
    """Stop several at the same time.

    Args:
        timeout_s: for all of them together; what has not ended by then is killed.
    """
    parts = list(parts)
    deadline = time.monotonic() + timeout_s
    for part in parts:
        child = part._child if isinstance(part, Service) else part
        if child is not None:
            child.terminate()
    for part in parts:
        part.stop(max(0.0, deadline - time.monotonic()))
