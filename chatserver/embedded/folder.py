"""The lock on a data folder: one instance at a time, and none while the last one's services still run."""

import fcntl
import os
import time
from pathlib import Path

from chatserver.embedded.errors import FolderInUse

LOCK_FILE = "lock"


class FolderLock:
    """An exclusive lock on a folder, held from ``acquire`` to ``release``, or until every holder has ended.

    The lock is ``flock`` on a file that also names the holder. Services inherit its descriptor, so the folder stays
    locked while any of them runs, even after the process that started them was killed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fd: int | None = None

    @property
    def fd(self) -> int:
        """The descriptor to hand down to services."""
        if self._fd is None:
            raise RuntimeError("the lock is not held")
        return self._fd

    @property
    def is_held(self) -> bool:
        """Whether somebody holds the lock now."""
        try:
            fd = os.open(self._folder / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return not _try_lock(fd)
        finally:
            os.close(fd)

    def acquire(self, wait_s: float = 10.0, poll_s: float = 0.05) -> None:
        """Create the folder where needed and take the lock.

        Args:
            wait_s: how long to wait for the services of a killed instance to end. An instance that is alive is
                not waited for.
            poll_s: the pause between two attempts.

        Raises:
            FolderInUse: another instance uses the folder.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self._folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + wait_s
        try:
            while not _try_lock(fd):
                holder = _read_pid(fd)
                if (holder is not None and _alive(holder)) or time.monotonic() >= deadline:
                    raise FolderInUse(self._folder, holder)
                time.sleep(poll_s)
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def release(self) -> None:
        """Give the lock up. Does nothing when it is not held."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_pid(fd: int) -> int | None:
    text = os.pread(fd, 32, 0).strip()
    return int(text) if text.isdigit() else None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
