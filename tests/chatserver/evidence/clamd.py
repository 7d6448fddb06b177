"""A server of the tests' own that speaks clamd's protocol (clamd(8)) as far as evidence needs it."""

import asyncio
import hashlib
import shutil
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from chatserver.embedded import free_port
from chatserver.evidence.scanner import Clamd
from tests.eventually import eventually

EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
"""The file that every scanner finds, and that harms nobody (eicar.org)."""

CLAMD: Final = shutil.which("clamd")
"""The real one, where it is installed (Debian: ``clamav-daemon``)."""


@asynccontextmanager
async def real_clamd(folder: Path) -> AsyncIterator[list[str]]:
    """The real clamd with one signature, so that it starts at once and needs no network. Gives the URLs it is at."""
    assert CLAMD is not None
    signatures = folder / "signatures"
    signatures.mkdir()
    digest = hashlib.md5(EICAR, usedforsecurity=False).hexdigest()
    (signatures / "eicar.hdb").write_text(f"{digest}:{len(EICAR)}:Eicar-Test-Signature\n")
    port, socket, configuration = free_port(), folder / "clamd.socket", folder / "clamd.conf"
    configuration.write_text(
        f"DatabaseDirectory {signatures}\nTCPAddr 127.0.0.1\nTCPSocket {port}\nLocalSocket {socket}\n"
        "Foreground yes\nStreamMaxLength 1M\n"
    )
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        CLAMD, "--config-file", str(configuration), stdout=quiet, stderr=quiet
    )
    try:
        urls = [f"tcp://127.0.0.1:{port}", f"unix://{socket}"]
        there = dict.fromkeys(urls, False)

        async def look() -> None:
            there.update({url: await Clamd(url).is_there() for url in urls})

        await eventually(lambda: all(there.values()), look, within_s=30)
        yield urls
    finally:
        process.kill()
        await process.wait()


class ClamdServer:
    """Answers PING and INSTREAM.

    ``delay_s`` is how long every answer takes; ``answer`` what it says instead of what it finds; ``most`` the bytes
    that it takes, as clamd's StreamMaxLength.
    """

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.answer: bytes | None = None
        self.most = 1024 * 1024 * 1024
        self.hangs_up = False
        self.url = ""
        self.scanned: list[int] = []
        """The sizes of what was scanned."""

    @asynccontextmanager
    async def running(self, socket: Path | None = None, port: int = 0) -> AsyncIterator["ClamdServer"]:
        if socket is not None:
            server = await asyncio.start_unix_server(self._serve, socket)
            self.url = f"unix://{socket}"
        else:
            server = await asyncio.start_server(self._serve, "127.0.0.1", port)
            self.url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            command = await reader.readuntil(b"\0")
            answer = b"PONG" if command == b"zPING\0" else await self._scan(command, reader)
            await asyncio.sleep(self.delay_s)
            if not self.hangs_up:
                writer.write((self.answer or answer) + b"\0")
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the other side has gone
        finally:
            writer.close()

    async def _scan(self, command: bytes, reader: asyncio.StreamReader) -> bytes:
        if command != b"zINSTREAM\0":
            return b"UNKNOWN COMMAND"
        content = b""
        while size := struct.unpack(">I", await reader.readexactly(4))[0]:
            content += await reader.readexactly(size)
            if len(content) > self.most:
                return b"INSTREAM size limit exceeded. ERROR"
        self.scanned.append(len(content))
        return b"stream: Eicar-Test-Signature FOUND" if EICAR in content else b"stream: OK"
