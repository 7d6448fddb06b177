"""Exit codes, and one clear sentence for every failure that is nobody's bug."""

from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    """What was asked for is not so: a broken record, a server that did not start, a key that does not exist."""
    USAGE = 2
    """Wrong options, or a configuration that cannot be used."""
    UNAVAILABLE = 3
    """Something it depends on does not answer."""
    CANNOT_START = 4
    """Something on this machine is in the way: a port or folder in use, a missing program or library."""
    INTERRUPTED = 130


class Failure(Exception):
    """A command cannot go on.

    Args:
        lines: what is wrong, for the person at the terminal.
    """

    def __init__(self, code: ExitCode, lines: Sequence[str]) -> None:
        super().__init__("; ".join(lines))
        self.code = code
        self.lines = lines


def explain(error: Exception) -> Failure | None:
    """What a known failure means to the person at the terminal; None for one that is not known."""
    # Here and not above: which of them can happen is known once it has, and they take long to import.
    from pymongo.errors import PyMongoError
    from redis.exceptions import RedisError

    from chatserver.configuration import ConfigurationError, hide_credentials
    from chatserver.embedded import EmbeddedError
    from chatserver.instance import NoInstance
    from chatserver.serve import CannotListen
    from chatserver.tracing import TracingUnavailable
    from policies.errors import BadRequest, ChatError, Unavailable
    from storage.errors import UnusableDatabase

    match error:
        case Failure():
            return error
        case ConfigurationError():
            return Failure(ExitCode.USAGE, error.lines)
        case TracingUnavailable():
            return Failure(ExitCode.USAGE, [str(error)])
        case EmbeddedError() | CannotListen():
            return Failure(ExitCode.CANNOT_START, str(error).splitlines())
        case NoInstance() | Unavailable() | UnusableDatabase():
            return Failure(ExitCode.UNAVAILABLE, [hide_credentials(str(error))])
        case BadRequest():
            return Failure(ExitCode.USAGE, [error.message])
        case ChatError():
            return Failure(ExitCode.FAILED, [error.message])
        case PyMongoError() | RedisError():
            return Failure(ExitCode.UNAVAILABLE, [hide_credentials(str(error).splitlines()[0])])
        case _:
            return None
