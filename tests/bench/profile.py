"""Where a server process spends its time: py-spy samples it, the summary counts functions."""

import asyncio
import collections
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_RATE_HZ: Final = 250


@dataclass(frozen=True)
class Profile:
    """A recording of the first server process under load, kept as a file of folded stacks.

    Args:
        file: where the stacks go.
        seconds: how long to record.
    """

    file: Path
    seconds: int = 8

    async def record(self, pid: int) -> None:
        """Raises:
        RuntimeError: py-spy is not installed or may not look into the process.
        """
        beside_python = os.path.dirname(sys.executable)
        spy = shutil.which("py-spy", path=os.pathsep.join([beside_python, os.environ.get("PATH", "")]))
        if spy is None:
            raise RuntimeError("py-spy is not installed: pip install 'dispute-chat-server[bench]'")
        # What waits without the interpreter's lock is no cost; py-spy cannot always tell it from work in another way.
        options = [
            "--gil",
            "--pid",
            str(pid),
            "--duration",
            str(self.seconds),
            "--rate",
            str(_RATE_HZ),
            "--format",
            "raw",
        ]
        process = await asyncio.create_subprocess_exec(
            *(spy, "record", *options, "--output", str(self.file)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"py-spy failed: {errors.decode().strip()}")

    def summary(self, top: int = 25) -> str:
        """The functions with most time of their own, and with most time in them and what they call."""
        own: collections.Counter[str] = collections.Counter()
        within: collections.Counter[str] = collections.Counter()
        for line in self.file.read_text().splitlines():
            stack, number = line.rsplit(" ", 1)
            functions = [frame.rsplit(":", 1)[0] for frame in stack.split(";")]
            own[functions[-1]] += int(number)
            for function in set(functions):
                within[function] += int(number)
        total = max(own.total(), 1)
        # What is in every stack is only how the program was started.
        within -= collections.Counter({function: total for function, samples in within.items() if samples == total})
        lines = [f"{total} samples"]
        for title, counter in (("time of their own", own), ("time in them and what they call", within)):
            lines.append(f"\n{title}")
            lines += [f"{100 * samples / total:6.1f} %  {function}" for function, samples in counter.most_common(top)]
        return "\n".join(lines)
