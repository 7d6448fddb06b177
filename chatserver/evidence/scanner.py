"""Asking a virus scanner: clamd, by its INSTREAM command (clamd(8), "COMMANDS")."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

CHUNK_BYTES: Final = 64 * 1024
ANSWER_BYTES: Final = 4096
PING_S: Final = 5.0


class ScannerAway(Exception):
    """The scanner did not say whether the file is clean: it must wait."""


class Scanner(Protocol):
    """Looks for what is harmful."""

    async def scan(self, path: Path) -> str | None:
        """The name of what was found, or None for a clean file.

        Raises:
            ScannerAway: nobody knows yet.
        """
        ...

    async def is_there(self) -> bool:
        """Whether it answers."""
        ...


@dataclass(frozen=True, slots=True)
class Clamd:
    """A clamd on ``tcp://host:port`` or ``unix:///path``.

    ``timeout_s`` is for a whole file. What is larger than clamd's StreamMaxLength is not scanned by it: set that to the
    largest evidence that the policy takes.
    """

    url: str
    timeout_s: float = 120.0

    async def scan(self, path: Path) -> str | None:
        try:
            async with asyncio.timeout(self.timeout_s):
                answer = await self._ask(path)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:  # TimeoutError is an OSError
            raise ScannerAway(f"the scanner at {self.url} does not answer: {type(error).__name__}") from error
        verdict = answer.removeprefix("stream: ")
        if verdict == "OK":
            return None
        if verdict.endswith(" FOUND"):
            return verdict.removesuffix(" FOUND")
        raise ScannerAway(f"the scanner says: {answer[:200]}")

    async def is_there(self) -> bool:
        try:
            async with asyncio.timeout(PING_S), self._connected() as (reader, writer):
                writer.write(b"zPING\0")
                return await reader.readuntil(b"\0") == b"PONG\0"
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return False

    async def _ask(self, path: Path) -> str:
        async with self._connected() as (reader, writer):
            writer.write(b"zINSTREAM\0")
            await _send(path, writer)
            answer = await reader.readuntil(b"\0")
            return answer[:-1].decode(errors="replace")

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await self._connect()
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self.url)
        if parts.scheme == "unix":
            return await asyncio.open_unix_connection(parts.path, limit=ANSWER_BYTES)
        return await asyncio.open_connection(parts.hostname, parts.port, limit=ANSWER_BYTES)


async def _send(path: Path, writer: asyncio.StreamWriter) -> None:
    """The file in chunks with their lengths in front, and one of no length at the end."""
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            writer.write(struct.pack(">I", len(chunk)) + chunk)
            await writer.drain()
    writer.write(struct.pack(">I", 0))
    await writer.drain()
