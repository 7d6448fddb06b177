"""Programs of this project as child processes of a test."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import Self

PROJECT = Path(__file__).parent.parent
PATIENT_POLICY = PROJECT / "tests" / "data" / "patient_policy.toml"
"""For tests of other things than what is written."""


class Program:
    """A running command; ``with`` sees to it that it has ended afterwards."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=PROJECT,
            env=environment_with(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.output: list[str] = []
        """The lines it has printed so far."""
        self._lines: Queue[str] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.output.append(line.rstrip("\n"))
                self._lines.put(line.rstrip("\n"))

    def line(self, beginning: str, within_s: float = 60.0) -> str:
        """The rest of the next line that begins so."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise AssertionError(f"no line {beginning!r} within {within_s:g} s; output: {self.output}") from None
            if line.startswith(beginning):
                return line.removeprefix(beginning)

    def stop(self, number: signal.Signals = signal.SIGTERM, within_s: float = 30.0) -> int:
        """Send a signal and wait for the end; the exit code."""
        self.process.send_signal(number)
        return self.wait(within_s)

    def wait(self, within_s: float = 30.0) -> int:
        code = self.process.wait(within_s)
        self._reader.join(within_s)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.wait(20.0)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()


def environment_with(variables: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with these variables, and without settings of the developer's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CHATSERVER_")}
    return {**kept, **variables}


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie that nobody has reaped yet has."""
    return _processes().get(pid, ("Z", 0))[0] == "Z"


def all_gone(pids: Iterable[int]) -> None:
    """Wait until processes have ended: the helpers of one that has just ended do so a moment later."""
    wait_until(lambda: all(gone(pid) for pid in pids), within_s=5.0)


def descendants(pid: int) -> set[int]:
    """The processes that a process has started, and theirs."""
    processes = _processes()
    found: set[int] = set()
    border = {pid}
    while border:
        border = {child for child, (_, parent) in processes.items() if parent in border} - found
        found |= border
    return found


def _processes() -> dict[int, tuple[str, int]]:
    """State and parent of every process. Slim Linux images have no ``ps``, macOS has no ``/proc``."""
    if sys.platform != "linux":
        ps = subprocess.run(["ps", "-A", "-o", "pid=,stat=,ppid="], capture_output=True, text=True, check=True)
        lines = (line.split() for line in ps.stdout.splitlines())
        return {int(pid): (state[0], int(parent)) for pid, state, parent in lines}
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            found[int(folder.name)] = (state, int(parent))
    return found


def wait_until(condition: Callable[[], bool], within_s: float = 15.0) -> None:
    """Wait until something is true, in a test without an event loop."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:g} s"
        time.sleep(0.02)
