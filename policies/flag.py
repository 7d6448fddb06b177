"""A flag on an entry: what was found wrong with its texts, what was done about it, and what staff said to that.

It is kept beside the entry and is no part of its hash: staff change it.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from policies.vocabulary import UserId


class Mark(StrEnum):
    """What became of a text, the mildest first."""

    NOTED = "noted"
    """Nothing but this flag: the rules are only being tried (shadow mode)."""
    WARNED = "warned"
    """Shown, and both sides were reminded."""
    MASKED = "masked"
    """Parts of it are hidden from the other side."""
    WITHHELD = "withheld"
    """All of it is hidden from the other side."""

    @property
    def gravity(self) -> int:
        """Its place among them."""
        return _GRAVITIES[self]


_GRAVITIES: Final = {mark: place for place, mark in enumerate(Mark)}


class CauseKind(StrEnum):
    """Which rules found something."""

    CONTACT = "contact"
    CONDUCT = "conduct"
    SECRET = "secret"  # noqa: S105


class FlagState(StrEnum):
    """What staff have said of a flag."""

    OPEN = "open"
    RELEASED = "released"
    CONFIRMED = "confirmed"
    REPEATED = "repeated"
    """One of many within minutes, of which enough wait for staff: it adds nothing to strikes, and nobody is told."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that was found.

    ``category`` is one of ``policies.contact.Category``, ``policies.conduct.Misconduct`` or
    ``policies.secrets.SecretKind``, by ``kind``. ``field`` names the text; ``start`` and ``end`` count its code points
    as it was written, and both are 0 when all of it is meant, or an earlier message. ``confidence`` is in percent.
    ``rule`` names what found it. None of this holds any of the text.
    """

    kind: CauseKind
    category: str
    field: str
    start: int
    end: int
    confidence: int
    rule: str


@dataclass(frozen=True, slots=True)
class Flag:
    """What is known of a flagged entry. ``decided_by`` and ``decided_at`` come with staff's word."""

    mark: Mark
    confidence: int
    causes: tuple[Cause, ...]
    state: FlagState = FlagState.OPEN
    decided_by: UserId | None = None
    decided_at: datetime | None = None
