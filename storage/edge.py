"""Where the MongoDB drivers' errors, timeouts and cancellations end."""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, Final, TypeVar

from pymongo.errors import BulkWriteError, ConnectionFailure, ExecutionTimeout, PyMongoError, WriteConcernError

from policies.errors import Unavailable

T = TypeVar("T")

TRANSIENT: Final = "TransientTransactionError"
UNKNOWN_COMMIT: Final = "UnknownTransactionCommitResult"
_TEMPORARY: Final = ("RetryableWriteError", TRANSIENT, UNKNOWN_COMMIT)
"""Labels that the drivers put on errors which say nothing about what was asked for."""


class Edge:
    """Runs a driver's operations: bounded in time, with one error for "MongoDB does not answer".

    Args:
        motor: whether the driver is Motor. Its operations wait in threads, and those that have no thread yet must be
            taken out of the queue when nobody wants them any more. PyMongo's are never cancelled: they would tear down
            their connections, and leak some; they end by the driver's own timeout instead.
        timeout_s: longest wait for an operation.
    """

    def __init__(self, motor: bool, timeout_s: float) -> None:
        self._motor = motor
        self._timeout_s = timeout_s
        self._kept: set[asyncio.Task[Any]] = set()

    async def run(self, operation: Awaitable[T], *, bounded: bool = True) -> T:
        """Await an operation of the driver.

        Args:
            operation: not yet started, if it is a coroutine.
            bounded: whether to stop waiting after the timeout. The driver has its own, a little shorter; this one is
                for what that does not cover, such as Motor's queue of threads, which all wait when MongoDB is silent.

        Raises:
            Unavailable: no answer, in time; its cause is the driver's error.
        """
        try:
            async with asyncio.timeout(self._timeout_s if bounded else None):
                if isinstance(operation, Coroutine) and not self._motor:
                    return await asyncio.shield(self.keep(operation))
                return await operation
        except TimeoutError as error:
            raise Unavailable("The database did not answer in time.") from error
        except PyMongoError as error:
            if not _is_unavailable(error):
                raise
            raise Unavailable("The database is not available.") from error

    def keep(self, operation: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Start an operation that goes on to its end whether anybody waits for it or not."""
        task = asyncio.ensure_future(operation)
        self._kept.add(task)
        task.add_done_callback(self._ended)
        return task

    async def finish(self) -> None:
        """Wait for everything that was started."""
        while self._kept:
            await asyncio.wait(self._kept)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._kept.discard(task)
        if not task.cancelled():
            task.exception()  # seen here, for the case that nobody waits


def has_label(error: BaseException, label: str) -> bool:
    """Whether a driver's error, or the one behind an ``Unavailable``, carries a label."""
    cause = error if isinstance(error, PyMongoError) else error.__cause__
    return isinstance(cause, PyMongoError) and cause.has_error_label(label)


def _is_unavailable(error: PyMongoError) -> bool:
    if isinstance(error, ConnectionFailure | ExecutionTimeout):
        return True
    if isinstance(error, WriteConcernError):  # written on the primary, not known to be on a majority
        return True
    if isinstance(error, BulkWriteError) and error.details.get("writeConcernErrors"):
        return True
    return error.timeout or any(error.has_error_label(label) for label in _TEMPORARY)
