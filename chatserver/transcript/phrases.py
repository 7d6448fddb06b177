"""Values of the record as people read them."""

import json
from datetime import UTC, datetime
from typing import Final

from chatserver.transcript.money import written
from chatserver.transcript.text import isolated, shown, shown_line

_SAID: Final = {
    "buyer_favor": "in the buyer's favor",
    "seller_favor": "in the seller's favor",
    "agreed": "agreed by both",
    "seller_attend": "first answer of the seller",
    "no_update": "silence of both parties",
    "fulfill_by": "fulfillment",
    "fulfillment_confirm": "confirmation of fulfillment",
    "proposal_expiry": "end of an offer",
    "evidence_request": "requested evidence",
    "appeal_answer": "answer to the appeal",
    "appeal_window": "time to appeal",
    "reopen_window": "time to reopen",
    "room_closes": "closing of the room",
    "settlement_retry": "next attempt to settle",
}
"""Words of the vocabulary whose names say too little."""


def phrase(name: str) -> str:
    """A word of the vocabulary for people: ``partial_refund`` as ``partial refund``."""
    return _SAID.get(name) or shown_line(name.replace("_", " ").replace(".", " "))


def sentence(name: str) -> str:
    """The same with a capital letter."""
    words = phrase(name)
    return words[:1].upper() + words[1:]


def moment(at: datetime) -> str:
    """A time to the second: ``31 January 2026, 09:30:00 UTC``."""
    return f"{day(at)}, {at:%H:%M:%S} UTC"


def day(at: datetime) -> str:
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year}"


def seconds_in_words(seconds: int) -> str:
    """A duration: ``3 days``, ``1 day 12 hours``, ``15 minutes``."""
    parts = []
    for name, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {name}{'' if count == 1 else 's'}")
    return " ".join(parts) or "no time"


_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def money(amount: object, currency: object) -> str:
    if type(amount) is int and isinstance(currency, str) and currency:
        return written(amount, shown_line(currency))
    return value_in_words(amount)


def person(name: str, user: str) -> str:
    """Somebody by name and id, as they are written."""
    return f"{isolated(shown_line(name))} ({isolated(shown_line(user))})"


def when(value: object) -> str:
    """A time of a body, for people; what is no time as it is."""
    if isinstance(value, str):
        try:
            read = datetime.fromisoformat(value)
        except ValueError:
            return shown_line(value)
        if read.tzinfo is not None:
            return moment(read.astimezone(UTC))
    return value_in_words(value)


def words_of(value: object) -> str:
    return ", ".join(words_of(each) for each in value) if isinstance(value, list) else phrase(str(value))


def value_in_words(value: object) -> str:
    """Any plain value on a line of its own; nested data as JSON."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(each, str | int) for each in value):
        return ", ".join(value_in_words(each) for each in value)
    return shown_line(json.dumps(value, ensure_ascii=False, sort_keys=True))
