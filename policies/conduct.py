"""Conduct in a room: flooding, repeats, walls of text, insults, threats, and reviews used as a lever.

Nothing here is stored: what was written lately comes from the log. Words are data (``conduct_words.toml``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Final

from pydantic import Field

from policies.conduct_words import Manner, badly_said
from policies.contact.normal import Normal, normalise
from policies.contact.vocabulary import Action
from policies.part import Duration, Part

_PIECE: Final = 3
"""Characters of a piece that two texts are compared by."""
_COMPARED_CHARS: Final = 2000
"""Of each text, how much is compared, from its end."""
_PASSAGES: Final = 2
"""Two texts can only be about the same when the other one holds one of so many parts of the first, in its words …"""
_PASSAGE_CHARS: Final = 40
"""… or, of a longer text, one of so many characters."""
_MOST_BETWEEN: Final = 60
"""Characters that are compared piece by piece; of more, all pieces are sorted out together."""


class Misconduct(StrEnum):
    """What somebody does wrong, beside trying to leave the platform."""

    FLOODING = "flooding"
    REPEATING = "repeating"
    LONG_PASTE = "long_paste"
    INSULT = "insult"
    THREAT = "threat"
    EXTORTION = "extortion"


class ConductRules(Part):
    """What counts as bad conduct, and what is done about it."""

    flood_messages: int = Field(10, ge=2, le=1000, description="Messages of one sender in a room that are a flood …")
    flood_within: Duration = Field(timedelta(seconds=20), description="… when they come within this time.")
    repeats: int = Field(3, ge=1, le=100, description="How often about the same may be said again …")
    repeat_within: Duration = Field(timedelta(minutes=10), description="… within this time.")
    alike: float = Field(0.85, gt=0, le=1, description="From which likeness on texts are about the same.")
    long_chars: int = Field(2500, ge=100, le=20_000, description="A longer text is a wall.")
    flooding: Action = Field(Action.WARN, description="What is done about a flood.")
    repeating: Action = Field(Action.WARN, description="What is done about a repeat.")
    long_paste: Action = Field(Action.WARN, description="What is done about a wall of text.")
    mild_insult: Action = Field(Action.WARN, description="What is done about a rude word.")
    grave_insult: Action = Field(Action.WITHHOLD, description="What is done about hatred.")
    threat: Action = Field(Action.WITHHOLD, description="What is done about a threat.")
    veiled_threat: Action = Field(Action.WARN, description="What is done about what may be one.")
    extortion: Action = Field(Action.WARN, description="What is done about a review used as a lever.")


@dataclass(frozen=True)
class Said:
    """An earlier message of the same sender in the room."""

    at: datetime
    text: str

    @cached_property
    def plain(self) -> str:
        """Its letters and digits alone. Worked out once, when a later message is compared with it."""
        return _plain(self.text)


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing that is wrong with a message. ``start`` and ``end`` in code points; both 0 when it is all of it."""

    kind: Misconduct
    action: Action
    start: int
    end: int
    rule: str


def conduct(
    text: str, lately: Sequence[Said], now: datetime, rules: ConductRules, normal: Normal | None = None
) -> tuple[Concern, ...]:
    """What is wrong with a message.

    Args:
        text: the message.
        lately: the sender's earlier messages in the room, oldest first; those outside the times of the rules are
            passed over.
        now: when it was sent.
        rules: the operator's.
        normal: its normal form, where that is known already.
    """
    found: list[Concern] = []
    if rules.flooding is not Action.ALLOW and _floods(lately, now, rules):
        found.append(Concern(Misconduct.FLOODING, rules.flooding, 0, 0, "conduct.flooding"))
    if rules.repeating is not Action.ALLOW and _repeats(text, lately, now, rules):
        found.append(Concern(Misconduct.REPEATING, rules.repeating, 0, 0, "conduct.repeating"))
    if len(text) > rules.long_chars:
        found.append(Concern(Misconduct.LONG_PASTE, rules.long_paste, 0, 0, "conduct.long_paste"))
    normal = normal or normalise(text)
    for said in badly_said(normal):
        kind, action = _MANNERS[said.manner]
        span = normal.span(said.start, said.end)
        found.append(Concern(kind, getattr(rules, action), *span, f"conduct.{said.manner.value}"))
    return tuple(found)


