"""Conduct in a room: flooding, repeats, walls of text, insults, threats, and reviews used as a lever.

Nothing here is stored: what was written lately comes from the log. Words are data (``conduct_words.toml``).
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Final

from pydantic import Field

from policies.contact.lexicon import Automaton, expanded
from policies.contact.normal import fold, normalise
from policies.contact.vocabulary import Action
from policies.part import Duration, Part

_SHINGLE: Final = 3
"""Characters of a piece that two texts are compared by."""
_COMPARED_CHARS: Final = 2000
"""Of each text, how much is compared: a repeat shows at its beginning."""


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
    extortion: Action = Field(Action.WARN, description="What is done about a review used as a lever.")


@dataclass(frozen=True, slots=True)
class Said:
    """An earlier message of the same sender in the room."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing that is wrong with a message. ``start`` and ``end`` in code points; both 0 when it is all of it."""

    kind: Misconduct
    action: Action
    start: int
    end: int
    rule: str


_KINDS: Final = ("mild", "grave", "threat", "extortion")


@cache
def _words() -> Automaton:
    data: Mapping[str, Mapping[str, Sequence[str]]]
    data = tomllib.loads(files("policies").joinpath("conduct_words.toml").read_text(encoding="utf-8"))
    entries: dict[str, int] = {}
    for place, kind in enumerate(_KINDS):
        for entry in data[kind]["words"]:
            for form in expanded(entry):
                entries[fold(form)] = entries.get(fold(form), 0) | 1 << place
    return Automaton(entries)


def conduct(text: str, lately: Sequence[Said], now: datetime, rules: ConductRules) -> tuple[Concern, ...]:
    """What is wrong with a message.

    Args:
        text: the message.
        lately: the sender's earlier messages in the room, oldest first; those outside the times of the rules are
            passed over.
        now: when it was sent.
        rules: the operator's.
    """
    found: list[Concern] = []
    if sum(now - said.at <= rules.flood_within for said in lately) + 1 >= rules.flood_messages:
        found.append(Concern(Misconduct.FLOODING, rules.flooding, 0, 0, "conduct.flooding"))
    recent = [said.text for said in lately if now - said.at <= rules.repeat_within]
    if sum(alike(text, other) >= rules.alike for other in recent) >= rules.repeats:
        found.append(Concern(Misconduct.REPEATING, rules.repeating, 0, 0, "conduct.repeating"))
    if len(text) > rules.long_chars:
        found.append(Concern(Misconduct.LONG_PASTE, rules.long_paste, 0, 0, "conduct.long_paste"))
    found += _said_badly(text, rules)
    return tuple(found)


def _said_badly(text: str, rules: ConductRules) -> list[Concern]:
    normal = normalise(text)
    done = {
        "mild": (Misconduct.INSULT, rules.mild_insult),
        "grave": (Misconduct.INSULT, rules.grave_insult),
        "threat": (Misconduct.THREAT, rules.threat),
        "extortion": (Misconduct.EXTORTION, rules.extortion),
    }
    found: list[Concern] = []
    covered: dict[str, int] = {}
    hits = sorted(_words().find(" ".join(normal.text.split("\n"))), key=lambda hit: (hit[0], -hit[1]))
    for start, end, mask in hits:
        for place, name in enumerate(_KINDS):
            if mask >> place & 1 and covered.get(name, 0) <= start:
                covered[name] = end
                kind, action = done[name]
                found.append(Concern(kind, action, *normal.span(start, end), f"conduct.{name}"))
    return found


def alike(one: str, other: str) -> float:
    """How alike two texts are, from 0 to 1: the share of their pieces that both have (Jaccard, 3 characters).

    Case, accents, white space and punctuation make no difference.
    """
    first, second = _pieces(one), _pieces(other)
    if not first or not second:
        return 1.0 if first == second else 0.0
    return len(first & second) / len(first | second)


def _pieces(text: str) -> frozenset[str]:
    plain = "".join(char for char in normalise(text[:_COMPARED_CHARS]).text if char.isalnum())
    if len(plain) < _SHINGLE:
        return frozenset([plain]) if plain else frozenset()
    return frozenset(plain[place : place + _SHINGLE] for place in range(len(plain) - _SHINGLE + 1))
