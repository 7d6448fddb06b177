"""Having files looked at, one process for each, few at a time."""

import asyncio
import contextlib
import os
import sys
from typing import Final

import structlog
from pydantic import TypeAdapter, ValidationError

from chatserver.evidence.examination import TEMPORARY, Examined, Rejected, Wanted
from policies.errors import Unavailable

AT_ONCE: Final = 2
TIMEOUT_S: Final = 90.0
"""Longest look at one file, in wall time."""
_ANSWER: Final[TypeAdapter[Examined | Rejected]] = TypeAdapter(Examined | Rejected)

logger = structlog.stdlib.get_logger(__name__)


class Examiner:
    """Looks at files.

    Args:
        at_once: processes that may look at the same time; others wait.
        timeout_s: how long one may take.
    """

    def __init__(self, at_once: int = AT_ONCE, timeout_s: float = TIMEOUT_S) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._timeout_s = timeout_s

    async def look(self, wanted: Wanted) -> Examined | Rejected:
        """Look at a file. One that makes the looking fail is rejected as unreadable: it is the file's doing.

        Raises:
            Unavailable: the machine cannot look at files right now: its disk is full, say.
        """
        async with self._turns:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "chatserver.evidence.examine",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={
                    name: os.environ[name]
                    for name in ("PATH", "PYTHONPATH", "COVERAGE_PROCESS_START")
                    if name in os.environ
                },
            )
            try:
                async with asyncio.timeout(self._timeout_s):
                    answer, _ = await process.communicate(wanted.model_dump_json().encode())
                if process.returncode == TEMPORARY:
                    logger.error("evidence_not_looked_at", advice="is there room in the folder for temporary files?")
                    raise Unavailable("Files cannot be looked at right now.", retry_after_ms=5000)
                return _ANSWER.validate_json(answer)
            except (TimeoutError, ValidationError):
                return Rejected(rule="unreadable", message="The file cannot be read within reasonable limits.")
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
