"""Making PDFs beside the server: each in a process of its own, with bounded time and memory.

The typesetter is native code and works on what strangers wrote. Whatever a text does to it, the server goes on.
"""

import asyncio
import base64
import os
import signal
import sys
from collections.abc import Mapping
from typing import Final

import orjson

from policies.errors import TooLarge

_ENVIRONMENT: Final = ("HOME", "LANG", "PATH", "SYSTEMROOT", "TMPDIR", "XDG_DATA_DIRS", "XDG_DATA_HOME")
"""What finds fonts and libraries. The server's secrets may be in the environment too; they stay there."""


class PdfFailed(Exception):
    """The typesetter failed: a fault of the server's, not of the case file's."""


class PdfForm:
    """Writes case files as PDF.

    Args:
        fonts: folders with fonts, besides those of Typst and of the system.
        system_fonts: whether to use those of the system.
        timeout_s: longest time for one.
        memory: most bytes of address space for one.
    """

    def __init__(self, fonts: list[str], *, system_fonts: bool, timeout_s: float, memory: int) -> None:
        self._timeout_s = timeout_s
        self._options = [str(memory), str(round(timeout_s) + 1), "1" if system_fonts else "0", *fonts]

    async def write(self, content: bytes, pictures: Mapping[str, bytes] | None = None) -> bytes:
        """The PDF of a case file.

        Args:
            content: its JSON form.
            pictures: of evidence, by its id.

        Raises:
            TooLarge: it took too much time or memory.
            PdfFailed: the typesetter gave up otherwise.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-m",
            "chatserver.transcript.pdf_process",
            *self._options,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                pdf, complaint = await process.communicate(content + _written(pictures or {}))
        except TimeoutError as error:
            raise _too_large() from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode in _EXHAUSTED:
            raise _too_large()
        if process.returncode:
            last = complaint.decode(errors="replace").strip().splitlines()[-1:]
            raise PdfFailed(f"the typesetter ended with {process.returncode}: {''.join(last)[:200]}")
        return pdf


PICTURES: Final = b"\0"
"""Stands between a case file and its pictures; JSON has no such byte."""


def _written(pictures: Mapping[str, bytes]) -> bytes:
    named = {name: base64.b64encode(picture).decode() for name, picture in pictures.items()}
    return PICTURES + orjson.dumps(named) if named else b""


def read_pictures(content: bytes) -> dict[str, bytes]:
    """What stands behind ``PICTURES``, if anything does."""
    named: dict[str, str] = orjson.loads(content) if content else {}
    return {name: base64.b64decode(picture) for name, picture in named.items()}


OUT_OF_MEMORY: Final = 70
"""The exit code of a process that ran out of memory and could still say so."""
_EXHAUSTED: Final = frozenset({OUT_OF_MEMORY, -signal.SIGABRT, -signal.SIGKILL, -signal.SIGXCPU})
"""Native code that gets no memory aborts; the kernel kills what takes too much of it, or too much time."""


def _too_large() -> TooLarge:
    return TooLarge("This case file is too much for a PDF. Ask for format=json.", details={"format": "json"})
