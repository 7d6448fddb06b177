"""Looking at images: decoded within limits, shown without metadata, made small, read for QR and bar codes."""

import struct
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import zxingcpp
from PIL import Image, ImageOps, ImageSequence

from chatserver.evidence.examination import CODE_CHARS, CODES_MAX, MACHINES_OWN, NotTaken
from policies.evidence import MediaType

THUMBNAIL_PIXELS: Final = 320
"""Longest side of a thumbnail."""
CODES_PIXELS: Final = 2_000
"""Images are made this small before they are searched for codes: that is enough for one that a phone can read."""
CODES_FRAMES: Final = 10
"""Frames of an animation that are searched."""
FRAMES_MAX: Final = 1_000

_FORMATS: Final = {
    MediaType.PNG: "PNG",
    MediaType.JPEG: "JPEG",
    MediaType.WEBP: "WEBP",
    MediaType.GIF: "GIF",
}
_SAVED: Final[dict[str, dict[str, Any]]] = {
    "PNG": {},
    "JPEG": {"quality": 90},
    "WEBP": {"quality": 90},
    "GIF": {},
}
_ANIMATED: Final = frozenset({"PNG", "WEBP", "GIF"})
_EXIF_IFD: Final = 0x8769
_DAMAGED_EXIF: Final = (KeyError, ValueError, OSError, SyntaxError, TypeError, struct.error)
"""What Pillow raises over metadata that is cut off or makes no sense."""
_TAKEN_AT: Final = 36867
_TAKEN_AT_OFFSET: Final = 36881


@contextmanager
def opened(path: Path, media_type: MediaType, pixels: int) -> Iterator["Picture"]:
    """An image, decoded. What that costs is known from its header, and checked before.

    Raises:
        NotTaken: it cannot be read, or has too many pixels; also while it is used.
    """
    Image.MAX_IMAGE_PIXELS = None  # ours is checked here, for all frames together
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged metadata is a warning of Pillow's; the picture is what counts
        name = _FORMATS[media_type]
        try:
            with Image.open(path, formats=[name]) as image:
                # Phones put a second picture (a preview, brightness) behind a JPEG; that is no animation.
                frames = getattr(image, "n_frames", 1) if name in _ANIMATED else 1
                if frames > FRAMES_MAX or image.width * image.height * frames > pixels:
                    raise NotTaken("too_many_pixels", f"An image has at most {pixels} pixels, over all of its frames.")
                image.load()
                yield Picture(image, name, frames)
        except (OSError, EOFError, ValueError, SyntaxError, MemoryError) as error:
            if isinstance(error, OSError) and error.errno in MACHINES_OWN:
                raise
            raise unreadable() from error


class Picture:
    """An image that is decoded, and the right way up."""

    def __init__(self, image: Image.Image, name: str, frames: int) -> None:
        self._image = image
        self._name = name
        self._frames = frames
        self._upright = _upright(image)
        self.width, self.height = self._upright.size

    def captured_at(self) -> datetime | None:
        """When the camera says it was taken; without an offset its clock is taken for UTC."""
        try:
            taken = self._image.getexif().get_ifd(_EXIF_IFD)
            at = datetime.strptime(str(taken[_TAKEN_AT]), "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
            offset = str(taken.get(_TAKEN_AT_OFFSET, ""))
            return at if not offset else datetime.strptime(f"{taken[_TAKEN_AT]}{offset}", "%Y:%m:%d %H:%M:%S%z")
        except _DAMAGED_EXIF:
            return None

    def save_shown(self, path: Path) -> None:
        """Write the image anew: pixels and colour profile, and nothing else that was in the file."""
        name = self._name
        options = dict(_SAVED[name])
        if profile := self._image.info.get("icc_profile"):
            options["icc_profile"] = profile
        if self._frames > 1:
            frames = [frame.copy() for frame in ImageSequence.Iterator(self._image)]
            durations = [frame.info.get("duration", 100) for frame in frames]
            options |= {"save_all": True, "append_images": frames[1:], "duration": durations, "loop": 0}
            _bare(frames[0]).save(path, name, **options)
        else:
            _bare(self._upright).save(path, name, **options)

    def save_thumbnail(self, path: Path) -> None:
        small = self._upright.convert("RGBA" if _has_alpha(self._upright) else "RGB")
        small.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
        _bare(small).save(path, "WEBP", quality=80)

    def codes(self) -> tuple[str, ...]:
        """The payloads of the QR and bar codes on it."""
        if self._frames == 1:
            return codes_on([self._upright])
        last, count = self._frames - 1, min(self._frames, CODES_FRAMES)
        return codes_on(self._frame(round(last * number / (count - 1))) for number in range(count))

    def _frame(self, number: int) -> Image.Image:
        self._image.seek(number)
        return self._image


def codes_on(pictures: Iterable[Image.Image]) -> tuple[str, ...]:
    """The payloads of the QR and bar codes on pictures, each once."""
    found: dict[str, None] = {}
    for picture in pictures:
        plain = picture.convert("RGBA" if _has_alpha(picture) else "L")
        plain.thumbnail((CODES_PIXELS, CODES_PIXELS))
        if plain.mode == "RGBA":  # as it is shown: a code may be nothing but what is transparent
            white = Image.new("RGBA", plain.size, "white")
            white.alpha_composite(plain)
            plain = white.convert("L")
        found |= dict.fromkeys(code.text[:CODE_CHARS] for code in zxingcpp.read_barcodes(plain) if code.text)
        if len(found) >= CODES_MAX:
            break
    return tuple(found)[:CODES_MAX]


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except _DAMAGED_EXIF:
        return image.copy()


def unreadable() -> NotTaken:
    return NotTaken("unreadable", "The file is damaged: it cannot be read to its end.")


def _bare(image: Image.Image) -> Image.Image:
    """The same pixels without what the file said beside them."""
    for name in set(image.info) - {"transparency", "duration", "disposal"}:
        del image.info[name]
    return image


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
