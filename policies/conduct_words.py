"""What is said badly: insults, threats and reviews used as a lever, by the words of ``conduct_words.toml``.

A first automaton looks for the words that such a thing cannot be said without. Nearly every message holds none of
them; for the others, a second one tells what stands around: who is meant, who speaks, what is denied or only told.
"""

import re
import tomllib
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum, auto
from functools import cache
from importlib.resources import files
from typing import Final

from policies.contact.lexicon import Automaton, Hit, expanded
from policies.contact.normal import Normal, fold


class Manner(StrEnum):
    """How something is badly said."""

    MILD = "mild"
    GRAVE = "grave"
    THREAT = "threat"
    VEILED = "veiled"
    EXTORTION = "extortion"


class _Cue(IntEnum):
    """The sections of the file, each a bit of a mask."""

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[int]) -> int:
        return 1 << count

    INSULT = auto()
    EPITHET = auto()
    AIM = auto()
    PERSON = auto()
    SPARE = auto()
    SPARE_AFTER = auto()
    REPORT = auto()
    GRAVE = auto()
    THREAT = auto()
    VEILED = auto()
    GAME = auto()
    BAD_REVIEW = auto()
    GOOD_REVIEW = auto()
    UNDO_REVIEW = auto()
    GIVING = auto()
    OR_ELSE = auto()
    IF_NOT = auto()
    IF_YOU = auto()
    DEMAND = auto()


_TRIGGERS: Final = int(
    _Cue.INSULT | _Cue.EPITHET | _Cue.GRAVE | _Cue.THREAT | _Cue.VEILED | _Cue.BAD_REVIEW | _Cue.GOOD_REVIEW
    | _Cue.UNDO_REVIEW
)  # fmt: skip
_REVIEWS: Final = int(_Cue.BAD_REVIEW | _Cue.GOOD_REVIEW | _Cue.UNDO_REVIEW)
_SPARE_REACH: Final = 26
_AIM_REACH: Final = 20
_REPORT_REACH: Final = 60
_GAME_REACH: Final = 30
_REVIEW_REACH: Final = 90
"""In characters: how far a word may stand from what it bears on."""
_LONGEST_CUE: Final = 60
_MOST: Final = 100
"""Words that are weighed: who writes more of them in one message has said enough."""
_BREAK: Final = re.compile(
    r"[,;:!?。，！？；：\n()]|\.(?=\s|$)|\b(?:but|pero|mas|aber|mais|ma|но|ale|ama|tapi|nhung|lekin)\b"
)
"""Where a clause ends, and with it what a denial or an address bears on."""
_STOP: Final = re.compile(r"[!?。！？\n]|\.(?=\s|$)")
_LEET: Final = re.compile(r"[0134578@$!](?<=[^\W\d_].)(?=[^\W_])|[@$](?=[^\W\d_]{2})")
_LEET_SIGNS: Final = "0134578@$!"
_LEETS: Final = str.maketrans(_LEET_SIGNS, "oieastbasi")
_UNSPACED: Final = "\u0e00"
"""From here on are the scripts that put no spaces between words."""
_STRETCH: Final = re.compile(r"([^\W\d_])\1{2,}")


@dataclass(frozen=True, slots=True)
class Said:
    """A place of a normal form where something is badly said."""

    manner: Manner
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Words:
    triggers: Automaton
    all: Automaton


@cache
def _words() -> _Words:
    sections: Mapping[str, Mapping[str, Sequence[str]]]
    sections = tomllib.loads(files("policies").joinpath("conduct_words.toml").read_text(encoding="utf-8"))
    masks: dict[str, int] = {}
    for name, languages in sections.items():
        cue = int(_Cue[name.upper()])
        for entries in languages.values():
            for entry in entries:
                for form in expanded(entry):
                    folded = fold(form)
                    masks[folded] = masks.get(folded, 0) | cue
    return _Words(Automaton({word: mask for word, mask in masks.items() if mask & _TRIGGERS}), Automaton(masks))


