"""Reports: a member tells staff that something is wrong with an entry of somebody else's."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from policies.entry import Author, Entry
from policies.errors import BadRequest, Forbidden, NotFound, Refused, TooLarge
from policies.vocabulary import DECIDERS, PARTIES, Role, RoomId, Seq, UserId

TEXT_CHARS: Final = 1_000
NOTE_CHARS: Final = 2_000


class ReportCategory(StrEnum):
    """What is wrong."""

    INSULT = "insult"
    THREAT = "threat"
    SPAM = "spam"
    CONTACT = "contact"
    """They want to talk or be paid elsewhere."""
    FRAUD = "fraud"
    OTHER = "other"


class ReportState(StrEnum):
    OPEN = "open"
    RESOLVED = "resolved"


class ReportOutcome(StrEnum):
    """What staff found."""

    UPHELD = "upheld"
    DISMISSED = "dismissed"


@dataclass(frozen=True, slots=True)
class Resolved:
    """What staff have said of a report. ``note`` is for staff."""

    outcome: ReportOutcome
    note: str
    by: UserId
    at: datetime


@dataclass(frozen=True, slots=True)
class Report:
    """A report of the entry ``seq`` of a room, which ``about`` has written. It is never shown to them."""

    id: str
    room: RoomId
    seq: Seq
    reporter: Author
    about: UserId
    category: ReportCategory
    text: str
    at: datetime
    resolved: Resolved | None = None

    @property
    def state(self) -> ReportState:
        return ReportState.OPEN if self.resolved is None else ReportState.RESOLVED


def check_report(reporter: UserId, role: Role, entry: Entry | None, text: str) -> Entry:
    """Whether somebody may report an entry; the entry.

    Raises:
        Forbidden: their role only reads.
        NotFound: there is no such entry.
        Refused: it is their own, or nobody's.
        BadRequest, TooLarge: the text cannot be kept.
    """
    if role not in PARTIES | DECIDERS:
        raise Forbidden("Your role does not report entries.")
    require_text(text, TEXT_CHARS, "text")
    if entry is None:
        raise NotFound("There is no such entry.")
    if entry.author.role is Role.SYSTEM:
        raise Refused("The server itself wrote this.", details={"rule": "nobodys"})
    if entry.author.id == reporter:
        raise Refused("This is your own.", details={"rule": "own_entry"})
    return entry


def require_text(value: str, most: int, name: str) -> None:
    """Whether a text can be kept.

    Raises:
        BadRequest, TooLarge: it cannot.
    """
    if len(value) > most:
        raise TooLarge(f"The {name} may have at most {most} characters.", details={"field": name, "limit": most})
    if any("\ud800" <= c <= "\udfff" for c in value):
        raise BadRequest(f"The {name} holds half of a character.", details={"field": name})
