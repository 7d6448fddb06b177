"""Evidence: what may be uploaded, by whom, how much of it, and under which name it is given out.

What an uploader announces is checked here before anything is signed; what then lies in the store is looked at by
``chatserver.evidence``, which believes none of it.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, NewType

from pydantic import Field

from policies.errors import BadRequest, Forbidden, Refused, RoomClosed, TooLarge
from policies.instant import rfc3339
from policies.part import Duration, Part
from policies.room import RoomFacts
from policies.vocabulary import DECIDERS, PARTIES, EvidenceKind, Role, UserId

EvidenceId = NewType("EvidenceId", str)

MB: Final = 1_000_000
FILENAME_CHARS: Final = 255
ORIGIN_CHARS: Final = 64
SHA256_HEX: Final = re.compile(r"[0-9a-f]{64}")
_SAFE_NAME: Final = re.compile(r"[^\w.\-() ]+")
_RESERVED: Final = {"CON", "PRN", "AUX", "NUL"} | {f"{port}{number}" for port in ("COM", "LPT") for number in range(10)}
"""Names that Windows takes for devices, with any extension."""


class MediaType(StrEnum):
    """The types that evidence may have."""

    PNG = "image/png"
    JPEG = "image/jpeg"
    WEBP = "image/webp"
    GIF = "image/gif"
    PDF = "application/pdf"
    TEXT = "text/plain"
    MP4 = "video/mp4"
    WEBM = "video/webm"
    MOV = "video/quicktime"


EXTENSIONS: Final[Mapping[MediaType, tuple[str, ...]]] = {
    MediaType.PNG: ("png",),
    MediaType.JPEG: ("jpg", "jpeg", "jpe"),
    MediaType.WEBP: ("webp",),
    MediaType.GIF: ("gif",),
    MediaType.PDF: ("pdf",),
    MediaType.TEXT: ("txt", "log"),
    MediaType.MP4: ("mp4", "m4v"),
    MediaType.WEBM: ("webm",),
    MediaType.MOV: ("mov", "qt"),
}
"""By type, the preferred one first."""
IMAGES: Final = frozenset({MediaType.PNG, MediaType.JPEG, MediaType.WEBP, MediaType.GIF})
VIDEOS: Final = frozenset({MediaType.MP4, MediaType.WEBM, MediaType.MOV})


PER_KIND: Final[Mapping[EvidenceKind, int]] = {EvidenceKind.VIDEO: 10, EvidenceKind.SCREEN_RECORDING: 10}
"""Of what takes long to watch, and much room."""


class EvidenceRules(Part):
    """Limits of evidence; those in force count, none is pinned by a dispute."""

    document_bytes: int = Field(10 * MB, ge=1, le=5 * 1024**3, description="Largest image, PDF or text.")
    video_bytes: int = Field(100 * MB, ge=1, le=5 * 1024**3, description="Largest video.")
    per_side: int = Field(50, ge=1, le=1000, description="Pieces of evidence of one side in a room.")
    per_kind: dict[EvidenceKind, Annotated[int, Field(ge=1, le=1000)]] = Field(
        dict(PER_KIND), description="The same of one kind; what is not named has the limit of the side."
    )
    pending: int = Field(10, ge=1, le=100, description="Uploads of one person in a room that may be under way at once.")
    kinds: tuple[EvidenceKind, ...] = Field(tuple(EvidenceKind), description="The kinds that are taken.")
    caption_chars: int = Field(1000, ge=0, le=4000, description="Longest caption.")
    pixels: int = Field(50_000_000, ge=1, description="Largest image, in pixels over all of its frames.")
    upload_expires: Duration = Field(timedelta(minutes=10), description="How long a signed upload may be used.")
    download_expires: Duration = Field(timedelta(minutes=5), description="How long a signed download may be used.")
    parts_from: int = Field(16 * MB, ge=5 * 1024**2, description="From this size on, uploads come in parts.")
    part_bytes: int = Field(8 * 1024**2, ge=5 * 1024**2, description="Size of a part; all but the last have it.")
    abandoned_after: Duration = Field(
        timedelta(hours=24), description="When an upload that nobody completes is dropped."
    )
    retention: Duration = Field(timedelta(days=365), description="How long after its end a dispute's evidence is kept.")

    def largest(self, media_type: MediaType) -> int:
        """The most bytes that evidence of this type may have."""
        return self.video_bytes if media_type in VIDEOS else self.document_bytes

    def most_of(self, kind: EvidenceKind) -> int:
        """The most pieces of this kind that a side may have in a room."""
        return min(self.per_side, self.per_kind.get(kind, self.per_side))


@dataclass(frozen=True, slots=True)
class Announcement:
    """What an uploader says of a file beforehand. ``sha256`` in lower-case hex; ``captured_at`` as claimed."""

    filename: str
    media_type: str
    size: int
    sha256: str
    kind: EvidenceKind
    caption: str
    captured_at: datetime | None
    origin: str


def may_add(facts: RoomFacts, role: Role) -> None:
    """Check that somebody in this role may add evidence to a room.

    Raises:
        Forbidden: the role only reads.
        RoomClosed: nothing can be added any more.
    """
    if role not in PARTIES | DECIDERS:
        raise Forbidden("Your role may read this room, not add to it.")
    if facts.closed:
        raise RoomClosed("This room is closed.")


def check_announcement(
    said: Announcement, rules: EvidenceRules, *, added: int, of_kind: int, pending: int
) -> MediaType:
    """Check what an uploader announces.

    Args:
        said: the announcement.
        rules: the limits in force.
        added: pieces of evidence that the same side has in the room.
        of_kind: those of them that are of the kind that is announced.
        pending: uploads of the same person there that are not completed.

    Returns:
        The announced type.

    Raises:
        BadRequest: a field that cannot be; ``details["field"]`` names it.
        TooLarge: more than ``details["limit"]`` bytes or characters.
        Refused: rule ``evidence_limit``, ``evidence_kind_limit`` or ``uploads_pending``, with ``details["limit"]``.
    """
    media_type = _media_type(said.media_type, said.filename)
    if not said.size >= 1:
        raise BadRequest("An empty file shows nothing.", details={"field": "size"})
    if said.size > (limit := rules.largest(media_type)):
        details = {"field": "size", "limit": limit}
        raise TooLarge(f"A file of the type {media_type} has at most {limit} bytes.", details=details)
    if not SHA256_HEX.fullmatch(said.sha256):
        raise BadRequest("The SHA-256 is 64 characters of lower-case hex.", details={"field": "sha256"})
    if said.kind not in rules.kinds:
        raise BadRequest("Evidence of this kind is not taken here.", details={"field": "kind"})
    if len(said.caption) > rules.caption_chars:
        details = {"field": "caption", "limit": rules.caption_chars}
        raise TooLarge(f"A caption has at most {rules.caption_chars} characters.", details=details)
    if len(said.origin) > ORIGIN_CHARS:
        details = {"field": "origin", "limit": ORIGIN_CHARS}
        raise TooLarge(f"An origin has at most {ORIGIN_CHARS} characters.", details=details)
    if added >= rules.per_side:
        details = {"rule": "evidence_limit", "limit": rules.per_side}
        raise Refused(f"A side adds at most {rules.per_side} pieces of evidence.", details=details)
    if of_kind >= (limit := rules.most_of(said.kind)):
        details = {"rule": "evidence_kind_limit", "kind": said.kind.value, "limit": limit}
        raise Refused(f"A side adds at most {limit} pieces of evidence of this kind.", details=details)
    if pending >= rules.pending:
        details = {"rule": "uploads_pending", "limit": rules.pending}
        raise Refused("Too many uploads are under way; complete some of them first.", details=details)
    return media_type


def _media_type(named: str, filename: str) -> MediaType:
    if named not in list(MediaType):
        taken = ", ".join(MediaType)
        raise BadRequest(f"Files of this type are not taken; these are: {taken}.", details={"field": "content_type"})
    media_type = MediaType(named)
    if not 1 <= len(filename) <= FILENAME_CHARS:
        raise BadRequest(f"A filename has 1 to {FILENAME_CHARS} characters.", details={"field": "filename"})
    _, dot, extension = filename.rpartition(".")
    if not dot or extension.lower() not in EXTENSIONS[media_type]:
        raise BadRequest(
            f"A file of the type {media_type} has a name that ends in .{' or .'.join(EXTENSIONS[media_type])}.",
            details={"field": "filename"},
        )
    return media_type


def kept_until(touched_at: datetime, ended: Iterable[datetime | None], rules: EvidenceRules) -> datetime | None:
    """Until when a piece of evidence is kept; None while a dispute that it may matter for goes on.

    Args:
        touched_at: when it was added or withdrawn.
        ended: when the dispute ended, or in an order's room each dispute of the order. None: not yet.
    """
    latest = touched_at
    for each in ended:
        if each is None:
            return None
        latest = max(latest, each)
    return latest + rules.retention


def safe_filename(filename: str, media_type: MediaType) -> str:
    """A name that is safe to save a file under on any system: one component, with the extension of its real type.

    Direction marks that would make ``gpj.exe`` look like ``exe.jpg``, path separators, control characters and names
    that are devices are gone; what is left keeps its letters of any script.
    """
    visible = "".join(char for char in unicodedata.normalize("NFC", filename) if unicodedata.category(char)[0] != "C")
    stem = visible.replace("\\", "/").rpartition("/")[2].rpartition(".")[0]
    stem = _SAFE_NAME.sub("_", stem).strip(" ._")[:100].rstrip(" .")
    if not stem or stem.upper().partition(".")[0] in _RESERVED:
        stem = f"evidence {stem}".strip()
    return f"{stem}.{EXTENSIONS[media_type][0]}"


@dataclass(frozen=True, slots=True)
class Added:
    """A piece of evidence that was verified and sealed: what its entry says.

    ``late``: it came after the time for it had passed. ``side`` is that of the uploader; None for staff.
    """

    id: EvidenceId
    uploader: UserId
    side: Role | None
    announcement: Announcement
    media_type: MediaType
    thumbnail: bool
    late: bool = False

    def body(self) -> dict[str, Any]:
        """The body of ``evidence.added``."""
        said = self.announcement
        body: dict[str, Any] = {
            "evidence": self.id,
            "kind": said.kind.value,
            "filename": safe_filename(said.filename, self.media_type),
            "content_type": self.media_type.value,
            "size": said.size,
            "sha256": said.sha256,
            "thumbnail": self.thumbnail,
        }
        if said.caption:
            body["caption"] = said.caption
        if said.origin:
            body["origin"] = said.origin
        if said.captured_at is not None:
            body["captured_at"] = rfc3339(said.captured_at)
        if self.late:
            body["late"] = True
        return body