def load_words() -> None:
    """Read the words now rather than with the first message: that takes some tens of milliseconds."""
    _words()


def badly_said(normal: Normal) -> list[Said]:
    """Where a message insults, threatens, or makes a review a lever; in order, no two of a manner overlapping."""
    text = normal.text.replace("\n", " ")
    found = _read(text, normal.text)
    if any(sign in text for sign in _LEET_SIGNS) and _LEET.search(text) and (plain := text.translate(_LEETS)) != text:
        found += _read(plain, plain)
    if _stretches(text):
        found += _unstretched(text)
    if text.count(" ") * 5 > len(text) * 2:
        found += _closed_up(text)
    return _apart(found, text) if found else []


def _apart(found: Sequence[Said], text: str) -> list[Said]:
    """In order, of a manner no two overlapping, and each to the end of its last word."""
    kept: list[Said] = []
    ends: dict[Manner, int] = {}
    for said in sorted(found, key=lambda said: (said.start, -said.end)):
        if said.start >= ends.get(said.manner, 0):
            end = said.end
            while end < len(text) and text[end].isalnum() and text[end - 1] < _UNSPACED:
                end += 1
            ends[said.manner] = end
            kept.append(Said(said.manner, said.start, end))
    return kept


def _stretches(text: str) -> bool:
    """Whether a vowel is written three times. Spelled out, since every message comes by here."""
    if text.isascii():
        return "aaa" in text or "eee" in text or "iii" in text or "ooo" in text or "uuu" in text
    return _STRETCH.search(text) is not None


def _unstretched(text: str) -> Iterator[Said]:
    """What a text says with its stretched letters written once."""
    places: list[int] = []
    end = 0
    for match in _STRETCH.finditer(text):
        places += range(end, match.start() + 1)
        end = match.end()
    return _without([*places, *range(end, len(text))], text)


def _closed_up(text: str) -> Iterator[Said]:
    """What a text says that puts a space between its letters, and several between its words."""
    letters = [place for place, char in enumerate(text) if char != " " or text[place - 1 : place] == " "]
    return _without(letters, text)


def _without(places: Sequence[int], text: str) -> Iterator[Said]:
    """What a text says with only the characters of some places."""
    plain = "".join([text[place] for place in places])
    for said in _read(plain, plain):
        yield Said(said.manner, places[said.start], places[said.end - 1] + 1)


def _read(text: str, broken: str) -> list[Said]:
    """What a normal form says. ``broken``: the same with its line breaks."""
    words = _words()
    triggers = words.triggers.find(text)
    if not triggers:
        return []
    around = _Around(broken, words.all.find(text))
    found: list[Said] = []
    for start, end, mask in triggers[:_MOST]:
        if mask & _Cue.GRAVE and not around.denied(start, end):
            found.append(Said(Manner.GRAVE, start, end))
        if mask & _Cue.THREAT and not around.told(start) and not around.played(end):
            found.append(Said(Manner.THREAT, start, end))
        if mask & _Cue.VEILED and not around.denied(start, end) and not around.played(end):
            found.append(Said(Manner.VEILED, start, end))
        rude = mask & _Cue.INSULT or (mask & _Cue.EPITHET and around.aimed(start, end))
        if rude and not around.denied(start, end):
            found.append(Said(Manner.MILD, start, end))
        if mask & _REVIEWS and around.is_lever(start, end, mask):
            found.append(Said(Manner.EXTORTION, start, end))
    return found


@cache
def _cues(mask: int) -> tuple[_Cue, ...]:
    return tuple(cue for cue in _Cue if mask & cue)


