"""Ending tasks for certain."""

import asyncio
from typing import Any, Final

_AGAIN_S: Final = 0.1


async def end(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks and wait until they have ended, whatever they end with.

    One cancellation may get lost: ``asyncio.wait_for`` before Python 3.12 swallows it when what it waits for is done
    at that moment, and ``asyncio.TaskGroup`` when one of its tasks fails at that moment. So it is said again until it
    is heard.
    """
    pending = {task for task in tasks if task is not None and not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
