import asyncio

import pytest

from chatserver.hub.tasks import end


async def test_a_task_that_misses_a_cancellation_ends_all_the_same() -> None:
    missed = 0

    async def hard_of_hearing() -> None:
        nonlocal missed
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                missed += 1
                if missed == 2:
                    raise

    task = asyncio.create_task(hard_of_hearing())
    await asyncio.sleep(0)
    await end(task, None)
    assert task.cancelled()
    assert missed == 2


async def test_a_task_may_end_with_any_error() -> None:
    async def fail() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("while cleaning up")

    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await end(task)
    with pytest.raises(ValueError, match="while cleaning up"):
        task.result()


async def test_what_has_ended_is_left_alone() -> None:
    task = asyncio.create_task(asyncio.sleep(0, "done"))
    await task
    await end(task)
    await end()
    assert task.result() == "done"
