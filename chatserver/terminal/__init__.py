"""``chatserver chat``: a room in a terminal, for people and for scripts."""

import asyncio
import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from chatserver.client import ChatClient, Room
from chatserver.terminal.lines import LineDisplay, Lines
from chatserver.terminal.talk import Display, Talk
from chatserver.terminal.target import ROLES, Target, of_instance
from chatserver.terminal.text import clean
from policies.errors import BadRequest, ChatError

__all__ = ["ROLES", "run_terminal"]

INTERRUPTED: Final = 130


def run_terminal(
    room: str | None,
    *,
    role: str = "buyer",
    data: Path | None = None,
    url: str | None = None,
    token: str | None = None,
    after: int | None = None,
    stops: bool = False,
) -> int:
    """Talk in a room: with a prompt when standard input and output are terminals, line by line when they are not.

    Either ``data`` (a development instance, as one of the people of the room's order) or ``url`` and ``token`` say
    where and as whom.

    Args:
        room: the room's id; None: the demo order's room of the instance.
        role: with ``data``: buyer, seller or agent.
        data: data folder of a running development instance.
        url: base URL of a server.
        token: the user's JWT.
        after: begin after this seq; None: with the latest entries.
        stops: line by line, end with the first one that is refused.

    Returns:
        The exit code: 0 when everything that was sent is acknowledged, 1 after a final error or when a line was
        refused, 130 when interrupted.

    Raises:
        NoInstance: no instance runs on the folder.
        ChatError: the server cannot be reached, or refuses the room; or the arguments do not fit together.
    """
    try:
        return asyncio.run(_talk(room, role, data, url, token, after, stops=stops))
    except KeyboardInterrupt:
        return INTERRUPTED
    except ChatError as error:
        error.message = clean(error.message)  # it may be the server's, and will be printed
        error.args = (error.message,)
        raise
    except BrokenPipeError:
        # Whoever read our output has stopped. Python flushes once more at its end: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


async def _talk(
    room: str | None,
    role: str,
    data: Path | None,
    url: str | None,
    token: str | None,
    after: int | None,
    *,
    stops: bool = False,
) -> int:
    target = await _target(room, role, data, url, token)
    try:
        client = ChatClient(
            target.url, token=target.token, token_provider=target.token_provider, name="chatserver chat"
        )
    except ValueError as error:
        raise BadRequest(f"{error}.") from error
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    async with client:
        joined = await client.join(target.room, after=after)
        return await (_with_prompt(client, joined) if interactive else _with_lines(client, joined, stops=stops))


async def _with_prompt(client: ChatClient, room: Room) -> int:
    from chatserver.terminal.screen import Prompt, Screen  # scripts need not wait for prompt_toolkit

    screen = Screen()
    with _log_to(screen):
        return await Prompt(client, Talk(client, room, screen), screen, asyncio.get_running_loop().time).run()


async def _with_lines(client: ChatClient, room: Room, *, stops: bool) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character is no reason to stop
    display = LineDisplay(sys.stdout, sys.stderr)
    with _log_to(display):
        return await Lines(client, Talk(client, room, display), display, sys.stdin.fileno(), stops=stops).run()


@contextmanager
def _log_to(display: Display) -> Iterator[None]:
    """Show what the client logs as notes: written straight to the terminal it would disturb the prompt."""
    handler = _Notes(display)
    logger = logging.getLogger("chatserver.client")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = True
        logger.removeHandler(handler)


class _Notes(logging.Handler):
    def __init__(self, display: Display) -> None:
        super().__init__(logging.WARNING)
        self._display = display

    def emit(self, record: logging.LogRecord) -> None:
        cause = record.exc_info[1] if record.exc_info else None
        self._display.note(record.getMessage() + (f": {cause}" if cause is not None else ""))


async def _target(room: str | None, role: str, data: Path | None, url: str | None, token: str | None) -> Target:
    if data is not None and url is None and token is None:
        if role not in ROLES:
            raise BadRequest(f"A person of the instance is one of {', '.join(ROLES)}.")
        return await of_instance(data, role, room)
    if url is None or token is None or data is not None:
        raise BadRequest("Either the data folder of an instance, or a URL and a token.")
    if room is None:
        raise BadRequest("Which room?")
    return Target(url, room, token=token)