_MANNERS: Final = {
    Manner.MILD: (Misconduct.INSULT, "mild_insult"),
    Manner.GRAVE: (Misconduct.INSULT, "grave_insult"),
    Manner.THREAT: (Misconduct.THREAT, "threat"),
    Manner.VEILED: (Misconduct.THREAT, "veiled_threat"),
    Manner.EXTORTION: (Misconduct.EXTORTION, "extortion"),
}
"""What each is, and the rule that says what is done about it."""


def _floods(lately: Sequence[Said], now: datetime, rules: ConductRules) -> bool:
    if len(lately) + 1 < rules.flood_messages:
        return False
    since = now - rules.flood_within
    return sum(said.at >= since for said in lately) + 1 >= rules.flood_messages


def _repeats(text: str, lately: Sequence[Said], now: datetime, rules: ConductRules) -> bool:
    """Whether about the same was said often enough before. Most messages are told apart by their lengths alone."""
    allowed = rules.repeats
    if len(lately) < allowed:
        return False
    since, size = now - rules.repeat_within, len(text)
    least, most = size // 2 - 2, size * 2 + 2
    others = [said for said in lately if least <= len(said.text) <= most and said.at >= since]
    if len(others) < allowed:
        return False
    plain = _plain(text)
    passages = _passages(plain)
    pieces: frozenset[str] | None = None
    left = len(others)
    for said in others:
        other = said.plain
        if plain == other:
            allowed -= 1
        elif any(passage in other for passage in passages):
            pieces = _pieces(plain) if pieces is None else pieces
            allowed -= _likeness_to(plain, pieces, other) >= rules.alike
        left -= 1
        if allowed <= 0 or left < allowed:
            break
    return allowed <= 0


def alike(one: str, other: str) -> float:
    """How alike two texts are, from 0 to 1: the share of their pieces that both have (Jaccard, 3 characters).

    Case, accents, white space and punctuation make no difference.
    """
    return _likeness(_pieces(_plain(one)), _pieces(_plain(other)))


def _likeness(first: frozenset[str], second: frozenset[str]) -> float:
    if not first or not second:
        return 1.0 if first == second else 0.0
    return len(first & second) / len(first | second)


def _likeness_to(plain: str, pieces: frozenset[str], other: str) -> float:
    """How alike a text, whose pieces are known, is to another. Texts that are about the same mostly begin and end the
    same: only what is between has to be compared, piece by piece."""
    size = min(len(plain), len(other))
    begin = _shared(plain, other, size)
    end = _shared(plain[::-1], other[::-1], size - begin)
    first = max(0, begin - _PIECE + 1)
    own, others = (text[first : len(text) - end + _PIECE - 1] for text in (plain, other))
    if size < _PIECE or max(len(own), len(others)) > _MOST_BETWEEN:
        return _likeness(pieces, _pieces(other))
    gone = sum(piece not in other for piece in _pieces(own))
    new = sum(piece not in plain for piece in _pieces(others))
    return (len(pieces) - gone) / (len(pieces) + new)


def _shared(one: str, other: str, most: int) -> int:
    """How many characters two texts begin with that are the same, found by halving; at most so many are asked for."""
    least = 0
    while least < most:
        middle = (least + most + 1) // 2
        if one[least:middle] == other[least:middle]:
            least = middle
        else:
            most = middle - 1
    return least


class _LettersAndDigits(dict[int, str | None]):
    """A table for ``str.translate`` that drops all else; filled as characters come."""

    def __missing__(self, point: int) -> str | None:
        char = chr(point)
        kept = self[point] = char if char.isalnum() else None
        return kept


_ALNUM: Final = _LettersAndDigits()


def _plain(text: str) -> str:
    return normalise(text[-_COMPARED_CHARS:]).text.translate(_ALNUM)


def _passages(plain: str) -> tuple[str, ...]:
    size = min(max(len(plain) // _PASSAGES, 1), _PASSAGE_CHARS)
    return tuple(plain[place : place + size] for place in range(0, max(len(plain) - size, 0) + 1, size))


def _pieces(plain: str) -> frozenset[str]:
    if len(plain) < _PIECE:
        return frozenset([plain]) if plain else frozenset()
    return frozenset(plain[place : place + _PIECE] for place in range(len(plain) - _PIECE + 1))
