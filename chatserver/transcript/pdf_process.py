"""The process that makes one PDF: the JSON form of a case file and its pictures come in, the PDF goes out.

Arguments: most bytes of memory, most seconds of processor time, 1 or 0 for the system's fonts, folders with fonts.
"""

import resource
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

from chatserver.transcript.pdf import OUT_OF_MEMORY, PICTURES, read_pictures

if TYPE_CHECKING:
    from chatserver.transcript.case_file import CaseFile


def main(arguments: list[str], source: BinaryIO, target: BinaryIO) -> int:
    """Returns:
    The exit code.
    """
    memory, seconds, system_fonts, *fonts = arguments
    if sys.platform != "darwin":  # there, what all programs share counts as address space, and no limit is small enough
        _limit(resource.RLIMIT_AS, int(memory))
    _limit(resource.RLIMIT_CPU, int(seconds))
    _limit(resource.RLIMIT_CORE, 0)
    # Within the limits from here on: the typesetter's library alone is large.
    from chatserver.transcript.reading import read_case_file

    try:
        content, _, pictures = source.read().partition(PICTURES)
        case = replace(read_case_file(content), pictures=read_pictures(pictures))
        target.write(_rendered(case, fonts, system_fonts=system_fonts == "1"))
    except MemoryError:
        return OUT_OF_MEMORY
    return 0


def _rendered(case: "CaseFile", fonts: list[str], *, system_fonts: bool) -> bytes:
    """The PDF; without pictures, when one of them is none."""
    import typst

    from chatserver.transcript.pdf_document import render_pdf

    try:
        return render_pdf(case, fonts, system_fonts=system_fonts)
    except typst.TypstError:
        if not case.pictures:
            raise
        return render_pdf(replace(case, pictures={}), fonts, system_fonts=system_fonts)


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdin.buffer, sys.stdout.buffer))
