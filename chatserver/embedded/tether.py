"""Runs one command and ends it when the process that asked for it is gone, however that one ended.

A program of its own (``python tether.py STATUS_FD GRACE_S COMMAND...``) that imports nothing of the project. Its
standard input is a pipe that only the parent holds open for writing: when the parent exits or is killed, the pipe
closes, the command gets SIGTERM and, after the grace, SIGKILL. That works alike on Linux and macOS and, unlike
PR_SET_PDEATHSIG, does not depend on which thread started the child. The command leads a process group of its own,
and nothing of that group is left when it ends. SIGTERM is passed on. The command's pid, or why it could not be
started, is written to STATUS_FD as one line; the exit code is the command's (128 + n for signal n).
"""

import contextlib
import os
import select
import signal
import sys
import time


def main(arguments: list[str]) -> int:
    status_fd, grace_s, command = int(arguments[0]), float(arguments[1]), arguments[2:]
    os.set_inheritable(status_fd, False)
    woken, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    try:
        pid = os.posix_spawn(
            command[0],
            command,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            setpgroup=0,
            setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE],
        )
    except OSError as exc:
        os.write(status_fd, f"failed {exc.strerror}\n".encode())
        return 127
    os.write(status_fd, f"{pid}\n".encode())
    os.close(status_fd)
    return _attend(pid, woken, grace_s)


def _attend(pid: int, woken: int, grace_s: float) -> int:
    """Wait for the command to end, and see to it that it does once the parent is gone or says so."""
    watched = [0, woken]
    kill_at: float | None = None
    while True:
        patience = None if kill_at is None else max(0.0, kill_at - time.monotonic())
        readable, _, _ = select.select(watched, [], [], patience)
        stop = False
        if woken in readable:
            stop = signal.SIGTERM in os.read(woken, 64)
        if 0 in readable and not os.read(0, 64):
            watched.remove(0)
            stop = True
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            _kill_group(pid)
            code = os.waitstatus_to_exitcode(status)
            return 128 - code if code < 0 else code
        if stop:
            os.kill(pid, signal.SIGTERM)
            kill_at = kill_at or time.monotonic() + grace_s
        elif kill_at is not None and time.monotonic() >= kill_at:
            _kill_group(pid)


def _kill_group(leader: int) -> None:
    # macOS says "not permitted" of a group of which only a zombie is left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
