import asyncio
from datetime import timedelta

import pytest

from storage.client import Database
from storage.sandbox import SandboxClock


@pytest.fixture
def clock(database: Database) -> SandboxClock:
    return SandboxClock(database)


async def test_it_begins_with_the_real_time(clock: SandboxClock) -> None:
    assert await clock.offset() == timedelta()


async def test_it_moves_ahead_for_everybody(database: Database, clock: SandboxClock) -> None:
    assert await clock.advance(timedelta(hours=1)) == timedelta(hours=1)
    assert await clock.advance(timedelta(milliseconds=1)) == timedelta(hours=1, milliseconds=1)
    assert await clock.advance(timedelta()) == timedelta(hours=1, milliseconds=1)
    assert await SandboxClock(database).offset() == timedelta(hours=1, milliseconds=1)


async def test_it_does_not_go_back(clock: SandboxClock) -> None:
    with pytest.raises(ValueError, match="back"):
        await clock.advance(timedelta(seconds=-1))


async def test_no_step_is_lost(clock: SandboxClock) -> None:
    await asyncio.gather(*(clock.advance(timedelta(seconds=1)) for _ in range(10)))
    assert await clock.offset() == timedelta(seconds=10)
