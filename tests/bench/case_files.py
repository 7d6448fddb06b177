"""What the case file of a long room costs: ``python -m tests.bench.case_files [ENTRIES]``, without a database.

The PDF is made as the server makes it, in a process of its own; its time and memory are that process's.
"""

import asyncio
import resource
import sys
import time
from collections.abc import Callable
from typing import Final

from chatserver.settings import Settings
from chatserver.transcript.html import HtmlForm
from chatserver.transcript.pdf import PdfForm
from chatserver.transcript.reading import read_case_file
from chatserver.transcript.verification import verify_case_file
from policies.vocabulary import RoomKind
from tests.chatserver.transcript.cases import ORDER_ROOM, case_file, facts, long_room, written

TEXT: Final = "Message {} of many. " + "It has about as many words as people write when something is wrong. " * 2


def main(entries: int) -> None:
    case = case_file(long_room(entries, text=TEXT), facts(ORDER_ROOM, RoomKind.ORDER))
    settings = Settings()
    pdf = PdfForm(
        [], system_fonts=True, timeout_s=settings.transcript_timeout_s * 10, memory=settings.transcript_memory_bytes
    )
    content = measured("json", lambda: written(case))
    measured("html", lambda: "".join(HtmlForm().write(case)).encode())
    measured("pdf", lambda: asyncio.run(pdf.write(content)))
    measured("verify", lambda: str(verify_case_file(read_case_file(content)).findings).encode())
    print(f"pdf process: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MiB")


def measured(name: str, make: Callable[[], bytes]) -> bytes:
    """Make it, and say what it took."""
    began, cpu = time.perf_counter(), _processor()
    made = make()
    took, used = time.perf_counter() - began, _processor() - cpu
    print(f"{name}: {took:.2f} s, {used:.2f} CPU s, {len(made) / 1e6:.2f} MB", flush=True)
    return made


def _processor() -> float:
    own, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