class _Around:
    """The cues of a text, and what they make of a word."""

    def __init__(self, text: str, hits: Sequence[Hit]) -> None:
        self._text = text
        self._by_cue: dict[_Cue, list[tuple[int, int]]] = {}
        for start, end, mask in sorted(hits):
            for cue in _cues(mask):
                self._by_cue.setdefault(cue, []).append((start, end))

    def _before(self, cue: _Cue, start: int, reach: int) -> Iterator[tuple[int, int]]:
        """Those that end at most ``reach`` characters before a place, the nearest first."""
        spans = self._by_cue.get(cue, ())
        for place in range(bisect_left(spans, (start,)) - 1, -1, -1):
            first, last = spans[place]
            if first < start - reach - _LONGEST_CUE:
                return
            if start - reach <= last <= start:
                yield first, last

    def _after(self, cue: _Cue, end: int, reach: int) -> Iterator[tuple[int, int]]:
        spans = self._by_cue.get(cue, ())
        for place in range(bisect_left(spans, (end,)), len(spans)):
            if spans[place][0] > end + reach:
                return
            yield spans[place]

    def _one_clause(self, start: int, end: int) -> bool:
        return _BREAK.search(self._text, start, end) is None

    def _one_sentence(self, start: int, end: int) -> bool:
        return _STOP.search(self._text, start, end) is None

    def aimed(self, start: int, end: int) -> bool:
        """Whether an epithet is said of somebody."""
        if any(self._one_clause(last, start) for _, last in self._before(_Cue.AIM, start, _AIM_REACH)):
            return True
        return any(first > end or not self._text[end - 1].isascii() for first, _ in self._after(_Cue.PERSON, end, 1))

    def denied(self, start: int, end: int) -> bool:
        """Whether bad words are denied, said of oneself, or told of another."""
        if self.told(start) or any(self._one_clause(end, first) for first, _ in self._after(_Cue.SPARE_AFTER, end, 8)):
            return True
        for first, last in self._before(_Cue.SPARE, start, _SPARE_REACH):
            aims = self._before(_Cue.AIM, start, _SPARE_REACH)
            if self._one_clause(last, start) and not any(last <= aim and first < aim for aim, _ in aims):
                return True
        return False

    def told(self, start: int) -> bool:
        """Whether bad words are those of somebody else, which this message reports."""
        reports = self._before(_Cue.REPORT, start, _REPORT_REACH)
        return any(self._one_sentence(last, start) for _, last in reports)

    def played(self, end: int) -> bool:
        """Whether it is about a game, where people kill and beat one another."""
        return any(self._one_sentence(end, first) for first, _ in self._after(_Cue.GAME, end, _GAME_REACH))

    def _near(self, cue: _Cue, start: int, end: int) -> bool:
        """Whether a cue stands before or after, in the same sentence."""
        before = self._before(cue, start, _REVIEW_REACH)
        after = self._after(cue, end, _REVIEW_REACH)
        return any(self._one_sentence(last, start) for _, last in before) or any(
            self._one_sentence(end, first) for first, _ in after
        )

    def is_lever(self, start: int, end: int, mask: int) -> bool:
        """Whether a review is held out or threatened for something that is asked."""
        if self.told(start):
            return False
        asked = self._near(_Cue.DEMAND, start, end)
        conditional = self._near(_Cue.IF_NOT, start, end)
        if mask & _Cue.BAD_REVIEW:
            if conditional and (asked or self._near(_Cue.GIVING, start, end)):
                return True
            if any(first - end <= 2 for first, _ in self._after(_Cue.IF_NOT, end, 2)):
                return True
            return self._or_else(start, end)
        return asked and (conditional or self._near(_Cue.IF_YOU, start, end))

    def _or_else(self, start: int, end: int) -> bool:
        """Whether a bad review is what follows where something is not done."""
        for first, last in self._before(_Cue.OR_ELSE, start, 40):
            if not self._one_sentence(last, start):
                continue
            if any(self._before(_Cue.DEMAND, first, _REVIEW_REACH)):
                return True
            giving = (*self._before(_Cue.GIVING, start, 40), *self._after(_Cue.GIVING, end, 12))
            if any(begins >= last for begins, _ in giving):
                return True
        return False
