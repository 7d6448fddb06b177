"""Waiting for what happens elsewhere, never for time to pass."""

import asyncio
from collections.abc import Awaitable, Callable


async def eventually(
    condition: Callable[[], bool], look: Callable[[], Awaitable[None]] | None = None, within_s: float = 15.0
) -> None:
    """Wait until something is true.

    Args:
        look: brings the facts up to date, where that takes asking somebody.
        within_s: far above what is expected.

    Raises:
        AssertionError: it did not become true in time.
    """
    try:
        async with asyncio.timeout(within_s):
            while True:
                if look is not None:
                    await look()
                if condition():
                    return
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {within_s:g} s") from None
