"""``verify FILE``: a case file is checked with nothing but itself."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chatserver.cli.failures import ExitCode, Failure
from chatserver.cli.options import say

_HASH: Final = re.compile(r"[0-9a-f]{64}")


def is_file(name: str) -> bool:
    """Whether an argument of ``verify`` means a file and not a room.

    Raises:
        Failure: it can only mean a file, and there is none.
    """
    if Path(name).is_file():
        return True
    if name.endswith(".json") or "/" in name:
        raise Failure(ExitCode.FAILED, [f"there is no file {name}"])
    return False


def verify_files(names: Sequence[str], head: str) -> int:
    """Check case files, and say what holds, what does not, and what cannot be known.

    Args:
        head: the hash in hex that the one file has to hold; or empty.

    Returns:
        How many do not hold.

    Raises:
        Failure: the head is no hash, or there are several files for it.
    """
    if head and (len(names) != 1 or not _HASH.fullmatch(head)):
        raise Failure(ExitCode.USAGE, ["--head takes the 64 hex digits of a hash, and goes with one case file"])
    return sum(not _holds(name, bytes.fromhex(head) or None) for name in names)


def _holds(name: str, head: bytes | None) -> bool:
    from chatserver.transcript.reading import Unreadable, read_case_file
    from chatserver.transcript.verification import verify_case_file

    try:
        case = read_case_file(Path(name).read_bytes())
    except OSError as error:
        raise Failure(ExitCode.FAILED, [f"{name} cannot be read: {error.strerror}"]) from error
    except Unreadable as error:
        say(f"{name}: broken at {error}" if error.place else f"{name}: {error}")
        return False
    verdict = verify_case_file(case, head)
    for finding in verdict.findings:
        place = f"broken at entry {finding.seq}" if finding.seq is not None else "broken"
        say(f"{name}: {finding.room}: {place} ({finding.problem})")
    for line in verdict.holds:
        say(f"{name}: holds: {line}")
    for line in verdict.unknown:
        say(f"{name}: not proven: {line}")
    say(f"{name}: {'broken' if verdict.findings else 'all that can be checked holds'}")
    return not verdict.findings
