"""The terminal client for scripts: reads lines, sends each, prints entries as lines.

    printf 'hello\\nis anyone there?\\n' | chatserver chat order-1042 --url ... --token ...

Entries go to the standard output, everything about the connection to the standard error. It ends after the last line
is acknowledged and shown. A line that is refused for good, message or command, is told on the standard error with its
number, and the next ones go on, as at the prompt; the exit code is 1 then. Where each line needs those before it, the
first refusal can end it instead, so that nothing is sent out of its context.
"""

import asyncio
import codecs
import os
import threading
from collections.abc import Iterator
from typing import Final, TextIO

from chatserver.client import ChatClient, Online
from chatserver.terminal.case import Misused
from chatserver.terminal.talk import Talk, UnknownCommand, message_in
from chatserver.terminal.text import Fragments, clean, explained, plain
from policies.errors import ChatError

READ_BYTES: Final = 64 * 1024
LINES_AHEAD: Final = 16
"""Lines that are read before the first of them is acknowledged."""
SHOW_LAST_S: Final = 5.0
"""How long the end waits for the last own message to come back as an entry."""


class LineDisplay:
    """Entries and answers to one stream, the rest to another."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._err = err

    def show(self, fragments: Fragments) -> None:
        self._out.write(plain(fragments) + "\n")
        self._out.flush()

    def note(self, text: str) -> None:
        self._err.write(f"chatserver: {clean(text)}\n")
        self._err.flush()

    problem = note


class InputLines:
    """Lines of a file descriptor, read by a thread: neither files nor terminals can be polled everywhere.

    The thread reads the descriptor itself: one that is stuck in a buffered reader would keep its lock, and the
    interpreter could not end.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._room = threading.Semaphore(LINES_AHEAD)
        threading.Thread(target=self._read, name="input", daemon=True).start()

    async def next(self) -> str | None:
        """The next line without its end, or None when there are no more."""
        line = await self._lines.get()
        self._room.release()
        return line

    def _read(self) -> None:
        try:
            for line in self._split():
                self._put(line)
            self._put(None)
        except RuntimeError:
            return  # the event loop has ended: nobody wants lines any more

    def _split(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        rest = ""
        while chunk := self._chunk():
            *lines, rest = (rest + decoder.decode(chunk)).split("\n")
            for line in lines:
                yield line.removesuffix("\r")
        rest += decoder.decode(b"", final=True)
        if rest:
            yield rest

    def _chunk(self) -> bytes:
        try:
            return os.read(self._descriptor, READ_BYTES)
        except OSError:  # the terminal at the other end is gone
            return b""

    def _put(self, line: str | None) -> None:
        self._room.acquire()
        self._loop.call_soon_threadsafe(self._lines.put_nowait, line)


class Lines:
    """A talk whose input is lines.

    Args:
        descriptor: of the input.
        stops: at the first line that is refused.
    """

    def __init__(self, client: ChatClient, talk: Talk, display: LineDisplay, descriptor: int, *, stops: bool) -> None:
        self._client = client
        self._talk = talk
        self._display = display
        self._descriptor = descriptor
        self._stops = stops
        self._refused = False
        self._last_sent = 0
        self._shown = asyncio.Event()

    async def run(self) -> int:
        """Talk until the input ends; the exit code."""
        showing = asyncio.create_task(self._show())
        sending = asyncio.create_task(self._send())
        watching = asyncio.create_task(self._watch())
        tasks = (showing, sending, watching)
        try:
            await asyncio.wait({showing, sending}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                await sending
                await self._show_last()
            else:
                await showing
        except ChatError as error:  # the room or the connection has ended
            self._display.problem(explained(error, None))
            return 1
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return 1 if self._refused else 0

    async def _show(self) -> None:
        async for entry in self._talk.room.entries():
            self._talk.show_entry(entry)
            self._talk.room.receipt(delivered=entry.seq)
            self._shown.set()

    async def _send(self) -> None:
        lines, number = InputLines(self._descriptor), 0
        while (line := await lines.next()) is not None:
            number += 1
            try:
                if not await self._carry_out(line):
                    return
            except (ChatError, Misused, UnknownCommand) as error:
                if self._talk.room.over:
                    raise
                self._display.problem(f"line {number}: {explained(error, None)}")
                self._refused = True
                if self._stops:
                    return

    async def _carry_out(self, line: str) -> bool:
        """Send a message, or carry out a command; False when it ends the talk."""
        text = message_in(line)
        if text is None:
            goes_on = await self._talk.command(line)
            self._last_sent = max(self._last_sent, self._talk.case.written)
            return goes_on
        if text.strip():
            sent = await self._talk.room.send(text)
            self._talk.show_notice(sent)
            self._last_sent = sent.seq
        return True

    async def _show_last(self) -> None:
        """Wait, within a bound, until what was sent has come back."""
        try:
            async with asyncio.timeout(SHOW_LAST_S):
                while self._talk.room.position < self._last_sent:
                    self._shown.clear()
                    await self._shown.wait()
        except TimeoutError:
            self._display.note("everything is stored, but not all of it was shown in time")

    async def _watch(self) -> None:
        first = True
        async for event in self._client.events():
            self._talk.tell(event, first=first)
            first = first and not isinstance(event, Online)
