"""What a file really is, by its bytes.

A library knows the signatures; what stands here knows what a signature does not say: whether the file ends where its
format ends, and whether it is something else at the same time (a polyglot), to a program that looks elsewhere.
"""

import re
import struct
from pathlib import Path
from typing import Final

import puremagic

from chatserver.evidence.examination import NotTaken
from policies.evidence import MediaType

HEAD_BYTES: Final = 4096
TAIL_BYTES: Final = 64 * 1024 + 22
"""Where the end of a ZIP archive (a JAR, an APK, an office document) must lie: its comment has 64 KiB at most."""

_MARKUP: Final = re.compile(rb"<\s*(?:!doctype|html|head|body|script|iframe|svg|\?xml|\?php|xsl:)", re.IGNORECASE)
_PDF_HEADER: Final = b"%PDF-"
_ZIP_END: Final = b"PK\x05\x06"
_PNG_END: Final = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_EQUAL_SIGNATURES: Final = {
    MediaType.MP4: frozenset({"video/mp4", "video/x-m4v", "application/mp4", "audio/mp4"}),
    MediaType.MOV: frozenset({"video/quicktime"}),
    MediaType.WEBM: frozenset({"video/webm"}),
}


def require_type(path: Path, announced: MediaType) -> None:
    """Check that a file is of the announced type and of no other.

    Raises:
        NotTaken: it is not.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        file.seek(max(0, size - TAIL_BYTES))
        tail = file.read()
    if announced is MediaType.TEXT:
        _require_text(path, head)
    elif announced.value not in _types(head) and not _types(head) & _EQUAL_SIGNATURES.get(announced, frozenset()):
        raise NotTaken("wrong_type", f"The file is not of the type {announced}.")
    if announced is not MediaType.TEXT and _MARKUP.search(head):
        raise NotTaken("active_content", "The file begins with markup that a browser could run.")
    if _PDF_HEADER in head[1:1024] or (announced is not MediaType.PDF and head.startswith(_PDF_HEADER)):
        raise NotTaken("wrong_type", "The file is a PDF document at the same time.")
    if _ZIP_END in tail and _is_archive_end(tail, tail.rindex(_ZIP_END)):
        raise NotTaken("wrong_type", "The file is an archive at the same time.")
    _require_end(announced, head, tail, size)


def _types(head: bytes) -> set[str]:
    try:
        return {match.mime_type for match in puremagic.magic_string(head)}
    except (puremagic.PureError, ValueError):  # the second for an empty file
        return set()


def _require_text(path: Path, head: bytes) -> None:
    """Text is UTF-8 for people: no control characters, no markup, no program."""
    found = _types(head) - {"", "text/plain"}
    if head.startswith(b"#!") or found or _MARKUP.search(head):
        raise NotTaken("wrong_type", "The file is more than plain text.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise NotTaken("wrong_type", "The text is not in UTF-8.") from None
    if re.search(r"[\x00-\x08\x0b\x0e-\x1f\x7f]", text):
        raise NotTaken("wrong_type", "The text holds control characters.")


def _is_archive_end(tail: bytes, place: int) -> bool:
    """Whether an end-of-archive record is one, and not four bytes of something else: its comment ends the file."""
    record = tail[place : place + 22]
    return len(record) == 22 and place + 22 + struct.unpack("<H", record[20:22])[0] == len(tail)


def _require_end(announced: MediaType, head: bytes, tail: bytes, size: int) -> None:
    """Nothing may follow what the format says is the end, where the format says so."""
    whole = True
    if announced is MediaType.PNG:
        whole = tail.endswith(_PNG_END)
    elif announced is MediaType.GIF:
        whole = tail.endswith(b"\x3b")
    elif announced is MediaType.WEBP:
        length = struct.unpack("<I", head[4:8])[0] + 8
        whole = size == length + length % 2 or size == length
    elif announced is MediaType.PDF:
        whole = b"%%EOF" in tail[-1024:]
    if not whole:
        raise NotTaken("unreadable", "The file is cut off, or something follows its end.")
