"""Taking metadata out of videos without touching the pictures.

Phones write where a video was taken into boxes (MP4, QuickTime) or tags (WebM). Taking these out must not move a byte,
because other boxes hold places in the file; so what goes is overwritten in place: a box becomes a ``free`` box
(ISO/IEC 14496-12, 8.1.2), an element a ``Void`` (RFC 8794, 11.3.2), of the same size and full of zeros.
"""

import contextlib
import shutil
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final

from chatserver.evidence.examination import NotTaken
from chatserver.evidence.images import unreadable
from policies.evidence import MediaType

BOXES_MAX: Final = 100_000
_CONTAINERS: Final = frozenset({b"moov", b"trak", b"moof", b"traf", b"mdia", b"edts", b"minf"})
_TELLING: Final = frozenset({b"udta", b"meta", b"uuid", b"ID32"})
_TIMED: Final = frozenset({b"mvhd", b"tkhd", b"mdhd"})
_EPOCH: Final = datetime(1904, 1, 1, tzinfo=UTC)
_SEGMENT: Final = 0x18538067
_INFO: Final = 0x1549A966
_TELLING_ELEMENTS: Final = frozenset({0x1254C367, 0x1941A469, 0x7BA9, 0x4461, 0x7384})
"""Tags and attachments; of the segment's information its title, date and file name."""
_VOID: Final = b"\xec"
_ZEROS: Final = bytes(64 * 1024)


def save_shown(path: Path, media_type: MediaType, shown: Path) -> bool:
    """Write a copy without metadata. False when there was none, and no copy is needed.

    Raises:
        NotTaken: the container is damaged.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        find = _webm_elements if media_type is MediaType.WEBM else _boxes
        places = list(find(file, 0, size))
    if not places:
        return False
    shutil.copyfile(path, shown)
    with shown.open("r+b") as copy:
        for start, header, length in places:
            _blank(copy, start, header, length)
    return True


def _blank(copy: BinaryIO, start: int, header: bytes, length: int) -> None:
    copy.seek(start)
    copy.write(header)
    left = length - len(header)
    while left > 0:
        left -= copy.write(_ZEROS[:left])


def _boxes(file: BinaryIO, start: int, end: int, depth: int = 0) -> Iterator[tuple[int, bytes, int]]:
    """The boxes that tell something: where they start, the header of what takes their place, and their length."""
    count = 0
    while start < end:
        count += 1
        file.seek(start)
        head = file.read(16)
        if len(head) < 8 or count > BOXES_MAX:
            raise unreadable()
        length, kind = struct.unpack(">I4s", head[:8])
        offset = 8
        if length == 1 and len(head) == 16:
            length, offset = struct.unpack(">Q", head[8:16])[0], 16
        elif length == 0:  # to the end of the file
            length = end - start
        if length < offset or start + length > end:
            raise unreadable()
        if kind in _TIMED and (place := _times(file, start + offset, start + length)) is not None:
            yield place[0], b"", place[1]
        elif kind in _TELLING:
            yield start, head[:4] + b"free" + head[8:offset], length
        elif kind in _CONTAINERS:
            if depth > len(_CONTAINERS):
                raise NotTaken("unreadable", "The video is nested deeper than any camera nests it.")
            yield from _boxes(file, start + offset, start + length, depth + 1)
        start += length


def _times(file: BinaryIO, start: int, end: int) -> tuple[int, int] | None:
    """Where a header of a film, track or medium says when it was made and changed, and how long that is; None where it
    says nothing (ISO/IEC 14496-12, 8.2.2)."""
    file.seek(start)
    length = 16 if file.read(4)[:1] == b"\x01" else 8
    times = file.read(length)
    if start + 4 + length > end or not any(times):
        return None
    return start + 4, length


def captured_at(path: Path, media_type: MediaType) -> datetime | None:
    """When the camera says that it was taken; None where it does not.

    Raises:
        NotTaken: the container is damaged.
    """
    if media_type is MediaType.WEBM:
        return None
    with path.open("rb") as file:
        for start, header, length in _boxes(file, 0, path.stat().st_size):
            if not header:  # the first of the times is that of the film
                file.seek(start)
                taken = int.from_bytes(file.read(length // 2))
                with contextlib.suppress(OverflowError):
                    return _EPOCH + timedelta(seconds=taken) if taken else None
    return None


def _webm_elements(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, bytes, int]]:
    """The same for the tags and attachments of a WebM file."""
    count = 0
    while start < end:
        count += 1
        file.seek(start)
        identifier, id_length = _number(file, keep_marker=True)
        size, size_length = _number(file, keep_marker=False)
        header = id_length + size_length
        unknown = size == (1 << 7 * size_length) - 1  # live recordings do not say how long they get
        length = end - start if unknown else header + size
        if count > BOXES_MAX or start + length > end:
            raise unreadable()
        if identifier in (_SEGMENT, _INFO):
            yield from _webm_elements(file, start + header, start + length)
        elif unknown:
            return  # a cluster without an end: nothing that tells stands behind it
        elif identifier in _TELLING_ELEMENTS:
            yield start, _void(length), length
        start += length


def _void(length: int) -> bytes:
    """The header of an element of this length that means nothing: one byte for the id, one or eight for the size."""
    if length < 9:
        return _VOID + bytes((0x80 | (length - 2),))
    return _VOID + struct.pack(">Q", (1 << 56) | (length - 9))


def _number(file: BinaryIO, *, keep_marker: bool) -> tuple[int, int]:
    """A variable-size integer (RFC 8794, 4) and its length in bytes."""
    first = file.read(1)
    if not first or not first[0]:
        raise unreadable()
    length = 9 - first[0].bit_length()
    rest = file.read(length - 1)
    if len(rest) != length - 1:
        raise unreadable()
    value = int.from_bytes(first + rest, "big")
    return (value if keep_marker else value & ((1 << 7 * length) - 1)), length
