"""Redis commands of many callers, sent together."""

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

from redis.typing import EncodableT

from chatserver.hub.redis_url import REDIS_ERRORS, Client

Command = tuple[EncodableT, ...]
"""A command and its arguments, such as ``("ZREM", key, member)``. Each names one key, so that a Cluster takes it."""

_COMMANDS_AT_ONCE: Final = 500
"""A few milliseconds of Redis, so that what others sent need not wait long behind it."""


class RoundTrips:
    """Commands that come while a round trip is under way go with the next one.

    So thousands of users who connect at once cost a few round trips over one connection, not a connection each; what
    was asked first is done first; and while Redis is silent all who wait learn it together.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._queue: deque[tuple[Sequence[Command], asyncio.Future[list[Any]]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands and wait for their answers. They are sent even if the caller stops waiting.

        Raises:
            one of REDIS_ERRORS: Redis is away, or refused one of the commands.
        """
        loop = asyncio.get_running_loop()
        parts: list[asyncio.Future[list[Any]]] = []
        # Queued in one go: what is asked after this must not come in between.
        for start in range(0, len(commands), _COMMANDS_AT_ONCE):
            parts.append(loop.create_future())
            self._queue.append((commands[start : start + _COMMANDS_AT_ONCE], parts[-1]))
        if parts and self._task is None:
            self._task = loop.create_task(self._send_all(), name="redis round trips")
        return list(chain.from_iterable(await asyncio.gather(*parts)))

    async def _send_all(self) -> None:
        batch: list[tuple[Sequence[Command], asyncio.Future[list[Any]]]] = []
        try:
            while self._queue:
                batch = []
                size = 0
                while self._queue and (not batch or size + len(self._queue[0][0]) <= _COMMANDS_AT_ONCE):
                    batch.append(self._queue.popleft())
                    size += len(batch[-1][0])
                await self._send(batch)
        finally:
            self._task = None
            for _, answers in [*batch, *self._queue]:
                answers.cancel()
            self._queue.clear()

    async def _send(self, batch: list[tuple[Sequence[Command], asyncio.Future[list[Any]]]]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for commands, _ in batch:
            for command in commands:
                pipeline.execute_command(*command)
        try:
            found: list[Any] = await pipeline.execute(raise_on_error=False)
        except REDIS_ERRORS as error:
            for _, answers in batch:
                if not answers.done():
                    answers.set_exception(error)
            return
        taken = iter(found)
        for commands, answers in batch:
            own = [next(taken) for _ in commands]
            if answers.done():
                continue
            if errors := [answer for answer in own if isinstance(answer, Exception)]:
                answers.set_exception(errors[0])
            else:
                answers.set_result(own)
