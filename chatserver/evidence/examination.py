"""What is asked of the process that looks at a file, and what it answers."""

import errno
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from policies.evidence import MediaType

CODES_MAX: Final = 20
"""QR and bar codes of one file that are read."""
CODE_CHARS: Final = 2_000
MACHINES_OWN: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE})
"""Errors of the operating system that no file can cause: a full disk must not make a good one unreadable."""
TEMPORARY: Final = 75
"""How the process ends then (``EX_TEMPFAIL`` of sysexits.h)."""


class Wanted(BaseModel):
    """Look at a file that was announced with this hash. What is made of it goes into ``folder``."""

    model_config = ConfigDict(frozen=True)

    path: Path
    folder: Path
    media_type: MediaType
    sha256: str
    pixels: int


class Examined(BaseModel):
    """The file is what it was announced as.

    ``shown`` is a copy without metadata, for the other party; None where the file is shown as it is. ``captured_at`` is
    what its metadata says, for staff. ``codes`` are the payloads of QR and bar codes that an image or
    a document shows.
    """

    model_config = ConfigDict(frozen=True)

    sha256: str
    size: int
    shown: Path | None = None
    thumbnail: Path | None = None
    width: int | None = None
    height: int | None = None
    captured_at: datetime | None = None
    codes: tuple[str, ...] = ()


class Rejected(BaseModel):
    """The file is not taken. ``rule`` is one of ``wrong_size``, ``wrong_hash``, ``wrong_type``, ``active_content``,
    ``unreadable``, ``too_many_pixels``, ``infected``, ``changed``."""

    model_config = ConfigDict(frozen=True)

    rule: str
    message: str


class NotTaken(Exception):
    """Raised where the looking finds a reason."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rejected = Rejected(rule=rule, message=message)
