"""A child process that cannot outlive this one."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from chatserver.embedded import tether
from chatserver.embedded.errors import CannotRun


class Child:
    """A command in its own process group, its output in a log file, that ends with this process whatever ends it.

    Args:
        command: absolute path of the program, and its arguments.
        log: the file that standard output and error are appended to.
        env: the whole environment; that of this process where left out.
        held: descriptors that stay open as long as the child runs, such as a folder's lock.
        grace_s: seconds the child has between SIGTERM and SIGKILL when this process is gone.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        held: Sequence[int] = (),
        grace_s: float = 8.0,
    ) -> None:
        self.log = log
        self._grace_s = grace_s
        status_read, status_write = os.pipe()
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with log.open("ab") as output:
                self._log_start = output.tell()
                self._tether = subprocess.Popen(  # noqa: S603  the command is ours
                    [sys.executable, "-I", tether.__file__, str(status_write), str(grace_s), *command],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=env,
                    pass_fds=[status_write, *held],
                    start_new_session=True,
                )
        except BaseException:
            os.close(status_read)
            raise
        finally:
            os.close(status_write)
        with open(status_read, encoding="utf-8") as reader:
            status = reader.readline().strip()
        if not status.isdigit():
            self.wait(self._grace_s)
            raise CannotRun(Path(command[0]), status.removeprefix("failed ").lower() or "it could not be started")
        self.pid = int(status)
        """The command's process id."""

    @property
    def exit_code(self) -> int | None:
        """The exit code (128 + n after signal n), or None while it runs."""
        return self._tether.poll()

    def terminate(self) -> None:
        """Ask it to end. ``wait`` tells when it has."""
        if self.exit_code is None:
            self._tether.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float) -> bool:
        """Wait until it has ended.

        Returns:
            Whether it has ended within the time.
        """
        try:
            self._tether.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        self._close()
        return True

    def stop(self, timeout_s: float = 8.0) -> None:
        """SIGTERM, a wait, then SIGKILL to what is left."""
        self.terminate()
        if not self.wait(timeout_s):
            self.kill()

    def kill(self) -> None:
        """End it and its own children at once, as a crash would (SIGKILL), and wait until they are gone."""
        self._signal_group(signal.SIGKILL)
        self._tether.wait()
        self._close()

    def pause(self) -> None:
        """Freeze it, as a machine that hangs would (SIGSTOP)."""
        self._signal_group(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after ``pause``."""
        self._signal_group(signal.SIGCONT)

    def output(self, lines: int = 8, longest: int = 400) -> str:
        """The last lines it has written, each cut to ``longest`` characters."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            text = log.read().decode(errors="replace")
        return "\n".join(line[:longest] for line in text.splitlines()[-lines:])

    def _signal_group(self, number: signal.Signals) -> None:
        if self.exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def _close(self) -> None:
        if self._tether.stdin is not None:
            self._tether.stdin.close()
