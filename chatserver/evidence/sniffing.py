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
TAIL_BYTES: Final = 1024
CHUNK_BYTES: Final = 1024 * 1024

_MARKUP: Final = re.compile(rb"<\s*(?:!doctype|html|head|body|script|iframe|svg|\?xml|\?php|xsl:)", re.IGNORECASE)
_PDF_HEADER: Final = b"%PDF-"
_ARCHIVES: Final = re.compile(rb"PK\x01\x02|PK\x05\x06\0{18}|Rar!\x1a\x07[\x00\x01]|7z\xbc\xaf\x27\x1c\x00")
"""What archives have in them, wherever their programs find it: an entry in the directory of a ZIP archive (a JAR, an
APK, an office document) or the end of an empty one, the head of a RAR or 7z archive."""
_ARCHIVE_BYTES: Final = 46
"""As much as is looked at to tell an archive from four bytes of something else."""
_ZIP_VERSION: Final = 63
_ZIP_METHOD: Final = 99
_ZIP_NAME: Final = 4096
_WEBM: Final = re.compile(rb"\x42\x82.{1,8}?webm", re.DOTALL)
"""The type of document in an EBML header (RFC 8794, 11.2.6)."""
_EBML_BYTES: Final = 128
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
    if announced is MediaType.WEBM and not _WEBM.search(head, 0, _EBML_BYTES):
        raise NotTaken("wrong_type", f"The file is not of the type {announced}.")  # Matroska has the same signature
    if announced is not MediaType.TEXT and _MARKUP.search(head):
        raise NotTaken("active_content", "The file begins with markup that a browser could run.")
    if _PDF_HEADER in head[1:1024] or (announced is not MediaType.PDF and head.startswith(_PDF_HEADER)):
        raise NotTaken("wrong_type", "The file is a PDF document at the same time.")
    _require_no_archive(path)
    _require_end(announced, head, tail, size)


def _types(head: bytes) -> set[str]:
    try:
        return {match.mime_type for match in puremagic.magic_string(head)}
    except (puremagic.PureError, ValueError):  # the second for an empty file
        return set()


def _require_text(path: Path, head: bytes) -> None:
    """Text is UTF-8 for people: no control characters, no markup, no program.

    Signatures say nothing here: many are letters that a text may begin with (BMW, From:, ID3); whatever is not text has
    control characters, or bytes that UTF-8 does not have.
    """
    if head.startswith((b"#!", b"%!PS")) or _MARKUP.search(head):
        raise NotTaken("wrong_type", "The file is more than plain text.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise NotTaken("wrong_type", "The text is not in UTF-8.") from None
    if re.search(r"[\x00-\x08\x0b\x0e-\x1f\x7f]", text):
        raise NotTaken("wrong_type", "The text holds control characters.")


def _require_no_archive(path: Path) -> None:
    """Programs find an archive behind other bytes, and some of them before others too: so all is looked through."""
    with path.open("rb") as file:
        window = b""
        while chunk := file.read(CHUNK_BYTES):
            window += chunk
            if any(_is_archive(window, match.start()) for match in _ARCHIVES.finditer(window)):
                raise NotTaken("wrong_type", "The file is an archive at the same time.")
            window = window[-_ARCHIVE_BYTES + 1 :]


def _is_archive(window: bytes, place: int) -> bool:
    """Whether a mark in a file is that of an archive. Four bytes of a ZIP archive come by chance in one of some dozen
    videos; what has to stand behind them (PKWARE's APPNOTE, 4.3.12) does not."""
    if window[place : place + 4] != b"PK\x01\x02":
        return True
    entry = window[place : place + _ARCHIVE_BYTES]
    if len(entry) < _ARCHIVE_BYTES:
        return False  # comes again with the next chunk, or there is no room for it in the file
    needed, method, name, disk = entry[6], *struct.unpack("<10xH16xH4xH", entry[:36])
    return needed <= _ZIP_VERSION and method <= _ZIP_METHOD and 0 < name <= _ZIP_NAME and disk in (0, 0xFFFF)


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
