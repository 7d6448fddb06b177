"""The process that looks at one file: ``python -m chatserver.evidence.examine``, one ``Wanted`` on its input.

What strangers upload is decoded by libraries in C. So it happens in a process of its own, which has no secret, no
connection, little memory and little time; whatever it does, the server only reads one line from it.
"""

import hashlib
import resource
import sys
from typing import Final

from chatserver.evidence import documents, images, videos
from chatserver.evidence.examination import MACHINES_OWN, TEMPORARY, Examined, NotTaken, Rejected, Wanted
from chatserver.evidence.sniffing import require_type
from policies.evidence import IMAGES, VIDEOS, MediaType

MEMORY_BYTES: Final = 2 * 1024**3
CPU_S: Final = 60
FILE_BYTES: Final = 6 * 1024**3
CHUNK_BYTES: Final = 1024 * 1024


def examine(wanted: Wanted) -> Examined | Rejected:
    """Look at a file."""
    digest, size = hashlib.sha256(), 0
    with wanted.path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    if digest.hexdigest() != wanted.sha256:  # before anything is made of bytes that nobody has announced
        return Rejected(rule="wrong_hash", message="The file's SHA-256 is not the one that was announced.")
    bare = Examined(sha256=digest.hexdigest(), size=size)
    try:
        require_type(wanted.path, wanted.media_type)
        return bare.model_copy(update=_look(wanted))
    except NotTaken as reason:
        return reason.rejected


def _look(wanted: Wanted) -> dict[str, object]:
    shown, thumbnail = wanted.folder / "shown", wanted.folder / "thumbnail"
    if wanted.media_type in IMAGES:
        with images.opened(wanted.path, wanted.media_type, wanted.pixels) as picture:
            captured_at, codes = picture.captured_at(), picture.codes()
            picture.save_thumbnail(thumbnail)
            picture.save_shown(shown)
        return {
            "shown": shown,
            "thumbnail": thumbnail,
            "width": picture.width,
            "height": picture.height,
            "captured_at": captured_at,
            "codes": codes,
        }
    if wanted.media_type is MediaType.PDF:
        with documents.opened(wanted.path) as document:
            codes = document.codes()
            document.save_thumbnail(thumbnail)
            document.save_shown(shown)
        return {"shown": shown, "thumbnail": thumbnail, "codes": codes}
    if wanted.media_type in VIDEOS:
        made = videos.save_shown(wanted.path, wanted.media_type, shown)
        return {
            "shown": shown if made else None,
            "captured_at": videos.captured_at(wanted.path, wanted.media_type),
        }
    return {}


def limit() -> None:
    """Give up what this process must not need. On macOS the limit on memory is not kept by the system."""
    for what, most in (
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
        *([(resource.RLIMIT_AS, MEMORY_BYTES)] if sys.platform == "linux" else []),
    ):
        resource.setrlimit(what, (most, most))


def main() -> None:
    """Answer what stands on the standard input."""
    limit()
    try:
        found = examine(Wanted.model_validate_json(sys.stdin.buffer.read()))
    except OSError as error:
        if error.errno in MACHINES_OWN:
            sys.exit(TEMPORARY)
        raise
    sys.stdout.write(found.model_dump_json() + "\n")


if __name__ == "__main__":
    main()
