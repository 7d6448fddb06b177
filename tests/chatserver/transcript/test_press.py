"""A crowd that asks for pages is served a few at a time."""

import asyncio

import pytest

from chatserver.transcript.press import WAITING_PER_SEAT, Press
from policies.errors import Unavailable


async def test_as_many_work_as_there_are_seats_and_some_wait() -> None:
    press = Press(2)
    working = most = done = 0
    go = asyncio.Event()

    async def work() -> None:
        nonlocal working, most, done
        async with press.seat():
            working += 1
            most = max(most, working)
            await go.wait()
            working -= 1
            done += 1

    crowd = [asyncio.create_task(work()) for _ in range(2 * (1 + WAITING_PER_SEAT))]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable) as refused:
        async with press.seat():
            raise AssertionError("nobody waits beyond the limit")
    assert refused.value.retry_after_ms
    go.set()
    await asyncio.gather(*crowd)
    assert (most, done) == (2, len(crowd))


async def test_a_seat_is_free_again_whatever_happened_on_it() -> None:
    press = Press(1)
    with pytest.raises(ZeroDivisionError):
        async with press.seat():
            raise ZeroDivisionError
    async with press.seat():
        for _ in range(3 * WAITING_PER_SEAT):
            waiting = press.seat()
            gone = asyncio.ensure_future(waiting.__aenter__())
            await asyncio.sleep(0)
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
    async with asyncio.timeout(1), press.seat():
        pass
